//! The private directory where a snapshot is staged: new for each run, removed after it, and swept after a crash.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::Error;
use super::part_file::PartFile;
use crate::system::fs::{create_new, free_bytes};

const PREFIX: &str = ".etcd-backup-";
const LOCK: &str = "lock";
// How often to make a new directory when another process sweeps the one just made.
const TRIES: usize = 8;

/// A directory of mode 0700 inside the work directory, removed with everything in it when the value is dropped.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    // While this lock is held, no other process takes the directory for a leftover. The kernel releases it when the
    // process ends, even by SIGKILL, so the next run can sweep the directory.
    _lock: File,
}

impl Workspace {
    /// Removes what crashed runs left in `work_dir`, and makes a new directory there.
    pub fn create(work_dir: &Path) -> Result<Self, Error> {
        // Without a slash at its end: `link/` would be the directory that the link leads to. A link is refused because
        // in a directory such as /tmp anybody could have placed it, to have the snapshot written elsewhere.
        let work_dir: PathBuf = work_dir.components().collect();
        let kind = fs::symlink_metadata(&work_dir).map_err(Error::io("use the work directory", &work_dir))?;
        if !kind.is_dir() {
            let what = if kind.is_symlink() { "it is a symbolic link" } else { "it is not a directory" };
            return Err(Error::io("use the work directory", &work_dir)(io::Error::other(what)));
        }
        for dir in sweep(&work_dir)? {
            tracing::info!(dir = %dir.display(), "removed the files that an earlier run left when it was cut short");
        }
        for _ in 0..TRIES {
            if let Some((path, lock)) = claim(&work_dir)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        let error = io::Error::other("other processes keep removing it");
        Err(Error::io("keep a new directory in", &work_dir)(error))
    }

    /// One below the system's temporary directory, for other files that are nobody else's business.
    pub fn temporary() -> io::Result<Self> {
        // A link is refused because another user could have made it; here the link is the system's own.
        let temporary = std::env::temp_dir().canonicalize()?;
        Self::create(&temporary).map_err(|error| io::Error::other(format!("{:#}", anyhow::Error::new(error))))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that may still be written here.
    pub fn free(&self) -> Result<u64, Error> {
        let free = File::open(&self.path).and_then(|dir| free_bytes(&dir));
        free.map_err(Error::io("determine the free space of", &self.path))
    }

    /// Starts a file that will be called `name` once it is proved. Of `keys`, the proof tells the newest state.
    pub fn part_file(&self, name: &str, keys: &'static [&'static [u8]]) -> Result<PartFile, Error> {
        PartFile::create(&self.path, name, keys)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // An error cannot be returned from here. The next run sweeps what stays.
        let _ = clear(&self.path);
    }
}

/// Makes a directory and locks it; `None` when another process swept it in between.
fn claim(work_dir: &Path) -> Result<Option<(PathBuf, File)>, Error> {
    let path = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(work_dir)
        .map_err(Error::io("create a directory in", work_dir))?
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
        // On a file system without locks no other process gets this lock either, and so none sweeps the directory.
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
    }
    // Another process may have removed the file between its creation and the lock. A lock on a removed file protects
    // nothing.
    let held = lock.metadata()?;
    let named = fs::symlink_metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
    Ok(named.then_some(lock))
}

fn sweep(work_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut swept = Vec::new();
    let entries = fs::read_dir(work_dir).map_err(Error::io("list", work_dir))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", work_dir))?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // In a shared directory such as /tmp, entries of other users are left alone. What cannot be removed stays for the
        // next run: a leftover is no reason to fail this backup.
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

/// Removes `dir` unless its process is alive, and returns whether it did.
fn sweep_one(dir: &Path) -> io::Result<bool> {
    // Open for writing, although nothing is written: NFS grants an exclusive lock only on such a file.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(dir.join(LOCK), flags, Mode::empty()) {
        Ok(lock) => {
            let lock = File::from(lock);
            if lock.try_lock().is_err() {
                return Ok(false);
            }
            clear(dir)?;
        }
        // Its process ended before it created the lock, or is just about to: then it finds the directory gone and makes
        // another. `remove_dir` removes only an empty directory.
        Err(rustix::io::Errno::NOENT) => fs::remove_dir(dir)?,
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // The lock goes last: without it, a directory that is not empty could never be swept.
        if entry.file_name() == LOCK {
            continue;
        }
        let removed =
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        // The thread that wrote a file may remove it at the same time.
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    fs::remove_dir_all(dir)
}
