//! A backup in words: what the steps of the job hand to each other, and what is kept beside the stored object.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// A proved snapshot, wherever it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// When the job began that took it.
    pub taken_at: DateTime<Utc>,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// The store's revision.
    pub revision: u64,
    /// Live keys.
    pub keys: u64,
    /// Version of the member that gave it.
    pub etcd_version: String,
    /// That member's endpoint.
    pub member: String,
    /// That member's id, in hexadecimal.
    pub member_id: String,
    /// Its cluster's id, in hexadecimal.
    pub cluster_id: String,
    /// Why it is only the best that could be had; `None` for a good one.
    pub degraded: Option<String>,
}

/// A record on its way from step to step, kept beside the file that it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The file, below the folder that this is in.
    pub file: PathBuf,
    /// What it is.
    #[serde(flatten)]
    pub record: Record,
    /// The backup's name at the store, once it is stored and confirmed there.
    pub stored: Option<String>,
    /// What the record before this one, in the same folder, told of the cluster.
    #[serde(default)]
    pub before: Remembered,
}

impl Handover {
    /// The record's own name in its folder.
    pub const FILE: &'static str = ".etcd-backup.json";

    /// Reads the record at `path`.
    ///
    /// # Errors
    /// A file that is not there or is no record.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let said = |e: &dyn std::fmt::Display| {
            let error =
                anyhow::anyhow!("cannot read the record {}: {e}; `etcd-backup snapshot` writes it", path.display());
            Failure::new(Exit::Settings, error)
        };
        let text = std::fs::read(path).map_err(|e| said(&e))?;
        serde_json::from_slice(&text).map_err(|e| said(&e))
    }

    /// Puts it into `folder` in one go, readable by the group.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let attempt = || -> std::io::Result<()> {
            let mut part = tempfile::Builder::new().permissions(Permissions::from_mode(0o640)).tempfile_in(folder)?;
            serde_json::to_writer(&mut part, self)?;
            part.as_file().set_permissions(Permissions::from_mode(0o640))?;
            part.as_file().sync_all()?;
            part.persist(folder.join(Self::FILE))?;
            Ok(())
        };
        let path = folder.join(Self::FILE);
        attempt()
            .map_err(|e| Failure::new(Exit::Disk, anyhow::anyhow!("cannot write the record {}: {e}", path.display())))
    }
}

/// What of a record the object's metadata told; any of it may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// See [`Record::revision`].
    pub revision: Option<u64>,
    /// See [`Record::cluster_id`].
    pub cluster_id: Option<String>,
}

impl Record {
    /// As object metadata: lower-case keys, plain text.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("sha256", self.sha256.clone()),
            ("revision", self.revision.to_string()),
            ("keys", self.keys.to_string()),
            ("etcd-version", self.etcd_version.clone()),
            ("cluster-id", self.cluster_id.clone()),
            ("member-id", self.member_id.clone()),
            ("tool-version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if self.degraded.is_some() {
            all.push(("degraded", "true".into()));
        }
        all
    }

    /// Why retention is to be held back although the backup is stored: it may be of a wiped or another cluster, and
    /// then the older backups are the ones that count.
    pub fn suspicion(&self, newest_stored: &Remembered) -> Option<String> {
        if let Some(reason) = &self.degraded {
            return Some(format!("the backup is degraded ({reason})"));
        }
        if self.keys == 0 {
            return Some("the backup holds no keys".into());
        }
        if let Some(before) = newest_stored.cluster_id.as_ref().filter(|id| **id != self.cluster_id) {
            return Some(format!(
                "the newest stored backup is of cluster {before}, this one is of {}",
                self.cluster_id
            ));
        }
        if let Some(before) = newest_stored.revision.filter(|before| *before > self.revision) {
            return Some(format!("the newest stored backup has revision {before}, this one only {}", self.revision));
        }
        None
    }
}

impl Remembered {
    /// What fills the gaps of `self`.
    pub fn or(self, other: Self) -> Self {
        Self { revision: self.revision.or(other.revision), cluster_id: self.cluster_id.or(other.cluster_id) }
    }

    /// What a record tells.
    pub fn from_record(record: &Record) -> Self {
        Self { revision: Some(record.revision), cluster_id: Some(record.cluster_id.clone()) }
    }

    /// Reads an object's metadata. Some stores capitalise keys or write `_` for `-`.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Self {
        let get = |wanted: &str| {
            metadata
                .iter()
                .find(|(key, _)| key.to_lowercase().replace('_', "-") == wanted)
                .map(|(_, value)| value.clone())
        };
        Self { revision: get("revision").and_then(|r| r.parse().ok()), cluster_id: get("cluster-id") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
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
    fn metadata_is_read_back() {
        let metadata = record().metadata().into_iter().map(|(k, v)| (k.to_uppercase().replace('-', "_"), v)).collect();
        let before = Remembered::from_metadata(&metadata);
        assert_eq!(before, Remembered { revision: Some(10), cluster_id: Some("2f".into()) });
        assert_eq!(record().suspicion(&before), None);
        assert_eq!(record().suspicion(&Remembered::default()), None);
    }

    #[test]
    fn every_suspicion() {
        let before = Remembered { revision: Some(10), cluster_id: Some("2f".into()) };
        let why = |change: fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            record.suspicion(&before).unwrap()
        };
        assert!(why(|r| r.degraded = Some("x".into())).contains("degraded"));
        assert!(why(|r| r.keys = 0).contains("no keys"));
        assert!(why(|r| r.revision = 9).contains("revision 10"));
        assert!(why(|r| r.cluster_id = "3f".into()).contains("cluster 2f"));
    }
}
