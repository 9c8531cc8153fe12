//! Real snapshots, pages made by hand, and random bytes.

mod at_random;
pub mod build;
mod files;
pub mod history;

mod mutations;
mod pages;
mod pass;
mod piped;

use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Two snapshots by `etcdctl snapshot save`. Both are small enough to be read with a hex editor.
///
/// `etcd-3.5.1`: a transaction with 60 puts, one that deletes 20 of them, one that re-creates and updates 30, a
/// compaction at the second of these, then puts, deletions and re-creations, and a key with a lease.
/// `etcd-3.4.23`: six keys, a NOSPACE alarm raised by `--quota-backend-bytes 24000`, a learner added, defragmented.
fn fixture(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    dir.join(format!("{name}.etcdb"))
}

fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// The modules in the order of `mod.rs`, each of which may import only those above it.
const LAYERS: [&str; 12] = [
    "digest",
    "error",
    "trailer",
    "bolt",
    "mvcc",
    "contents",
    "proof",
    "pass",
    "prove_file",
    "part_file",
    "piped",
    "workspace",
];

#[test]
fn modules_import_only_those_above_them() {
    let room = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/snapshot");
    for (level, layer) in LAYERS.iter().enumerate() {
        let file = room.join(layer).with_extension("rs");
        let files = if file.exists() { vec![file] } else { files_in(&room.join(layer)) };
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for below in &LAYERS[level + 1..] {
                let imports = [format!("use super::{below}"), format!("use crate::snapshot::{below}")];
                let found = imports.iter().find(|import| code.contains(import.as_str()));
                assert_eq!(found, None, "in {}", file.display());
            }
            assert!(!code.contains("use crate::snapshot::{"), "{} imports what mod.rs re-exports", file.display());
        }
    }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files
}

/// `mvccpb.KeyValue` as prost derives it, to write values for the decoder under test and to compare it with.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValueMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub lease: i64,
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
