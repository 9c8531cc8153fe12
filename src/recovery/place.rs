//! A directory that is to be filled: whether it may be, where what belongs there is built, and the renames that put it
//! there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::snapshot::Workspace;
use crate::system::blocking::CutShort;
use crate::system::fs::{free_bytes, parent_dir};

/// How the names begin that an empty directory may hold: workspaces that crashed runs left, which the next run removes,
/// what every new ext4 file system has, and what a plan has moved aside.
const IGNORED: [&str; 3] = [".etcd-backup-", "lost+found", ASIDE];
/// How the names begin that a plan gives to what it moves aside: in the data directory, and beside that of a log, which
/// can be in the data directory, too.
pub const ASIDE: &str = "before-restore-";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data-dir: an etcd is running on {}; stop it, then move its data aside", .0.display())]
    InUse(PathBuf),
    #[error(
        "{setting}: {} is not empty ({entry}), and it is never overwritten; if an earlier restore of this backup has \
         filled it, there is nothing left to restore here; if it is the old data, go back to the plan's step that moves \
         it aside, or move it aside by hand", path.display()
    )]
    NotEmpty { setting: &'static str, path: PathBuf, entry: String },
    #[error(
        "wal-dir: {} has no log, although {} has a database: either a restore was cut short, or etcd keeps its log \
         elsewhere; etcd must not be started on them, and what is there has to be moved aside first",
        wal.display(), data.display()
    )]
    LogIsMissing { data: PathBuf, wal: PathBuf },
    #[error("{setting}: {} is not a directory", path.display())]
    NotADirectory { setting: &'static str, path: PathBuf },
    #[error("wal-dir: {}: {why}", path.display())]
    Misplaced { path: PathBuf, why: &'static str },
    /// `needed` includes etcd's own log.
    #[error("{setting}: no room in {}: {needed} bytes needed, {free} free", path.display())]
    NoRoom { setting: &'static str, path: PathBuf, needed: u64, free: u64 },
    #[error("{setting}: cannot {doing} {}: {source}", path.display())]
    Io { setting: &'static str, doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::InUse(_)
            | Error::NotEmpty { .. }
            | Error::LogIsMissing { .. }
            | Error::NotADirectory { .. }
            | Error::Misplaced { .. } => Exit::Settings,
            Error::NoRoom { .. } | Error::Io { .. } => Exit::Disk,
            Error::CutShort(_) => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

/// A directory that is empty or does not exist.
#[derive(Debug)]
pub struct Place {
    /// The flag that names it, for errors.
    setting: &'static str,
    path: PathBuf,
    /// A directory on the same disk, in which its content is built: the place itself if it exists, because it may be a
    /// mount point, else the directory that it will be in.
    build_dir: PathBuf,
    exists: bool,
}

impl Place {
    /// Looks at the directory without touching it. An entry called `allowed` may be in it.
    pub fn check(setting: &'static str, path: &Path, allowed: Option<&str>) -> Result<Self, Error> {
        let failed = |doing| move |source| Error::Io { setting, doing, path: path.to_owned(), source };
        let place = |build_dir, exists| Self { setting, path: path.to_owned(), build_dir, exists };
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => Err(Error::NotADirectory { setting, path: path.to_owned() }),
            Ok(_) => {
                // A workspace follows no symbolic link, but the directory may be one.
                let place = place(path.canonicalize().map_err(failed("resolve"))?, true);
                place.refuse_entries(allowed)?;
                Ok(place)
            }
            // A link that points nowhere is not a new directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
                let parent = parent_dir(path).and_then(|parent| parent.canonicalize()).map_err(failed("create"))?;
                Ok(place(parent, false))
            }
            Err(source) => Err(failed("open")(source)),
        }
    }

    fn refuse_entries(&self, allowed: Option<&str>) -> Result<(), Error> {
        for entry in fs::read_dir(&self.path).map_err(|e| self.failed("list", e))? {
            let entry = entry.map_err(|e| self.failed("list", e))?.file_name().to_string_lossy().into_owned();
            if Some(entry.as_str()) != allowed && !IGNORED.iter().any(|ignored| entry.starts_with(ignored)) {
                return Err(Error::NotEmpty { setting: self.setting, path: self.path.clone(), entry });
            }
        }
        Ok(())
    }

    pub fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io { setting: self.setting, doing, path: self.path.clone(), source }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn build_dir(&self) -> &Path {
        &self.build_dir
    }

    pub const fn exists(&self) -> bool {
        self.exists
    }

    pub fn shares_disk_with(&self, dir: &Path) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        device(dir) == device(&self.build_dir)
    }

    /// Checks that its disk has so many bytes.
    pub fn check_room(&self, needed: u64) -> Result<(), Error> {
        let free = File::open(&self.build_dir).and_then(|dir| free_bytes(&dir));
        let free = free.map_err(|e| self.failed("read the free space for", e))?;
        if free < needed {
            return Err(Error::NoRoom { setting: self.setting, path: self.build_dir.clone(), needed, free });
        }
        Ok(())
    }

    /// A private directory to build in. It is on the same disk, because a rename works only there.
    pub fn workspace(&self) -> Result<Workspace, crate::snapshot::Error> {
        Workspace::create(&self.build_dir)
    }

    /// The renames that put there what is built: one for a new directory. One that exists may be a mount point, which
    /// cannot be replaced, and keeps its owner and mode; it takes what is in `built`, entry by entry.
    pub fn renames(&self, built: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        if !self.exists {
            return Ok(vec![(built.to_owned(), self.path.clone())]);
        }
        let entries = fs::read_dir(built)?.map(|entry| entry.map(|entry| entry.file_name()));
        entries.map(|name| name.map(|name| (built.join(&name), self.path.join(name)))).collect()
    }

    /// The user and group of the existing directory, because etcd may run as a user of its own. `None` if the files
    /// stay with this process's user: only root may give files away.
    pub fn owner(&self) -> Result<Option<(u32, u32)>, Error> {
        if !self.exists || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let metadata = fs::metadata(&self.path).map_err(|e| self.failed("open", e))?;
        Ok(Some((metadata.uid(), metadata.gid())))
    }
}

/// Gives a tree to its owner, and syncs it to the disk.
pub fn chown_and_sync(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
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
