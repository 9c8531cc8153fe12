//! NAME becomes a proved file: a stored backup that is fetched into a workspace, or a file that is here already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::opening::{
    ANY_REVISION, LocalFile, Opening, Received, copy, open_local, prove_local, prove_stored, receive,
};
use crate::backup::catalog::{Class, Entry};
use crate::backup::record::{Compressed, Facts};
use crate::backup::select::{Selector, described, exact, select};
use crate::config::{Input, ReadConfig, StoreConfig};
use crate::exit::{Exit, Failure};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::snapshot::{self, Db, FileHash, PartFile, Proof, Prover, Snapshot, Workspace, prove_file, prove_stream};
use crate::store::{BackupStream, Next, Store, StoredBackup};
use crate::system::blocking::blocking;

/// A backup that was found, but not read yet.
pub enum Source {
    Local(PathBuf),
    Stored(Box<StoredSource>),
}

pub struct StoredSource {
    pub store: Arc<Store>,
    pub backup: StoredBackup,
    /// What its record says, if it has one that can be read.
    pub known: Option<Facts>,
    /// What its record says of the compressed file.
    pub compressed: Option<Compressed>,
}

/// A local file of which every page is proved. A fetched one is removed when this value is dropped.
pub struct ProvedFile {
    pub path: PathBuf,
    /// Its name at the remote, or its path.
    pub label: String,
    pub proof: Proof,
    /// What is stored, if it is compressed.
    pub stored: Option<FileHash>,
    _workspace: Option<Workspace>,
}

impl ProvedFile {
    pub const fn is_compressed(&self) -> bool {
        self.stored.is_some()
    }

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

    /// The size of the snapshot in bytes, if that is known before it is read.
    pub async fn bytes(&self) -> Result<Option<u64>, Failure> {
        match self {
            Self::Local(path) => Ok(local(path, |local| local.announced).await?),
            Self::Stored(stored) => Ok(stored.bytes()),
        }
    }

    /// Whether it is brought into a workspace before it is read: all but a local file that is not compressed.
    pub async fn is_staged(&self) -> Result<bool, Failure> {
        match self {
            Self::Local(path) => Ok(local(path, |local| local.content.is_compressed()).await?),
            Self::Stored(_) => Ok(true),
        }
    }

    /// Proves every page. What is not a local file as etcd gave it is first brought into a workspace in `work_dir`.
    pub async fn prove(&self, work_dir: &Path) -> Result<ProvedFile, Failure> {
        let label = self.label();
        if let Self::Local(path) = self
            && !self.is_staged().await?
        {
            let file = path.clone();
            let proof = blocking(move || prove_file(&file, &KUBE_SYSTEM_KEYS)).await?;
            return Ok(ProvedFile { path: path.clone(), label, proof, stored: None, _workspace: None });
        }
        let workspace = Workspace::create(work_dir)?;
        let Received { snapshot: Snapshot { path, proof, .. }, stored } = self.receive(&workspace).await?;
        Ok(ProvedFile { path, label, proof, stored, _workspace: Some(workspace) })
    }

    /// Proves its SHA-256 alone, in constant memory and without a disk.
    pub async fn prove_hash(&self) -> Result<FileHash, Failure> {
        match self {
            Self::Local(path) => {
                let path = path.clone();
                let prove = move || prove_stream(&path, open_local(&path, "verify")?.content);
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
                Ok(blocking(move || prove_local(&path)).await?)
            }
            Self::Stored(stored) => stored.prove().await,
        }
    }

    /// Copies it into the workspace, and proves every page.
    pub async fn receive(&self, workspace: &Workspace) -> Result<Received, Failure> {
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

/// What a local file tells before it is read.
async fn local<T: Send + 'static>(path: &Path, tell: fn(&LocalFile) -> T) -> Result<T, snapshot::Error> {
    let path = path.to_owned();
    blocking(move || open_local(&path, "open").map(|local| tell(&local))).await
}

impl StoredSource {
    async fn find(selector: &Selector, config: StoreConfig, now: DateTime<Utc>) -> Result<Self, Failure> {
        let store = Store::open(config, Next::Look).await?;
        let (inventory, has_records) = match (Inventory::read(&store).await, selector) {
            (Ok(inventory), _) => (inventory, true),
            // A full name needs no record, and this may be the day on which there is none.
            (Err(error), Selector::Named(text)) => {
                let listing = store.list().await?;
                if exact(text, listing.names()).is_none() {
                    return Err(error.into());
                }
                tracing::warn!("no record was read: {error}");
                (Inventory::without_records(&listing, store.config().naming.zone), false)
            }
            (Err(error), _) => return Err(error.into()),
        };
        let entry = found(selector, &inventory, &store, now)?;
        // Where no record was read, none of a compressed backup is known, and that says nothing of it.
        if !entry.is_current(now) && (has_records || entry.class != Class::Foreign) {
            tracing::warn!(name = %entry.name, "this backup is {}", described(&entry, now));
        }
        Ok(Self::of(&Arc::new(store), entry))
    }

