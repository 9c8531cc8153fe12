//! One real snapshot, taken once for all tests that only read it.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::etcd::Cluster;

/// Live keys in the sample.
pub const KEYS: usize = 200;

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let cluster = Cluster::with(1).plain().start();
    cluster.put_many(KEYS, "/registry/pods/", 2000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample");
    cluster.etcdctl(&["snapshot", "save", path.to_str().unwrap()]);
    std::fs::read(path).unwrap()
});

static OLD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let cluster = Cluster::single();
    cluster.put_many(1, "/registry/pods/", 10);
    super::kubernetes::save(&cluster)
});

/// A small snapshot with the revision 2 and one key. Every cluster of the tests can have been so once.
pub fn old() -> &'static [u8] {
    &OLD
}

/// The snapshot's bytes, as `etcdctl snapshot save` wrote them.
pub fn snapshot() -> &'static [u8] {
    &SAMPLE
}

/// The same with one bit of a value turned over.
pub fn damaged() -> Vec<u8> {
    let mut bytes = SAMPLE.clone();
    let at = bytes.len() - 10_000;
    bytes[at] ^= 1;
    bytes
}

/// The same with a third of its pages wiped, and a trailer that agrees: as etcd itself has sent snapshots.
pub fn wiped() -> Vec<u8> {
    let mut pages = SAMPLE[..SAMPLE.len() - 32].to_vec();
    let third = pages.len() / 3;
    pages[third..2 * third].fill(0);
    let trailer = Sha256::digest(&pages);
    pages.extend_from_slice(&trailer);
    pages
}
