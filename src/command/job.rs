//! The steps of the job, which `run` takes in one process and the packages in three.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::backup::metadata::Metadata;
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::backup::retention::{Policy, Removal, plan};
use crate::config;
use crate::etcd;
use crate::exit::{Exit, Failure};
use crate::logging::progress::Meter;
use crate::member::{Choice, Member, Refusal};
use crate::report::JobReport;
use crate::snapshot::{FileHash, Snapshot, Workspace};
use crate::store::{self, Listing, Store};

/// How many names are tried, in case other runs take them first.
const NAMES: u8 = 5;

/// A proved snapshot that is not stored yet.
pub struct Backup {
    pub record: Record,
    pub file: PathBuf,
}

/// Takes a snapshot from the best member; when that one fails, from the next.
pub async fn snapshot(
    choice: Choice,
    etcd: &config::EtcdConfig,
    workspace: &Workspace,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Backup, Failure> {
    let mut failures = Vec::new();
    for (n, member) in choice.members.iter().enumerate() {
        let part = workspace.part_file(&format!("snapshot-{n}"))?;
        let mut meter = Meter::new("snapshot");
        let degraded = choice.degraded.is_some();
        let taken = etcd::snapshot(member, etcd, degraded, part, |done, total| meter.show(done, total)).await;
        match taken {
            Ok(snapshot) => return Ok(backup(snapshot, member, choice.degraded.clone(), now)),
            Err(error) => {
                let exit = error.exit();
                let reason = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(member = %member.endpoint, "snapshot failed: {reason}");
                // The next member would meet the same disk.
                if exit == Exit::Disk {
                    return Err(Failure::message(exit, format!("snapshot of {}: {reason}", member.endpoint)));
                }
                report.refuse(&[Refusal { endpoint: member.endpoint.clone(), reason: format!("snapshot: {reason}") }]);
                failures.push((exit, format!("{}: {reason}", member.endpoint)));
            }
        }
    }
    Err(no_snapshot(failures))
}

/// `failures` has an exit and a reason for each member.
fn no_snapshot(failures: Vec<(Exit, String)>) -> Failure {
    let denied = failures.iter().all(|(exit, _)| *exit == Exit::Denied);
    let reasons: Vec<_> = failures.into_iter().map(|(_, reason)| reason).collect();
    let exit = if denied { Exit::Denied } else { Exit::Proof };
    Failure::message(exit, format!("no member gave a good snapshot: {}", reasons.join("; ")))
}

fn backup(snapshot: Snapshot, member: &Member, degraded: Option<String>, taken_at: DateTime<Utc>) -> Backup {
    let contents = snapshot.proof.contents;
    let record = Record {
        taken_at,
        bytes: snapshot.proof.file.bytes,
        sha256: snapshot.proof.file.sha256,
        revision: contents.revision,
        keys: contents.live_keys,
        etcd_version: member.version.clone(),
        member: member.endpoint.to_string(),
        member_id: format!("{:x}", member.id),
        cluster_id: format!("{:x}", member.cluster_id),
        degraded,
    };
    tracing::info!(
        bytes = record.bytes,
        sha256 = record.sha256,
        revision = record.revision,
        keys = record.keys,
        total_keys = contents.total_keys,
        last_key_revision = contents.last_key_revision,
        etcdutl_hash = format!("{:x}", contents.hash),
        storage_version = contents.storage_version,
        "proved the snapshot of {}",
        member.endpoint
    );
    Backup { record, file: snapshot.path }
}

/// Uploads the backup under a free name, and confirms it.
pub async fn put(store: &Store, backup: &Backup) -> Result<BackupName, Failure> {
    let config = store.config();
    let mut tries = 1..=NAMES;
    loop {
        // A new listing, because the snapshot may have taken an hour, and other runs store backups, too.
        let listing = store.list().await?;
        let existing: Vec<_> = listing.names().cloned().collect();
        let name = BackupName::free(&config.naming.prefix, backup.record.taken_at, config.naming.zone, &existing);
        tracing::info!(%name, target = %config.target, "storing");
        let content = FileHash { bytes: backup.record.bytes, sha256: backup.record.sha256.clone() };
        match store.put(&backup.file, &name, &content).await {
            Err(error @ store::Error::Taken(_)) if tries.next().is_some() => {
                tracing::warn!("{error}; taking another name");
            }
            outcome => return Ok(outcome.map(|_| name)?),
        }
    }
}

/// Applies retention after a backup that is stored and confirmed as `name`, unless the backup is suspicious. `before`
/// is what else is known of the one before it, besides its metadata at the remote.
pub async fn prune(
    store: &Store,
    (name, record): (&BackupName, &Record),
    before: Metadata,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let listing = store.list().await.map_err(incomplete)?;
    // `prune --after` gets its record from a file, which may be of a run with another target.
    if !listing.contains(name) {
        let why = format!("{name} is not at {}; nothing was pruned", store.config().target);
        return Err(Failure::message(Exit::Store, why));
    }
    let suspicion = record.suspicion(&before);
    if let Some(why) = suspicion {
        tracing::warn!("retention is held back: {why}");
        report.held_back = Some(why);
        // A degraded backup is always held back, and the state of the cluster is the more urgent news.
        return Ok(if record.degraded.is_some() { Exit::Degraded } else { Exit::Retention });
    }
    retain(store, listing, Some(name), policy, now, report).await
}

fn incomplete(error: store::Error) -> Failure {
    Failure::new(Exit::Retention, anyhow::Error::new(error).context("the backup is safe, retention is not done"))
}

/// Deletes what the policy does not keep; `own` is the backup of this run, if it has made one.
pub async fn retain(
    store: &Store,
    listing: Listing,
    own: Option<&BackupName>,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let plan = plan(listing.names().cloned(), own, policy, now, store.config().naming.zone);
    for kept in plan.keep.iter().filter(|v| v.is_from_the_future()) {
        tracing::warn!(name = %kept.name, "dated in the future, and kept; a clock is, or was, wrong");
    }
    report.foreign = listing.foreign;
    report.plan(&plan);
    if plan.remove.is_empty() || report.dry_run {
        return Ok(Exit::Ok);
    }
    let removal = store.remove(&plan.remove, policy.max_age.as_ref()).await.map_err(incomplete)?;
    report.deleted(&removal.removed, &removal.failed);
    if removal.failed.is_empty() { Ok(Exit::Ok) } else { Err(not_deleted(&removal)) }
}

fn not_deleted(removal: &Removal) -> Failure {
    let names: Vec<_> = removal.failed.iter().map(ToString::to_string).collect();
    // rclone goes by the time of the object itself, and does not report the objects that it leaves.
    let younger = "rclone found them younger than the age limit by its own clock";
    let why = removal.complaint.as_deref().unwrap_or(younger);
    Failure::message(Exit::Retention, format!("could not delete {}: {why}; the backup is safe", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_denied_only_if_all_are() {
        let failures = |exits: &[Exit]| exits.iter().map(|exit| (*exit, "why".to_owned())).collect();
        assert_eq!(no_snapshot(failures(&[Exit::Denied, Exit::Denied])).exit, Exit::Denied);
        let mixed = no_snapshot(failures(&[Exit::Denied, Exit::Proof]));
        assert_eq!((mixed.exit, mixed.one_line().as_str()), (Exit::Proof, "no member gave a good snapshot: why; why"));
    }

    #[test]
    fn what_could_not_be_deleted_is_named() {
        let name = BackupName::parse(&"p-".parse().unwrap(), "p-202601010000.etcdb").unwrap();
        let mut removal = Removal { failed: vec![name], ..Removal::default() };
        assert!(not_deleted(&removal).one_line().contains("p-202601010000.etcdb: rclone found them younger"));
        removal.complaint = Some("AccessDenied".into());
        let failure = not_deleted(&removal);
        assert_eq!(failure.exit, Exit::Retention);
        assert!(failure.one_line().ends_with("AccessDenied; the backup is safe"));
    }
}
