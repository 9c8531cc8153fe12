//! How the store failed us, in words and as an exit.

use crate::exit::{Exit, Failure};
use crate::rclone;

/// How the store failed us.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rclone failed.
    #[error(transparent)]
    Rclone(#[from] rclone::Error),
    /// The target names no bucket.
    #[error("target: `{0}` names a whole remote; allowed is a bucket of it, `{0}bucket` or `{0}bucket/path`")]
    WholeRemote(String),
    /// The bucket is not there.
    #[error("target: there is no bucket at {0}; make it first, this program never does")]
    NoBucket(String),
    /// The object is not there, or not what was sent.
    #[error("cannot confirm {name} at the remote: {why}")]
    NotConfirmed {
        /// Which object.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A crypt remote's password fits none of the names.
    #[error(
        "none of the {locked} names at {place} can be decrypted: the crypt remote's password is wrong, or others' files are \
         there; give it the right password, or a folder of its own"
    )]
    Locked {
        /// Which folder.
        place: String,
        /// How many names.
        locked: usize,
    },
    /// It was there when the folder was listed.
    #[error("{0} is no longer there; another run may have removed it")]
    Gone(String),
    /// The bytes do not fit the crypt remote's password.
    #[error("{place} cannot be decrypted {}: {source}", where_it_fails(*read))]
    Undecryptable {
        /// Which object.
        place: String,
        /// How many bytes could be read before.
        read: u64,
        /// rclone's word.
        source: rclone::Error,
    },
}

/// A wrong password shows in the first block; one that opened that block is right.
fn where_it_fails(read: u64) -> String {
    match read {
        0 => "at its very beginning; the crypt remote's password is wrong, or the object is damaged".into(),
        _ => format!("behind byte {read}: it is damaged there"),
    }
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Rclone(e) => e.exit(),
            Self::WholeRemote(_) | Self::NoBucket(_) => Exit::Settings,
            Self::NotConfirmed { .. } | Self::Gone(_) => Exit::Store,
            Self::Locked { .. } | Self::Undecryptable { read: 0, .. } => Exit::Denied,
            Self::Undecryptable { .. } => Exit::Proof,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}
