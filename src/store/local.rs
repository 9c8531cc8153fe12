//! A target on this machine: what is finished gets its name by a rename that replaces nothing.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Error, PARTS, RECORDS};
use crate::system::fs::{create_new, free_bytes, publish_file, with_reserve};

/// A file in the folder of the unfinished uploads, removed if it is dropped before [`LocalPart::publish`].
pub struct LocalPart {
    directory: PathBuf,
    pub path: PathBuf,
}

impl LocalPart {
    /// Makes the folders, but not the file. `directory` is that of the backups.
    pub fn new(directory: &Path, name: &str) -> Result<Self, Error> {
        let error = |doing, path: &Path| {
            let path = path.to_owned();
            move |cause| Error::Local { doing, path, cause }
        };
        fs::create_dir_all(directory).map_err(error("create the directory", directory))?;
        for folder in [RECORDS, PARTS].map(|folder| directory.join(folder)) {
            create_folder(&folder, directory).map_err(error("create the directory", &folder))?;
        }
        let path = directory.join(PARTS).join(name);
        Ok(Self { directory: directory.to_owned(), path })
    }

    /// Makes the file, for bytes that come one after another.
    pub fn create(&self) -> Result<File, Error> {
        create_new(&self.path).map_err(|cause| Error::Local { doing: "create", path: self.path.clone(), cause })
    }

    /// Whether there is room for so many bytes where its file is.
    pub fn check_room(&self, file: &File, bytes: u64) -> Result<(), Error> {
        let error = |cause| Error::Local { doing: "determine the free space of", path: self.directory.clone(), cause };
        let (needed, free) = (with_reserve(bytes), free_bytes(file).map_err(error)?);
        if free < needed { Err(Error::NoRoom { directory: self.directory.clone(), needed, free }) } else { Ok(()) }
    }

    /// Writes the whole file.
    pub fn write(&self, text: &[u8]) -> Result<(), Error> {
        let written = create_new(&self.path).and_then(|mut file| file.write_all(text));
        written.map_err(|cause| Error::Local { doing: "write", path: self.path.clone(), cause })
    }

    /// Gives it its name, a path below the backups' directory, or fails with [`Error::Taken`].
    pub fn publish(self, place: &str) -> Result<(), Error> {
        // A snapshot holds every secret of the cluster. The steps of a job may run as different users and share only the
        // pod's group.
        fs::set_permissions(&self.path, Permissions::from_mode(0o640)).map_err(|cause| Error::Local {
            doing: "set the mode of",
            path: self.path.clone(),
            cause,
        })?;
        publish(&self.path, &self.directory.join(place))
    }
}

impl Drop for LocalPart {
    fn drop(&mut self) {
        // After `publish` the name is gone already. What cannot be removed is swept by a later run.
        let _ = fs::remove_file(&self.path);
    }
}

/// Renames a finished file, or fails with [`Error::Taken`].
pub fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    publish_file(from, to).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => Error::Taken(to.display().to_string()),
        _ => Error::Local { doing: "move the finished upload to", path: to.to_owned(), cause },
    })
}

fn create_folder(folder: &Path, like: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    // Whoever of the group may write to the backups' directory may write here, too, whatever the umask of this process.
    let of_group = fs::metadata(like)?.permissions().mode() & 0o070;
    let mode = fs::metadata(folder)?.permissions().mode() | of_group;
    fs::set_permissions(folder, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_has_to_be_room() {
        let folder = tempfile::tempdir().unwrap();
        let part = LocalPart::new(folder.path(), "x.part").unwrap();
        let file = part.create().unwrap();
        part.check_room(&file, 1).unwrap();
        let full = part.check_room(&file, u64::MAX).unwrap_err();
        assert!(matches!(full, Error::NoRoom { needed: u64::MAX, free: 1.., .. }), "{full:?}");
    }
}
