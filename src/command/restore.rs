//! `restore`: a member's data folder, built beside its place by etcdutl from a backup that proved good.

use std::num::NonZeroU64;
use std::path::Path;

use bytesize::ByteSize;

use super::input::{ProvedFile, Source};
use super::plan;
use crate::backup::select::Selector;
use crate::cli::{RestoreArgs, WhoArgs};
use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::recovery::data_dir::DataDir;
use crate::recovery::etcdutl::{Etcdutl, Identity};
use crate::recovery::initial_cluster::{IdentityFlags, InitialCluster};
use crate::report::Answer;
use crate::snapshot::{self, Db};
use crate::system::blocking::blocking;

/// Far above what any cluster reaches between a backup and its restore, and far below the end of the numbers.
const BUMP: u64 = 1_000_000_000;

/// Restores one member, or prints the plan for all.
pub async fn restore(args: &RestoreArgs, job: &Settings, answer: &mut Answer) -> Result<(), Failure> {
    let Some(path) = args.data_dir.as_deref().filter(|_| !args.plan) else {
        return plan::plan(args, job, answer).await;
    };
    let place = DataDir::check(path)?;
    let etcdutl = Etcdutl::find().await?;
    let bump = bump(&args.who, &etcdutl)?;
    let source = source(args, job).await?;
    check_room(&place, &source, args)?;

    let workspace = place.workspace()?;
    let proved = source.prove(args.read.work.work_dir.as_deref().unwrap_or(place.site())).await?;
    let who = identity(&args.who, &proved).await?;
    if bump.is_none() {
        warn_of_old_revision(&etcdutl, &proved, &args.who);
    }
    tracing::info!(name = proved.label, member = who.name, etcdutl = etcdutl.version, "restoring");
    let built = workspace.path().join("data");
    etcdutl.restore(&proved.path, &built, &who, bump).await?;
    blocking(move || place.publish(&built)).await?;
    *answer = document(&proved, path, &who, bump, &etcdutl);
    Ok(())
}

/// The backup that was asked for.
pub async fn source(args: &RestoreArgs, job: &Settings) -> Result<Source, Failure> {
    match args.before {
        Some(moment) => {
            let before = Selector::Before(moment.at(job.zone));
            Source::find(job.stored(before, &args.read)?).await
        }
        // Only a plan may leave it out.
        None => Source::find(job.backup(args.backup.as_deref().unwrap_or("latest"), &args.read)?.input).await,
    }
}

/// The members that a proved backup records.
pub async fn recorded(proved: &ProvedFile) -> Result<Vec<snapshot::RecordedMember>, Failure> {
    let path = proved.path.clone();
    Ok(blocking(move || snapshot::members(&Db::open_path(&path)?)).await?)
}

/// The token that sets the restored cluster apart from the old one, whose members are not to join it.
pub fn token(who: &WhoArgs, proved: &ProvedFile) -> String {
    who.initial_cluster_token.clone().unwrap_or_else(|| format!("etcd-restore-{}", mark(proved)))
}

/// A few characters that stand for this backup.
pub fn mark(proved: &ProvedFile) -> String {
    proved.proof.file.sha256.chars().take(8).collect()
}

fn bump(who: &WhoArgs, etcdutl: &Etcdutl) -> Result<Option<NonZeroU64>, Failure> {
    match who.bump_revision {
        None => Ok(NonZeroU64::new(BUMP).filter(|_| etcdutl.can_bump)),
        Some(by) => match NonZeroU64::new(by) {
            Some(_) if !etcdutl.can_bump => Err(Failure::new(
                Exit::Settings,
                anyhow::anyhow!(
                    "bump-revision: etcdutl {} cannot do that; take a newer one, or leave it out",
                    etcdutl.version
                ),
            )),
            by => Ok(by),
        },
    }
}

fn warn_of_old_revision(etcdutl: &Etcdutl, proved: &ProvedFile, who: &WhoArgs) {
    let why = match who.bump_revision {
        Some(_) => "as asked".to_owned(),
        None => format!("etcdutl {} cannot raise it", etcdutl.version),
    };
    tracing::warn!(
        revision = proved.proof.contents.revision,
        "the revision stays what it was in the backup ({why}): whoever watched the lost cluster has seen higher ones and \
         misses changes; restart all API servers, controllers, schedulers and kubelets after the restore"
    );
}

fn check_room(place: &DataDir, source: &Source, args: &RestoreArgs) -> Result<(), Failure> {
    let Some(bytes) = source.bytes() else { return Ok(()) };
    let staging = args.read.work.work_dir.as_deref().unwrap_or(place.site());
    let staged_there = matches!(source, Source::Stored(_)) && place.shares_disk_with(staging);
    Ok(place.check_room(bytes, if staged_there { bytes } else { 0 })?)
}

async fn identity(who: &WhoArgs, proved: &ProvedFile) -> Result<Identity, Failure> {
    let refused = |why: String| Failure::new(Exit::Settings, anyhow::anyhow!("{why}"));
    let cluster = match &who.initial_cluster {
        Some(list) => list.parse().map_err(|why| refused(format!("initial-cluster: {why}")))?,
        None => InitialCluster::recorded(&recorded(proved).await?),
    };
    let token = token(who, proved);
    let asked = IdentityFlags {
        name: who.name.as_deref(),
        peer_urls: who.initial_advertise_peer_urls.as_deref(),
        token: &token,
    };
    cluster.identity(asked).map_err(refused)
}

fn document(proved: &ProvedFile, path: &Path, who: &Identity, bump: Option<NonZeroU64>, etcdutl: &Etcdutl) -> Answer {
    let (digest, contents) = (&proved.proof.file, &proved.proof.contents);
    let raised = bump.map_or(0, NonZeroU64::get);
    let revision = contents.revision.saturating_add(raised);
    let raise = if raised == 0 { "not raised".to_owned() } else { format!("raised by {raised}, the rest compacted") };
    let text = format!(
        "restored   {} to {}\nsize       {} ({} bytes)\nsha256     {}\ncontent    {} keys, every page proved good\n\
         revision   {revision} ({raise})\nmember     {} of {}\ntoken      {}\n",
        proved.label,
        path.display(),
        ByteSize(digest.bytes),
        digest.bytes,
        digest.sha256,
        contents.live_keys,
        who.name,
        who.cluster,
        who.token
    );
    let json = serde_json::json!({
        "name": proved.label, "data_dir": path, "bytes": digest.bytes, "sha256": digest.sha256,
        "keys": contents.live_keys, "revision": revision, "bumped_by": raised, "member": who.name,
        "initial_cluster": who.cluster, "initial_cluster_token": who.token,
        "initial_advertise_peer_urls": who.peer_urls, "etcdutl": etcdutl.version,
    });
    Answer::Document { text, json }
}
