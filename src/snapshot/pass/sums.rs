//! What the pages of the tree hold, summed up in key order.

use super::crc::joined;
use super::live::Live;
use super::look::WantedChange;
use super::record::{History, Leaf, NAMES, Wanted};
use crate::snapshot::error::Damage;
use crate::snapshot::mvcc::{Change, Revision, buckets};

#[derive(Debug)]
pub struct Sums {
    /// CRC-32C of all keys and values by their buckets, as `etcdutl snapshot status` makes it.
    pub hash: u32,
    /// Pairs of all buckets.
    pub total_keys: u64,
    /// Pairs of the history.
    pub revisions: u64,
    /// The main one.
    pub last_revision: u64,
    pub live: Live,
    /// Buckets that etcd makes when it starts for the first time, and that were not seen yet.
    pub missing: Vec<&'static [u8]>,
    /// Bucket, name and value of the records that are read.
    pub records: Vec<(&'static [u8], &'static [u8], Vec<u8>)>,
    /// The last change of each key that is wanted.
    pub newest: Vec<WantedChange>,
}

impl Sums {
    pub fn new(live: Live) -> Self {
        Self {
            hash: 0,
            total_keys: 0,
            revisions: 0,
            last_revision: 0,
            live,
            missing: vec![buckets::KEY, buckets::META],
            records: Vec::new(),
            newest: Vec::new(),
        }
    }

    /// A bucket inside `depth` others.
    pub fn bucket(&mut self, depth: usize, name: &[u8]) {
        if depth == 0 {
            self.hash(name);
            self.missing.retain(|missing| *missing != name);
        }
        // For etcdutl, a bucket inside a bucket is a key without a value.
        if depth == 1 {
            self.hash(name);
            self.total_keys += 1;
        }
    }

    /// A pair of one of etcd's own buckets.
    pub fn pair(&mut self, keys: &[&[u8]], bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), String> {
        self.hash(key);
        self.hash(value);
        self.total_keys += 1;
        if bucket != buckets::KEY {
            if let Some(name) = NAMES.into_iter().find(|name| *name == key) {
                self.record(bucket, name, value);
            }
            return Ok(());
        }
        let revision = Revision::parse(key).ok_or(NO_REVISION)?;
        self.revisions += 1;
        self.last_revision = revision.main;
        let change = Change::parse(revision, value)?;
        self.live.add(revision, change.as_ref());
        if let Some(change) = change.and_then(|change| WantedChange::of(keys, &change)) {
            self.wanted(change);
        }
        Ok(())
    }

    /// A leaf of one of etcd's own buckets. Returns whether its record tells enough.
    pub fn leaf(&mut self, page: u64, bucket: &[u8], leaf: &Leaf<'_>) -> Result<bool, Damage> {
        self.hash = joined(self.hash, leaf.crc, leaf.bytes);
        self.total_keys += leaf.pairs;
        if bucket != buckets::KEY {
            leaf.named().for_each(|(name, value)| self.record(bucket, name, value));
            return Ok(true);
        }
        let Some((first, last)) = &leaf.ends else { return Ok(true) };
        let tally = match leaf.history {
            History::Changes(tally) => tally,
            History::NoRevision => return Err(Damage::page(page, NO_REVISION)),
            History::NoChange(why) => return Err(Damage::page(page, why)),
        };
        let main = |key: &[u8]| Revision::parse(key).map(|revision| revision.main);
        let (Some(first), Some(last)) = (main(first), main(last)) else {
            return Err(Damage::page(page, NO_REVISION));
        };
        self.revisions += leaf.pairs;
        self.last_revision = last;
        Ok(self.live.add_leaf(leaf, tally, first, last) && leaf.wanted != Wanted::Lost)
    }

    fn record(&mut self, bucket: &[u8], name: &'static [u8], value: &[u8]) {
        // Another bucket may have them too, as long as it likes.
        if let Some(bucket) = [buckets::META, buckets::CLUSTER].into_iter().find(|known| *known == bucket) {
            self.records.push((bucket, name, value.to_vec()));
        }
    }

    pub fn wanted(&mut self, change: WantedChange) {
        // In key order, so this one is later.
        self.newest.retain(|earlier| earlier.key != change.key);
        self.newest.push(change);
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, bytes);
    }
}

const NO_REVISION: &str = "a key of the history is not a revision";
