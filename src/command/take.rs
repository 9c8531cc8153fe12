//! The first step of the job: a proved snapshot from the best member.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::facts_of;
use super::staging::{Staged, StagingFile};
use crate::backup::name::Compression;
use crate::backup::record::{Compressed, Facts};
use crate::config;
use crate::etcd;
use crate::exit::{Exit, Failure};
use crate::logging::progress::Meter;
use crate::member::{self, Choice, Member, Refusal};
use crate::recovery::etcdutl::Etcdutl;
use crate::report::JobReport;
use crate::snapshot::{self, Digested, FileHash, Proof, WantedDigest, Workspace};
use crate::store::{Content, Store};
use crate::url::Url;

/// Advice must not cost the backup its time.
const ETCDUTL: Duration = Duration::from_secs(5);

/// A proved snapshot that is not stored yet.
pub struct Backup {
    pub facts: Facts,
    pub file: PathBuf,
    /// What the file is, if it is compressed.
    pub compressed: Option<Compressed>,
    /// Of the file, of the kind that the store wanted, if that was known when the file was proved.
    pub digest: Option<Digested>,
}

impl Backup {
    /// What is to be stored: the file as it is, compressed or not.
    pub fn content(&self) -> Content {
        let hash = match &self.compressed {
            Some(Compressed { bytes, sha256, .. }) => FileHash { bytes: *bytes, sha256: sha256.clone() },
            None => FileHash { bytes: self.facts.bytes, sha256: self.facts.sha256.clone() },
        };
        Content { hash, digest: self.digest.clone() }
    }

    pub fn compression(&self) -> Option<Compression> {
        self.compressed.as_ref().map(|compressed| compressed.compression)
    }
}

/// Takes a snapshot from the best member; when that one fails, or its database does not fit, from the next. `level` is that
/// of zstd, if it is compressed, and `store` is where it goes, if that is open.
pub async fn snapshot(
    choice: Choice,
    etcd: &config::EtcdConfig,
    workspace: &Workspace,
    level: Option<u8>,
    now: DateTime<Utc>,
    store: Option<&Arc<Store>>,
    report: &mut JobReport,
) -> Result<Backup, Failure> {
    let Choice { members, degraded, .. } = choice;
    let mut failures = Failures::default();
    for (n, member) in fitting_first(members, workspace)?.iter().enumerate() {
        let wanted = store.cloned().map(|store| -> WantedDigest { Box::new(move |bytes| store.digest_kind(bytes)) });
        let staging = StagingFile::new(workspace, &format!("snapshot-{n}"), level, wanted)?;
        match receive(member, etcd, degraded.is_some(), staging).await {
            Ok(Staged { path, proof, compressed, digest }) => {
                report.refuse(&failures.too_large());
                let facts = facts(&proof, member, degraded, now);
                let backup = Backup { facts, file: path, compressed, digest };
                report.cannot_restore = cannot_restore(&backup.facts).await;
                return Ok(backup);
            }
            Err(error) => {
                let failed = Failed::new(member, &error);
                tracing::warn!(member = %member.endpoint, "snapshot failed: {}", failed.reason);
                match failed.too_large {
                    // The next member would meet the same disk.
                    None if failed.exit == Exit::Disk => return Err(failed.into()),
                    // Its fault only if another one's fits.
                    Some(_) => {}
                    None => report.refuse(&[failed.refusal()]),
                }
                failures.0.push(failed);
            }
        }
    }
    Err(failures.into())
}

async fn receive(
    member: &Member,
    etcd: &config::EtcdConfig,
    degraded: bool,
    staging: StagingFile,
) -> Result<Staged, etcd::SnapshotError> {
    let mut meter = Meter::new("snapshot");
    let stream = etcd::Stream::open(member, etcd, degraded).await?;
    stream.receive(staging, |done, total| meter.show(done, total)).await
}

