//! A backup that is proved and open, for the commands that read what is in it.

use std::sync::Arc;

use super::input::{Staged, blocking, stage};
use crate::cli::ReadArgs;
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::snapshot::{Db, revision_to_read};

/// The file and its pages. A staged file is removed with this value.
pub struct Opened {
    /// Where it came from, and what its proof found.
    pub staged: Staged,
    /// Its pages.
    pub db: Arc<Db>,
}

/// Finds the backup `name`, brings it here if it is elsewhere, and proves it.
///
/// # Errors
/// As [`stage`].
pub async fn open(name: &str, args: &ReadArgs, job: &Job) -> Result<Opened, Failure> {
    let staged = stage(name, args, job).await?;
    let path = staged.path.clone();
    let db = blocking(move || Db::open_path(&path)).await?;
    Ok(Opened { staged, db: Arc::new(db) })
}

impl Opened {
    /// The revision to read at.
    ///
    /// # Errors
    /// One that the file cannot answer for.
    pub fn at(&self, asked: Option<u64>) -> Result<u64, Failure> {
        revision_to_read(asked, &self.staged.proof.facts).map_err(|error| Failure::new(Exit::Settings, error))
    }
}
