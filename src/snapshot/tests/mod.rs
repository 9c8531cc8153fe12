//! What the proof must hold against: real snapshots, pages made by hand, and bytes from nowhere.

mod build;
mod files;
mod history;
mod mutations;
mod pages;

use std::io::Write;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Two snapshots by `etcdctl snapshot save`. Both are small enough to be read with a hex editor.
///
/// `etcd-3.5.1`: a transaction with 60 puts, one that deletes 20 of them, one that re-creates and updates 30, a
/// compaction at the second of these, then puts, deletions and re-creations, and a key with a lease.
/// `etcd-3.4.23`: six keys, a NOSPACE alarm raised by `--quota-backend-bytes 24000`, a learner added, defragmented.
fn fixture(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(format!("{name}.etcdb"))
}

fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn file_of(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// `pages` with the trailer that etcd would send behind them.
fn with_trailer(pages: &[u8]) -> Vec<u8> {
    [pages, Sha256::digest(pages).as_slice()].concat()
}
