//! Hashes of a file, of the kinds that stores offer to compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// Hashes by rclone's names of their kinds.
pub struct Digests;

impl Digests {
    /// The kinds that can be made here, by rclone's names.
    pub const KNOWN: [&'static str; 3] = ["md5", "sha1", "sha256"];

    /// Reads the file once and returns the known ones of `kinds`, in hexadecimal.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(path: &Path, kinds: &BTreeSet<String>) -> io::Result<BTreeMap<String, String>> {
        let wanted = |kind: &str| kinds.contains(kind);
        let mut md5 = wanted("md5").then(Md5::new);
        let mut sha1 = wanted("sha1").then(Sha1::new);
        let mut sha256 = wanted("sha256").then(Sha256::new);
        let mut file = File::open(path)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = file.read(&mut chunk)?;
            let Some(read) = chunk.get(..n).filter(|r| !r.is_empty()) else { break };
            feed(&mut md5, read);
            feed(&mut sha1, read);
            feed(&mut sha256, read);
        }
        let all = [("md5", md5.map(finish)), ("sha1", sha1.map(finish)), ("sha256", sha256.map(finish))];
        Ok(all.into_iter().filter_map(|(kind, hash)| Some((kind.to_owned(), hash?))).collect())
    }
}

fn feed<D: Digest>(digest: &mut Option<D>, bytes: &[u8]) {
    if let Some(digest) = digest {
        digest.update(bytes);
    }
}

fn finish<D: Digest>(digest: D) -> String {
    hex(&digest.finalize())
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_known_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let hashes = Digests::of(&path, &["md5", "sha1", "sha256", "other"].map(String::from).into()).unwrap();
        assert_eq!(hashes["md5"], "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hashes["sha1"], "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hashes["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hashes.len(), 3);
    }
}
