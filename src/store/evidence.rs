//! What of a store is evidence: computed by the store from what it holds, not this program's own word read back.

use sha2::{Digest as _, Sha256};

use super::faster::{S3_PART, S3_PIECE, S3_PIECE_OF_RCLONE};
use super::{Store, hash};
use crate::backup::evidence::Evidence;
use crate::config::Confirm;
use crate::rclone::backend::Backend;
use crate::snapshot::{Digest, DigestKind};

/// A remote whose word can be relied on.
struct Witness {
    kind: &'static str,
    /// As it is named in rclone's configuration.
    provider: Option<&'static str>,
    by: By,
    holds: fn(&Backend) -> bool,
}

enum By {
    Hashes(&'static [&'static str]),
    /// S3's `ETag`: the MD5 of an object that was sent in one piece. Of one that was sent in parts, the store makes it of the
    /// MD5 of each part.
    ETag,
}

/// What a witness tells of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// A hash, by rclone's name.
    Hash(&'static str),
    /// The `ETag` of what was sent in parts of so many bytes.
    OfParts(u64),
}

// No other remote is trusted. Known to be the uploader's own word: S3's MD5 of a multipart upload, and of one that is
// encrypted with KMS or with a key of the customer's (metadata that rclone writes); the Content-MD5 of an Azure block blob;
// B2's SHA-1 of a large file; a WebDAV server's checksum that came with the upload. Behind crypt nothing is known.
const WITNESSES: [Witness; 4] = [
    // rclone reads the file again. Test: a_file_that_is_altered_is_noticed_where_it_lies.
    Witness { kind: "local", provider: None, by: By::Hashes(&hash::KNOWN), holds: always },
    // The server runs `sha256sum`, `md5sum` or `sha1sum` on the file; without a shell it offers no hash. Same test.
    Witness { kind: "sftp", provider: None, by: By::Hashes(&hash::KNOWN), holds: always },
    // So it is in plain or with SSE-S3. Documents: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, and for
    // parts https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. Another endpoint may be
    // anything.
    Witness { kind: "s3", provider: Some("AWS"), by: By::ETag, holds: is_plain_at_aws },
    // The same. Tests: seaweedfs_refuses_what_was_altered_on_its_way, and the same of a part.
    Witness { kind: "s3", provider: Some("SeaweedFS"), by: By::ETag, holds: is_plain },
];

/// rclone takes larger parts for what would have more (`max_upload_parts` of its S3 backend).
const S3_MOST_PARTS: u64 = 10_000;

const fn always(_: &Backend) -> bool {
    true
}

fn is_plain_at_aws(backend: &Backend) -> bool {
    backend.option("endpoint").is_none() && is_plain(backend)
}

fn is_plain(backend: &Backend) -> bool {
    let is_plain = backend.option("server_side_encryption").is_none_or(|value| matches!(value, "" | "AES256"));
    is_plain && is_unset(backend, "sse_customer_algorithm") && is_unset(backend, "directory_bucket")
}

fn is_unset(backend: &Backend, option: &str) -> bool {
    backend.option(option).is_none_or(|value| matches!(value, "" | "false"))
}

/// How rclone sends an object of so many bytes to S3; `None` if that is not known for certain. What is smaller than `piece` is
/// sent in one piece, unless the user says otherwise.
fn sent_to_s3(backend: &Backend, bytes: u64, piece: u64) -> Option<Testimony> {
    if bytes < piece && backend.option("upload_cutoff").is_none() {
        // A flag can make rclone send a file in parts nevertheless, and then the MD5 is its own word.
        return backend.option("multi_thread").is_none().then_some(Testimony::Hash("md5"));
    }
    let cutoff = backend.option("upload_cutoff").map_or(Some(piece), bytes_in)?;
    let part = backend.option("chunk_size").map_or(Some(S3_PART), bytes_in).filter(|part| *part > 0)?;
    let is_usual = ["max_upload_parts", "use_multipart_uploads"].iter().all(|option| backend.option(option).is_none());
    (is_usual && bytes >= cutoff && bytes.div_ceil(part) <= S3_MOST_PARTS).then_some(Testimony::OfParts(part))
}

