//! How the bytes of a backup are opened, compressed or not, and received into a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::backup::name::{BackupName, Compression};
use crate::compression::{Content, compression_of};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::logging::progress::Metered;
use crate::snapshot::{self, FileHash, Finished, PartFile, Proof, Prover, Snapshot, prove_file};
use crate::store::{BackupStream, ReadError, Store, StoredBackup};
use crate::system::fs::open_regular;

/// A backup may be of any age. Only a snapshot that is taken now has to reach a revision.
pub const ANY_REVISION: u64 = 0;
/// One reading is enough for nearly every backup, and one that was taken while etcd compacted takes up to four more. A file that
/// was made to need one for each level of its trees must not be read, and paid for, a hundred times.
const MOST_READINGS: usize = 8;

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
    compression: Option<Compression>,
    recorded: Option<u64>,
}

impl Opening {
    /// `recorded` is the size of the snapshot in its record.
    pub fn new(name: &BackupName, recorded: Option<u64>) -> Self {
        Self { label: name.to_string().into(), compression: name.compression(), recorded }
    }

    pub fn open<R: Read>(&self, stream: R) -> Result<Content<R>, snapshot::Error> {
        let failed = snapshot::Error::reading(&self.label);
        let content = Content::new(stream, self.compression).map_err(failed)?;
        match (content.announced(), self.recorded) {
            (Some(announced), Some(recorded)) if announced != recorded => {
                let why = format!("its frame announces {announced} bytes, and its record says {recorded}");
                Err(snapshot::Error::reading(&self.label)(io::Error::new(io::ErrorKind::InvalidData, why)))
            }
            _ => Ok(content),
        }
    }
}

/// A local file, which may be compressed.
pub struct LocalFile {
    pub content: Content<Metered<File>>,
    /// The size of the snapshot in bytes.
    pub announced: u64,
}

impl LocalFile {
    pub const fn is_compressed(&self) -> bool {
        self.content.announced().is_some()
    }
}

pub fn open_local(path: &Path, doing: &'static str) -> Result<LocalFile, snapshot::Error> {
    let failed = |source| snapshot::Error::Io { doing: "open", path: path.to_owned(), source };
    let (file, bytes) = open_regular(path).map_err(failed)?;
    let compression = compression_of(&file).map_err(snapshot::Error::reading(path))?;
    let content = Content::new(Metered::new(doing, file, bytes), compression);
    let content = content.map_err(snapshot::Error::reading(path))?;
    Ok(LocalFile { announced: content.announced().unwrap_or(bytes), content })
}

/// Proves every page where the file is.
pub fn prove_local(path: &Path) -> Result<Proof, snapshot::Error> {
    if open_local(path, "verify")?.is_compressed() {
        prove_unpacked(path, Prover::new(path, &KUBE_SYSTEM_KEYS), ANY_REVISION)
    } else {
        prove_file(path, &KUBE_SYSTEM_KEYS)
    }
}

/// Unpacks a compressed file as often as its proof needs it.
pub fn prove_unpacked(path: &Path, mut prover: Prover, floor: u64) -> Result<Proof, snapshot::Error> {
    loop {
        prover.push_all(path, open_local(path, "proof")?.content)?;
        match prover.finish(floor)? {
            Finished::Proved(proof) => return Ok(proof),
            Finished::More(more) => prover = more,
        }
    }
}

pub fn copy(path: &Path, mut part: PartFile) -> Result<Received, snapshot::Error> {
    let LocalFile { content, announced } = open_local(path, "copy")?;
    part.expect_file(announced)?;
    receive(path, content, part)
}

/// Reads all of the content, which errors call `label`, and proves every page.
pub fn receive<R: Read>(
    label: &Path,
    mut content: Content<R>,
    mut part: PartFile,
) -> Result<Received, snapshot::Error> {
    part.push_all(label, &mut content)?;
    let snapshot = part.finish(ANY_REVISION).map_err(|e| e.renamed(&label.to_string_lossy()))?;
    Ok(Received { snapshot, stored: content.stored() })
}

/// Reads a stored backup as often as its proof needs it. Returns what is stored, too, if it is compressed.
pub async fn prove_stored(
    store: &Store,
    backup: &StoredBackup,
    opening: &Opening,
    mut prover: Prover,
    floor: u64,
) -> Result<(Proof, Option<FileHash>), ReadError<snapshot::Error>> {
    for _ in 0..MOST_READINGS {
        let opening = opening.clone();
        let take = move |stream: &mut BackupStream| {
            let mut content = opening.open(stream)?;
            prover.push_all(&opening.label, &mut content)?;
            Ok::<_, snapshot::Error>((prover.finish(floor)?, content.stored()))
        };
        match store.read(backup, "proof", take).await? {
            (Finished::Proved(proof), stored) => return Ok((proof, stored)),
            (Finished::More(more), _) => prover = more,
        }
        tracing::info!(name = %backup.name, "reading it once more, for what there was no memory for");
    }
    Err(ReadError::Reader(snapshot::Error::Unproved { path: opening.label.clone(), readings: MOST_READINGS }))
}
