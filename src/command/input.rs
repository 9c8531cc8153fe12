//! NAME becomes a proved local file: a stored backup that is staged, or a file that is here already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::name::BackupName;
use crate::backup::select::{Wanted, pick};
use crate::cli::{ReadArgs, WorkArgs};
use crate::config::{Job, work_dir};
use crate::exit::{Exit, Failure};
use crate::logging::progress::Metered;
use crate::snapshot::{self, Digest, Part, Proof, Snapshot, Workspace, prove_file, prove_stream};
use crate::store::{Known, Store, Stream};

/// A backup that was found and not read yet.
pub enum Source {
    /// A file of this machine.
    Local(PathBuf),
    /// A stored one.
    Stored(Box<Found>),
}

/// A stored backup.
pub struct Found {
    /// Where it is.
    pub store: Arc<Store>,
    /// Its name.
    pub name: BackupName,
    /// What the store knows of it.
    pub known: Known,
}

/// A local file that proved good, every page of it. A staged one is removed with this value.
pub struct Staged {
    /// Where it is.
    pub path: PathBuf,
    /// What to call it to people: its name, or its path.
    pub label: String,
    /// Its name; `None` for a local file.
    pub name: Option<BackupName>,
    /// What the proof found.
    pub proof: Proof,
    _workspace: Option<Workspace>,
}

/// Finds what NAME stands for: a path with a `/` that exists, or a file of that name, is a local one; else it is
/// `latest`, a stored backup's name or an unambiguous part of one.
///
/// # Errors
/// Settings of the store; whatever rclone says; a name that is none, or ambiguous.
pub async fn find(name: &str, args: &ReadArgs, job: &Job) -> Result<Source, Failure> {
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Source::Local(path.to_owned()));
    }
    if name.contains('/') && path.exists() {
        return Err(Failure::new(Exit::Settings, anyhow::anyhow!("{name} is not a regular file")));
    }
    let found = find_stored(&Wanted::parse(name), args, job).await?;
    Ok(Source::Stored(Box::new(found)))
}

/// Finds a stored backup.
///
/// # Errors
/// As [`find`].
pub async fn find_stored(wanted: &Wanted, args: &ReadArgs, job: &Job) -> Result<Found, Failure> {
    let store = Store::open(job.store(&args.store)?).await?;
    let listing = store.list().await?;
    let name = pick(wanted, listing.ours, store.config().naming.zone).map_err(|unpicked| {
        let config = store.config();
        let place = config.target.join(&config.naming.prefix.to_string());
        Failure::new(Exit::Settings, anyhow::Error::new(unpicked).context(format!("looking for a backup at {place}")))
    })?;
    let known = store.look(&name).await?;
    if known.noted.degraded == Some(true) {
        tracing::warn!(%name, "this backup is degraded: it was the best that could be had when it was taken");
    }
    Ok(Found { store: Arc::new(store), name, known })
}

/// [`find`] and [`Source::stage`] in one.
///
/// # Errors
/// As those.
pub async fn stage(name: &str, args: &ReadArgs, job: &Job) -> Result<Staged, Failure> {
    find(name, args, job).await?.stage(&args.work).await
}

