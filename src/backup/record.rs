//! What is known of a backup by the run that took it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::metadata::Metadata;

/// A proved snapshot. The field names are those of the JSON report and the handover file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The start of the job that took it.
    pub taken_at: DateTime<Utc>,
    pub bytes: u64,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    pub revision: u64,
    /// The number of keys that are live at that revision.
    pub keys: u64,
    pub etcd_version: String,
    /// The endpoint that gave the snapshot.
    pub member: String,
    /// In hexadecimal, as is the cluster's id.
    pub member_id: String,
    pub cluster_id: String,
    /// Why there was no better snapshot, such as a lost quorum; `None` for a good one.
    pub degraded: Option<String>,
}

impl Record {
    pub fn metadata(&self) -> Metadata {
        Metadata {
            sha256: Some(self.sha256.clone()),
            revision: Some(self.revision),
            keys: Some(self.keys),
            etcd_version: Some(self.etcd_version.clone()),
            cluster_id: Some(self.cluster_id.clone()),
            member_id: Some(self.member_id.clone()),
            tool_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            degraded: Some(self.degraded.is_some()),
        }
    }

    /// Why retention has to be held back although this backup is stored. If it is of a wiped cluster or another one, the
    /// older backups are the ones that count.
    pub fn suspicion(&self, previous: &Metadata) -> Option<String> {
        if let Some(reason) = &self.degraded {
            return Some(format!("the backup is degraded ({reason})"));
        }
        if self.keys == 0 {
            return Some("the backup holds no keys".into());
        }
        if let Some(before) = previous.cluster_id.as_ref().filter(|id| **id != self.cluster_id) {
            return Some(format!(
                "the newest stored backup is of cluster {before}, this one is of {}",
                self.cluster_id
            ));
        }
        // A cluster's revision never falls, so a lower one means that it was wiped or restored.
        if let Some(before) = previous.revision.filter(|before| *before > self.revision) {
            return Some(format!("the newest stored backup has revision {before}, this one only {}", self.revision));
        }
        None
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn record() -> Record {
        Record {
            taken_at: DateTime::from_timestamp(0, 0).unwrap(),
            bytes: 1,
            sha256: "ab".into(),
            revision: 10,
            keys: 2,
            etcd_version: "3.5.1".into(),
            member: "https://x:1".into(),
            member_id: "1f".into(),
            cluster_id: "2f".into(),
            degraded: None,
        }
    }

    #[test]
    fn a_backup_like_the_one_before_is_above_suspicion() {
        assert_eq!(record().suspicion(&record().metadata()), None);
        assert_eq!(record().suspicion(&Metadata::default()), None);
    }

    #[test]
    fn every_suspicion() {
        let previous = record().metadata();
        let why = |change: fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            record.suspicion(&previous).unwrap()
        };
        assert!(why(|r| r.degraded = Some("x".into())).contains("degraded"));
        assert!(why(|r| r.keys = 0).contains("no keys"));
        assert!(why(|r| r.revision = 9).contains("revision 10"));
        assert!(why(|r| r.cluster_id = "3f".into()).contains("cluster 2f"));
    }
}
