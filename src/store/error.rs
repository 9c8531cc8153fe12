//! How the store failed us, in words and as an exit.

use crate::exit::{Exit, Failure};
use crate::rclone;

/// How the store failed us.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rclone failed.
    #[error(transparent)]
    Rclone(#[from] rclone::Error),
    /// The credentials are wrong, or good for less than is needed.
    #[error("{source}; {}", advice(source, may))]
    Denied {
        /// What they have to allow.
        may: &'static str,
        /// rclone's word.
        source: rclone::Error,
    },
    /// Another run has stored something under the name.
    #[error("{0} is already there; it is never overwritten")]
    Taken(String),
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

fn advice(error: &rclone::Error, may: &str) -> String {
    if error.to_string().contains("RequestTimeTooSkewed") {
        return "this machine's clock differs from the store's".into();
    }
    format!("check the credentials, and that they may {may}")
}

impl Error {
    /// rclone's failure, and what the credentials have to allow should that be the reason.
    pub(super) fn of(error: rclone::Error, may: &'static str) -> Self {
        if error.exit() == Exit::Denied { Self::Denied { may, source: error } } else { Self::Rclone(error) }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Rclone(e) => e.exit(),
            Self::WholeRemote(_) | Self::NoBucket(_) => Exit::Settings,
            Self::NotConfirmed { .. } | Self::Gone(_) | Self::Taken(_) => Exit::Store,
            Self::Denied { .. } | Self::Locked { .. } | Self::Undecryptable { read: 0, .. } => Exit::Denied,
            Self::Undecryptable { .. } => Exit::Proof,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}
