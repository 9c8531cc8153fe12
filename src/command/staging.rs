//! The snapshot on its way into the workspace, compressed as it comes if that is wanted.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::opening::{ANY_REVISION, prove_unpacked};
use crate::backup::name::Compression;
use crate::backup::record::Compressed;
use crate::compression::{Compressor, Known, Unpacked};
use crate::etcd::Sink;
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::snapshot::{
    self, DigestKind, Digested, Digesting, FileHash, Finished, PartFile, Proof, Prover, Snapshot, WantedDigest,
    Workspace, check_room, prove_stream, with_trailer, write_error,
};
use crate::system::fs::{create_new, open_regular};

/// For a snapshot that is not proved while it is compressed. It is gone with its workspace.
const PLAIN: &str = "take the snapshot with `compression` none";

/// What takes the bytes of a snapshot.
pub enum StagingFile {
    Plain(Box<PartFile>),
    Compressed(Box<CompressedFile>),
}

/// A proved snapshot in a file.
pub struct Staged {
    pub path: PathBuf,
    pub proof: Proof,
    /// What the file is, if it is compressed.
    pub compressed: Option<Compressed>,
    /// Of the file, if one was wanted.
    pub digest: Option<Digested>,
}

impl StagingFile {
    /// `level` is that of zstd, if it is compressed.
    pub fn new(
        workspace: &Workspace,
        name: &str,
        level: Option<u8>,
        wanted: Option<WantedDigest>,
    ) -> Result<Self, snapshot::Error> {
        let Some(level) = level else {
            let mut part = workspace.part_file(name, &KUBE_SYSTEM_KEYS)?;
            if let Some(wanted) = wanted {
                part.want_digest(wanted);
            }
            return Ok(Self::Plain(Box::new(part)));
        };
        let path = workspace.path().join(format!("{name}.zst"));
        let file = create_new(&path).map_err(failed("create", &path))?;
        let prover = Prover::new(&path, &KUBE_SYSTEM_KEYS);
        let (compressing, expected, taken) = (Compressing::Not(file, level), 0, 0);
        Ok(Self::Compressed(Box::new(CompressedFile { path, prover, wanted, compressing, expected, taken })))
    }
}

impl Sink for StagingFile {
    type Proved = Staged;

    fn expect_database(&mut self, db_bytes: u64) -> Result<(), snapshot::Error> {
        match self {
            Self::Plain(part) => part.expect_database(db_bytes),
            Self::Compressed(file) => file.expect_file(with_trailer(db_bytes)),
        }
    }

    fn push(&mut self, blob: &[u8]) -> Result<(), snapshot::Error> {
        match self {
            Self::Plain(part) => part.push(blob),
            Self::Compressed(file) => file.push(blob),
        }
    }

    fn finish(self, floor: u64) -> Result<Staged, snapshot::Error> {
        match self {
            Self::Plain(part) => {
                let Snapshot { path, proof, digest } = part.finish(floor)?;
                Ok(Staged { path, proof, compressed: None, digest })
            }
            Self::Compressed(file) => file.finish(floor),
        }
    }
}

/// Proves the snapshot while it compresses it. The file is removed if this value is dropped before [`Self::finish`].
pub struct CompressedFile {
    path: PathBuf,
    prover: Prover,
    wanted: Option<WantedDigest>,
    compressing: Compressing,
    /// Bytes of the whole snapshot, trailer included.
    expected: u64,
    taken: u64,
}

enum Compressing {
    /// Before the size is announced: into this file, with this level.
    Not(File, u8),
    Begun(Compressor),
    Ended,
}

impl CompressedFile {
    fn expect_file(&mut self, bytes: u64) -> Result<(), snapshot::Error> {
        if let Compressing::Not(file, level) = mem::replace(&mut self.compressing, Compressing::Ended) {
            // How much of it is left when it is compressed is not known before.
            check_room(self.dir(), bytes)?;
            let compressor = Compressor::start(file, level, bytes).map_err(failed("write", &self.path))?;
            self.compressing = Compressing::Begun(compressor);
        }
        self.expected = bytes;
        Ok(())
    }

    fn push(&mut self, blob: &[u8]) -> Result<(), snapshot::Error> {
        self.taken = self.taken.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        // Checked before writing: a sender that never ends must not fill the disk.
        if self.taken > self.expected {
            return Err(self.bad(format!("more bytes arrived than the {} that were announced", self.expected)));
        }
        self.prover.push(blob);
        match &mut self.compressing {
            Compressing::Begun(compressor) => compressor.push(blob).map_err(|error| self.write_error(error)),
            Compressing::Not(..) | Compressing::Ended => Ok(()),
        }
    }

