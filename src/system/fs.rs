//! Gives what is finished its own name, in one step and never over anything else.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// The folder that a new file or folder of this path is to be in.
///
/// # Errors
/// A path that ends in no name, such as `/` or `..`.
pub fn parent_folder(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) if parent.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        (Some(parent), Some(_)) => Ok(parent.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it ends in no name")),
    }
}

/// Renames a file or folder of the same disk, unless there is something at `to`, and makes the new name safe against a power cut.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]; the system's word.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Not every file system can. A folder then replaces at most an empty one, and a link is never made over anything.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if from.is_dir() => fs::rename(from, to)?,
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        Err(error) => return Err(error.into()),
    }
    File::open(parent_folder(to)?)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_over_anything() {
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
    fn folders_of_new_names() {
        assert_eq!(parent_folder(Path::new("x")).unwrap(), Path::new("."));
        assert_eq!(parent_folder(Path::new("/x/")).unwrap(), Path::new("/"));
        assert!(parent_folder(Path::new("/")).is_err() && parent_folder(Path::new("a/..")).is_err());
    }
}
