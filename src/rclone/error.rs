//! How a call of rclone went wrong, in words and as an exit.

use std::path::PathBuf;
use std::time::Duration;

use super::log;
use crate::exit::{Exit, Failure};

/// The oldest version with `--metadata-set` and all else that is used here.
pub const OLDEST: (u64, u64) = (1, 60);

/// How a call went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("cannot find rclone in PATH ({path}); install rclone {}.{} or newer", OLDEST.0, OLDEST.1)]
    Missing {
        /// Where was looked.
        path: String,
    },
    /// It is too old.
    #[error("{} is rclone {version}, too old; install {}.{} or newer", program.display(), OLDEST.0, OLDEST.1)]
    TooOld {
        /// Which program.
        program: PathBuf,
        /// Its version.
        version: String,
    },
    /// It could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Its configuration could not be copied to where it can be written to.
    #[error("cannot make a private copy of {}: {source}", file.display())]
    Config {
        /// The configuration.
        file: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It ended badly.
    #[error("rclone {verb} {on}: {said} ({status})")]
    Failed {
        /// Its subcommand.
        verb: String,
        /// What it worked on.
        on: String,
        /// Its last complaint, without secrets.
        said: String,
        /// `exit code 1` or `signal 9`.
        status: String,
        /// The exit code; `None` for a signal.
        code: Option<i32>,
    },
    /// It said something that cannot be read.
    #[error("cannot read the output of rclone {verb}: {source}")]
    Unreadable {
        /// Its subcommand.
        verb: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It took too long.
    #[error("rclone {verb} {on}: no answer within {} s", limit.as_secs())]
    TimedOut {
        /// Its subcommand.
        verb: String,
        /// What it worked on.
        on: String,
        /// How long it was given.
        limit: Duration,
    },
}

impl Error {
    /// The exit that this leads to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::TooOld { .. } | Self::Start { .. } => Exit::Settings,
            Self::Failed { code, said, .. } => log::classify(*code, said),
            Self::Config { .. } => Exit::Disk,
            Self::Unreadable { .. } | Self::TimedOut { .. } => Exit::Store,
        }
    }

    /// Whether the name was taken: by rclone's own look, exit code 9, or by the store's, HTTP status 412.
    pub fn is_name_taken(&self) -> bool {
        match self {
            Self::Failed { code: Some(9), .. } => true,
            Self::Failed { said, .. } => said.contains("PreconditionFailed") || said.contains("StatusCode: 412"),
            _ => false,
        }
    }

    /// Whether the store does not know something that it was asked: HTTP status 501.
    pub fn is_not_implemented(&self) -> bool {
        matches!(self, Self::Failed { said, .. } if said.contains("NotImplemented") || said.contains("StatusCode: 501"))
    }

    /// Whether rclone said that a directory is not there: its exit code 3.
    pub const fn is_no_directory(&self) -> bool {
        matches!(self, Self::Failed { code: Some(3), .. })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}
