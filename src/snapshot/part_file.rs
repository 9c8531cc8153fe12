//! A snapshot while it is received: a part file that is proved and then renamed, or removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::digest::{Digest, DigestKind, Digested};
use super::error::Error;
use super::pass::{Finished, Prover};
use super::proof::Proof;
use super::trailer::with_trailer;
use crate::system::fs::{create_new, free_bytes, read_chunks, with_reserve};

/// A received and proved file. It is removed with the [`Workspace`](super::Workspace) it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    pub proof: Proof,
    /// Of the same bytes, if one was wanted.
    pub digest: Option<Digested>,
}

/// Which digest is wanted of a file of so many bytes.
pub type WantedDigest = Box<dyn Fn(u64) -> Option<DigestKind> + Send>;

/// Checks that the disk of `dir` has room for so many bytes.
pub fn check_room(dir: &Path, bytes: u64) -> Result<(), Error> {
    let (needed, free) = (with_reserve(bytes), free(dir)?);
    if free < needed {
        return Err(Error::NoSpace { path: dir.to_owned(), needed, free });
    }
    Ok(())
}

/// Why `path`, a file in `dir`, was not written, with so many bytes still to come.
pub fn write_error(dir: &Path, path: &Path, needed: u64, error: io::Error) -> Error {
    // A disk that others filled up needs room, one that fails needs repair: the user has to know which.
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match free(dir) {
        Ok(free) if full => Error::NoSpace { path: dir.to_owned(), needed, free },
        _ => Error::io("write", path)(error),
    }
}

fn free(dir: &Path) -> Result<u64, Error> {
    let free = File::open(dir).and_then(|dir| free_bytes(&dir));
    free.map_err(Error::io("determine the free space of", dir))
}

/// A file that is being received, of mode 0600. It is removed when it is dropped before [`PartFile::finish`].
pub struct PartFile {
    dir: PathBuf,
    path: PathBuf,
    name: String,
    file: File,
    prover: Prover,
    wanted: Option<WantedDigest>,
    digest: Option<Digest>,
    written: u64,
    /// Bytes of the whole file, trailer included, once they are announced.
    expected: Option<u64>,
    /// Bytes that were free on its disk when it was created.
    free: u64,
}

impl PartFile {
    pub(super) fn create(dir: &Path, name: &str, keys: &'static [&'static [u8]]) -> Result<Self, Error> {
        let path = dir.join(format!("{name}.part"));
        let file = create_new(&path).map_err(Error::io("create", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            prover: Prover::new(&path, keys),
            path,
            name: name.to_owned(),
            file,
            wanted: None,
            digest: None,
            written: 0,
            expected: None,
            free: free(dir)?,
        })
    }

    /// Has a digest computed, too, once the size is announced.
    pub fn want_digest(&mut self, wanted: WantedDigest) {
        self.wanted = Some(wanted);
    }

    /// Announces the size of the database. etcd counts only that in its messages; the trailer comes on top.
    pub fn expect_database(&mut self, db_bytes: u64) -> Result<(), Error> {
        self.expect_file(with_trailer(db_bytes))
    }

    /// Announces the size of the whole file, and checks that the disk has room for it.
    pub fn expect_file(&mut self, bytes: u64) -> Result<(), Error> {
        check_room(&self.dir, bytes)?;
        self.expected = Some(bytes);
        self.digest = self.wanted.as_ref().and_then(|wanted| wanted(bytes)).map(Digest::new);
        Ok(())
    }

    /// Takes the next bytes, split anywhere.
    pub fn push(&mut self, blob: &[u8]) -> Result<(), Error> {
        let after = self.written.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        // Checked before writing: a sender that never ends must not fill the disk.
        if let Some(expected) = self.expected.filter(|expected| after > *expected) {
            return Err(self.damaged(format!("more bytes arrived than the {expected} that were announced")));
        }
        let (needed, free) = (with_reserve(after), self.free);
        if self.expected.is_none() && needed > free {
            return Err(Error::NoSpace { path: self.dir.clone(), needed, free });
        }
        self.file.write_all(blob).map_err(|error| self.write_error(after, error))?;
        self.prover.push(blob);
        if let Some(digest) = &mut self.digest {
            digest.push(blob);
        }
        self.written = after;
        Ok(())
    }

    /// Takes all bytes of a stream, which errors call `name`.
    pub fn push_all(&mut self, name: &Path, stream: &mut impl io::Read) -> Result<(), Error> {
        read_chunks(stream, Error::reading(name), |chunk| self.push(chunk))
    }

    /// Proves what was received, and gives the file its own name.
    ///
    /// `floor` is a revision that the cluster had reached before the snapshot began.
    pub fn finish(mut self, floor: u64) -> Result<Snapshot, Error> {
        if let Some(expected) = self.expected.filter(|expected| *expected != self.written) {
            let written = self.written;
            return Err(self.damaged(format!("{written} bytes arrived, {expected} were announced")));
        }
        let proof = match self.take_prover().finish(floor)? {
            Finished::Proved(proof) => proof,
            Finished::More(prover) => {
                let file = self.file.try_clone().map_err(Error::io("read", &self.path))?;
                prover.walk(file, floor)?
            }
        };
        let path = self.publish()?;
        let digest = self.digest.take().map(Digest::digested);
        Ok(Snapshot { path, proof, digest })
    }

    fn take_prover(&mut self) -> Prover {
        std::mem::replace(&mut self.prover, Prover::new(&self.path, &[]))
    }

    fn publish(&self) -> Result<PathBuf, Error> {
        // Not made safe against a power cut: then the workspace is lost, too. Whoever keeps the file does that. What a disk lost
        // that fails later is noticed at the latest when the upload is compared with what was proved.
        let path = self.dir.join(&self.name);
        fs::rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        Ok(path)
    }

    fn write_error(&self, reached: u64, error: io::Error) -> Error {
        let needed = self.expected.unwrap_or(reached).saturating_sub(self.written);
        write_error(&self.dir, &self.path, needed, error)
    }

    fn damaged(&self, what: String) -> Error {
        Error::bad_file(&self.path, what)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After `finish` the name is gone already. A file that cannot be removed goes with the workspace.
        let _ = fs::remove_file(&self.path);
    }
}
