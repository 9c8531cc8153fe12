//! Hashes of the kinds that remotes offer.

use std::io::{self, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::system::fs::read_chunks;

/// The kinds that can be computed here, by rclone's names, the preferred one first. SHA-256 leads because a record already
/// has it, so that the file need not be read again.
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
        assert!(of("other", &mut "abc".as_bytes()).is_err());
    }
}