impl Source {
    /// What to call it to people.
    pub fn label(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Stored(found) => found.name.to_string(),
        }
    }

    /// Its size in bytes, where that is known before it is read.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Local(path) => path.metadata().ok().map(|kind| kind.len()),
            Self::Stored(found) => found.known.bytes,
        }
    }

    /// Brings it here, into a private folder of the staging folder, and proves all of it; a local file is proved where
    /// it is.
    ///
    /// # Errors
    /// Whatever rclone says; no room; a backup that is damaged.
    pub async fn stage(&self, work: &WorkArgs) -> Result<Staged, Failure> {
        self.stage_in(&work_dir(work)).await
    }

    /// As [`Source::stage`], with another staging folder.
    ///
    /// # Errors
    /// As [`Source::stage`].
    pub async fn stage_in(&self, folder: &Path) -> Result<Staged, Failure> {
        let label = self.label();
        match self {
            Self::Local(path) => {
                let proof = blocking({
                    let path = path.clone();
                    move || prove_file(&path)
                })
                .await?;
                Ok(Staged { path: path.clone(), label, name: None, proof, _workspace: None })
            }
            Self::Stored(found) => {
                let workspace = Workspace::create(folder)?;
                let Snapshot { path, proof } = self.receive(&workspace).await?;
                Ok(Staged { path, label, name: Some(found.name.clone()), proof, _workspace: Some(workspace) })
            }
        }
    }

    /// Proves its SHA-256 in passing: constant memory, no disk. The pages are not looked at.
    ///
    /// # Errors
    /// As [`Source::stage`], but for the room.
    pub async fn prove_passing(&self) -> Result<Digest, Failure> {
        match self {
            Self::Local(path) => {
                blocking({
                    let path = path.clone();
                    move || {
                        let (file, bytes) = snapshot::open_regular(&path)?;
                        prove_stream(&path, Metered::new("verify", file, bytes))
                    }
                })
                .await
            }
            Self::Stored(found) => found.prove_passing().await,
        }
    }

    /// Copies it into the workspace and proves all of it on the way.
    ///
    /// # Errors
    /// As [`Source::stage`].
    pub async fn receive(&self, workspace: &Workspace) -> Result<Snapshot, Failure> {
        let part = workspace.part("backup")?;
        match self {
            Self::Local(path) => {
                blocking({
                    let path = path.clone();
                    move || copy(&path, part)
                })
                .await
            }
            Self::Stored(found) => found.receive(part).await,
        }
    }
}

fn copy(path: &Path, mut part: Part) -> Result<Snapshot, snapshot::Error> {
    let (file, bytes) = snapshot::open_regular(path)?;
    if let Some(pages) = bytes.checked_sub(32) {
        part.expect(pages)?;
    }
    part.take(&mut Metered::new("copy", file, bytes))?;
    part.finish(0).map_err(|e| e.renamed(&path.to_string_lossy()))
}

impl Found {
    async fn receive(&self, mut part: Part) -> Result<Snapshot, Failure> {
        if let Some(pages) = self.known.bytes.and_then(|bytes| bytes.checked_sub(32)) {
            part.expect(pages)?;
        }
        let label = self.name.to_string();
        let take = move |stream: &mut Stream| {
            part.take(stream)?;
            Ok(part.finish(0))
        };
        let received = self.store.read(&self.name, &self.known, "fetch", take).await?;
        let snapshot = received.flatten().map_err(|e| e.renamed(&label))?;
        self.check_hash(&snapshot.proof.digest)?;
        Ok(snapshot)
    }

    async fn prove_passing(&self) -> Result<Digest, Failure> {
        let label = PathBuf::from(self.name.to_string());
        let take = move |stream: &mut Stream| match prove_stream(&label, stream) {
            Err(own @ snapshot::Error::Io { .. }) => Err(own),
            proved => Ok(proved),
        };
        let digest = self.store.read(&self.name, &self.known, "verify", take).await?.flatten()?;
        self.check_hash(&digest)?;
        Ok(digest)
    }

    /// Compares with the hash that was noted when it was stored.
    ///
    /// # Errors
    /// Another hash: it is a whole snapshot, but not the one that was stored.
    fn check_hash(&self, digest: &Digest) -> Result<(), Failure> {
        match &self.known.noted.sha256 {
            Some(noted) if !noted.eq_ignore_ascii_case(&digest.sha256) => {
                let (name, found) = (&self.name, &digest.sha256);
                let error = anyhow::anyhow!("{name} is not what was stored: its sha-256 is {found}, noted is {noted}");
                Err(Failure::new(Exit::Proof, error))
            }
            _ => Ok(()),
        }
    }
}

/// Runs work that reads the disk on a thread of its own, so that signals and deadlines are still heard.
///
/// # Errors
/// The work's own.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Failure::new(Exit::Unexpected, error)),
    }
}
