//! The data folder of an etcd member that is to be restored: whether it may be written to, and the one step in which
//! what was built beside it becomes visible there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::snapshot::Workspace;
use crate::system::blocking::CutShort;
use crate::system::fs::{free_bytes, parent_folder, rename_noreplace, with_reserve};

/// What etcdutl and etcd's first start want besides the database: two segments of the log, 64 MB each.
const LOG: u64 = 128 << 20;
/// The folder in which etcd keeps everything.
const MEMBER: &str = "member";
/// What may be in a folder that counts as empty: leftovers of this program's own, which the next workspace sweeps, and
/// what every new ext file system has.
const NOTHING: [&str; 2] = [".etcd-backup-", "lost+found"];

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An etcd holds the lock on the database in it.
    #[error("data-dir: an etcd is running on {}; stop it, then move its data aside", .0.display())]
    InUse(PathBuf),
    /// Something is in it.
    #[error("data-dir: {} is not empty ({entry}); move what is there aside, it is never overwritten", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the entries.
        entry: String,
    },
    /// It is no folder.
    #[error("data-dir: {} is not a folder", .0.display())]
    NoFolder(PathBuf),
    /// There is no room.
    #[error("data-dir: no room in {}: {needed} bytes needed, {free} free", path.display())]
    NoRoom {
        /// The folder on the disk that is too small.
        path: PathBuf,
        /// Bytes that the restore needs there, etcd's own log included.
        needed: u64,
        /// Bytes that an unprivileged process may still use there.
        free: u64,
    },
    /// The system refused.
    #[error("data-dir: cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was attempted, to be read after "cannot".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The thread that worked on it was cut short.
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::InUse(_) | Error::NotEmpty { .. } | Error::NoFolder(_) => Exit::Settings,
            Error::NoRoom { .. } | Error::Io { .. } => Exit::Disk,
            Error::CutShort(_) => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

/// A place for a member's data, with nothing at it yet.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The folder on the same disk in which the data are built: the empty folder itself, which may be a mount point
    /// and keeps its owner, or else the one that the new folder will be in.
    site: PathBuf,
    exists: bool,
}

impl DataDir {
    /// Looks at the place without touching it.
    ///
    /// # Errors
    /// A place that is taken or in use.
    pub fn check(path: &Path) -> Result<Self, Error> {
        let failed = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(kind) if !kind.is_dir() => Err(Error::NoFolder(path.to_owned())),
            Ok(_) => {
                // The real folder behind a link, as a workspace follows none.
                let site = path.canonicalize().map_err(failed("resolve"))?;
                refuse_running(path)?;
                refuse_entries(path)?;
                Ok(Self { path: path.to_owned(), site, exists: true })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                let parent = parent_folder(path).and_then(|parent| parent.canonicalize()).map_err(failed("create"))?;
                Ok(Self { path: path.to_owned(), site: parent, exists: false })
            }
            Err(source) => Err(failed("open")(source)),
        }
    }

    /// The folder in which it is built.
    pub fn site(&self) -> &Path {
        &self.site
    }

    /// Whether `folder` is on the same disk.
    pub fn shares_disk_with(&self, folder: &Path) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|kind| kind.dev()).ok();
        device(folder) == device(&self.site)
    }

    /// Checks that the disk has room for a database of so many bytes, besides what else is to be staged there.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn check_room(&self, database: u64, staged: u64) -> Result<(), Error> {
        let failed = |source| Error::Io { doing: "ask for the free space of", path: self.site.clone(), source };
        let free = File::open(&self.site).and_then(|folder| free_bytes(&folder)).map_err(failed)?;
        let needed = with_reserve(database).saturating_add(with_reserve(staged)).saturating_add(LOG);
        if free < needed {
            return Err(Error::NoRoom { path: self.site.clone(), needed, free });
        }
        Ok(())
    }

    /// A private folder on the same disk to build in; removed whatever happens, also a stale one of an earlier crash.
    ///
    /// # Errors
    /// As [`Workspace::create`].
    pub fn workspace(&self) -> Result<Workspace, crate::snapshot::Error> {
        Workspace::create(&self.site)
    }

    /// Makes `built`, a whole data folder in the workspace, visible at the place: first safe against a power cut, then in
    /// one step, and never over anything that has come there meanwhile.
    ///
    /// # Errors
    /// The system's word.
    pub fn publish(&self, built: &Path) -> Result<(), Error> {
        let failed = |doing, path: &Path, source| Error::Io { doing, path: path.to_owned(), source };
        let owner = self.owner().map_err(|e| failed("open", &self.path, e))?;
        settle(built, owner).map_err(|e| failed("write", built, e))?;
        let (from, to) = if self.exists {
            (built.join(MEMBER), self.path.join(MEMBER))
        } else {
            (built.to_owned(), self.path.clone())
        };
        rename_noreplace(&from, &to).map_err(|e| failed("create", &to, e))
    }

    /// Whom the data are to belong to: whoever owns the folder, if we may give it away.
    fn owner(&self) -> io::Result<Option<(u32, u32)>> {
        if !self.exists || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = fs::metadata(&self.path)?;
        Ok(Some((folder.uid(), folder.gid())))
    }
}

