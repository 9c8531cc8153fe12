//! Hashes of a file, of the kinds that stores offer to compare.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;

/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// Hashes by rclone's names of their kinds.
pub struct Digest;

impl Digest {
    /// The kinds that can be made here, by rclone's names, those first that most stores have at hand.
    pub const KNOWN: [&'static str; 3] = ["md5", "sha1", "sha256"];

    /// The file's hash of a kind in [`Self::KNOWN`], in lower-case hexadecimal.
    ///
    /// # Errors
    /// A file that cannot be read; a kind that is not known.
    pub fn of(path: &Path, kind: &str) -> io::Result<String> {
        let file = File::open(path)?;
        match kind {
            "md5" => hash::<Md5>(file),
            "sha1" => hash::<Sha1>(file),
            "sha256" => hash::<Sha256>(file),
            other => Err(io::Error::other(format!("no hash of kind {other}"))),
        }
    }
}

fn hash<D: sha2::Digest>(mut file: File) -> io::Result<String> {
    let mut digest = D::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = file.read(&mut chunk)?;
        match chunk.get(..n) {
            Some(read) if !read.is_empty() => digest.update(read),
            _ => break,
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_known_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        for (kind, hash) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(Digest::of(&path, kind).unwrap(), hash);
        }
        assert!(Digest::of(&path, "crc").is_err());
    }
}
