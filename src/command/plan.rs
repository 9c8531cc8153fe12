//! `restore --plan`: the backup is proved, and the commands that restore the cluster are printed. Nothing is changed.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::input::{ProvedFile, Source};
use crate::config::{LayoutSettings, PlanConfig};
use crate::exit::{Exit, Failure};
use crate::inspect::kubeadm;
use crate::kubernetes::kubeadm::Layout;
use crate::recovery::data_dir::own_wal_dir;
use crate::recovery::initial_cluster::{InitialCluster, default_token};
use crate::recovery::runbook::Runbook;
use crate::report::Answer;
use crate::snapshot::Db;
use crate::system::blocking::blocking;

pub async fn plan(config: PlanConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let source = Source::find(config.backup.input, now).await?;
    // The first step of the plan stops the cluster, so a damaged backup has to be found before.
    let proved = source.prove(&config.backup.work_dir).await?;
    let recorded_members = proved.recorded_members().await?;
    let recorded = InitialCluster::recorded(&recorded_members);
    let members = if config.members.is_empty() { recorded.clone() } else { config.members };
    if members.is_empty() {
        let why = "member: the snapshot records no members; name each with --member name=https://host:2380";
        return Err(Failure::settings(why));
    }
    let found = config.layout.layout(layout_in(&proved, &config.layout).await?)?;
    let layout = found.layout;
    let data_dir = layout.data_dir.trim_end_matches('/');
    let wal_dir = own_wal_dir(Path::new(data_dir), layout.wal_dir.as_deref().map(Path::new))?;
    let (store, files) = flags_and_files(&source)?;
    let backup_id = proved.short_id().to_owned();
    let runbook = Runbook {
        backup: backup(&source)?,
        content: content(&proved, &source),
        keys: proved.proof.contents.live_keys,
        topology: layout.topology,
        topology_source: found.topology_source,
        directories_source: found.directories_source,
        not_used: found.not_used,
        data_dir: data_dir.to_owned(),
        wal_dir: wal_dir.map(|dir| dir.to_string_lossy().into_owned()),
        endpoints: config.endpoints.unwrap_or_else(|| members.client_urls(&recorded_members, &layout)),
        members,
        recorded,
        client: layout.client,
        image_repository: layout.image_repository,
        token: config.token.unwrap_or_else(|| default_token(&backup_id)),
        backup_id,
        store,
        bump_revision: config.bump_revision,
        files,
    };
    let steps = runbook.steps().map_err(Failure::settings)?;
    *answer = Answer::Document {
        text: runbook.text(&steps),
        json: serde_json::json!({ "name": proved.label, "steps": steps }),
    };
    Ok(())
}

/// What kubeadm has written down in the cluster, or why that is not known.
async fn layout_in(proved: &ProvedFile, settings: &LayoutSettings) -> Result<Result<Layout, String>, Failure> {
    if settings.is_given() {
        return Ok(Err("kubeadm's file is given".into()));
    }
    let path = proved.path.clone();
    Ok(blocking(move || kubeadm::layout(&Db::open_path(&path)?)).await?)
}

fn backup(source: &Source) -> Result<String, Failure> {
    match source {
        // Never `latest`: every member has to restore the same backup, even if another one is stored meanwhile.
        Source::Stored(stored) => Ok(stored.backup.name.to_string()),
        Source::Local(path) => absolute(path),
    }
}

fn content(proved: &ProvedFile, source: &Source) -> String {
    let contents = &proved.proof.contents;
    let taken = match source {
        Source::Stored(stored) => {
            format!("taken at {}, ", stored.taken_at().to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        Source::Local(_) => String::new(),
    };
    // The plan restores every member with this program. But whoever finds the backup in its directory may try etcdutl on it.
    let compressed = if proved.is_compressed() {
        "; it is compressed with zstd, which `etcd-backup restore` unpacks and etcdutl alone does not"
    } else {
        ""
    };
    let (revision, keys) = (contents.revision, contents.live_keys);
    format!("{taken}revision {revision}, {keys} keys, every page proved good{compressed}")
}

/// The flags with which every member finds the backup, with their values, and the files that must be there.
type FlagsAndFiles = (Vec<(&'static str, String)>, Vec<String>);

fn flags_and_files(source: &Source) -> Result<FlagsAndFiles, Failure> {
    let stored = match source {
        Source::Local(path) => return Ok((vec![], vec![absolute(path)?])),
        Source::Stored(stored) => stored,
    };
    let config = stored.store.config();
    let mut flags = vec![("target", config.target.to_string()), ("backup-prefix", config.naming.prefix.to_string())];
    let mut files = Vec::new();
    if let Some(file) = &config.rclone_config {
        let file = absolute(file)?;
        flags.push(("rclone-config", file.clone()));
        files.push(file);
    }
    if !config.rclone_flags.0.is_empty() {
        flags.push(("rclone-flags", config.rclone_flags.to_string()));
    }
    Ok((flags, files))
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|e| Failure::new(Exit::Disk, e))?;
    Ok(path.to_string_lossy().into_owned())
}
