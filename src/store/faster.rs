//! What makes an upload faster, by the kind of the remote. What a user sets, by whatever means, wins.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::Store;
use super::way::is_whole;
use crate::rclone::backend::Backend;

/// The part of a multipart upload to S3, as `--s3-chunk-size` says it below. A file of 150 GiB is sent in it without one part too
/// many.
pub const S3_PART: u64 = 16 << 20;
/// In bytes: streams below this size go to S3 in one piece ([`PIECE_OF_2_GIB`]); S3 itself takes up to 5 GiB. In parts, rclone
/// computes the MD5 of each, beside ours of all, and holds four of them in memory.
pub const S3_PIECE: u64 = 2 << 30;
/// In bytes: what rclone itself sends in one piece (`upload_cutoff` of its S3 backend).
pub const S3_PIECE_OF_RCLONE: u64 = 200 << 20;

// rclone would read the whole file before it sends the first part, for an MD5 that it writes into the object's metadata. Each
// part has its own Content-MD5 all the same, and so has a file that is sent in one piece. A stream in one piece has none.
const NO_MD5_IN_METADATA: &str = "--s3-disable-checksum";
const PART_OF_16_MIB: &str = "--s3-chunk-size=16M";
const PIECE_OF_2_GIB: &str = "--s3-upload-cutoff=2G";
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

/// Of an object with a lock, rclone would hold the whole in memory, and S3 wants a Content-MD5 that a stream has not.
const WANT_PARTS: [&str; 4] =
    ["upload_cutoff", "object_lock_mode", "object_lock_retain_until_date", "object_lock_legal_hold_status"];

fn takes_one_piece(chain: &[Backend]) -> bool {
    let is_unset = |backend: &Backend| WANT_PARTS.iter().all(|option| backend.option(option).is_none());
    // Who asks for an MD5 in the metadata would not get it.
    let needs_no_md5 = |backend: &Backend| matches!(backend.option("disable_checksum"), None | Some("true"));
    let is_s3 = chain.last().is_some_and(|backend| backend.kind == "s3");
    is_s3 && is_whole(chain) && chain.iter().all(|backend| is_unset(backend) && needs_no_md5(backend))
}

/// What this run has seen of uploads in one piece.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Whether there was one that would have had parts.
    tried: AtomicBool,
    given_up: AtomicBool,
}

impl Store {
    /// For a file. The user's own flags win over these, as over all of [`Call::defaults`](crate::rclone::Call::defaults).
    pub(super) fn faster_flags(&self) -> Vec<&'static str> {
        flags(&self.rclone.chain(&self.config.target))
    }

    /// For a stream whose size is told.
    pub(super) fn faster_stream_flags(&self) -> Vec<&'static str> {
        let mut flags = self.faster_flags();
        if self.streams_in_one_piece() {
            flags.push(PIECE_OF_2_GIB);
        }
        flags
    }

    /// Whether an S3 store gets a stream of up to [`S3_PIECE`] in one piece, and refuses what is cut short.
    pub(super) fn streams_in_one_piece(&self) -> bool {
        let is_possible = self.rclone.checks_streams() && takes_one_piece(&self.rclone.chain(&self.config.target));
        is_possible && !self.pieces.given_up.load(Relaxed)
    }

    /// Whether a stream of so many bytes is about to go in one piece that would otherwise have parts.
    pub(super) fn goes_in_one_piece(&self, bytes: u64) -> bool {
        let goes = (S3_PIECE_OF_RCLONE..S3_PIECE).contains(&bytes) && self.streams_in_one_piece();
        self.pieces.tried.fetch_or(goes, Relaxed);
        goes
    }

    /// From now on this run sends parts: the store may refuse so much at once, and rclone repeats a part that fails. Returns
    /// whether that is new.
    pub fn give_up_one_piece(&self) -> bool {
        self.pieces.tried.load(Relaxed) && !self.pieces.given_up.swap(true, Relaxed)
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
    fn what_s3_gets_in_one_piece() {
        let chain = |kinds: &[&str]| kinds.iter().map(|kind| of(kind, &[])).collect::<Vec<_>>();
        assert!(takes_one_piece(&chain(&["s3"])) && takes_one_piece(&chain(&["crypt", "alias", "s3"])));
        for kinds in [&["azureblob"][..], &["sftp"], &["union", "s3"], &["crypt", "sftp"], &[]] {
            assert!(!takes_one_piece(&chain(kinds)), "{kinds:?}");
        }
        let with = |option, value| takes_one_piece(&[of("crypt", &[]), of("s3", &[(option, value)])]);
        assert!(with("disable_checksum", "true") && with("chunk_size", "5M") && !with("disable_checksum", "false"));
        assert!(WANT_PARTS.iter().all(|option| !with(option, "1G")));
    }

    #[test]
    fn the_sizes_are_those_of_the_flags() {
        assert_eq!(PART_OF_16_MIB, format!("--s3-chunk-size={}M", S3_PART >> 20));
        assert_eq!(PIECE_OF_2_GIB, format!("--s3-upload-cutoff={}G", S3_PIECE >> 30));
    }
}
