//! stdout for commands that write while they read.

use std::io::{self, Write};

use crate::exit::{Exit, Failure};
use crate::report::Stdout;
use crate::snapshot;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] snapshot::Error),
    #[error("cannot write to stdout")]
    Stdout(#[from] io::Error),
    #[error("cannot put a key into JSON")]
    Json(#[source] serde_json::Error),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        // `serde_json::to_writer` wraps the errors of stdout in its own.
        if error.is_io() { Self::Stdout(error.into()) } else { Self::Json(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::File(error) => error.into(),
            Error::Stdout(_) => Self::new(Exit::Disk, error),
            Error::Json(_) => Self::new(Exit::Unexpected, error),
        }
    }
}

pub fn streaming(work: impl FnOnce(&mut Stdout) -> Result<(), Error>) -> Result<(), Failure> {
    let written = Stdout::open().map_err(Error::Stdout).and_then(|mut out| {
        work(&mut out)?;
        Ok(out.flush()?)
    });
    match written {
        // A reader such as `head` closes stdout as soon as it has what it wants.
        Err(Error::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
