//! The data directory of an etcd member that is to be restored: whether it may be filled, and the one step that puts
//! there what was built beside it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::snapshot::Workspace;
use crate::system::blocking::CutShort;
use crate::system::fs::{free_bytes, parent_dir, rename_noreplace, with_reserve};

/// What etcdutl and the first start of etcd need besides the database: two segments of the write-ahead log, of 64 MB
/// each.
const WAL_BYTES: u64 = 128 << 20;
/// The subdirectory in which etcd keeps everything.
const MEMBER: &str = "member";
/// How the names begin that an empty data directory may hold: workspaces that crashed runs left, which the next run
/// removes, and what every new ext4 file system has.
const IGNORED: [&str; 2] = [".etcd-backup-", "lost+found"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data-dir: an etcd is running on {}; stop it, then move its data aside", .0.display())]
    InUse(PathBuf),
    #[error("data-dir: {} is not empty ({entry}); move its content aside, it is never overwritten", path.display())]
    NotEmpty { path: PathBuf, entry: String },
    #[error("data-dir: {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// `needed` includes etcd's own log.
    #[error("data-dir: no room in {}: {needed} bytes needed, {free} free", path.display())]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("data-dir: cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::InUse(_) | Error::NotEmpty { .. } | Error::NotADirectory(_) => Exit::Settings,
            Error::NoRoom { .. } | Error::Io { .. } => Exit::Disk,
            Error::CutShort(_) => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

/// A data directory that is empty or does not exist.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// A directory on the same disk, in which the data are built: the data directory itself if it exists, because it
    /// may be a mount point, else the one that it will be in.
    build_dir: PathBuf,
    exists: bool,
}

impl DataDir {
    /// Looks at the directory without touching it.
    pub fn check(path: &Path) -> Result<Self, Error> {
        let failed = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => Err(Error::NotADirectory(path.to_owned())),
            Ok(_) => {
                // A workspace follows no symbolic link, but the data directory may be one.
                let build_dir = path.canonicalize().map_err(failed("resolve"))?;
                // First, because a running etcd's directory is not empty either, and needs other advice.
                refuse_running(path)?;
                refuse_entries(path)?;
                Ok(Self { path: path.to_owned(), build_dir, exists: true })
            }
            // A link that points nowhere is not a new directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                let parent = parent_dir(path).and_then(|parent| parent.canonicalize()).map_err(failed("create"))?;
                Ok(Self { path: path.to_owned(), build_dir: parent, exists: false })
            }
            Err(source) => Err(failed("open")(source)),
        }
    }

    pub fn build_dir(&self) -> &Path {
        &self.build_dir
    }

    pub fn shares_disk_with(&self, dir: &Path) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        device(dir) == device(&self.build_dir)
    }

    /// Checks that the disk has room for a database of this size, and for what is staged there besides; in bytes.
    pub fn check_room(&self, database: u64, staged: u64) -> Result<(), Error> {
        let path = &self.build_dir;
        let failed = |source| Error::Io { doing: "read the free space of", path: path.clone(), source };
        let free = File::open(path).and_then(|dir| free_bytes(&dir)).map_err(failed)?;
        let needed = with_reserve(database).saturating_add(with_reserve(staged)).saturating_add(WAL_BYTES);
        if free < needed {
            return Err(Error::NoRoom { path: path.clone(), needed, free });
        }
        Ok(())
    }

    /// A private directory to build in. It is on the same disk, because a rename works only there.
    pub fn workspace(&self) -> Result<Workspace, crate::snapshot::Error> {
        Workspace::create(&self.build_dir)
    }

    /// Syncs `built`, a whole data directory in the workspace, and renames it to this one's path: in one step, and
    /// never over anything that has appeared there since the check.
    pub fn publish(&self, built: &Path) -> Result<(), Error> {
        let failed = |doing, path: &Path, source| Error::Io { doing, path: path.to_owned(), source };
        let owner = self.owner().map_err(|e| failed("open", &self.path, e))?;
        chown_and_sync(built, owner).map_err(|e| failed("write", built, e))?;
        // An existing directory may be a mount point, which cannot be replaced, and it keeps its owner and mode.
        let (from, to) = if self.exists {
            (built.join(MEMBER), self.path.join(MEMBER))
        } else {
            (built.to_owned(), self.path.clone())
        };
        rename_noreplace(&from, &to).map_err(|e| failed("create", &to, e))
    }

    /// The user and group of the existing directory, because etcd may run as a user of its own. `None` if the files
    /// stay with this process's user: only root may give files away.
    fn owner(&self) -> io::Result<Option<(u32, u32)>> {
        if !self.exists || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let metadata = fs::metadata(&self.path)?;
        Ok(Some((metadata.uid(), metadata.gid())))
    }
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

fn refuse_entries(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { doing: "list", path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !IGNORED.iter().any(|ignored| entry.starts_with(ignored)) {
            return Err(Error::NotEmpty { path: path.to_owned(), entry });
        }
    }
    Ok(())
}

/// Gives a tree to its owner, and syncs it to the disk.
fn chown_and_sync(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group))?;
    }
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_and_sync(&entry?.path(), owner)?;
        }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::check(&dir.path().join("data")).unwrap();
        let workspace = data_dir.workspace().unwrap();
        let built = workspace.path().join("data");
        fs::create_dir_all(built.join("member/snap")).unwrap();
        fs::write(built.join("member/snap/db"), "x").unwrap();
        data_dir.publish(&built).unwrap();
        drop(workspace);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["data"]);
        assert_eq!(fs::read(dir.path().join("data/member/snap/db")).unwrap(), b"x");
    }

    #[test]
    fn an_empty_directory_is_kept_and_filled() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lost+found")).unwrap();
        fs::create_dir_all(dir.path().join(".etcd-backup-stale")).unwrap();
        let before = fs::metadata(dir.path()).unwrap().ino();
        let data_dir = DataDir::check(dir.path()).unwrap();
        let workspace = data_dir.workspace().unwrap();
        let built = workspace.path().join("data");
        fs::create_dir_all(built.join("member")).unwrap();
        data_dir.publish(&built).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().ino(), before);
        assert!(dir.path().join("member").is_dir() && !dir.path().join(".etcd-backup-stale").exists());
        // Another restore was quicker.
        fs::create_dir_all(built.join("member")).unwrap();
        assert!(data_dir.publish(&built).is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(DataDir::check(&file), Err(Error::NotADirectory(_))));
        assert!(matches!(DataDir::check(dir.path()), Err(Error::NotEmpty { entry, .. }) if entry == "file"));
        assert!(matches!(DataDir::check(&dir.path().join("a/b")), Err(Error::Io { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(DataDir::check(&link), Err(Error::Io { .. })));
    }

    #[test]
    fn a_running_etcd_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let db = File::create(dir.path().join("member/snap/db")).unwrap();
        db.lock().unwrap();
        assert!(matches!(DataDir::check(dir.path()), Err(Error::InUse(_))));
        drop(db);
        assert!(matches!(DataDir::check(dir.path()), Err(Error::NotEmpty { .. })));
    }
}
