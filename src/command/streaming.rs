//! Commands that write while they read.

use std::io::{self, Write};

use crate::exit::{Exit, Failure};
use crate::report::Stdout;
use crate::snapshot;

/// What ends such a command early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backup.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    /// stdout.
    #[error("cannot write to stdout")]
    Out(#[from] io::Error),
    /// A line that is no JSON.
    #[error("cannot put a key into JSON")]
    Json(#[source] serde_json::Error),
}

/// From [`serde_json::to_writer`], which fails when stdout does.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::Out(error.into()) } else { Self::Json(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::File(error) => error.into(),
            Error::Out(_) => Self::new(Exit::Disk, error),
            Error::Json(_) => Self::new(Exit::Unexpected, error),
        }
    }
}

/// Runs `work` with stdout. A reader that closes it early, as `head` does, has what it wanted.
///
/// # Errors
/// What `work` fails with.
pub fn streaming(work: impl FnOnce(&mut Stdout) -> Result<(), Error>) -> Result<(), Failure> {
    let written = Stdout::open().map_err(Error::Out).and_then(|mut out| {
        work(&mut out)?;
        Ok(out.flush()?)
    });
    match written {
        Err(Error::Out(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
