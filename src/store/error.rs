//! The store's failures: their messages and their exit codes.

use std::path::PathBuf;
use std::{fmt, io};

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
    Denied { may: &'static str, cause: Box<rclone::Error> },
    #[error("{0}; a directory with many files needs more time, which --list-timeout gives")]
    SlowListing(Box<rclone::Error>),
    #[error("{0} is already there; it is never overwritten")]
    Taken(String),
    #[error("another run has an upload on its way to {0}, or was killed with one")]
    OnItsWay(String),
    #[error("target: `{0}` names a whole remote; allowed is a bucket of it, `{0}bucket` or `{0}bucket/path`")]
    WholeRemote(String),
    #[error(
        "staging: `none` is not for {0}, where neither an upload under its own name is known to appear only when it is whole, \
         nor a finished one can be moved; allowed is disk"
    )]
    NeedsStaging(String),
    #[error(
        "staging: `none` needs rclone 1.75.1 or newer for {target}, and this is {version}, which may finish an upload that was \
         cut short; allowed is disk"
    )]
    NeedsNewerRclone { target: String, version: String },
    #[error("target: there is no bucket at {0}; make it first, this program never does")]
    NoBucket(String),
    #[error("cannot confirm {name} at the remote: {doubt}; {left}")]
    NotConfirmed { name: String, doubt: Doubt, left: Left },
    /// Of a target on this machine, or of a file that is sent.
    #[error("cannot {doing} {}: {cause}{}", path.display(), local_advice(cause))]
    Local { doing: &'static str, path: PathBuf, cause: io::Error },
    /// Of a target on this machine.
    #[error("no room in {}: {needed} bytes needed, {free} free", directory.display())]
    NoRoom { directory: PathBuf, needed: u64, free: u64 },
    #[error(
        "backup-prefix: the longest name that would be stored, {name}, has {is} {unit}, and this remote allows {limit}; \
         shorten the last part of the prefix by {} bytes", over(*is, *limit)
    )]
    NameTooLong { name: String, is: usize, unit: &'static str, limit: usize },
    #[error(
        "none of the {names} names at {directory} can be decrypted: the crypt remote's password is wrong, or the files are \
         not backups; correct the password, or give the backups a directory of their own"
    )]
    UndecryptableNames { directory: String, names: usize },
    /// A crypt remote could not decrypt the content after its first `read` bytes.
    #[error("{object} cannot be decrypted {}: {cause}", where_it_fails(*read))]
    Undecryptable { object: String, read: u64, cause: Box<rclone::Error> },
}

/// Why a stored object does not count.
#[derive(Debug)]
pub enum Doubt {
    Absent,
    /// It was read, and is not what was sent.
    Differs(String),
    /// It may be what was sent: reading it failed.
    Unread(Box<Error>),
}

/// What an upload that does not count has left under its name.
#[derive(Debug)]
pub enum Left {
    Nothing,
    /// It was this program's for certain, and was removed.
    Removed,
    /// It may be another run's good backup, or good itself.
    There,
    /// It should have been removed.
    NotRemoved(String),
}

impl Doubt {
    pub(super) fn unread(error: Error) -> Self {
        Self::Unread(Box::new(error))
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it is not there"),
            Self::Differs(why) => f.write_str(why),
            Self::Unread(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is stored under that name"),
            Self::Removed => f.write_str("it was removed, nothing is left under that name"),
            Self::There => f.write_str("what is there under that name is left as it is, and is unconfirmed"),
            Self::NotRemoved(why) => {
                write!(f, "it could not be removed, and is left there unconfirmed: {why}")
            }
        }
    }
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

fn local_advice(cause: &io::Error) -> &'static str {
    if is_denied(cause) { "; check that this user may store new files there" } else { "" }
}

fn is_denied(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::PermissionDenied
}

const fn over(is: usize, limit: usize) -> usize {
    is.saturating_sub(limit)
}

impl Error {
    pub fn is_name_taken(&self) -> bool {
        match self {
            Self::Taken(_) | Self::OnItsWay(_) => true,
            Self::Rclone(error) => error.is_name_taken(),
            _ => false,
        }
    }

    /// Whether the store is away and may be there again in a while. Every other failure would only come again.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Rclone(cause) => cause.is_away(),
            Self::SlowListing(cause) => cause.is_away(),
            Self::NotConfirmed { doubt: Doubt::Unread(cause), .. } => cause.is_away(),
            _ => false,
        }
    }

    /// Whether the store refuses the condition of a conditional upload, and takes one without it.
    pub fn is_of_condition(&self) -> bool {
        matches!(self, Self::Rclone(error) if error.is_not_implemented())
    }

    pub fn is_of_settings(&self) -> bool {
        self.exit() == Exit::Settings
    }

    /// Adds advice to a denied access: `may` is what the credentials have to allow, as in "they may list".
    pub(super) fn of(cause: rclone::Error, may: &'static str) -> Self {
        if cause.exit() == Exit::Denied { Self::Denied { may, cause: Box::new(cause) } } else { Self::Rclone(cause) }
    }

    /// As [`Self::of`], for an error that may be rclone's.
    pub(super) fn may(self, may: &'static str) -> Self {
        if let Self::Rclone(cause) = self { Self::of(cause, may) } else { self }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Rclone(e) => e.exit(),
            Self::SlowListing(e) => e.exit(),
            Self::CutShort(_) => Exit::Unexpected,
            Self::WholeRemote(_)
            | Self::NeedsStaging(_)
            | Self::NeedsNewerRclone { .. }
            | Self::NoBucket(_)
            | Self::NameTooLong { .. } => Exit::Settings,
            // A wrong password does not decrypt what was just encrypted with it, so that is damage.
            Self::NotConfirmed { doubt: Doubt::Unread(e), .. }
                if matches!(**e, Self::Denied { .. } | Self::Rclone(_)) =>
            {
                e.exit()
            }
            Self::Local { cause, .. } if is_denied(cause) => Exit::Denied,
            Self::NotConfirmed { .. }
            | Self::Taken(_)
            | Self::OnItsWay(_)
            | Self::Local { .. }
            | Self::NoRoom { .. } => Exit::Store,
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

impl Error {
    /// Whether what stands there is not what was sent, or nothing is.
    pub fn is_of_another_content(&self) -> bool {
        matches!(self, Self::NotConfirmed { doubt: Doubt::Absent | Doubt::Differs(_), .. })
    }
}
