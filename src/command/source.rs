//! Where commands that read take a backup from: one function, which answers with a file that is proved.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::SourceArgs;
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::progress::Meter;
use crate::snapshot::{Db, Digest, Facts, prove_stream, read_facts, revision_to_read};

/// A proved backup on the local disk, for as long as the value lives.
pub struct Source {
    /// What it was asked for as.
    pub name: String,
    /// Its pages.
    pub db: Arc<Db>,
    /// Its size and hash.
    pub digest: Digest,
    /// What its pages hold.
    pub facts: Facts,
}

impl Source {
    /// The revision to read at.
    ///
    /// # Errors
    /// One that the file cannot answer for.
    pub fn at(&self, asked: Option<u64>) -> Result<u64, Failure> {
        revision_to_read(asked, &self.facts).map_err(|error| Failure::new(Exit::Settings, error))
    }
}

/// Finds the backup `name`, brings it to the local disk, and proves it: its SHA-256 trailer and every page.
///
/// # Errors
/// A name that is nobody's, a file that cannot be read, or one that is damaged.
pub async fn open(name: &str, _args: &SourceArgs, _job: &Job) -> Result<Source, Failure> {
    let Some(path) = local(name) else {
        let why = format!("no backup `{name}`: there is no such file; write a path with a `/` in it");
        return Err(Failure::new(Exit::Settings, anyhow::anyhow!(why)));
    };
    let shown = name.to_owned();
    blocking(move || prove(shown, &path)).await
}

/// A path is what has a slash in it, or is there.
fn local(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    (name.contains('/') || path.exists()).then(|| path.to_owned())
}

fn prove(name: String, path: &Path) -> Result<Source, Failure> {
    if !path.exists() {
        return Err(Failure::new(Exit::Settings, anyhow::anyhow!("there is no file {}", path.display())));
    }
    let unreadable = |error: io::Error| {
        let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
        Failure::new(Exit::Disk, error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let metered = Metered { file: &file, meter: Meter::new("proving"), done: 0, total: metadata.len() };
    let digest = prove_stream(path, metered)?;
    let db = Db::open(file, path, digest.bytes.saturating_sub(32))?;
    let facts = read_facts(&db)?;
    tracing::debug!(sha256 = digest.sha256, revision = facts.revision, "proved {}", path.display());
    Ok(Source { name, db: Arc::new(db), digest, facts })
}

/// A file that shows how far its reader is.
struct Metered<'a> {
    file: &'a File,
    meter: Meter,
    done: u64,
    total: u64,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done = self.done.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        self.meter.show(self.done, self.total);
        Ok(read)
    }
}

/// Reads a file beside the runtime, so that a signal and the deadline are still heard.
///
/// # Errors
/// What `work` fails with.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) => Err(Failure::new(Exit::Unexpected, anyhow::Error::new(broken).context("reading the backup"))),
    }
}
