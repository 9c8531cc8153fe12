//! The file beside a snapshot by which the steps `snapshot`, `store` and `prune` hand it on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use super::metadata::Metadata;
use super::record::Record;
use crate::exit::{Exit, Failure};

/// What one step tells the next. The field names are those of the file, which an older version may have written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The snapshot's path, relative to the directory of this file.
    pub file: PathBuf,
    #[serde(flatten)]
    pub record: Record,
    /// The backup's name at the remote, once it is stored and confirmed there.
    pub stored: Option<String>,
    /// What is known of the backup before this one, from the file that this one replaced. Where the remote keeps no metadata,
    /// nothing else shows that the cluster was wiped.
    #[serde(default)]
    pub before: Metadata,
}

impl Handover {
    pub const FILE: &'static str = ".etcd-backup.json";

    pub fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::new(
                Exit::Settings,
                anyhow!("cannot read the record {path}: {why}; `etcd-backup snapshot` writes it"),
            )
        };
        let text = std::fs::read(path).map_err(|e| failed(&e))?;
        serde_json::from_slice(&text).map_err(|e| failed(&e))
    }

    /// Writes the file into `dir`. An older one is replaced in one step, so that a crash leaves one of the two.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(Self::FILE);
        self.replace(dir, &path)
            .map_err(|e| Failure::new(Exit::Disk, anyhow!("cannot write the record {}: {e}", path.display())))
    }

    fn replace(&self, dir: &Path, path: &Path) -> std::io::Result<()> {
        // The steps are containers that may run as different users and share only the pod's group.
        let mode = Permissions::from_mode(0o640);
        let mut part = tempfile::Builder::new().permissions(mode.clone()).tempfile_in(dir)?;
        serde_json::to_writer(&mut part, self)?;
        // Again, because the umask took its bits from the mode at the file's creation.
        part.as_file().set_permissions(mode)?;
        part.as_file().sync_all()?;
        part.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn a_file_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Handover::FILE);
        let mut old = r#"{"file":"p-1.etcdb","taken_at":"2026-01-02T03:04:05Z","bytes":1,"sha256":"ab","revision":10,
            "keys":2,"etcd_version":"3.5.1","member":"https://x:1","member_id":"1f","cluster_id":"2f","degraded":null,
            "stored":null,"before":{"revision":9,"cluster_id":"2f"}}"#
            .to_owned();
        std::fs::write(&path, &old).unwrap();
        let read = Handover::read(&path).unwrap();
        assert_eq!((read.before.revision, read.before.cluster_id.as_deref()), (Some(9), Some("2f")));
        assert_eq!((read.record.revision, read.stored), (10, None));
        // The oldest files have no `before`.
        old.truncate(old.find(r#","before""#).unwrap());
        std::fs::write(&path, old + "}").unwrap();
        assert_eq!(Handover::read(&path).unwrap().before, Metadata::default());
    }

    #[test]
    fn what_is_written_is_read_back_by_the_group_too() {
        let dir = tempfile::tempdir().unwrap();
        let before = record().metadata();
        let handover = Handover { file: "x".into(), record: record(), stored: Some("x".into()), before };
        handover.write(dir.path()).unwrap();
        let path = dir.path().join(Handover::FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let read = Handover::read(&path).unwrap();
        assert_eq!((read.stored, read.before), (handover.stored, handover.before));
    }
}
