//! The directories of an etcd member that is to be restored, its data and perhaps its log elsewhere: whether they may
//! be filled, and the last step, which puts there what was built beside them.

use std::fs::{File, TryLockError};
use std::path::{Component, Path, PathBuf};

pub use super::place::Error;
use super::place::{Place, chown_and_sync};
use crate::snapshot::{self, Workspace};
use crate::system::fs::{rename_noreplace, with_reserve};

/// What etcdutl and the first start of etcd need besides the database: two segments of the write-ahead log, of 64 MB
/// each.
const WAL_BYTES: u64 = 128 << 20;
/// The subdirectory in which etcd keeps everything.
const MEMBER: &str = "member";

/// A data directory that is empty or does not exist, and so the directory of the log.
#[derive(Debug)]
pub struct DataDir {
    data: Place,
    log: Log,
}

/// Where etcd's write-ahead log is.
#[derive(Debug)]
enum Log {
    InData,
    /// In a new data directory, below it: it appears together with it.
    Below(PathBuf),
    Elsewhere(Place),
}

/// Where etcdutl builds. Both directories are removed when this is dropped.
#[derive(Debug)]
pub struct Building {
    _workspaces: (Workspace, Option<Workspace>),
    pub data_dir: PathBuf,
    pub wal_dir: Option<PathBuf>,
}

/// The directory of the log, unless it is where etcd has it anyway. One that cannot be a log's is refused.
pub fn own_wal_dir(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    let data_dir = plain(data_dir);
    let Some(wal) = wal_dir.map(plain).filter(|wal| *wal != data_dir.join(MEMBER).join("wal")) else {
        return Ok(None);
    };
    if data_dir.starts_with(&wal) {
        let why = "the data directory is in it; give the log a directory of its own";
        return Err(Error::Misplaced { path: wal, why });
    }
    if wal.starts_with(data_dir.join(MEMBER)) {
        let why = "it is among the member's data, where only etcd makes directories; give another one";
        return Err(Error::Misplaced { path: wal, why });
    }
    Ok(Some(wal))
}

/// The path without the parts that mean nothing, so that two can be compared.
pub fn plain(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.components().filter(|part| *part != Component::CurDir).collect()
}

impl DataDir {
    /// Looks at the directories without touching them.
    pub fn check(path: &Path, wal_dir: Option<&Path>) -> Result<Self, Error> {
        let wal_dir = own_wal_dir(path, wal_dir)?;
        let below = wal_dir.as_deref().and_then(|wal| wal.strip_prefix(plain(path)).ok()).map(Path::to_owned);
        // First, because a running etcd's directory is not empty either, and needs other advice.
        refuse_running(path)?;
        let first = below.as_ref().and_then(|below| below.iter().next()).and_then(|name| name.to_str());
        let data = Place::check("data-dir", path, first);
        let log = match (wal_dir, below, &data) {
            (None, ..) => Log::InData,
            (Some(_), Some(below), Ok(data)) if !data.exists() => Log::Below(below),
            (Some(wal), ..) => Log::Elsewhere(Place::check("wal-dir", &wal, None)?),
        };
        match (data, &log) {
            (Err(Error::NotEmpty { path, entry, .. }), Log::Elsewhere(wal)) if entry == MEMBER => {
                Err(Error::LogIsMissing { data: path, wal: wal.path().to_owned() })
            }
            (data, _) => Ok(Self { data: data?, log }),
        }
    }

    pub fn build_dir(&self) -> &Path {
        self.data.build_dir()
    }