    /// Ends the frame and unpacks it again: it counts only if what comes out is what was proved.
    fn finish(mut self, floor: u64) -> Result<Staged, snapshot::Error> {
        if self.taken != self.expected {
            return Err(self.bad(format!("{} bytes arrived, {} were announced", self.taken, self.expected)));
        }
        let Compressing::Begun(compressor) = mem::replace(&mut self.compressing, Compressing::Ended) else {
            return Err(self.bad("it is empty"));
        };
        let finished = mem::replace(&mut self.prover, Prover::new(&self.path, &[])).finish(floor)?;
        let FileHash { bytes, sha256 } = compressor.finish().map_err(|error| self.write_error(error))?;
        let compressed = Compressed { bytes, sha256, compression: Compression::Zstd };
        let hash = match &finished {
            Finished::Proved(proof) => Some(&proof.file),
            Finished::More(prover) => prover.before(),
        };
        let hash = hash.cloned().ok_or_else(|| self.bad("it is empty"))?;
        let wanted = |bytes| self.wanted.as_ref().and_then(|wanted| wanted(bytes));
        // Its pages are proved, and bytes with the same SHA-256 are the same pages.
        let digest = compare(&self.path, &hash, &compressed, wanted, |content| prove_stream(&self.path, content))?;
        let proof = match finished {
            Finished::Proved(proof) => proof,
            Finished::More(prover) => prove_unpacked(&self.path, prover, floor, PLAIN)?,
        };
        tracing::info!(bytes = compressed.bytes, of = hash.bytes, "compressed, and unpacked again to the same bytes");
        Ok(Staged { path: mem::take(&mut self.path), proof, compressed: Some(compressed), digest })
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn write_error(&self, error: io::Error) -> snapshot::Error {
        // How much of the rest is left when it is compressed is not known.
        write_error(self.dir(), &self.path, self.expected.saturating_sub(self.taken), error)
    }

    fn bad(&self, what: impl Into<String>) -> snapshot::Error {
        snapshot::Error::bad_file(&self.path, what)
    }
}

impl Drop for CompressedFile {
    fn drop(&mut self) {
        // Before the file is removed: its thread has ended then, and nothing is written any more.
        self.compressing = Compressing::Ended;
        // What cannot be removed goes with the workspace.
        let _ = fs::remove_file(&self.path);
    }
}

/// Proves every page of a compressed file that another process has left, and what else [`compare`] does.
pub fn prove_handed_on(
    path: &Path,
    snapshot: &FileHash,
    compressed: &Compressed,
    wanted: impl Fn(u64) -> Option<DigestKind>,
) -> Result<Option<Digested>, snapshot::Error> {
    let mut prover = Prover::new(path, &[]);
    compare(path, snapshot, compressed, wanted, |content| {
        prover.push_all(path, content)?;
        let proof = match prover.finish(ANY_REVISION)? {
            Finished::Proved(proof) => proof,
            Finished::More(prover) => prove_unpacked(path, prover, ANY_REVISION, PLAIN)?,
        };
        Ok(proof.file)
    })
}

/// Unpacks a compressed file for `prove`, and compares both its bytes and those that come out. `wanted` says which digest is
/// wanted of a file of so many bytes.
fn compare(
    path: &Path,
    snapshot: &FileHash,
    compressed: &Compressed,
    wanted: impl Fn(u64) -> Option<DigestKind>,
    prove: impl FnOnce(&mut Unpacked<&mut Digesting<File>>) -> Result<FileHash, snapshot::Error>,
) -> Result<Option<Digested>, snapshot::Error> {
    let (file, bytes) = open_regular(path).map_err(failed("open", path))?;
    let known =
        Known { compression: Some(compressed.compression), stored: Some(bytes), recorded: Some(snapshot.bytes) };
    let mut digesting = Digesting::new(file, wanted(compressed.bytes));
    let mut content = Unpacked::new(&mut digesting, known).map_err(snapshot::Error::reading(path))?;
    let found = prove(&mut content)?;
    let is_stored = |file: FileHash| (file.bytes, &file.sha256) == (compressed.bytes, &compressed.sha256);
    if found == *snapshot && content.stored().is_some_and(is_stored) {
        return Ok(digesting.digested());
    }
    Err(snapshot::Error::bad_file(path, "it is not the compressed file of its snapshot"))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> snapshot::Error {
    move |source| snapshot::Error::Io { doing, path: path.to_owned(), source }
}
