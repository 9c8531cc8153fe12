//! The first step of the job: a proved snapshot from the best member.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::facts_of;
use crate::backup::record::Facts;
use crate::config;
use crate::etcd;
use crate::exit::{Exit, Failure};
use crate::logging::progress::Meter;
use crate::member::{Choice, Member, Refusal};
use crate::recovery::etcdutl::Etcdutl;
use crate::report::JobReport;
use crate::snapshot::{Snapshot, Workspace};

/// Advice must not cost the backup its time.
const ETCDUTL: Duration = Duration::from_secs(5);

/// A proved snapshot that is not stored yet.
pub struct Backup {
    pub facts: Facts,
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
            Ok(snapshot) => {
                let backup = backup(snapshot, member, choice.degraded.clone(), now).await?;
                report.cannot_restore = cannot_restore(&backup.facts).await;
                return Ok(backup);
            }
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

async fn backup(
    snapshot: Snapshot,
    member: &Member,
    degraded: Option<String>,
    now: DateTime<Utc>,
) -> Result<Backup, Failure> {
    let facts = Facts {
        etcd_version: Some(member.version.clone()),
        member: Some(member.endpoint.to_string()),
        member_id: Some(format!("{:x}", member.id)),
        cluster_id: Some(format!("{:x}", member.cluster_id)),
        degraded,
        ..facts_of(&snapshot.path, &snapshot.proof, now).await?
    };
    let contents = snapshot.proof.contents;
    tracing::info!(
        bytes = facts.bytes,
        sha256 = facts.sha256,
        revision = facts.revision,
        keys = facts.keys,
        total_keys = contents.total_keys,
        last_key_revision = contents.last_key_revision,
        etcdutl_hash = facts.hash,
        storage_version = facts.storage_version,
        "proved the snapshot of {}",
        member.endpoint
    );
    Ok(Backup { facts, file: snapshot.path })
}

/// Why the etcdutl that is here may not restore the backup, said now and not when it is needed. Where there is none, the
/// restore will be made elsewhere.
async fn cannot_restore(facts: &Facts) -> Option<String> {
    match tokio::time::timeout(ETCDUTL, Etcdutl::find()).await {
        Ok(Ok(etcdutl)) => {
            let why = etcdutl.too_old_for(&facts.storage_version)?;
            tracing::warn!("{why}");
            Some(why)
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "whether the backup can be restored here is not known");
            None
        }
        Err(_) => {
            tracing::debug!("etcdutl does not say its version");
            None
        }
    }
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
}
