//! rclone's configuration where it can only be read, as a mounted Secret: rclone gets a private copy, so that it can
//! save an OAuth token that it renewed instead of trying for seconds and failing.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tempfile::TempPath;

/// The file that rclone is given.
#[derive(Debug)]
pub struct PrivateConfig {
    original: PathBuf,
    copy: Option<TempPath>,
}

impl PrivateConfig {
    /// Copies the file (mode 0600, into the temporary folder, removed at the end) unless it can be written to itself.
    ///
    /// # Errors
    /// A file that cannot be read, a temporary folder that cannot be written to.
    pub fn new(original: &Path) -> io::Result<Self> {
        let copy = if access(original, Access::WRITE_OK).is_ok() { None } else { Some(private_copy(original)?) };
        Ok(Self { original: original.to_owned(), copy })
    }

    /// What to give rclone.
    pub fn path(&self) -> &Path {
        self.copy.as_deref().unwrap_or(&self.original)
    }
}

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        let Some(copy) = &self.copy else { return };
        let changed = matches!((std::fs::read(copy), std::fs::read(&self.original)), (Ok(new), Ok(old)) if new != old);
        if changed {
            tracing::warn!(
                "rclone renewed something in its configuration, which cannot be saved to {}; a token that is good for one use is then lost",
                self.original.display()
            );
        }
    }
}

fn private_copy(original: &Path) -> io::Result<TempPath> {
    // Mode 0600 is what tempfile makes.
    let mut copy = tempfile::Builder::new().prefix(".rclone-").suffix(".conf").tempfile()?;
    io::copy(&mut std::fs::File::open(original)?, &mut copy)?;
    Ok(copy.into_temp_path())
}
