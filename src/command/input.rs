//! NAME becomes a proved file: a stored backup that is fetched into a workspace, or a file that is here already.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use crate::backup::catalog::Entry;
use crate::backup::record::Facts;
use crate::backup::select::{Selector, described, exact, select};
use crate::config::{Input, ReadConfig, StoreConfig};
use crate::exit::{Exit, Failure};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::logging::progress::Metered;
use crate::snapshot::{
    self, Db, FileHash, Finished, PartFile, Proof, Prover, Snapshot, Workspace, prove_file, prove_stream,
};
use crate::store::{BackupStream, Next, ReadError, Store, StoredBackup};
use crate::system::blocking::blocking;
use crate::system::fs::open_regular;

/// A backup may be of any age. Only a snapshot that is taken now has to reach a revision.
const ANY_REVISION: u64 = 0;

/// A backup that was found, but not read yet.
pub enum Source {
    Local(PathBuf),
    Stored(Box<StoredSource>),
}

/// One reading is enough for nearly every backup, and one that was taken while etcd compacted takes up to four more. A file that
/// was made to need one for each level of its trees must not be read, and paid for, a hundred times.
const MOST_READINGS: usize = 8;

pub struct StoredSource {
    pub store: Arc<Store>,
    pub backup: StoredBackup,
    /// What its record says, if it has one that can be read.
    pub known: Option<Facts>,
}

/// A local file of which every page is proved. A fetched one is removed when this value is dropped.
pub struct ProvedFile {
    pub path: PathBuf,
    /// Its name at the remote, or its path.
    pub label: String,
    pub proof: Proof,
    _workspace: Option<Workspace>,
}

impl ProvedFile {
    /// The first digits of its SHA-256, for names that people read.
    pub fn short_id(&self) -> &str {
        let sha256 = &self.proof.file.sha256;
        sha256.get(..8).unwrap_or(sha256)
    }

    pub async fn recorded_members(&self) -> Result<Vec<snapshot::RecordedMember>, Failure> {
        let path = self.path.clone();
        Ok(blocking(move || snapshot::members(&Db::open_path(&path)?)).await?)
    }
}

/// A proved file whose pages can be read.
pub struct OpenBackup {
    pub proved: ProvedFile,
    pub db: Arc<Db>,
}

impl OpenBackup {
    pub async fn open(config: ReadConfig, now: DateTime<Utc>) -> Result<Self, Failure> {
        let proved = Source::find(config.input, now).await?.prove(&config.work_dir).await?;
        let path = proved.path.clone();
        let db = blocking(move || Db::open_path(&path)).await?;
        Ok(Self { proved, db: Arc::new(db) })
    }

    /// The revision to read at: the one in the flag if the file can answer for it, else the newest.
    pub fn revision(&self, flag: Option<u64>) -> Result<u64, Failure> {
        self.proved.proof.contents.revision_to_read(flag).map_err(|error| Failure::new(Exit::Settings, error))
    }
}

impl Source {
    pub async fn find(input: Input, now: DateTime<Utc>) -> Result<Self, Failure> {
        match input {
            Input::Local(path) => Ok(Self::Local(path)),
            Input::Stored(selector, config) => {
                Ok(Self::Stored(Box::new(StoredSource::find(&selector, config, now).await?)))
            }
        }
    }

    /// Its name at the remote, or its path.
    pub fn label(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Stored(stored) => stored.backup.name.to_string(),
        }
    }

    /// Its size in bytes, if that is known before it is read.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Local(path) => path.metadata().ok().map(|metadata| metadata.len()),
            Self::Stored(stored) => stored.backup.bytes,
        }
    }

    /// Proves every page. A stored backup is first fetched into a workspace in `work_dir`.
    pub async fn prove(&self, work_dir: &Path) -> Result<ProvedFile, Failure> {
        let label = self.label();
        match self {
            Self::Local(path) => {
                let file = path.clone();
                let proof = blocking(move || prove_file(&file, &KUBE_SYSTEM_KEYS)).await?;
                Ok(ProvedFile { path: path.clone(), label, proof, _workspace: None })
            }
            Self::Stored(_) => {
                let workspace = Workspace::create(work_dir)?;
                let Snapshot { path, proof, .. } = self.receive(&workspace).await?;
                Ok(ProvedFile { path, label, proof, _workspace: Some(workspace) })
            }
        }
    }

    /// Proves its SHA-256 alone, in constant memory and without a disk.
    pub async fn prove_hash(&self) -> Result<FileHash, Failure> {
        match self {
            Self::Local(path) => {
                let path = path.clone();
                let prove = move || {
                    let (file, bytes) = open_local(&path)?;
                    prove_stream(&path, Metered::new("verify", file, bytes))
                };
                Ok(blocking(prove).await?)
            }
            Self::Stored(stored) => stored.prove_hash().await,
        }
    }

    /// Proves every page without a disk.
    pub async fn prove_in_place(&self) -> Result<Proof, Failure> {
        match self {
            Self::Local(path) => {
                let path = path.clone();
                Ok(blocking(move || prove_file(&path, &KUBE_SYSTEM_KEYS)).await?)
            }
            Self::Stored(stored) => stored.prove().await,
        }
    }

    /// Copies it into the workspace, and proves every page.
    pub async fn receive(&self, workspace: &Workspace) -> Result<Snapshot, Failure> {
        let part = workspace.part_file("backup", &KUBE_SYSTEM_KEYS)?;
        match self {
            Self::Local(path) => {
                let path = path.clone();
                Ok(blocking(move || copy(&path, part)).await?)
            }
            Self::Stored(stored) => stored.receive(part).await,
        }
    }
}