    /// Checks that the disks have room for a database of this size, and for as much again in `staging`; in bytes.
    pub fn check_room(&self, database: u64, staging: Option<&Path>) -> Result<(), Error> {
        let needed_at = |place: &Place, has_data: bool, has_log: bool| {
            let database = with_reserve(database);
            let staged = staging.is_some_and(|dir| place.shares_disk_with(dir));
            let parts = [(has_data, database), (staged, database), (has_log, WAL_BYTES)];
            parts.into_iter().filter(|(is_there, _)| *is_there).fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes))
        };
        match &self.log {
            Log::Elsewhere(log) if !log.shares_disk_with(self.data.build_dir()) => {
                self.data.check_room(needed_at(&self.data, true, false))?;
                log.check_room(needed_at(log, false, true))
            }
            _ => self.data.check_room(needed_at(&self.data, true, true)),
        }
    }

    /// Fails where the directories cannot be written to.
    pub fn building(&self) -> Result<Building, snapshot::Error> {
        let data = self.data.workspace()?;
        let log = match &self.log {
            Log::Elsewhere(place) => Some(place.workspace()?),
            Log::InData | Log::Below(_) => None,
        };
        let data_dir = data.path().join("data");
        let wal_dir = match (&self.log, &log) {
            (Log::Below(below), _) => Some(data_dir.join(below)),
            (_, log) => log.as_ref().map(|log| log.path().join("wal")),
        };
        Ok(Building { _workspaces: (data, log), data_dir, wal_dir })
    }

    /// Syncs what is built, and renames it to its final place, never over anything that has appeared there since the
    /// check. The data directory comes in one step. A log elsewhere comes after it: etcd starts empty and without
    /// complaint on a log without its database.
    pub fn publish(&self, built: &Building) -> Result<(), Error> {
        let owner = self.data.owner()?;
        let mut renames = prepared(&self.data, &built.data_dir, owner)?;
        if let (Log::Elsewhere(log), Some(wal_dir)) = (&self.log, &built.wal_dir) {
            renames.extend(prepared(log, wal_dir, log.owner()?.or(owner))?);
        }
        for (n, (place, from, to)) in renames.iter().enumerate() {
            if let Err(error) = rename_noreplace(from, to) {
                // Half of a member must not stay. What cannot be taken back is named by the next attempt.
                for (_, from, to) in renames.iter().take(n).rev() {
                    let _ = rename_noreplace(to, from);
                }
                return Err(place.failed("create", error));
            }
        }
        Ok(())
    }
}

/// A rename, and the place that it fills.
type Rename<'a> = (&'a Place, PathBuf, PathBuf);

fn prepared<'a>(place: &'a Place, built: &Path, owner: Option<(u32, u32)>) -> Result<Vec<Rename<'a>>, Error> {
    chown_and_sync(built, owner).map_err(|e| place.failed("write", e))?;
    let renames = place.renames(built).map_err(|e| place.failed("write", e))?;
    Ok(renames.into_iter().map(|(from, to)| (place, from, to)).collect())
}

