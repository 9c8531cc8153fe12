//! How a stream of bytes may come to a backup's name, which depends on the kind of the store.

use super::{Error, Store};
use crate::rclone::backend::Backend;

// A test tells so of each: what_is_killed_while_it_streams_leaves_no_backup, and that of clouds.
/// rclone's kinds of stores where an object that is sent with its size is there when all of it has arrived, and not before. Not
/// Google's: there the end of the input ends the object, whatever its size was to be.
const WHOLE: [&str; 2] = [S3, "azureblob"];
/// The only kind to which rclone sends the condition.
const S3: &str = "s3";
/// Kinds that give what they are given to one other remote, as one object.
const TRANSPARENT: [&str; 2] = ["crypt", "alias"];
/// How a stream gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Here, by a rename.
    Local,
    /// From the beginning: the store shows it when it is whole.
    Whole {
        /// Whether rclone hands on the condition that the name is free.
        conditions: bool,
    },
    /// By a move at the remote.
    Part,
}

impl Store {
    /// Fails if this store, or this rclone, takes only what is a file.
    pub fn check_streaming(&self) -> Result<(), Error> {
        self.way().map(drop)
    }

    pub(super) fn way(&self) -> Result<Way, Error> {
        if self.local_directory().is_some() {
            return Ok(Way::Local);
        }
        let chain = self.rclone.chain(&self.config.target);
        if self.is_bucket_based() && is_whole(&chain) {
            if !self.rclone.checks_streams() {
                let (target, version) = (self.config.target.to_string(), self.rclone.version().to_owned());
                return Err(Error::NeedsNewerRclone { target, version });
            }
            return Ok(Way::Whole { conditions: chain.last().is_some_and(|last| last.kind == S3) });
        }
        if self.uploads_a_part() { Ok(Way::Part) } else { Err(Error::NeedsStaging(self.config.target.to_string())) }
    }
}

/// `chain` is the target's remote, and behind it those that it wraps.
pub(super) fn is_whole(chain: &[Backend]) -> bool {
    let Some((last, around)) = chain.split_last() else { return false };
    WHOLE.contains(&last.kind.as_str()) && around.iter().all(|remote| TRANSPARENT.contains(&remote.kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_stores_take_a_stream_under_its_name() {
        for (kinds, whole) in [
            (&["s3"][..], true),
            (&["crypt", "s3"], true),
            (&["alias", "crypt", "alias", "azureblob"], true),
            (&["google cloud storage"], false),
            (&["b2"], false),
            (&["crypt", "sftp"], false),
            (&["union", "s3", "s3"], false),
            (&["chunker", "s3"], false),
            (&["crypt"], false),
            (&[], false),
        ] {
            let remote = |kind: &&str| Backend { kind: (*kind).to_owned(), ..Backend::default() };
            let chain: Vec<_> = kinds.iter().map(remote).collect();
            assert_eq!(is_whole(&chain), whole, "{kinds:?}");
        }
    }
}
