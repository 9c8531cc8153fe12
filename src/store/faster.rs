//! The flags that make an upload faster, by the kind of the remote. What a user sets, by whatever means, wins.

use super::Store;
use crate::rclone::backend::Backend;

/// The part of a multipart upload to S3, as `--s3-chunk-size` says it below. A file of 150 GiB is sent in it without one part too
/// many.
pub const S3_PART: u64 = 16 << 20;

// rclone would read the whole file before it sends the first part, for an MD5 that it writes into the object's metadata. Each
// part has its own Content-MD5 all the same, and so has an object that is sent in one piece.
const NO_MD5_IN_METADATA: &str = "--s3-disable-checksum";
const PART_OF_16_MIB: &str = "--s3-chunk-size=16M";
// From its size on that is sent in parts, a file is then read where it lies. Between the two sizes, rclone would hold four parts
// in memory.
const NO_PARTS_IN_MEMORY: &str = "--multi-thread-cutoff=200M";

/// `chain` is the target's remote, and behind it those that it wraps.
fn flags(chain: &[Backend]) -> Vec<&'static str> {
    let is_s3 = |backend: &Backend| backend.kind == "s3";
    // A flag would win over a section, and over most variables.
    let is_unset = |option: &str| chain.iter().all(|backend| backend.option(option).is_none());
    let mut flags = Vec::new();
    if chain.iter().any(is_s3) && is_unset("disable_checksum") {
        flags.push(NO_MD5_IN_METADATA);
    }
    // Of what another remote hands on, such as crypt, rclone always holds four parts in memory.
    if chain.first().is_some_and(is_s3) {
        flags.push(NO_PARTS_IN_MEMORY);
        if is_unset("chunk_size") {
            flags.push(PART_OF_16_MIB);
        }
    }
    flags
}

impl Store {
    pub(super) fn faster_flags(&self) -> Vec<&'static str> {
        flags(&self.rclone.chain(&self.config.target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, options: &[(&str, &str)]) -> Backend {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Backend { kind: kind.into(), options }
    }

    #[test]
    fn what_is_set_is_left_alone() {
        let all = [NO_MD5_IN_METADATA, NO_PARTS_IN_MEMORY, PART_OF_16_MIB];
        assert_eq!(flags(&[of("s3", &[("provider", "AWS"), ("upload_cutoff", "5M")])]), all);
        assert_eq!(flags(&[of("s3", &[("chunk_size", "5M")])]), all[..2]);
        assert_eq!(flags(&[of("s3", &[("disable_checksum", "false")])]), all[1..]);
        assert_eq!(flags(&[of("crypt", &[]), of("s3", &[])]), all[..1]);
        assert!(flags(&[of("crypt", &[]), of("s3", &[("disable_checksum", "false")])]).is_empty());
        for kind in ["local", "sftp", "webdav", "azureblob", ""] {
            assert!(flags(&[of(kind, &[])]).is_empty(), "{kind}");
        }
        assert!(flags(&[]).is_empty());
    }

    #[test]
    fn the_part_is_that_of_the_flag() {
        assert_eq!(PART_OF_16_MIB, format!("--s3-chunk-size={}M", S3_PART >> 20));
    }
}
