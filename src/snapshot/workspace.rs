//! The private folder where a snapshot is staged: fresh for each run, gone after it, swept after a crash.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Error;
use super::receive::Part;
use crate::system::fs::create_new;

const PREFIX: &str = ".etcd-backup-";
const LOCK: &str = "lock";
/// How often a new folder is tried when a sweeping process takes the one just made for a stale one.
const TRIES: usize = 8;

/// A folder of mode 0700 inside the work folder, removed with everything in it when the value is dropped.
///
/// While it lives a lock is held on a file inside it, so that no other process takes it for a leftover. The
/// lock ends with the process, however that ends: the next start then sweeps the folder.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Sweeps what crashed runs left in `work_dir` and makes a fresh folder there.
    ///
    /// # Errors
    /// [`Error::Io`] when `work_dir` is missing, no folder, a symbolic link, or cannot be written to.
    pub fn create(work_dir: &Path) -> Result<Self, Error> {
        // Without a final slash, behind which a symbolic link would be followed.
        let work_dir: PathBuf = work_dir.components().collect();
        let kind = fs::symlink_metadata(&work_dir).map_err(Error::io("use the work folder", &work_dir))?;
        if !kind.is_dir() {
            let what = if kind.is_symlink() { "it is a symbolic link" } else { "it is not a folder" };
            return Err(Error::io("use the work folder", &work_dir)(io::Error::other(what)));
        }
        for folder in sweep(&work_dir)? {
            tracing::info!(folder = %folder.display(), "removed what a run that was cut short had left");
        }
        for _ in 0..TRIES {
            if let Some((path, lock)) = claim(&work_dir)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        let error = io::Error::other("other processes keep removing it");
        Err(Error::io("keep a new folder in", &work_dir)(error))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a file that will be called `name` once it is proved.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub fn part(&self, name: &str) -> Result<Part, Error> {
        Part::create(&self.path, name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Nobody is left to tell; the next start sweeps what stays.
        let _ = clear(&self.path);
    }
}

/// Makes a folder and locks it; `None` when a sweeping process got hold of it in between.
fn claim(work_dir: &Path) -> Result<Option<(PathBuf, File)>, Error> {
    let path = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(work_dir)
        .map_err(Error::io("create a folder in", work_dir))?
        .keep();
    match lock_new(&path) {
        Ok(Some(lock)) => Ok(Some((path, lock))),
        Ok(None) => Ok(None),
        Err(error) => {
            let _ = clear(&path);
            Err(Error::io("lock", &path)(error))
        }
    }
}

fn lock_new(dir: &Path) -> io::Result<Option<File>> {
    let path = dir.join(LOCK);
    let lock = match create_new(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        // A file system without locks: nobody can take this one for stale either.
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
    }
    // The lock counts only if the file still has its name: a sweep may have removed it before the lock.
    let held = lock.metadata()?;
    let named = fs::symlink_metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
    Ok(named.then_some(lock))
}

/// Removes the folders of processes that no longer live.
fn sweep(work_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut swept = Vec::new();
    let entries = fs::read_dir(work_dir).map_err(Error::io("list", work_dir))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", work_dir))?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // In a shared folder such as /tmp other users' entries are left alone. What cannot be removed stays
        // for the next start: it is no reason to go without a backup now.
        if ours && is_own_dir(&entry.path()) && sweep_one(&entry.path()).unwrap_or(false) {
            swept.push(entry.path());
        }
    }
    Ok(swept)
}

fn is_own_dir(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir() && kind.uid() == own)
}

/// Removes `dir` unless its process lives; says whether it did.
fn sweep_one(dir: &Path) -> io::Result<bool> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(dir.join(LOCK), flags, Mode::empty()) {
        Ok(lock) => {
            let lock = File::from(lock);
            if lock.try_lock().is_err() {
                return Ok(false);
            }
            clear(dir)?;
        }
        // Its process ended before it made the lock, or is about to: then it finds the folder gone and makes
        // another. Only an empty folder can be removed like this.
        Err(rustix::io::Errno::NOENT) => fs::remove_dir(dir)?,
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

/// Removes `dir`; the lock goes last, so that a sweep cut short can be repeated.
fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(dir)
}
