//! `restore`: etcdutl builds a member's data directory from a proved backup, which then appears in one step.

use std::num::NonZeroU64;
use std::path::Path;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use super::input::{ProvedFile, Source};
use crate::config::{IdentityConfig, MemberConfig};
use crate::exit::Failure;
use crate::recovery::data_dir::DataDir;
use crate::recovery::etcdutl::{Etcdutl, Identity};
use crate::recovery::initial_cluster::{IdentityFlags, InitialCluster, default_token};
use crate::report::Answer;
use crate::system::blocking::blocking;

/// Far above what any cluster reaches between a backup and its restore, and far below the largest revision.
const DEFAULT_BUMP: u64 = 1_000_000_000;

pub async fn restore(config: MemberConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    // Everything that can be checked without the backup is checked first, because fetching it may take an hour.
    let data_dir = DataDir::check(&config.data_dir, config.wal_dir.as_deref())?;
    let etcdutl = Etcdutl::find().await?;
    let bump = bump(config.bump_revision, &etcdutl)?;
    let source = Source::find(config.input, now).await?;
    // The data directory's disk has to be large enough anyway. The usual work directory, /tmp, may be small.
    let work_dir = config.work_dir.as_deref().unwrap_or(data_dir.build_dir());
    check_room(&data_dir, &source, work_dir).await?;

    // Before the fetch, because it fails where the directories cannot be written to.
    let built = data_dir.building()?;
    let proved = source.prove(work_dir).await?;
    // How large a compressed backup is may not have been known before.
    data_dir.check_room(proved.proof.file.bytes, None)?;
    if let Some(why) = etcdutl.too_old_for(&proved.proof.contents.storage_version) {
        tracing::warn!("{why}");
    }
    let identity = identity(config.identity, &proved).await?;
    if bump.is_none() {
        warn_of_old_revision(&etcdutl, &proved, config.bump_revision);
    }
    tracing::info!(name = proved.label, member = identity.name, etcdutl = etcdutl.version, "restoring");
    etcdutl.restore(&proved.path, &built.data_dir, built.wal_dir.as_deref(), &identity, bump).await?;
    blocking(move || data_dir.publish(&built)).await?;
    *answer = document(&proved, (&config.data_dir, config.wal_dir.as_deref()), &identity, bump, &etcdutl);
    Ok(())
}

/// By how much the revision is raised, if at all.
fn bump(flag: Option<u64>, etcdutl: &Etcdutl) -> Result<Option<NonZeroU64>, Failure> {
    let bump = NonZeroU64::new(flag.unwrap_or(DEFAULT_BUMP));
    if flag.is_some() && bump.is_some() && !etcdutl.can_bump {
        let version = &etcdutl.version;
        return Err(Failure::settings(format!(
            "bump-revision: etcdutl {version} cannot do that; take a newer one, or leave the flag out"
        )));
    }
    Ok(bump.filter(|_| etcdutl.can_bump))
}

fn warn_of_old_revision(etcdutl: &Etcdutl, proved: &ProvedFile, flag: Option<u64>) {
    let why = match flag {
        Some(_) => "as --bump-revision demands".to_owned(),
        None => format!("etcdutl {} cannot raise it", etcdutl.version),
    };
    tracing::warn!(
        revision = proved.proof.contents.revision,
        "the revision stays what it was in the backup ({why}): clients that have seen a higher one in the lost cluster \
         miss changes; restart all API servers, controllers, schedulers and kubelets after the restore"
    );
}

async fn check_room(data_dir: &DataDir, source: &Source, work_dir: &Path) -> Result<(), Failure> {
    let Some(bytes) = source.bytes().await? else { return Ok(()) };
    // A stored backup is fetched into the work directory before etcdutl copies it, and a compressed file is unpacked there;
    // any other local file is read where it is.
    let staging = source.is_staged().await?.then_some(work_dir);
    Ok(data_dir.check_room(bytes, staging)?)
}

async fn identity(config: IdentityConfig, proved: &ProvedFile) -> Result<Identity, Failure> {
    let cluster = match config.initial_cluster {
        Some(cluster) => cluster,
        None => InitialCluster::recorded(&proved.recorded_members().await?),
    };
    let token = config.token.unwrap_or_else(|| default_token(proved.short_id()));
    let flags = IdentityFlags { name: config.name.as_deref(), peer_urls: config.peer_urls.as_deref(), token: &token };
    cluster.identity(flags).map_err(Failure::settings)
}

/// The data directory, and that of the log if it was given.
type Directories<'a> = (&'a Path, Option<&'a Path>);

fn document(
    proved: &ProvedFile,
    (path, wal_dir): Directories<'_>,
    who: &Identity,
    bump: Option<NonZeroU64>,
    etcdutl: &Etcdutl,
) -> Answer {
    let (file, contents) = (&proved.proof.file, &proved.proof.contents);
    let raised = bump.map_or(0, NonZeroU64::get);
    let revision = contents.revision.saturating_add(raised);
    let raise = if raised == 0 { "not raised".to_owned() } else { format!("raised by {raised}, the rest compacted") };
    let log = wal_dir.map(|dir| format!(", its log to {}", dir.display())).unwrap_or_default();
    let text = format!(
        "restored   {} to {}{log}\nsize       {} ({} bytes)\nsha256     {}\ncontent    {} keys, every page proved good\n\
         revision   {revision} ({raise})\nmember     {} of {}\ntoken      {}\n",
        proved.label,
        path.display(),
        ByteSize(file.bytes),
        file.bytes,
        file.sha256,
        contents.live_keys,
        who.name,
        who.cluster,
        who.token
    );
    let json = serde_json::json!({
        "name": proved.label, "data_dir": path, "bytes": file.bytes, "sha256": file.sha256,
        "keys": contents.live_keys, "revision": revision, "bumped_by": raised, "member": who.name,
        "initial_cluster": who.cluster, "initial_cluster_token": who.token,
        "initial_advertise_peer_urls": who.peer_urls, "etcdutl": etcdutl.version, "wal_dir": wal_dir,
    });
    Answer::Document { text, json }
}
