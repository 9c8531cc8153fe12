//! Hashes of the kinds that remotes offer.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::snapshot::FileHash;
use crate::system::fs::read_chunks;

/// The kinds that can be computed here, by rclone's names, the preferred one first: the SHA-256 of a backup is known anyway.
pub const KNOWN: [&str; 3] = ["sha256", "md5", "sha1"];

/// The size and the SHA-256 of all the bytes.
pub fn of_all(bytes: &mut impl Read) -> io::Result<FileHash> {
    let (mut count, mut sha256) = (0, Sha256::new());
    read_chunks(
        bytes,
        |error| error,
        |chunk| {
            count += u64::try_from(chunk.len()).unwrap_or_default();
            sha256.update(chunk);
            Ok(())
        },
    )?;
    Ok(FileHash { bytes: count, sha256: hex::encode(sha256.finalize()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_known_text() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_all(&mut "abc".as_bytes()).unwrap(), FileHash { bytes: 3, sha256: sha256.into() });
    }
}
