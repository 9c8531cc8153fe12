//! Files and directories: opening and creating them, renaming without replacing, free space.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fcntl_setfl, fstatfs, fstatvfs, renameat_with};
use rustix::io::Errno;

/// In bytes.
const CHUNK: usize = 256 << 10;

/// The most bytes of a file that a setting names; the largest bundles of authorities are a tenth of it.
const MOST_BYTES: u64 = 4 << 20;
/// The file system of the pipes that have no name (`linux/magic.h`).
const PIPEFS: u64 = 0x5049_5045;

/// Opens a file for reading, and returns its size in bytes. A device, a pipe, a socket or a directory is refused.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let (file, metadata) = open(path)?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(not_regular(metadata.file_type())) }
}

/// Opens whatever it is, and waits for nothing: the kind is looked up on what was opened, which nobody can exchange.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NXIO) => return Err(io::Error::other("it is a socket, not a regular file")),
        opened => File::from(opened?),
    };
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn not_regular(kind: FileType) -> io::Error {
    let kind = match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    io::Error::other(format!("it is {kind}, not a regular file"))
}

/// Reads a file that a setting names. A named pipe is refused, because it may never have a writer; the pipe that a shell
/// makes of `<(…)` has one. The read itself may take as long as a disk hangs, so it is no work for the runtime's thread.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    if !metadata.is_file() {
        let is_unnamed = u64::try_from(fstatfs(&file)?.f_type).is_ok_and(|kind| kind == PIPEFS);
        if !metadata.file_type().is_fifo() || !is_unnamed {
            return Err(not_regular(metadata.file_type()));
        }
        // Its writer may take its time.
        fcntl_setfl(&file, OFlags::empty())?;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MOST_BYTES) {
        return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The same of a file that has to be text.
pub fn read_small_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_small(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
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

/// As [`rename_noreplace`], and the file's bytes survive a power cut, too.
pub fn publish_file(from: &Path, to: &Path) -> io::Result<()> {
    // Before the rename: after a power cut the name could otherwise lead to a file whose bytes are missing.
    File::open(from)?.sync_all()?;
    rename_noreplace(from, to)
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
    use std::os::fd::AsRawFd;

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
    fn small_files_and_the_pipes_of_shells_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let refused = |path: &Path| read_small(path).unwrap_err().to_string();
        fs::write(path("file"), "four").unwrap();
        assert_eq!(read_small_text(&path("file")).unwrap(), "four");
        fs::write(path("binary"), b"\xff").unwrap();
        assert!(read_small_text(&path("binary")).unwrap_err().to_string().contains("UTF-8"));
        File::create(path("large")).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(refused(&path("large")), "it is larger than 4 MiB");
        assert_eq!(refused(dir.path()), "it is a directory, not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "it is a device, not a regular file");
        rustix::fs::mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(refused(&path("pipe")), "it is a named pipe, not a regular file");
        assert!(open_regular(&path("pipe")).unwrap_err().to_string().contains("named pipe"));
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert_eq!(refused(&path("socket")), "it is a socket, not a regular file");

        let (reader, mut writer) = io::pipe().unwrap();
        let shells = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let slow = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            io::Write::write_all(&mut writer, b"late").unwrap();
        });
        assert_eq!(read_small_text(&shells).unwrap(), "late");
        slow.join().unwrap();
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