/// The bytes in a size as rclone's users usually write it, such as `16M` or `16Mi`; `None` for every other spelling.
fn bytes_in(size: &str) -> Option<u64> {
    let end = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at(end);
    let shift = match unit {
        "" | "k" | "K" | "Ki" => 10,
        "B" => 0,
        "m" | "M" | "Mi" => 20,
        "g" | "G" | "Gi" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `offered` are the hashes that the remote has, by rclone's names.
fn testimony(backend: &Backend, offered: &[String], bytes: u64, piece: u64) -> Option<Testimony> {
    let is_this = |witness: &&Witness| {
        backend.kind == witness.kind && witness.provider.is_none_or(|name| backend.option("provider") == Some(name))
    };
    let is_offered = |kind: &str| offered.iter().any(|offer| offer == kind);
    let witness = WITNESSES.iter().find(is_this).filter(|witness| (witness.holds)(backend))?;
    match witness.by {
        By::Hashes(hashes) => hashes.iter().find(|kind| is_offered(kind)).copied().map(Testimony::Hash),
        By::ETag => sent_to_s3(backend, bytes, piece).filter(|_| is_offered("md5")),
    }
}

impl Testimony {
    /// By rclone's name; `None` for an `ETag`, of which rclone has no hash.
    pub const fn hash(self) -> Option<&'static str> {
        if let Self::Hash(kind) = self { Some(kind) } else { None }
    }

    /// What has to be computed of the content for the comparison; nothing for SHA-256, which is known of every backup.
    pub fn digest_kind(self) -> Option<DigestKind> {
        match self {
            Self::Hash("md5") => Some(DigestKind::Md5),
            Self::Hash("sha1") => Some(DigestKind::Sha1),
            Self::Hash(_) => None,
            Self::OfParts(part_bytes) => Some(DigestKind::Md5OfParts { part_bytes }),
        }
    }

    /// What the store's word has to be of this text.
    pub fn of(self, text: &[u8]) -> String {
        let Some(kind) = self.digest_kind() else { return hex::encode(Sha256::digest(text)) };
        let mut digest = Digest::new(kind);
        digest.push(text);
        digest.finish()
    }

    /// What stands in the record as `confirmed`, if the comparison was good.
    pub fn evidence(self) -> Evidence {
        match self {
            Self::Hash("md5") => Evidence::StoreMd5,
            Self::Hash("sha1") => Evidence::StoreSha1,
            Self::Hash(_) => Evidence::StoreSha256,
            Self::OfParts(_) => Evidence::StoreMd5OfParts,
        }
    }
}

impl Store {
    /// What is evidence for an object of so many bytes; `None` if it has to be read back.
    pub(super) fn testimony(&self, bytes: u64) -> Option<Testimony> {
        if self.config.confirm == Confirm::Read {
            return None;
        }
        let backend = self.rclone.backend(&self.config.target);
        let piece = if self.streams_in_one_piece() { S3_PIECE } else { S3_PIECE_OF_RCLONE };
        testimony(&backend, self.features.hashes.as_deref().unwrap_or_default(), bytes, piece)
    }

    /// The digest that is wanted beside the proof of a file of so many bytes.
    pub fn digest_kind(&self, bytes: u64) -> Option<DigestKind> {
        self.testimony(bytes)?.digest_kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, options: &[(&str, &str)], bytes: u64) -> Option<Testimony> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let offered = ["md5".to_owned(), "sha1".to_owned()];
        testimony(&Backend { kind: kind.into(), options }, &offered, bytes, S3_PIECE_OF_RCLONE)
    }

    const AWS: (&str, &str) = ("provider", "AWS");
    const MD5: Option<Testimony> = Some(Testimony::Hash("md5"));

    #[test]
    fn a_hash_counts_only_if_the_store_computed_it() {
        for (kind, options, bytes, counts) in [
            ("local", &[][..], u64::MAX, MD5),
            ("sftp", &[], 1, MD5),
            ("s3", &[AWS], 1, MD5),
            ("s3", &[AWS, ("server_side_encryption", "AES256"), ("directory_bucket", "false")], 1, MD5),
            ("s3", &[("provider", "SeaweedFS"), ("endpoint", "")], 1, MD5),
            ("s3", &[AWS, ("upload_cutoff", "5M")], 1, None),
            ("s3", &[AWS, ("multi_thread", "")], 1, None),
            ("s3", &[AWS, ("server_side_encryption", "aws:kms")], 1, None),
            ("s3", &[AWS, ("sse_customer_algorithm", "AES256")], 1, None),
            ("s3", &[AWS, ("directory_bucket", "true")], 1, None),
            ("s3", &[AWS, ("endpoint", "")], 1, None),
            ("s3", &[("provider", "Other")], 1, None),
            ("s3", &[], 1, None),
            ("", &[], 1, None),
            ("azureblob", &[], 1, None),
            ("b2", &[], 1, None),
            ("webdav", &[], 1, None),
            ("crypt", &[], 1, None),
            ("alias", &[], 1, None),
            ("hasher", &[], 1, None),
        ] {
            assert_eq!(told(kind, options, bytes), counts, "{kind} {options:?} {bytes}");
        }
    }

    #[test]
    fn parts_count_only_if_they_are_known() {
        let of = |part| Some(Testimony::OfParts(part));
        let most = S3_MOST_PARTS * S3_PART;
        for (options, bytes, counts) in [
            (&[][..], S3_PIECE_OF_RCLONE - 1, MD5),
            (&[], S3_PIECE_OF_RCLONE, of(S3_PART)),
            (&[], most, of(S3_PART)),
            (&[], most + 1, None),
            (&[("multi_thread", "")], S3_PIECE_OF_RCLONE, of(S3_PART)),
            (&[("chunk_size", "5M")], S3_PIECE_OF_RCLONE, of(5 << 20)),
            (&[("chunk_size", "5M"), ("upload_cutoff", "5M")], 5 << 20, of(5 << 20)),
            (&[("chunk_size", "5M"), ("upload_cutoff", "5M")], (5 << 20) - 1, None),
            (&[("upload_cutoff", "0")], 1, of(S3_PART)),
            (&[("upload_cutoff", "1G")], S3_PIECE_OF_RCLONE, None),
            (&[("chunk_size", "5M")], (5 << 20) * S3_MOST_PARTS + 1, None),
            (&[("chunk_size", "a lot")], S3_PIECE_OF_RCLONE, None),
            (&[("chunk_size", "0")], S3_PIECE_OF_RCLONE, None),
            (&[("upload_cutoff", "off")], S3_PIECE_OF_RCLONE, None),
            (&[("max_upload_parts", "100")], S3_PIECE_OF_RCLONE, None),
            (&[("use_multipart_uploads", "false")], S3_PIECE_OF_RCLONE, None),
            (&[("server_side_encryption", "aws:kms")], S3_PIECE_OF_RCLONE, None),
            (&[("sse_customer_algorithm", "AES256")], S3_PIECE_OF_RCLONE, None),
            (&[("directory_bucket", "true")], S3_PIECE_OF_RCLONE, None),
            (&[("endpoint", "")], S3_PIECE_OF_RCLONE, None),
        ] {
            assert_eq!(told("s3", &[&[AWS], options].concat(), bytes), counts, "{options:?} {bytes}");
        }
        assert_eq!(told("s3", &[("provider", "Other")], S3_PIECE_OF_RCLONE), None);
    }

    #[test]
    fn one_piece_counts_if_nothing_makes_it_parts() {
        let told = |options: &[(&str, &str)], bytes| {
            let options = [&[AWS], options].concat();
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            testimony(&Backend { kind: "s3".into(), options }, &["md5".to_owned()], bytes, S3_PIECE)
        };
        assert_eq!((told(&[], S3_PIECE_OF_RCLONE), told(&[], S3_PIECE - 1)), (MD5, MD5));
        assert_eq!(told(&[], S3_PIECE), Some(Testimony::OfParts(S3_PART)));
        assert_eq!(told(&[("multi_thread", "")], S3_PIECE_OF_RCLONE), None);
    }

    #[test]
    fn a_size_is_read_as_rclone_reads_it() {
        for (text, bytes) in
            [("5", 5 << 10), ("7B", 7), ("5k", 5 << 10), ("16M", 16 << 20), ("16Mi", 16 << 20), ("1G", 1 << 30)]
        {
            assert_eq!(bytes_in(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "1.5M", "off", "-1", "16MM", "99999999999G", "18446744073709551616"] {
            assert_eq!(bytes_in(text), None, "{text}");
        }
    }

    #[test]
    fn a_hash_counts_only_if_it_is_offered() {
        let local = Backend { kind: "local".into(), ..Backend::default() };
        assert_eq!(testimony(&local, &[], 1, S3_PIECE), None);
        let offered = ["crc32", "md5", "sha256"].map(str::to_owned);
        assert_eq!(testimony(&local, &offered, 1, S3_PIECE), Some(Testimony::Hash("sha256")));
    }
}
