//! The proof that a snapshot is whole: its SHA-256 trailer, its size, and every page.

pub mod facts;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::bolt::Db;
use super::{Damage, Error};
use crate::system::fs::{open_regular, read_chunks};
use facts::{Facts, read_facts};

/// Bytes of the SHA-256 that etcd sends behind the pages.
const TRAILER: usize = 32;
/// The same, for sizes of files.
pub const TRAILER_BYTES: u64 = 32;
/// The smallest page of bbolt; the pages of a snapshot fill a multiple of it.
const SECTOR: u64 = 512;

/// What a stream was, once its trailer agreed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Bytes of the whole file, trailer included.
    pub bytes: u64,
    /// SHA-256 of the whole file in lower-case hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
}

/// What a file was, once its trailer and all of its pages proved good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its size and hash.
    pub digest: Digest,
    /// What its pages hold.
    pub facts: Facts,
}

/// Proves the finished file `path` from the disk: trailer, size and pages.
///
/// # Errors
/// [`Error::Damaged`] when etcd could not be restored from it, [`Error::Io`] when it cannot be read.
pub fn prove_file(path: &Path) -> Result<Proof, Error> {
    let (file, _) = open_regular(path).map_err(Error::io("open", path))?;
    let digest = prove_stream(path, &file)?;
    let facts = read_facts(&pages_of(file, path, &digest)?)?;
    Ok(Proof { digest, facts })
}

/// Proves the trailer of a stream to its end, in constant memory; `name` is what errors call it.
///
/// # Errors
/// [`Error::Damaged`] when the trailer does not agree, [`Error::Io`] when the stream fails.
pub fn prove_stream(name: &Path, stream: impl Read) -> Result<Digest, Error> {
    let mut hasher = TrailerHasher::default();
    read_chunks(stream, Error::io("read", name), |chunk| {
        hasher.push(chunk);
        Ok(())
    })?;
    hasher.finish().map_err(Error::damaged(name))
}

/// The database in a file whose trailer was proved.
pub fn pages_of(file: File, path: &Path, digest: &Digest) -> Result<Db, Error> {
    // The size rule of the trailer left more than 32 bytes or none at all.
    Db::open(file, path, digest.bytes.saturating_sub(TRAILER_BYTES))
}

/// Bytes of the pages in a file of `len` bytes: a snapshot has its trailer behind them, a bare database has none.
pub const fn pages_len(len: u64) -> u64 {
    if len % SECTOR == TRAILER_BYTES { len - TRAILER_BYTES } else { len }
}

/// SHA-256 of a stream, with the last 32 bytes held back: they are the hash of what came before.
#[derive(Default)]
pub struct TrailerHasher {
    sha: Sha256,
    tail: Vec<u8>,
    bytes: u64,
}

impl TrailerHasher {
    /// Takes the next bytes, split anywhere.
    pub fn push(&mut self, blob: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        let keep_from = blob.len().saturating_sub(TRAILER);
        let (body, tail) = blob.split_at(keep_from);
        let excess = (self.tail.len() + tail.len()).saturating_sub(TRAILER);
        self.sha.update(self.tail.drain(..excess).as_slice());
        self.sha.update(body);
        self.tail.extend_from_slice(tail);
    }

    /// Compares the trailer and gives the hash of the whole.
    pub fn finish(mut self) -> Result<Digest, Damage> {
        let bytes = self.bytes;
        if bytes == 0 {
            return Err(Damage::file("it is empty"));
        }
        if bytes % SECTOR != TRAILER_BYTES || bytes < SECTOR {
            let what = format!("{bytes} bytes are not whole pages with the 32 bytes of their sha-256 behind them");
            return Err(Damage::file(what));
        }
        if self.sha.clone().finalize().as_slice() != self.tail {
            return Err(Damage::file(
                "the sha-256 at its end does not agree with the pages: bytes are altered or lost",
            ));
        }
        self.sha.update(&self.tail);
        let sha256 = hex::encode(self.sha.finalize());
        Ok(Digest { bytes, sha256 })
    }
}
