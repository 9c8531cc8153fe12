//! The digests that a store makes of what it receives, computed beside the proof from the same bytes.

use std::io::{self, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::Digest as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestKind {
    Md5,
    Sha1,
    /// The `ETag` of an object that came to S3 in parts of this size, the last one shorter:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>.
    Md5OfParts {
        part_bytes: u64,
    },
}

/// A digest that is being computed.
pub struct Digest {
    kind: DigestKind,
    state: State,
}

/// One that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    pub kind: DigestKind,
    /// As of [`Digest::finish`].
    pub text: String,
}

enum State {
    Md5(Md5),
    Sha1(Sha1),
    Parts(Parts),
}

struct Parts {
    part_bytes: u64,
    part: Md5,
    /// Bytes that the part still takes.
    left: u64,
    /// Over the digests of the parts that are whole.
    whole: Md5,
    count: u64,
}

impl Digest {
    pub fn new(kind: DigestKind) -> Self {
        let state = match kind {
            DigestKind::Md5 => State::Md5(Md5::new()),
            DigestKind::Sha1 => State::Sha1(Sha1::new()),
            DigestKind::Md5OfParts { part_bytes } => State::Parts(Parts::new(part_bytes)),
        };
        Self { kind, state }
    }

    /// Takes the next bytes, split anywhere.
    pub fn push(&mut self, blob: &[u8]) {
        match &mut self.state {
            State::Md5(md5) => md5.update(blob),
            State::Sha1(sha1) => sha1.update(blob),
            State::Parts(parts) => parts.push(blob),
        }
    }

    /// In lower-case hexadecimal; of parts, with their number behind a hyphen.
    pub fn finish(self) -> String {
        match self.state {
            State::Md5(md5) => hex::encode(md5.finalize()),
            State::Sha1(sha1) => hex::encode(sha1.finalize()),
            State::Parts(parts) => parts.finish(),
        }
    }

    pub fn digested(self) -> Digested {
        Digested { kind: self.kind, text: self.finish() }
    }
}

/// Bytes that are read, and go into a digest if one is wanted.
pub struct Digesting<R> {
    reader: R,
    digest: Option<Digest>,
}

impl<R> Digesting<R> {
    pub fn new(reader: R, wanted: Option<DigestKind>) -> Self {
        Self { reader, digest: wanted.map(Digest::new) }
    }

    /// Of what was read so far.
    pub fn digested(self) -> Option<Digested> {
        self.digest.map(Digest::digested)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let (Some(digest), Some(read)) = (&mut self.digest, buffer.get(..count)) {
            digest.push(read);
        }
        Ok(count)
    }
}

impl Parts {
    fn new(part_bytes: u64) -> Self {
        // A part of no bytes would never be whole.
        let part_bytes = part_bytes.max(1);
        Self { part_bytes, part: Md5::new(), left: part_bytes, whole: Md5::new(), count: 0 }
    }

    fn push(&mut self, mut blob: &[u8]) {
        while !blob.is_empty() {
            let now = usize::try_from(self.left).map_or(blob.len(), |left| left.min(blob.len()));
            let (head, rest) = blob.split_at(now);
            self.part.update(head);
            self.left -= u64::try_from(now).unwrap_or(self.left);
            if self.left == 0 {
                self.close();
            }
            blob = rest;
        }
    }

    fn close(&mut self) {
        self.whole.update(self.part.finalize_reset());
        self.left = self.part_bytes;
        self.count += 1;
    }

    fn finish(mut self) -> String {
        // What ends with a whole part has no empty one behind it, but nothing at all is one empty part.
        if self.left < self.part_bytes || self.count == 0 {
            self.close();
        }
        format!("{}-{}", hex::encode(self.whole.finalize()), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: DigestKind, bytes: &[u8], split: usize) -> String {
        let mut digest = Digest::new(kind);
        bytes.chunks(split.max(1)).for_each(|blob| digest.push(blob));
        digest.finish()
    }

    #[test]
    fn of_a_known_text() {
        for split in 1..4 {
            assert_eq!(of(DigestKind::Md5, b"abc", split), "900150983cd24fb0d6963f7d28e17f72");
            assert_eq!(of(DigestKind::Sha1, b"abc", split), "a9993e364706816aba3e25717850c26c9cd0d89d");
        }
        assert_eq!(of(DigestKind::Md5, b"", 1), "d41d8cd98f00b204e9800998ecf8427e");
    }

    // By `for part in ab c; do printf $part | md5sum | cut -c-32 | xxd -r -p; done | md5sum`.
    #[test]
    fn of_parts() {
        let of = |bytes: &str, part_bytes, split| of(DigestKind::Md5OfParts { part_bytes }, bytes.as_bytes(), split);
        for split in 1..9 {
            assert_eq!(of("abc", 2, split), "d833159094d1d7ad96ffcc78414e3682-2");
            assert_eq!(of("abcd", 2, split), "e700b3f8d01367198b7ee8450c5bec97-2", "the last part is whole");
            assert_eq!(of("abcdabcda", 4, split), "90b61087bf71feed33ffd77608b07059-3");
            assert_eq!(of("abc", 3, split), "af5da9f45af7a300e3aded972f8ff687-1");
            assert_eq!(of("abc", u64::MAX, split), "af5da9f45af7a300e3aded972f8ff687-1");
        }
        assert_eq!(of("", 2, 1), "59adb24ef3cdbe0297f05b395827453f-1");
    }
}