fn open_local(path: &Path) -> Result<(File, u64), snapshot::Error> {
    open_regular(path).map_err(|source| snapshot::Error::Io { doing: "open", path: path.to_owned(), source })
}

fn copy(path: &Path, mut part: PartFile) -> Result<Snapshot, snapshot::Error> {
    let (file, bytes) = open_local(path)?;
    part.expect_file(bytes)?;
    part.push_all(path, &mut Metered::new("copy", file, bytes))?;
    part.finish(ANY_REVISION).map_err(|e| e.renamed(&path.to_string_lossy()))
}

impl StoredSource {
    async fn find(selector: &Selector, config: StoreConfig, now: DateTime<Utc>) -> Result<Self, Failure> {
        let store = Store::open(config, Next::Look).await?;
        let entry = match (Inventory::read(&store).await, selector) {
            (Ok(inventory), _) => found(selector, &inventory, &store, now)?,
            // A full name needs no record, and this may be the day on which there is none.
            (Err(error), Selector::Named(text)) => {
                let listing = store.list().await?;
                if exact(text, listing.names()).is_none() {
                    return Err(error.into());
                }
                tracing::warn!("no record was read: {error}");
                let inventory = Inventory::without_records(&listing, store.config().naming.zone);
                found(selector, &inventory, &store, now)?
            }
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Self::of(&Arc::new(store), entry))
    }

    pub fn of(store: &Arc<Store>, entry: Entry) -> Self {
        let backup = StoredBackup { name: entry.name, bytes: entry.bytes };
        Self { store: Arc::clone(store), backup, known: entry.facts }
    }

    /// When it was taken.
    pub fn taken_at(&self) -> DateTime<Utc> {
        let zone = self.store.config().naming.zone;
        self.known.as_ref().map_or_else(|| self.backup.name.taken_at(zone), |facts| facts.taken_at)
    }

    async fn receive(&self, mut part: PartFile) -> Result<Snapshot, Failure> {
        if let Some(bytes) = self.backup.bytes {
            part.expect_file(bytes)?;
        }
        let label = self.backup.name.to_string();
        let take = move |stream: &mut BackupStream| {
            part.push_all(Path::new(&label), stream)?;
            part.finish(ANY_REVISION).map_err(|e| e.renamed(&label))
        };
        let snapshot = self.store.read(&self.backup, "fetch", take).await?;
        self.check_hash(&snapshot.proof.file)?;
        Ok(snapshot)
    }

    /// Proves every page while the bytes go by, without a disk.
    pub async fn prove(&self) -> Result<Proof, Failure> {
        let label = PathBuf::from(self.backup.name.to_string());
        let prover = Prover::new(&label, &KUBE_SYSTEM_KEYS);
        let read = async |take| self.store.read(&self.backup, "proof", take).await;
        let proof = prove_by(&self.backup.name.to_string(), prover, ANY_REVISION, read).await?;
        self.check_hash(&proof.file)?;
        Ok(proof)
    }

    async fn prove_hash(&self) -> Result<FileHash, Failure> {
        let label = PathBuf::from(self.backup.name.to_string());
        let take = move |stream: &mut BackupStream| prove_stream(&label, stream);
        let hash = self.store.read(&self.backup, "verify", take).await?;
        self.check_hash(&hash)?;
        Ok(hash)
    }

    fn check_hash(&self, hash: &FileHash) -> Result<(), Failure> {
        // A file with another hash may be a good snapshot by itself, but it is not the one that was stored.
        match self.known.as_ref().map(|facts| &facts.sha256) {
            Some(stored) if !stored.eq_ignore_ascii_case(&hash.sha256) => {
                let (name, found) = (&self.backup.name, &hash.sha256);
                let why = format!(
                    "{name} is not what was stored: its SHA-256 is {found}, the one recorded when it was stored is {stored}"
                );
                Err(Failure::message(Exit::Proof, why))
            }
            _ => Ok(()),
        }
    }
}

/// Takes all bytes of a backup once.
type Taking = Box<dyn FnOnce(&mut BackupStream) -> Result<Finished, snapshot::Error> + Send>;

/// Reads a stored backup as often as its proof needs it. `read` gives all its bytes once.
pub async fn prove_by(
    name: &str,
    mut prover: Prover,
    floor: u64,
    mut read: impl AsyncFnMut(Taking) -> Result<Finished, ReadError<snapshot::Error>>,
) -> Result<Proof, ReadError<snapshot::Error>> {
    let label = PathBuf::from(name);
    for _ in 0..MOST_READINGS {
        let label = label.clone();
        let take = move |stream: &mut BackupStream| {
            prover.push_all(&label, stream)?;
            prover.finish(floor)
        };
        match read(Box::new(take)).await? {
            Finished::Proved(proof) => return Ok(proof),
            Finished::More(more) => prover = more,
        }
        tracing::info!(name, "reading it once more, for what there was no memory for");
    }
    Err(ReadError::Reader(snapshot::Error::Unproved { path: label, readings: MOST_READINGS }))
}

fn found(selector: &Selector, inventory: &Inventory, store: &Store, now: DateTime<Utc>) -> Result<Entry, Failure> {
    let config = store.config();
    let (entry, passed_over) =
        select(selector, &inventory.catalog.entries, now, config.naming.zone).map_err(|error| {
            let backups = config.target.join(&config.naming.prefix.to_string());
            let looking = format!("looking for a backup at {backups}");
            Failure::new(Exit::Settings, anyhow::Error::new(error).context(looking))
        })?;
    for newer in passed_over {
        let class = described(newer, now);
        tracing::warn!(name = %newer.name, "a newer backup is {class}, and passed over; to use it, give its full name");
    }
    if !entry.is_current(now) {
        tracing::warn!(name = %entry.name, "this backup is {}", described(entry, now));
    }
    Ok(entry.clone())
}
