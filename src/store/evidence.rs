//! Which of a store's hashes are evidence: computed by the store from what it holds, not this program's own word read back.

use super::{Store, hash};
use crate::config::Confirm;
use crate::rclone::backend::Backend;

/// A remote whose hashes can be relied on.
struct Witness {
    kind: &'static str,
    /// As it is named in rclone's configuration.
    provider: Option<&'static str>,
    hashes: &'static [&'static str],
    holds: fn(&Backend, u64) -> bool,
}

// No other remote is trusted. Known to be the uploader's own word: S3's MD5 of a multipart upload, and of one that is
// encrypted with KMS or with a key of the customer's (metadata that rclone writes); the Content-MD5 of an Azure block blob;
// B2's SHA-1 of a large file; a WebDAV server's checksum that came with the upload. Behind crypt nothing is known.
const WITNESSES: [Witness; 4] = [
    // rclone reads the file again. Test: a_file_that_is_altered_is_noticed_where_it_lies.
    Witness { kind: "local", provider: None, hashes: &hash::KNOWN, holds: always },
    // The server runs `sha256sum`, `md5sum` or `sha1sum` on the file; without a shell it offers no hash. Same test.
    Witness { kind: "sftp", provider: None, hashes: &hash::KNOWN, holds: always },
    // The ETag of an object that was sent in one piece, in plain or with SSE-S3, is the MD5 of its content. Document:
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html. Another endpoint may be anything.
    Witness { kind: "s3", provider: Some("AWS"), hashes: &["md5"], holds: is_one_piece_at_aws },
    // The same. Test: seaweedfs_refuses_what_was_altered_on_its_way.
    Witness { kind: "s3", provider: Some("SeaweedFS"), hashes: &["md5"], holds: is_one_piece },
];

/// rclone sends what is smaller in one piece (`upload_cutoff` of its S3 backend).
const S3_UPLOAD_CUTOFF: u64 = 200 << 20;

const fn always(_: &Backend, _: u64) -> bool {
    true
}

fn is_one_piece_at_aws(backend: &Backend, bytes: u64) -> bool {
    backend.option("endpoint").is_none() && is_one_piece(backend, bytes)
}

fn is_one_piece(backend: &Backend, bytes: u64) -> bool {
    let is_unset = |option| backend.option(option).is_none_or(|value| matches!(value, "" | "false"));
    let is_plain = backend.option("server_side_encryption").is_none_or(|value| matches!(value, "" | "AES256"));
    bytes < S3_UPLOAD_CUTOFF
        && is_plain
        && ["upload_cutoff", "sse_customer_algorithm", "directory_bucket"].into_iter().all(is_unset)
}

/// `offered` are the hashes that the remote has, by rclone's names.
fn trusted(backend: &Backend, offered: &[String], bytes: u64) -> Option<&'static str> {
    let is_this = |witness: &&Witness| {
        backend.kind == witness.kind && witness.provider.is_none_or(|name| backend.option("provider") == Some(name))
    };
    let witness = WITNESSES.iter().find(is_this).filter(|witness| (witness.holds)(backend, bytes))?;
    witness.hashes.iter().find(|kind| offered.iter().any(|offer| offer == *kind)).copied()
}

impl Store {
    /// The kind of hash, by rclone's name, that is evidence for an object of so many bytes; `None` if it has to be read back.
    pub(super) fn witness(&self, bytes: u64) -> Option<&'static str> {
        match self.config.confirm {
            Confirm::Auto => self.trusted_hash(bytes),
            Confirm::Read => None,
        }
    }

    fn trusted_hash(&self, bytes: u64) -> Option<&'static str> {
        let backend = self.rclone.backend(&self.config.target);
        trusted(&backend, self.features.hashes.as_deref().unwrap_or_default(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(kind: &str, options: &[(&str, &str)], bytes: u64) -> Option<&'static str> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let offered = ["md5".to_owned(), "sha1".to_owned()];
        trusted(&Backend { kind: kind.into(), options }, &offered, bytes)
    }

    #[test]
    fn a_hash_counts_only_if_the_store_computed_it() {
        let aws = ("provider", "AWS");
        for (kind, options, bytes, counts) in [
            ("local", &[][..], u64::MAX, Some("md5")),
            ("sftp", &[], 1, Some("md5")),
            ("s3", &[aws], 1, Some("md5")),
            ("s3", &[aws, ("server_side_encryption", "AES256"), ("directory_bucket", "false")], 1, Some("md5")),
            ("s3", &[("provider", "SeaweedFS"), ("endpoint", "")], 1, Some("md5")),
            ("s3", &[aws], S3_UPLOAD_CUTOFF, None),
            ("s3", &[aws, ("upload_cutoff", "5M")], 1, None),
            ("s3", &[aws, ("server_side_encryption", "aws:kms")], 1, None),
            ("s3", &[aws, ("sse_customer_algorithm", "AES256")], 1, None),
            ("s3", &[aws, ("directory_bucket", "true")], 1, None),
            ("s3", &[aws, ("endpoint", "")], 1, None),
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
            assert_eq!(trusts(kind, options, bytes), counts, "{kind} {options:?} {bytes}");
        }
    }

    #[test]
    fn a_hash_counts_only_if_it_is_offered() {
        let local = Backend { kind: "local".into(), ..Backend::default() };
        assert_eq!(trusted(&local, &[], 1), None);
        assert_eq!(trusted(&local, &["crc32".into(), "md5".into(), "sha256".into()], 1), Some("sha256"));
    }
}
