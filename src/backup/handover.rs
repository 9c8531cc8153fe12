//! The file by which the steps `snapshot`, `store` and `prune` hand on a snapshot.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use super::beside::FOLDER;
use super::name::{BackupName, Prefix};
use super::record::{Facts, Record};
use crate::exit::{Exit, Failure};
use crate::system::fs::read_small;

/// What one step tells the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handover {
    /// The snapshot's path, relative to the work directory.
    pub file: PathBuf,
    /// Whether the backup is stored, confirmed, and has its record.
    pub stored: bool,
    #[serde(flatten)]
    pub record: Record,
    /// By how much this machine's clock and the store's were found to differ.
    #[serde(default)]
    pub clock: Option<String>,
}

impl Handover {
    /// Its usual name, in the work directory.
    pub const FILE: &'static str = ".etcd-backup.json";

    /// Where it is if backups stay in the work directory. There, each prefix has its own: the directory may be a volume that
    /// several clusters share.
    pub fn path_in_place(work_dir: &Path, prefix: &Prefix) -> PathBuf {
        work_dir.join(prefix.directory()).join(FOLDER).join(format!("{}.handover", prefix.leaf()))
    }

    /// The file that is meant by `given`, the argument of the step that prunes: one that was left in place wins, because the
    /// packages pass the same argument to both kinds of job. It has to be in the target, or it is left over from other
    /// settings and about another backup.
    pub fn locate(given: &Path, prefix: &Prefix, target: &str) -> PathBuf {
        let work_dir = match given.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        if !matches!((work_dir.canonicalize(), Path::new(target).canonicalize()), (Ok(a), Ok(b)) if a == b) {
            return given.to_owned();
        }
        let in_place = Self::path_in_place(work_dir, prefix);
        if given.file_name().is_some_and(|name| name == Self::FILE) && in_place.exists() {
            in_place
        } else {
            given.to_owned()
        }
    }

    pub fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::new(
                Exit::Settings,
                anyhow!("cannot read the record {path}: {why}; `etcd-backup snapshot` writes it"),
            )
        };
        let text = read_small(path).map_err(|e| failed(&e))?;
        serde_json::from_slice(&text).map_err(|e| failed(&e))
    }

    /// What the snapshot is. `path` is this file's, for the error.
    pub fn facts(&self, path: &Path) -> Result<&Facts, Failure> {
        let lacks = || format!("the record {} does not say what its snapshot holds", path.display());
        self.record.facts.as_ref().ok_or_else(|| Failure::settings(lacks()))
    }

    /// The backup's name, if it is one of this prefix.
    pub fn name(&self, prefix: &Prefix) -> Option<BackupName> {
        if self.record.prefix == prefix.leaf() { BackupName::parse(prefix, &self.record.name) } else { None }
    }

    /// Writes the file. An older one is replaced in one step, so that a crash leaves one of the two.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        self.replace(path)
            .map_err(|e| Failure::new(Exit::Disk, anyhow!("cannot write the record {}: {e}", path.display())))
    }

    fn replace(&self, path: &Path) -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
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
    use super::super::name::Compression;
    use super::super::record::{Compressed, tests::facts};
    use super::*;
    use chrono::DateTime;
    use chrono_tz::Tz;

    fn handover(prefix: &str) -> Handover {
        let name = BackupName::new(&prefix.parse().unwrap(), DateTime::UNIX_EPOCH, Tz::UTC);
        let compressed = Some(Compressed { bytes: 7, sha256: "cd".into(), compression: Compression::Zstd });
        let record = Record { facts: Some(facts()), compressed, ..Record::new(&name) };
        Handover { file: "x".into(), stored: true, record, clock: None }
    }

    #[test]
    fn what_is_written_is_read_back_by_the_group_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Handover::FILE);
        let handover = handover("p-");
        handover.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let read = Handover::read(&path).unwrap();
        assert_eq!((read.stored, read.record), (true, handover.record));
    }

    #[test]
    fn prefixes_that_share_a_directory_do_not_share_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join(Handover::FILE);
        let target = dir.path().to_str().unwrap();
        for prefix in ["a-", "", "x/b-"] {
            let prefix: Prefix = prefix.parse().unwrap();
            assert_eq!(Handover::locate(&given, &prefix, target), given);
            let path = Handover::path_in_place(dir.path(), &prefix);
            handover(&prefix.to_string()).write(&path).unwrap();
            assert_eq!(Handover::locate(&given, &prefix, target), path);
            assert_eq!(Handover::locate(&given, &prefix, "minio:bucket"), given);
            assert!(Handover::read(&path).unwrap().name(&prefix).is_some());
        }
        let other: Prefix = "c-".parse().unwrap();
        assert_eq!(Handover::locate(&given, &other, target), given);
        assert!(handover("a-").name(&other).is_none());
    }
}
