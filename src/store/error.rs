//! The store's failures: their messages and their exit codes.

use crate::exit::{Exit, Failure};
use crate::rclone;
use crate::system::blocking::CutShort;

// Each message contains its cause. Were the cause a `source` too, it would be printed twice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Rclone(#[from] rclone::Error),
    #[error(transparent)]
    CutShort(#[from] CutShort),
    #[error("{cause}; {}", advice(cause, may))]
    Denied { may: &'static str, cause: rclone::Error },
    #[error("{0} is already there; it is never overwritten")]
    Taken(String),
    #[error("target: `{0}` names a whole remote; allowed is a bucket of it, `{0}bucket` or `{0}bucket/path`")]
    WholeRemote(String),
    #[error("target: there is no bucket at {0}; make it first, this program never does")]
    NoBucket(String),
    #[error("cannot confirm {name} at the remote: {why}")]
    NotConfirmed { name: String, why: String },
    #[error(
        "none of the {names} names at {directory} can be decrypted: the crypt remote's password is wrong, or the files are \
         not backups; correct the password, or give the backups a directory of their own"
    )]
    UndecryptableNames { directory: String, names: usize },
    /// The object was in a listing before.
    #[error("{0} is no longer there; another run may have removed it")]
    Gone(String),
    /// A crypt remote could not decrypt the content after its first `read` bytes.
    #[error("{object} cannot be decrypted {}: {cause}", where_it_fails(*read))]
    Undecryptable { object: String, read: u64, cause: rclone::Error },
}

/// Why a stored backup was not read to its end.
#[derive(Debug)]
pub enum ReadError<E> {
    Store(Error),
    /// The function that was given the bytes failed.
    Reader(E),
}

fn where_it_fails(read: u64) -> String {
    // A wrong password fails at the first block, so after that only damage is left as the reason.
    match read {
        0 => "at its very beginning; the crypt remote's password is wrong, or the object is damaged".into(),
        _ => format!("after byte {read}: it is damaged there"),
    }
}

fn advice(error: &rclone::Error, may: &str) -> String {
    // The store refuses the signature, but the credentials are in order.
    if error.to_string().contains("RequestTimeTooSkewed") {
        return "this machine's clock differs from the store's".into();
    }
    format!("check the credentials, and that they may {may}")
}

impl Error {
    /// Adds advice to a denied access: `may` is what the credentials have to allow, as in "they may list".
    pub(super) fn of(cause: rclone::Error, may: &'static str) -> Self {
        if cause.exit() == Exit::Denied { Self::Denied { may, cause } } else { Self::Rclone(cause) }
    }

    /// Whether the store is away and may be there again in a while. Every other failure would only come again.
    #[expect(dead_code, reason = "the commands that wait for the store are next")]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Rclone(cause) if cause.is_away())
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Rclone(e) => e.exit(),
            Self::CutShort(_) => Exit::Unexpected,
            Self::WholeRemote(_) | Self::NoBucket(_) => Exit::Settings,
            Self::NotConfirmed { .. } | Self::Gone(_) | Self::Taken(_) => Exit::Store,
            Self::Denied { .. } | Self::UndecryptableNames { .. } | Self::Undecryptable { read: 0, .. } => Exit::Denied,
            Self::Undecryptable { .. } => Exit::Proof,
        }
    }
}

impl<E> From<Error> for ReadError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}

impl<E: Into<Self>> From<ReadError<E>> for Failure {
    fn from(error: ReadError<E>) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Reader(error) => error.into(),
        }
    }
}
