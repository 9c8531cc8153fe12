//! The record of a backup: what is known of it, as one JSON line in a file of its own. It is written once, after the backup
//! is confirmed, and never again.

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::identity::KubeSystem;
use super::name::{BackupName, Compression};
use super::verdict::{Compared, Verdict};

/// What a proved snapshot is. The field names are those of the record, of the JSON report, and of the file that the steps of
/// the job hand on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The start of the job that took it, to the second. Of a backup that another program made, the time in its name.
    pub taken_at: DateTime<Utc>,
    pub bytes: u64,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    pub revision: u64,
    /// The number of keys that are live at that revision.
    pub keys: u64,
    /// The hash that `etcdutl snapshot status` prints, in hexadecimal.
    pub hash: String,
    /// The version of the file's layout, such as `3.5`.
    pub storage_version: String,
    pub kube_system: KubeSystem,
    // The rest is not in the file, so it is unknown of a backup that another program made.
    /// The endpoint that gave the snapshot.
    pub member: Option<String>,
    /// In hexadecimal, as is the cluster's id.
    pub member_id: Option<String>,
    pub cluster_id: Option<String>,
    pub etcd_version: Option<String>,
    /// Why there was no better snapshot, such as a lost quorum; `None` for a good one.
    pub degraded: Option<String>,
}

/// What is stored of a compressed backup, which is not the snapshot itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    pub bytes: u64,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    pub compression: Compression,
}

/// The steps of the job hand on a record that lacks what only the later steps know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The file's name, without the directory of its prefix.
    pub name: String,
    /// The last part of the prefix.
    pub prefix: String,
    /// `None` if the backup did not prove good.
    #[serde(flatten)]
    pub facts: Option<Facts>,
    /// Only in the record of a compressed backup. In a handover, `stored` tells whether the file is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Compressed>,
    /// `None` until the step that stores the backup has compared it with the one before.
    pub verdict: Option<Verdict>,
    /// With which backup it was compared; `None` if there was none.
    pub compared: Option<Compared>,
    /// `None` until the stored backup has been compared with the snapshot.
    pub confirmed: Option<Evidence>,
    /// The version of this program.
    pub tool: String,
}

impl Record {
    /// A record that says nothing yet.
    pub fn new(name: &BackupName) -> Self {
        Self {
            name: name.leaf(),
            prefix: name.prefix().leaf().to_owned(),
            facts: None,
            compressed: None,
            verdict: None,
            compared: None,
            confirmed: None,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// How the file is compressed that it is about.
    pub fn compression(&self) -> Option<Compression> {
        self.compressed.as_ref().map(|compressed| compressed.compression)
    }
}

/// The precision of every time in a record.
pub fn to_the_second(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(0)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn facts() -> Facts {
        Facts {
            taken_at: DateTime::from_timestamp(0, 0).unwrap(),
            bytes: 1,
            sha256: "ab".into(),
            revision: 10,
            keys: 2,
            hash: "1a2b".into(),
            storage_version: "3.5".into(),
            kube_system: KubeSystem::Uid("uid-a".into()),
            member: Some("https://x:1".into()),
            member_id: Some("1f".into()),
            cluster_id: Some("2f".into()),
            etcd_version: Some("3.5.1".into()),
            degraded: None,
        }
    }
}
