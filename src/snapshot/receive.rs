//! A snapshot on its way in: a part file that becomes a file of its own name when it is proved, or is removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::proof::facts::read_facts;
use super::proof::{Proof, TRAILER_BYTES, TrailerHasher, pages_of};
use super::{Damage, Error, Snapshot};
use crate::system::fs::{create_new, free_bytes, read_chunks, with_reserve};

/// A file that is being received, of mode 0600. Dropped before it is finished, it is removed, as it is with its
/// workspace.
pub struct Part {
    dir: PathBuf,
    path: PathBuf,
    name: String,
    file: File,
    hasher: TrailerHasher,
    written: u64,
    /// Bytes of the whole file, trailer included, once they are announced.
    expected: Option<u64>,
}

impl Part {
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(format!("{name}.part"));
        let file = create_new(&path).map_err(Error::io("create", &path))?;
        Ok(Self {
            dir: dir.to_owned(),
            path,
            name: name.to_owned(),
            file,
            hasher: TrailerHasher::default(),
            written: 0,
            expected: None,
        })
    }

    /// Says how many bytes of pages will come (the first message's blob and what it calls remaining), and
    /// checks that the disk has room for them and a tenth more.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when it has not.
    pub fn expect(&mut self, db_bytes: u64) -> Result<(), Error> {
        let total = db_bytes.saturating_add(TRAILER_BYTES);
        let needed = with_reserve(total);
        let free = self.free()?;
        if free < needed {
            return Err(Error::NoSpace { path: self.dir.clone(), needed, free });
        }
        self.expected = Some(total);
        Ok(())
    }

    /// Takes the next bytes, split anywhere.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when the disk is full, [`Error::Io`] when it fails otherwise, [`Error::Damaged`]
    /// when there are more bytes than announced.
    pub fn push(&mut self, blob: &[u8]) -> Result<(), Error> {
        let after = self.written.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        if let Some(expected) = self.expected.filter(|expected| after > *expected) {
            return Err(self.damaged(format!("more than the {expected} bytes that were announced arrive")));
        }
        self.file.write_all(blob).map_err(|error| self.write_error(after, error))?;
        self.hasher.push(blob);
        self.written = after;
        Ok(())
    }

    /// Takes a stream to its end.
    ///
    /// # Errors
    /// As [`Part::push`], and [`Error::Io`] when the stream fails.
    pub fn take(&mut self, stream: &mut impl io::Read) -> Result<(), Error> {
        let path = self.path.clone();
        read_chunks(stream, Error::io("read", &path), |chunk| self.push(chunk))
    }

    /// Bytes received so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Proves what was received, makes it safe against a power cut, and gives the file its own name.
    ///
    /// `floor` is a revision that the cluster had reached before the snapshot began.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the proof fails, [`Error::Io`] or [`Error::NoSpace`] when the disk does. The
    /// part file is removed then.
    pub fn finish(mut self, floor: u64) -> Result<Snapshot, Error> {
        if let Some(expected) = self.expected.filter(|expected| *expected != self.written) {
            let written = self.written;
            return Err(self.damaged(format!("{written} bytes arrived, {expected} were announced")));
        }
        let digest = std::mem::take(&mut self.hasher).finish().map_err(Error::damaged(&self.path))?;
        let file = self.file.try_clone().map_err(Error::io("read", &self.path))?;
        let facts = read_facts(&pages_of(file, &self.path, &digest)?)?;
        if facts.revision < floor {
            let revision = facts.revision;
            return Err(self.damaged(format!("it is at revision {revision}, the cluster was already at {floor}")));
        }
        self.file.sync_all().map_err(|error| self.write_error(self.written, error))?;
        let path = self.dir.join(&self.name);
        fs::rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        let dir = File::open(&self.dir).map_err(Error::io("open", &self.dir))?;
        dir.sync_all().map_err(Error::io("write", &self.dir))?;
        Ok(Snapshot { path, proof: Proof { digest, facts } })
    }

    fn free(&self) -> Result<u64, Error> {
        free_bytes(&self.file).map_err(Error::io("ask for the free space of", &self.dir))
    }

    /// A disk that is full halfway is told apart: it wants room, not repair.
    fn write_error(&self, reached: u64, error: io::Error) -> Error {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        match self.free() {
            Ok(free) if full => {
                let needed = self.expected.unwrap_or(reached).saturating_sub(self.written);
                Error::NoSpace { path: self.dir.clone(), needed, free }
            }
            _ => Error::io("write", &self.path)(error),
        }
    }

    fn damaged(&self, what: String) -> Error {
        Error::damaged(&self.path)(Damage::file(what))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `finish` the name is gone already. A file that stays goes with the workspace.
        let _ = fs::remove_file(&self.path);
    }
}
