//! Hashes of the kinds that remotes offer.

use std::io::{self, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::snapshot::FileHash;
use crate::system::fs::read_chunks;

/// The kinds that can be computed here, by rclone's names, the preferred one first: the SHA-256 of a backup is known anyway.
pub const KNOWN: [&str; 3] = ["sha256", "md5", "sha1"];

/// The hash of all the bytes, in hexadecimal. `kind` is one of [`KNOWN`].
pub fn of(kind: &str, bytes: &mut impl Read) -> io::Result<String> {
    match kind {
        "md5" => feed(Md5::new(), bytes),
        "sha1" => feed(Sha1::new(), bytes),
        "sha256" => feed(Sha256::new(), bytes),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("no hash of kind {other}"))),
    }
}

/// The size and the SHA-256 of all the bytes.
pub fn of_all(bytes: &mut impl Read) -> io::Result<FileHash> {
    let mut counted = Counted { bytes, count: 0 };
    let sha256 = of("sha256", &mut counted)?;
    Ok(FileHash { bytes: counted.count, sha256 })
}

struct Counted<'a, R> {
    bytes: &'a mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.count += u64::try_from(read).unwrap_or_default();
        Ok(read)
    }
}

fn feed<D: Digest>(mut digest: D, bytes: &mut impl Read) -> io::Result<String> {
    read_chunks(
        bytes,
        |error| error,
        |chunk| {
            digest.update(chunk);
            Ok(())
        },
    )?;
    Ok(hex::encode(digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_known_text() {
        let hash = |kind| of(kind, &mut "abc".as_bytes()).unwrap();
        assert_eq!(hash("md5"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hash("sha1"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hash("sha256"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let all = of_all(&mut "abc".as_bytes()).unwrap();
        assert_eq!(all, FileHash { bytes: 3, sha256: hash("sha256") });
        assert!(of("other", &mut "abc".as_bytes()).is_err());
    }
}
