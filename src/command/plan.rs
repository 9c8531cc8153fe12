//! `restore --plan`: the backup is proved, and the commands that restore the cluster are printed. Nothing is changed.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::input::{ProvedFile, Source};
use crate::config::PlanConfig;
use crate::exit::{Exit, Failure};
use crate::recovery::initial_cluster::{InitialCluster, default_token};
use crate::recovery::runbook::Runbook;
use crate::report::Answer;

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
    let (store, files) = flags_and_files(&source)?;
    let backup_id = proved.short_id().to_owned();
    let runbook = Runbook {
        backup: backup(&source)?,
        content: content(&proved, &source),
        keys: proved.proof.contents.live_keys,
        topology: config.layout.topology,
        topology_source: config.topology_source,
        // The plan moves the old data to this name with a suffix, which must not become a file inside the directory.
        data_dir: config.layout.data_dir.trim_end_matches('/').to_owned(),
        endpoints: config.endpoints.unwrap_or_else(|| members.client_urls(&recorded_members, &config.layout)),
        members,
        recorded,
        client: config.layout.client,
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
    format!("{taken}revision {}, {} keys, every page proved good", contents.revision, contents.live_keys)
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