    pub fn of(store: &Arc<Store>, entry: Entry) -> Self {
        let backup = StoredBackup { name: entry.name, bytes: entry.bytes };
        let known = entry.facts.map(|facts| *facts);
        Self { store: Arc::clone(store), backup, known, compressed: entry.compressed }
    }

    /// The size of the snapshot in bytes. Of one that is compressed, only its record tells before it is read.
    fn bytes(&self) -> Option<u64> {
        match self.backup.name.compression() {
            None => self.backup.bytes,
            Some(_) => self.known.as_ref().map(|facts| facts.bytes),
        }
    }

    /// When it was taken.
    pub fn taken_at(&self) -> DateTime<Utc> {
        let zone = self.store.config().naming.zone;
        self.known.as_ref().map_or_else(|| self.backup.name.taken_at(zone), |facts| facts.taken_at)
    }

    async fn receive(&self, mut part: PartFile) -> Result<Received, Failure> {
        let expected = self.bytes();
        if let Some(bytes) = expected {
            part.expect_file(bytes)?;
        }
        let opening = self.opening();
        let take = move |stream: &mut BackupStream| {
            let content = opening.open(stream)?;
            if let (None, Some(bytes)) = (expected, content.announced()) {
                part.expect_file(bytes)?;
            }
            receive(&opening.label, content, part)
        };
        let received = self.store.read(&self.backup, "fetch", take).await?;
        self.check_hash(&received.snapshot.proof.file)?;
        // The snapshot is the one that was stored, and that is what whoever reads it needs. `verify` refuses it.
        if let Some(Err(failure)) = received.stored.as_ref().map(|found| self.check_stored(found)) {
            tracing::warn!("{failure}");
        }
        Ok(received)
    }

    /// Proves every page while the bytes go by, without a disk.
    pub async fn prove(&self) -> Result<Proof, Failure> {
        let opening = self.opening();
        let prover = Prover::new(&opening.label, &KUBE_SYSTEM_KEYS);
        let read = async |take| self.store.read(&self.backup, "proof", take).await;
        let (proof, stored) = prove_stored(&opening, prover, ANY_REVISION, read).await?;
        self.check_hash(&proof.file)?;
        stored.as_ref().map_or(Ok(()), |found| self.check_stored(found))?;
        Ok(proof)
    }

    async fn prove_hash(&self) -> Result<FileHash, Failure> {
        let opening = self.opening();
        let take = move |stream: &mut BackupStream| {
            let mut content = opening.open(stream)?;
            let hash = prove_stream(&opening.label, &mut content)?;
            Ok::<_, snapshot::Error>((hash, content.stored()))
        };
        let (hash, stored) = self.store.read(&self.backup, "verify", take).await?;
        self.check_hash(&hash)?;
        stored.map_or(Ok(()), |found| self.check_stored(&found))?;
        Ok(hash)
    }

    fn opening(&self) -> Opening {
        Opening::new(&self.backup, self.known.as_ref().map(|facts| facts.bytes))
    }

    fn check_stored(&self, found: &FileHash) -> Result<(), Failure> {
        let Some(Compressed { bytes, sha256, .. }) = &self.compressed else { return Ok(()) };
        if *bytes == found.bytes && sha256.eq_ignore_ascii_case(&found.sha256) {
            return Ok(());
        }
        let name = &self.backup.name;
        let why = format!(
            "{name} is not the file that was stored, although it unpacks: it has {} bytes and the SHA-256 {}, recorded are {bytes} and {sha256}",
            found.bytes, found.sha256
        );
        Err(Failure::message(Exit::Proof, why))
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
    Ok(entry.clone())
}
