//! The keys of a snapshot in the order of their bytes, as `etcdctl get --prefix` lists them, in bounded memory.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::vec;

use super::history::{Change, KeyState, changes};
use super::key_value::KeyValue;
use crate::snapshot::bolt::Db;
use crate::snapshot::error::Error;

// Bytes that the keys of one pass may take.
const BUDGET: usize = 24 << 20;
// Bytes that a key takes beside its own: its state in the map, whose nodes are never full, and once more in the list
// that the map becomes at the end of a pass.
const OVERHEAD: usize = 320;

/// The keys below a prefix as they were at a revision.
pub struct SortedKeys<'a> {
    db: &'a Db,
    prefix: &'a [u8],
    revision: u64,
    /// Makes the fingerprints, if there are to be any.
    hasher: Option<&'a RandomState>,
    budget: usize,
    /// Where the next pass begins; `None` when the last one has reached the end.
    from: Option<Vec<u8>>,
    batch: vec::IntoIter<KeyState>,
}

impl<'a> SortedKeys<'a> {
    /// All keys that begin with `prefix`. `revision` must not lie before the last compaction.
    pub fn new(db: &'a Db, prefix: &'a [u8], revision: u64) -> Self {
        let (from, batch) = (Some(prefix.to_vec()), vec![].into_iter());
        Self { db, prefix, revision, hasher: None, budget: BUDGET, from, batch }
    }

    pub fn with_fingerprints(self, hasher: &'a RandomState) -> Self {
        Self { hasher: Some(hasher), ..self }
    }

    #[cfg(test)]
    pub fn with_budget(self, budget: usize) -> Self {
        Self { budget, ..self }
    }

    fn read_batch(&mut self, from: &[u8]) -> Result<(), Error> {
        // The file has its changes in the order of time, so each pass reads all of them. It keeps the smallest keys that
        // fit into the budget, and the next pass begins with the first key that did not fit. The keys of most Kubernetes
        // clusters fit into one pass.
        let mut smallest = SmallestKeys { keys: BTreeMap::new(), used: 0, budget: self.budget, end: None };
        changes(self.db, self.revision, |change| {
            if change.kv.key >= from && change.kv.key.starts_with(self.prefix) {
                smallest.add(change, self.hasher);
            }
            Ok::<_, Error>(())
        })?;
        self.from = smallest.end;
        let keys: Vec<_> = smallest.keys.into_iter().map(|(key, state)| KeyState { key, ..state }).collect();
        self.batch = keys.into_iter();
        Ok(())
    }
}

impl Iterator for SortedKeys<'_> {
    type Item = Result<KeyState, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.batch.next() {
                return Some(Ok(key));
            }
            let from = self.from.take()?;
            if let Err(error) = self.read_batch(&from) {
                return Some(Err(error));
            }
        }
    }
}

/// The smallest keys that fit into the budget.
struct SmallestKeys {
    // The key inside a state stays empty until the pass ends, so that it is not held twice.
    keys: BTreeMap<Vec<u8>, KeyState>,
    used: usize,
    budget: usize,
    /// The smallest key that did not fit. It and all larger keys are left for the next pass.
    end: Option<Vec<u8>>,
}

impl SmallestKeys {
    fn add(&mut self, change: Change<'_>, hasher: Option<&RandomState>) {
        let key = change.kv.key;
        if self.end.as_ref().is_some_and(|end| key >= end.as_slice()) {
            return;
        }
        if change.revision.tombstone {
            if self.keys.remove(key).is_some() {
                self.used -= key.len() + OVERHEAD;
            }
            return;
        }
        let keyless = Change { kv: KeyValue { key: &[], ..change.kv }, ..change };
        let mut state = KeyState::from(keyless);
        state.fingerprint = hasher.map_or(0, |hasher| hasher.hash_one(change.kv.value));
        if let Some(known) = self.keys.get_mut(key) {
            *known = state;
            return;
        }
        self.keys.insert(key.to_vec(), state);
        self.used += key.len() + OVERHEAD;
        // One key stays whatever its size. Otherwise the next pass would begin with the same key, and never end.
        while self.used > self.budget && self.keys.len() > 1 {
            if let Some((key, _)) = self.keys.pop_last() {
                self.used -= key.len() + OVERHEAD;
                self.end = Some(key);
            }
        }
    }
}
