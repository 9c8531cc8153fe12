//! The snapshot file: received into a private folder, proved page by page, and read key by key.

mod bolt;
mod mvcc;
mod pages;
mod proof;
mod receive;
#[cfg(test)]
mod tests;
mod workspace;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::system::blocking::CutShort;

pub use bolt::Db;
#[cfg(test)]
pub use mvcc::Revision;
pub use mvcc::history::{Change, Item, changes, find, revision_to_read};
pub use mvcc::sorted::Sorted;
pub use mvcc::{Alarm, RecordedMember, alarms, members};
pub use proof::facts::Facts;
pub use proof::{Digest, Proof, TRAILER_BYTES, prove_file, prove_stream};
pub use receive::Part;
pub use workspace::Workspace;
#[cfg(test)]
use {bolt::Visit, proof::facts::read_facts};

/// A received file that proved good.
///
/// The file lies in the [`Workspace`] that its [`Part`] came from and is removed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the proved file is.
    pub path: PathBuf,
    /// Everything that was read and checked on the way.
    pub proof: Proof,
}

/// What went wrong with a snapshot, sorted by whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has, or had, too little room for the file.
    #[error("no room in {}: {needed} bytes needed, {free} free", path.display())]
    NoSpace {
        /// The folder on the disk that is too small.
        path: PathBuf,
        /// Bytes that the file needs, a reserve included.
        needed: u64,
        /// Bytes that an unprivileged process may still use there.
        free: u64,
    },
    /// The local disk refused an operation, or the folder is not one that can be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted, to be read after "cannot".
        doing: &'static str,
        /// On which file or folder, or the name of the stream.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is not a snapshot that could be restored.
    #[error("{} is no good snapshot", path.display())]
    Damaged {
        /// Which file, or the name of the stream.
        path: PathBuf,
        /// What is wrong with it, and where.
        #[source]
        damage: Damage,
    },
    /// The thread that worked on the file was cut short.
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl Error {
    /// The exit that this leads to.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NoSpace { .. } | Self::Io { .. } => Exit::Disk,
            Self::Damaged { .. } => Exit::Proof,
            Self::CutShort(_) => Exit::Unexpected,
        }
    }

    /// The same, calling a damaged file `label`: a stored backup's name says more than that of the part file that it was
    /// staged in.
    #[must_use]
    pub fn renamed(self, label: &str) -> Self {
        match self {
            Self::Damaged { damage, .. } => Self::Damaged { path: label.into(), damage },
            other => other,
        }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    fn damaged(path: &Path) -> impl FnOnce(Damage) -> Self {
        move |damage| Self::Damaged { path: path.to_owned(), damage }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}

/// What is wrong with a snapshot file, and on which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The bbolt page where it shows; `None` when it concerns the whole file.
    pub page: Option<u64>,
    /// The finding, lower case and without a full stop.
    pub what: String,
}

impl Damage {
    fn file(what: impl Into<String>) -> Self {
        Self { page: None, what: what.into() }
    }

    fn page(page: u64, what: impl Into<String>) -> Self {
        Self { page: Some(page), what: what.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            Some(page) => write!(f, "page {page}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Damage {}
