//! What goes wrong with a snapshot file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::system::blocking::CutShort;

/// Sorted by what has to be repaired: the disk, the file, or neither.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no room in {}: {needed} bytes needed, {free} free", path.display())]
    NoSpace {
        /// A directory on the disk that is too small.
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted, to be read after "cannot".
        doing: &'static str,
        /// The file or directory, or the name of the stream.
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not a valid snapshot", path.display())]
    Damaged {
        /// The file, or the name of the stream.
        path: PathBuf,
        #[source]
        damage: Damage,
    },
    #[error("{} cannot be read as it is: {why}", path.display())]
    OtherShape {
        /// The file, or the name of the stream.
        path: PathBuf,
        /// What it is, and what to do next.
        why: String,
    },
    #[error("{} cannot be proved in {readings} readings with the memory of one; {advice}", path.display())]
    Unproved {
        /// The file, or the name of the stream.
        path: PathBuf,
        readings: usize,
        /// What to do next.
        advice: &'static str,
    },
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl Error {
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NoSpace { .. } | Self::Io { .. } => Exit::Disk,
            Self::Damaged { .. } | Self::Unproved { .. } => Exit::Proof,
            Self::OtherShape { .. } => Exit::Settings,
            Self::CutShort(_) => Exit::Unexpected,
        }
    }

    /// Calls a damaged file `label`.
    #[must_use]
    pub fn renamed(self, label: &str) -> Self {
        match self {
            // A user knows the name of a stored backup, not that of the part file it was fetched into. The other errors
            // keep their path, because it shows which disk is full or broken.
            Self::Damaged { damage, .. } => Self::Damaged { path: label.into(), damage },
            other => other,
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// For a stream that may be decompressed while it is read: what its reader says of the bytes themselves is damage, or
    /// another shape than is read here.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            // What the system says has a number.
            _ if source.raw_os_error().is_some() => Self::io("read", path)(source),
            io::ErrorKind::InvalidData => Self::bad_file(path, source.to_string()),
            io::ErrorKind::Unsupported => Self::OtherShape { path: path.to_owned(), why: source.to_string() },
            _ => Self::io("read", path)(source),
        }
    }

    /// Of damage that concerns the whole file.
    pub fn bad_file(path: &Path, what: impl Into<String>) -> Self {
        Self::damaged(path)(Damage::file(what))
    }

    pub(super) fn damaged(path: &Path) -> impl FnOnce(Damage) -> Self {
        move |damage| Self::Damaged { path: path.to_owned(), damage }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The number of the bbolt page; `None` when the damage concerns the whole file.
    page: Option<u64>,
    /// Lower case and without a full stop.
    what: String,
}

impl Damage {
    pub(super) fn file(what: impl Into<String>) -> Self {
        Self { page: None, what: what.into() }
    }

    pub(super) fn page(page: u64, what: impl Into<String>) -> Self {
        Self { page: Some(page), what: what.into() }
    }

    /// Without the page.
    pub(super) fn what(&self) -> &str {
        &self.what
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
