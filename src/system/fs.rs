//! Files and directories: opening and creating them, renaming without replacing, free space.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fstatvfs, renameat_with};
use rustix::io::Errno;

/// In bytes.
const CHUNK: usize = 256 << 10;

/// Opens a file for reading, and returns its size in bytes. A device, a pipe or a directory is refused.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Before opening it, because opening a pipe waits for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// Creates a new file of mode 0600. Something at `path`, even a symbolic link to nothing, is an error.
pub fn create_new(path: &Path) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// The directory that something new at this path will be in. A path that ends in no name, such as `/` or `..`, is refused.
pub fn parent_dir(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) if parent.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        (Some(parent), Some(_)) => Ok(parent.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it ends in no name")),
    }
}

/// Renames a file or directory within a file system, and makes the new name survive a power cut. Something at `to` is never
/// replaced: that is [`io::ErrorKind::AlreadyExists`].
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Not every file system knows the flag. Without it a directory replaces at most an empty one, and a hard link is
        // never made over anything.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if from.is_dir() => fs::rename(from, to)?,
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        Err(error) => return Err(error.into()),
    }
    // The rename is on the disk only when its directory is synced.
    File::open(parent_dir(to)?)?.sync_all()
}

/// The bytes that an unprivileged process may still use on the file system of `file`, which may be a directory.
pub fn free_bytes(file: &File) -> io::Result<u64> {
    let disk = fstatvfs(file)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The free space to ask for before writing so many bytes: a tenth more, because a file system has data of its own to write
/// and other processes write there too.
pub const fn with_reserve(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 10)
}

/// Gives `take` one chunk after another until the end; `failed` makes an `E` of an error of the reader.
pub fn read_chunks<E>(
    mut reader: impl Read,
    failed: impl FnOnce(io::Error) -> E,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(buffer.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rename_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(rename_noreplace(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        fs::remove_file(&to).unwrap();
        rename_noreplace(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(!from.exists());
    }

    #[test]
    fn parents_of_new_names() {
        assert_eq!(parent_dir(Path::new("x")).unwrap(), Path::new("."));
        assert_eq!(parent_dir(Path::new("/x/")).unwrap(), Path::new("/"));
        assert!(parent_dir(Path::new("/")).is_err() && parent_dir(Path::new("a/..")).is_err());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "four").unwrap();
        assert_eq!(open_regular(&file).unwrap().1, 4);
        assert!(open_regular(dir.path()).is_err());
        assert!(open_regular(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn chunks_are_read_to_the_end() {
        let bytes: Vec<u8> = (0_u8..=255).cycle().take(CHUNK * 2 + 7).collect();
        let mut taken = Vec::new();
        let read = read_chunks(
            bytes.as_slice(),
            |error| error,
            |chunk| {
                taken.extend_from_slice(chunk);
                Ok(())
            },
        );
        read.unwrap();
        assert!(taken == bytes);
    }
}
