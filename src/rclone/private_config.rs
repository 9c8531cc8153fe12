//! A private copy of an `rclone.conf` that cannot be written to, such as one in a mounted Secret.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::snapshot::Workspace;
use crate::system::fs::create_new;

/// The `rclone.conf` that rclone is given: the original if it can be written to, else a copy, removed with this value or, if
/// the process is killed, by the next one.
#[derive(Debug)]
pub struct PrivateConfig {
    original: PathBuf,
    copy: Option<Copy>,
}

#[derive(Debug)]
struct Copy {
    path: PathBuf,
    _directory: Workspace,
}

impl PrivateConfig {
    pub fn new(original: &Path) -> io::Result<Self> {
        // rclone saves OAuth tokens that it renewed. To a read-only file it tries that eleven times, which takes as many
        // seconds, and then logs an error.
        let copy = if access(original, Access::WRITE_OK).is_ok() { None } else { Some(private_copy(original)?) };
        Ok(Self { original: original.to_owned(), copy })
    }

    pub fn path(&self) -> &Path {
        self.copy.as_ref().map_or(&self.original, |copy| &copy.path)
    }
}

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        let Some(copy) = &self.copy else { return };
        // Some providers accept a refresh token only once. The one in the original is then used up, and the next run fails.
        let changed =
            matches!((std::fs::read(&copy.path), std::fs::read(&self.original)), (Ok(new), Ok(old)) if new != old);
        if changed {
            tracing::warn!(
                "rclone changed its configuration, which cannot be saved to {}; a token that is valid for one use is then lost",
                self.original.display()
            );
        }
    }
}

fn private_copy(original: &Path) -> io::Result<Copy> {
    // A workspace refuses a link, which another user could have made; here the link is the system's own.
    let temporary = std::env::temp_dir().canonicalize()?;
    let directory =
        Workspace::create(&temporary).map_err(|e| io::Error::other(format!("{:#}", anyhow::Error::new(e))))?;
    let path = directory.path().join("rclone.conf");
    io::copy(&mut std::fs::File::open(original)?, &mut create_new(&path)?)?;
    Ok(Copy { path, _directory: directory })
}