fn refuse_running(path: &Path) -> Result<(), Error> {
    let database = path.join(MEMBER).join("snap/db");
    let Ok(file) = File::open(&database) else { return Ok(()) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
        // A file system without locks; what is there is refused in any case.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn refuse_entries(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { doing: "list", path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !NOTHING.iter().any(|nothing| entry.starts_with(nothing)) {
            return Err(Error::NotEmpty { path: path.to_owned(), entry });
        }
    }
    Ok(())
}

/// Gives a tree to its owner and flushes it to the disk.
fn settle(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group))?;
    }
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path(), owner)?;
        }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = DataDir::check(&dir.path().join("data")).unwrap();
        let workspace = place.workspace().unwrap();
        let built = workspace.path().join("data");
        fs::create_dir_all(built.join("member/snap")).unwrap();
        fs::write(built.join("member/snap/db"), "x").unwrap();
        place.publish(&built).unwrap();
        drop(workspace);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["data"]);
        assert_eq!(fs::read(dir.path().join("data/member/snap/db")).unwrap(), b"x");
    }

    #[test]
    fn an_empty_folder_is_kept_and_filled() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lost+found")).unwrap();
        fs::create_dir_all(dir.path().join(".etcd-backup-stale")).unwrap();
        let before = fs::metadata(dir.path()).unwrap().ino();
        let place = DataDir::check(dir.path()).unwrap();
        let workspace = place.workspace().unwrap();
        let built = workspace.path().join("data");
        fs::create_dir_all(built.join("member")).unwrap();
        place.publish(&built).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().ino(), before);
        assert!(dir.path().join("member").is_dir() && !dir.path().join(".etcd-backup-stale").exists());
        // Somebody was quicker.
        fs::create_dir_all(built.join("member")).unwrap();
        assert!(place.publish(&built).is_err());
    }

    #[test]
    fn what_is_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(DataDir::check(&file), Err(Error::NoFolder(_))));
        assert!(matches!(DataDir::check(dir.path()), Err(Error::NotEmpty { entry, .. }) if entry == "file"));
        assert!(matches!(DataDir::check(&dir.path().join("a/b")), Err(Error::Io { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(DataDir::check(&link), Err(Error::Io { .. })));
    }

    #[test]
    fn a_running_etcd_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let db = File::create(dir.path().join("member/snap/db")).unwrap();
        db.lock().unwrap();
        assert!(matches!(DataDir::check(dir.path()), Err(Error::InUse(_))));
        drop(db);
        assert!(matches!(DataDir::check(dir.path()), Err(Error::NotEmpty { .. })));
    }
}
