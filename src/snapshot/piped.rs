//! A snapshot on its way to where it is stored: what passes is proved, and the last bytes are held back until all of it has
//! proved good.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::digest::{Digest, DigestKind, Digested};
use super::error::Error;
use super::pass::{Finished, Prover};
use super::trailer::FileHash;

/// As many as the trailer has. Whoever gets the snapshot knows how many bytes there are to come, and so does nothing with it
/// before it has these.
const HELD_BACK: usize = 32;

pub struct Piped<W> {
    name: PathBuf,
    out: W,
    prover: Prover,
    digest: Option<Digest>,
    /// Bytes of the whole file, trailer included.
    expected: u64,
    taken: u64,
    held_back: Vec<u8>,
}

/// A snapshot that has proved good, as far as one pass can tell, and has passed but for its last bytes.
pub struct Passed<W> {
    /// By its trailer.
    pub file: FileHash,
    pub finished: Finished,
    /// Of the kind that was asked for.
    pub digest: Option<Digested>,
    pub out: W,
    /// What `out` is still to be given. It is not given here: the proof takes its time, and who asked for it may have given up
    /// by now.
    pub last: Vec<u8>,
}

impl<W: Write> Piped<W> {
    /// `bytes` are those of the whole file, trailer included. Errors call it `name`, as `prover` does.
    pub fn new(name: &Path, out: W, bytes: u64, prover: Prover, digest: Option<DigestKind>) -> Self {
        let digest = digest.map(Digest::new);
        Self { name: name.to_owned(), out, prover, digest, expected: bytes, taken: 0, held_back: Vec::new() }
    }

    /// Takes the next bytes, split anywhere. An [`Error::Io`] is one of the writer.
    pub fn push(&mut self, blob: &[u8]) -> Result<(), Error> {
        self.taken = self.taken.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        if self.taken > self.expected {
            return Err(self.damaged(format!("more bytes arrived than the {} that were announced", self.expected)));
        }
        self.prover.push(blob);
        if let Some(digest) = &mut self.digest {
            digest.push(blob);
        }
        let (head, tail) = blob.split_at(blob.len().saturating_sub(HELD_BACK));
        let excess = (self.held_back.len() + tail.len()).saturating_sub(HELD_BACK);
        let passing: Vec<u8> = self.held_back.drain(..excess).collect();
        self.held_back.extend_from_slice(tail);
        self.pass(&passing)?;
        self.pass(head)
    }

    /// Proves what was taken. `floor` is a revision that the cluster had reached before.
    pub fn finish(self, floor: u64) -> Result<Passed<W>, Error> {
        if self.taken != self.expected {
            return Err(self.damaged(format!("{} bytes arrived, {} were announced", self.taken, self.expected)));
        }
        let Self { name, out, prover, digest, held_back: last, .. } = self;
        let finished = prover.finish(floor)?;
        let file = match &finished {
            Finished::Proved(proof) => Some(&proof.file),
            Finished::More(prover) => prover.before(),
        };
        let file = file.cloned().ok_or_else(|| Error::bad_file(&name, "it is empty"))?;
        Ok(Passed { file, finished, digest: digest.map(Digest::digested), out, last })
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::io("send", &self.name))
    }

    fn damaged(&self, what: String) -> Error {
        Error::bad_file(&self.name, what)
    }
}
