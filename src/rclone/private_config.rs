//! A private copy of an `rclone.conf` that cannot be written to, such as one in a mounted Secret.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::snapshot::Workspace;
use crate::system::fs::create_new;

/// What begins an encrypted configuration.
const ENCRYPTED: &[u8] = b"RCLONE_ENCRYPT_V";
const TOKEN: &[u8] = b"token";

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

    /// The file that the user wrote, for messages.
    pub fn shown(&self) -> String {
        self.original.display().to_string()
    }

    pub fn path(&self) -> &Path {
        self.copy.as_ref().map_or(&self.original, |copy| &copy.path)
    }
}

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        let Some(copy) = &self.copy else { return };
        // Some providers accept a refresh token only once. The one in the original is then used up, and the next run fails.
        if let (Ok(new), Ok(old)) = (std::fs::read(&copy.path), std::fs::read(&self.original))
            && secrets_of(&new) != secrets_of(&old)
        {
            tracing::warn!(
                "rclone changed its configuration, which cannot be saved to {}; a token that is valid for one use is then lost",
                self.original.display()
            );
        }
    }
}

/// The lines that may hold a token; of an encrypted configuration all of them. What else rclone writes down, such as the
/// commands that it found on an SFTP server, it finds again.
fn secrets_of(config: &[u8]) -> Vec<&[u8]> {
    let is_encrypted = config.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    let may_be_token = |line: &&[u8]| is_encrypted || line.windows(TOKEN.len()).any(|window| window == TOKEN);
    config.split(|byte| *byte == b'\n').filter(may_be_token).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_lost() {
        let sftp = b"[a]\ntype = sftp\n";
        assert_eq!(secrets_of(sftp), secrets_of(b"[a]\ntype = sftp\nmd5sum_command = md5sum\n"));
        assert_ne!(secrets_of(b"token = {1}\n"), secrets_of(b"token = {2}\n"));
        assert_ne!(secrets_of(b"RCLONE_ENCRYPT_V0:\nabc"), secrets_of(b"RCLONE_ENCRYPT_V0:\nabd"));
    }
}