fn refuse_running(path: &Path) -> Result<(), Error> {
    let database = path.join(MEMBER).join("snap/db");
    // Without a database that can be opened, what else is there decides.
    let Ok(file) = File::open(&database) else { return Ok(()) };
    match file.try_lock_shared() {
        // bbolt holds an exclusive lock as long as etcd runs.
        Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
        // Some file systems have no locks. The directory is refused anyway, because it is not empty.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn build(data_dir: &DataDir) -> Building {
        let building = data_dir.building().unwrap();
        fs::create_dir_all(building.data_dir.join("member/snap")).unwrap();
        fs::write(building.data_dir.join("member/snap/db"), "x").unwrap();
        if let Some(wal) = &building.wal_dir {
            fs::create_dir_all(wal).unwrap();
            fs::write(wal.join("0.wal"), "w").unwrap();
        }
        building
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_directory_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::check(&dir.path().join("data"), None).unwrap();
        let built = build(&data_dir);
        data_dir.publish(&built).unwrap();
        drop(built);
        assert_eq!(names(dir.path()), ["data"]);
        assert_eq!(fs::read(dir.path().join("data/member/snap/db")).unwrap(), b"x");
    }

    #[test]
    fn an_empty_directory_is_kept_and_filled() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lost+found", ".etcd-backup-stale", "before-restore-0a1b2c3d"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let before = fs::metadata(dir.path()).unwrap().ino();
        let data_dir = DataDir::check(dir.path(), None).unwrap();
        data_dir.publish(&build(&data_dir)).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().ino(), before);
        assert_eq!(names(dir.path()), ["before-restore-0a1b2c3d", "lost+found", "member"]);
        // Another restore was quicker.
        assert!(data_dir.publish(&build(&data_dir)).is_err());
    }

    #[test]
    fn a_log_of_its_own_appears_with_the_data() {
        for (wal, wal_exists, data_exists) in [
            ("wal", false, false),
            ("wal", true, true),
            ("data/wal", false, false),
            ("data/wal", false, true),
            ("data/wal", true, true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (data, wal) = (dir.path().join("data"), dir.path().join(wal));
            for (path, exists) in [(&data, data_exists), (&wal, wal_exists)] {
                if exists {
                    fs::create_dir_all(path).unwrap();
                }
            }
            let data_dir = DataDir::check(&data, Some(&wal)).unwrap();
            let built = build(&data_dir);
            data_dir.publish(&built).unwrap();
            drop(built);
            let case = format!("{wal:?} {wal_exists} {data_exists}");
            assert_eq!(names(&wal), ["0.wal"], "{case}");
            assert!(data.join("member/snap/db").exists(), "{case}");
            let left = [names(dir.path()), names(&data)].concat();
            assert!(!left.iter().any(|name| name.starts_with('.')), "{case}: {left:?}");
            assert!(DataDir::check(&data, Some(&wal)).is_err(), "{case}: not twice");
        }
    }

    #[test]
    fn half_a_member_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (data, wal) = (dir.path().join("data"), dir.path().join("wal"));
        let data_dir = DataDir::check(&data, Some(&wal)).unwrap();
        let built = build(&data_dir);
        fs::create_dir(&wal).unwrap();
        assert!(data_dir.publish(&built).unwrap_err().to_string().starts_with("wal-dir: cannot create"));
        drop(built);
        assert_eq!(names(dir.path()), ["wal"]);
    }

    #[test]
    fn a_second_attempt_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (data, wal) = (dir.path().join("data"), dir.path().join("wal"));
        fs::create_dir_all(data.join("member/snap")).unwrap();
        assert!(matches!(DataDir::check(&data, Some(&wal)), Err(Error::LogIsMissing { .. })));
        fs::remove_dir_all(data.join("member")).unwrap();
        fs::create_dir(&wal).unwrap();
        fs::write(wal.join("0.wal"), "w").unwrap();
        let error = DataDir::check(&data, Some(&wal)).unwrap_err();
        assert!(matches!(error, Error::NotEmpty { setting: "wal-dir", .. }), "{error}");
    }

    #[test]
    fn a_log_in_the_wrong_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for wrong in [dir.path().to_owned(), data.clone(), data.join("member"), data.join("member/log")] {
            assert!(matches!(DataDir::check(&data, Some(&wrong)), Err(Error::Misplaced { .. })), "{wrong:?}");
        }
        // Where etcd has it anyway.
        assert!(matches!(DataDir::check(&data, Some(&data.join("member/./wal/"))).unwrap().log, Log::InData));
    }

    #[test]
    fn anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let check = |path: &Path| DataDir::check(path, None).map(|_| ());
        assert!(matches!(check(&file), Err(Error::NotADirectory { .. })));
        assert!(matches!(check(dir.path()), Err(Error::NotEmpty { entry, .. }) if entry == "file"));
        assert!(matches!(check(&dir.path().join("a/b")), Err(Error::Io { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(check(&link), Err(Error::Io { .. })));
    }

    #[test]
    fn a_running_etcd_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let db = File::create(dir.path().join("member/snap/db")).unwrap();
        db.lock().unwrap();
        assert!(matches!(DataDir::check(dir.path(), None), Err(Error::InUse(_))));
        drop(db);
        assert!(matches!(DataDir::check(dir.path(), None), Err(Error::NotEmpty { .. })));
    }
}
