//! A private copy of an `rclone.conf` that cannot be written to, such as one in a mounted Secret.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tempfile::TempPath;

/// The `rclone.conf` that rclone is given: the original if it can be written to, else a copy, removed with this value.
#[derive(Debug)]
pub struct PrivateConfig {
    original: PathBuf,
    copy: Option<TempPath>,
}

impl PrivateConfig {
    pub fn new(original: &Path) -> io::Result<Self> {
        // rclone saves OAuth tokens that it renewed. To a read-only file it tries that eleven times, which takes as many
        // seconds, and then logs an error.
        let copy = if access(original, Access::WRITE_OK).is_ok() { None } else { Some(private_copy(original)?) };
        Ok(Self { original: original.to_owned(), copy })
    }

    pub fn path(&self) -> &Path {
        self.copy.as_deref().unwrap_or(&self.original)
    }
}

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        let Some(copy) = &self.copy else { return };
        // Some providers accept a refresh token only once. The one in the original is then used up, and the next run fails.
        let changed = matches!((std::fs::read(copy), std::fs::read(&self.original)), (Ok(new), Ok(old)) if new != old);
        if changed {
            tracing::warn!(
                "rclone changed its configuration, which cannot be saved to {}; a token that is valid for one use is then lost",
                self.original.display()
            );
        }
    }
}

fn private_copy(original: &Path) -> io::Result<TempPath> {
    // tempfile gives it mode 0600.
    let mut copy = tempfile::Builder::new().prefix(".rclone-").suffix(".conf").tempfile()?;
    io::copy(&mut std::fs::File::open(original)?, &mut copy)?;
    Ok(copy.into_temp_path())
}
