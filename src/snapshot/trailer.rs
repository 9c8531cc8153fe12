//! The trailer: the SHA-256 of all pages, which etcd sends as the last 32 bytes of a snapshot.

use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{Damage, Error};
use crate::system::fs::read_chunks;

// The same number twice: memory is indexed with a usize, and file sizes are u64.
const TRAILER_LEN: usize = 32;
const TRAILER_BYTES: u64 = 32;
// Every page size of bbolt is a multiple of this. So a file whose size leaves a remainder of 32 has a trailer, which is
// how `etcdutl snapshot restore` tells a snapshot from a bare database.
const SECTOR: u64 = 512;

/// The size and the hash of a whole file, known once its trailer has matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHash {
    /// The trailer included.
    pub bytes: u64,
    /// In lower-case hexadecimal, over the trailer too, as `sha256sum` prints it.
    pub sha256: String,
}

/// Proves the trailer of a stream in constant memory; errors call the stream `name`.
pub fn prove_stream(name: &Path, stream: impl Read) -> Result<FileHash, Error> {
    let mut hasher = TrailerHasher::default();
    read_chunks(stream, Error::reading(name), |chunk| {
        hasher.push(chunk);
        Ok(())
    })?;
    hasher.finish().map_err(Error::damaged(name))
}

/// Bytes of the database in a file, which may have a trailer.
pub(super) const fn without_trailer(file_bytes: u64) -> u64 {
    if has_trailer(file_bytes) { file_bytes - TRAILER_BYTES } else { file_bytes }
}

/// Bytes of the file that etcd sends of a database of so many.
pub const fn with_trailer(db_bytes: u64) -> u64 {
    db_bytes.saturating_add(TRAILER_BYTES)
}

const fn has_trailer(file_bytes: u64) -> bool {
    file_bytes % SECTOR == TRAILER_BYTES
}

/// Hashes a stream without its last 32 bytes, the trailer.
#[derive(Default)]
pub(super) struct TrailerHasher {
    sha: Sha256,
    // Held back from the hash, because only the end of the stream shows which bytes are the last.
    tail: Vec<u8>,
    bytes: u64,
}

impl TrailerHasher {
    /// Takes the next bytes, split anywhere.
    pub fn push(&mut self, blob: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(blob.len()).unwrap_or(u64::MAX));
        let keep_from = blob.len().saturating_sub(TRAILER_LEN);
        let (body, tail) = blob.split_at(keep_from);
        let excess = (self.tail.len() + tail.len()).saturating_sub(TRAILER_LEN);
        self.sha.update(self.tail.drain(..excess).as_slice());
        self.sha.update(body);
        self.tail.extend_from_slice(tail);
    }

    /// Compares the trailer with the hash of what came before it.
    pub fn finish(mut self) -> Result<FileHash, Damage> {
        let bytes = self.bytes;
        if bytes == 0 {
            return Err(Damage::file("it is empty"));
        }
        // A bare database, such as a copy of `member/snap/db`, is refused here: it has no hash that could show a changed
        // byte. A file of only 32 bytes is refused too, as it could be the right hash of nothing.
        if !has_trailer(bytes) || bytes < SECTOR {
            let what = format!("{bytes} bytes cannot be whole pages followed by their 32-byte sha-256");
            return Err(Damage::file(what));
        }
        if self.sha.clone().finalize().as_slice() != self.tail {
            return Err(Damage::file("the sha-256 at its end does not match the pages: bytes are altered or lost"));
        }
        self.sha.update(&self.tail);
        let sha256 = hex::encode(self.sha.finalize());
        Ok(FileHash { bytes, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_trailer_if_its_size_says_so() {
        for pages in [512, 4096, 45_056] {
            assert_eq!(without_trailer(with_trailer(pages)), pages);
            assert_eq!(without_trailer(pages), pages);
        }
        assert_eq!(without_trailer(600), 600);
    }

    #[test]
    fn the_trailer_is_the_hash_of_the_rest() {
        let pages = [7; 1024];
        let whole = [pages.as_slice(), &Sha256::digest(pages)].concat();
        let name = Path::new("x");
        let hash = prove_stream(name, whole.as_slice()).unwrap();
        assert_eq!((hash.bytes, hash.sha256), (1056, hex::encode(Sha256::digest(&whole))));
        for at in [0, 1023, 1024, 1055] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(prove_stream(name, altered.as_slice()).is_err(), "byte {at}");
        }
    }
}
