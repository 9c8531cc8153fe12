//! How the bytes of a backup are opened, compressed or not, and received into a file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::compression::{Known, Unpacked, compression_of};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::logging::progress::Metered;
use crate::snapshot::{self, FileHash, Finished, PartFile, Proof, Prover, Snapshot, prove_file};
use crate::store::{BackupStream, ReadError, StoredBackup};
use crate::system::fs::open_regular;

/// A backup may be of any age. Only a snapshot that is taken now has to reach a revision.
pub const ANY_REVISION: u64 = 0;
/// One reading is enough for nearly every backup, and one that was taken while etcd compacted takes up to four more. A file that
/// was made to need one for each level of its trees must not be read, and paid for, a hundred times.
const MOST_READINGS: usize = 8;
const FETCH: &str = "fetch it and verify the file";

/// A proved file in a workspace.
pub struct Received {
    pub snapshot: Snapshot,
    /// What is stored, if it is compressed.
    pub stored: Option<FileHash>,
}

/// How the bytes of a stored backup are read.
#[derive(Clone)]
pub struct Opening {
    pub label: PathBuf,
    known: Known,
}

impl Opening {
    /// `recorded` is the size of the snapshot in its record.
    pub fn new(backup: &StoredBackup, recorded: Option<u64>) -> Self {
        let StoredBackup { name, bytes } = backup;
        Self {
            label: name.to_string().into(),
            known: Known { compression: name.compression(), stored: *bytes, recorded },
        }
    }

    pub fn open<R: Read>(&self, stream: R) -> Result<Unpacked<R>, snapshot::Error> {
        Unpacked::new(stream, self.known).map_err(snapshot::Error::reading(&self.label))
    }
}

/// A local file, which may be compressed.
pub struct LocalFile {
    pub content: Unpacked<Metered<File>>,
    /// The size of the snapshot in bytes, if the file tells.
    pub announced: Option<u64>,
}

pub fn open_local(path: &Path, doing: &'static str) -> Result<LocalFile, snapshot::Error> {
    let failed = |source| snapshot::Error::Io { doing: "open", path: path.to_owned(), source };
    let (file, bytes) = open_regular(path).map_err(failed)?;
    let compression = compression_of(&file).map_err(snapshot::Error::reading(path))?;
    let known = Known { compression, stored: Some(bytes), recorded: None };
    let content = Unpacked::new(Metered::new(doing, file, bytes), known).map_err(snapshot::Error::reading(path))?;
    let announced = if content.is_compressed() { content.announced() } else { Some(bytes) };
    Ok(LocalFile { content, announced })
}

/// Proves every page where the file is.
pub fn prove_local(path: &Path) -> Result<Proof, snapshot::Error> {
    if open_local(path, "verify")?.content.is_compressed() {
        prove_unpacked(path, Prover::new(path, &KUBE_SYSTEM_KEYS), ANY_REVISION, FETCH)
    } else {
        prove_file(path, &KUBE_SYSTEM_KEYS)
    }
}

/// Unpacks a compressed file as often as its proof needs it. `advice` says what to do if that is too often.
pub fn prove_unpacked(
    path: &Path,
    mut prover: Prover,
    floor: u64,
    advice: &'static str,
) -> Result<Proof, snapshot::Error> {
    for _ in 0..MOST_READINGS {
        prover.push_all(path, open_local(path, "proof")?.content)?;
        match prover.finish(floor)? {
            Finished::Proved(proof) => return Ok(proof),
            Finished::More(more) => prover = more,
        }
    }
    Err(snapshot::Error::Unproved { path: path.to_owned(), readings: MOST_READINGS, advice })
}

pub fn copy(path: &Path, mut part: PartFile) -> Result<Received, snapshot::Error> {
    let LocalFile { content, announced } = open_local(path, "copy")?;
    if let Some(bytes) = announced {
        part.expect_file(bytes)?;
    }
    receive(path, content, part)
}

/// Reads all of the content, which errors call `label`, and proves every page.
pub fn receive<R: Read>(
    label: &Path,
    mut content: Unpacked<R>,
    mut part: PartFile,
) -> Result<Received, snapshot::Error> {
    part.push_all(label, &mut content)?;
    let snapshot = part.finish(ANY_REVISION).map_err(|e| e.renamed(&label.to_string_lossy()))?;
    Ok(Received { snapshot, stored: content.stored() })
}

/// What comes of one reading, and what is stored if it is compressed.
type Taken = (Finished, Option<FileHash>);
/// Takes all bytes of a backup once.
type Taking = Box<dyn FnOnce(&mut BackupStream) -> Result<Taken, snapshot::Error> + Send>;

/// Reads a stored backup as often as its proof needs it. `read` gives all its bytes once. Returns what is stored, too, if it is
/// compressed.
pub async fn prove_stored(
    opening: &Opening,
    mut prover: Prover,
    floor: u64,
    mut read: impl AsyncFnMut(Taking) -> Result<Taken, ReadError<snapshot::Error>>,
) -> Result<(Proof, Option<FileHash>), ReadError<snapshot::Error>> {
    for _ in 0..MOST_READINGS {
        let again = opening.clone();
        let take = move |stream: &mut BackupStream| {
            let mut content = again.open(stream)?;
            prover.push_all(&again.label, &mut content)?;
            Ok((prover.finish(floor)?, content.stored()))
        };
        match read(Box::new(take)).await? {
            (Finished::Proved(proof), stored) => return Ok((proof, stored)),
            (Finished::More(more), _) => prover = more,
        }
        tracing::info!(name = %opening.label.display(), "reading it once more, for what there was no memory for");
    }
    let path = opening.label.clone();
    Err(ReadError::Reader(snapshot::Error::Unproved { path, readings: MOST_READINGS, advice: FETCH }))
}