fn fitting_first(members: Vec<Member>, workspace: &Workspace) -> Result<Vec<Member>, Failure> {
    let best = members.first().map(|m| (m.id, m.endpoint.clone(), m.db_size));
    let free = workspace.free()?;
    let ordered = member::fitting_first(members, free);
    if let (Some((id, endpoint, bytes)), Some(first)) = (best, ordered.first())
        && first.id != id
    {
        tracing::warn!(
            bytes,
            free,
            "there is no room for the database of {endpoint}; that of {} is smaller: defragment the members",
            first.endpoint
        );
    }
    Ok(ordered)
}

/// A member that gave no good snapshot.
pub struct Failed {
    endpoint: Url,
    exit: Exit,
    pub reason: String,
    /// Bytes of its database, if there is no room for it.
    too_large: Option<u64>,
}

impl Failed {
    pub fn new(member: &Member, error: &etcd::SnapshotError) -> Self {
        let no_room = matches!(error, etcd::SnapshotError::File(snapshot::Error::NoSpace { .. }));
        let too_large = no_room.then_some(member.db_size);
        let exit = error.exit();
        let reason = error.one_line();
        Self { endpoint: member.endpoint.clone(), exit, reason, too_large }
    }

    pub fn refusal(&self) -> Refusal {
        Refusal { endpoint: self.endpoint.clone(), reason: format!("snapshot: {}", self.reason) }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::message(failed.exit, format!("snapshot of {}: {}", failed.endpoint, failed.reason))
    }
}

/// Why each member gave none.
#[derive(Default)]
pub struct Failures(pub Vec<Failed>);

impl Failures {
    fn too_large(&self) -> Vec<Refusal> {
        self.0.iter().filter(|failed| failed.too_large.is_some()).map(Failed::refusal).collect()
    }
}

impl From<Failures> for Failure {
    fn from(Failures(failures): Failures) -> Self {
        let denied = failures.iter().all(|failed| failed.exit == Exit::Denied);
        let reasons: Vec<_> = failures.iter().map(|failed| format!("{}: {}", failed.endpoint, failed.reason)).collect();
        // Room is what its user can make, whatever is wrong with the other members.
        if let Some(smallest) = failures.into_iter().filter(|f| f.too_large.is_some()).min_by_key(|f| f.too_large) {
            return smallest.into();
        }
        let exit = if denied { Exit::Denied } else { Exit::Proof };
        Self::message(exit, format!("no member gave a good snapshot: {}", reasons.join("; ")))
    }
}

/// What its record says of a proved snapshot.
pub fn facts(proof: &Proof, member: &Member, degraded: Option<String>, now: DateTime<Utc>) -> Facts {
    let facts = Facts {
        etcd_version: Some(member.version.clone()),
        member: Some(member.endpoint.to_string()),
        member_id: Some(format!("{:x}", member.id)),
        cluster_id: Some(format!("{:x}", member.cluster_id)),
        degraded,
        ..facts_of(proof, now)
    };
    let contents = &proof.contents;
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
    facts
}

/// Why the etcdutl that is here may not restore the backup, said now and not when it is needed. Where there is none, the
/// restore will be made elsewhere.
pub async fn cannot_restore(facts: &Facts) -> Option<String> {
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

    fn failures(all: &[(Exit, Option<u64>)]) -> Failure {
        let failed = all.iter().zip(1..).map(|((exit, bytes), n)| Failed {
            endpoint: format!("http://m{n}:1").parse().unwrap(),
            exit: *exit,
            reason: "why".into(),
            too_large: *bytes,
        });
        Failures(failed.collect()).into()
    }

    #[test]
    fn snapshots_are_denied_only_if_all_are() {
        assert_eq!(failures(&[(Exit::Denied, None), (Exit::Denied, None)]).exit, Exit::Denied);
        let mixed = failures(&[(Exit::Denied, None), (Exit::Proof, None)]);
        let words = "no member gave a good snapshot: http://m1:1: why; http://m2:1: why";
        assert_eq!((mixed.exit, mixed.one_line().as_str()), (Exit::Proof, words));
    }

    #[test]
    fn without_room_the_smallest_is_named() {
        let full = failures(&[(Exit::Disk, Some(9)), (Exit::Disk, Some(7)), (Exit::Proof, None)]);
        assert_eq!((full.exit, full.one_line().as_str()), (Exit::Disk, "snapshot of http://m2:1: why"));
    }
}
