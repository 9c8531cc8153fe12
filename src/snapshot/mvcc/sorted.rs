//! The keys of a snapshot in the order of their bytes, as `etcdctl get --prefix` lists them, in bounded memory.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::vec;

use super::history::{Change, Item, changes};
use crate::snapshot::Error;
use crate::snapshot::bolt::Db;

/// What the keys of one pass may take.
const BUDGET: usize = 24 << 20;
/// What an item takes beside its key: in the map, which is never full, and at the end of the pass in the list as well.
const OVERHEAD: usize = 320;

/// The keys below a prefix as they were at a revision.
///
/// The history is in the order of time. So it is passed over once, and the keys that fit into the budget are kept,
/// the smallest ones; each further pass goes on where the last one ended. A usual Kubernetes cluster takes one pass.
pub struct Sorted<'a> {
    db: &'a Db,
    prefix: &'a [u8],
    at: u64,
    /// Fingerprints are made with it.
    hasher: Option<&'a RandomState>,
    budget: usize,
    /// Where the next pass begins; `None` when the last one has reached the end.
    from: Option<Vec<u8>>,
    batch: vec::IntoIter<Item>,
}

impl<'a> Sorted<'a> {
    /// All keys that begin with `prefix`, as they were at revision `at`, which the file must be able to answer for.
    pub fn new(db: &'a Db, prefix: &'a [u8], at: u64) -> Self {
        Self { db, prefix, at, hasher: None, budget: BUDGET, from: Some(prefix.to_vec()), batch: vec![].into_iter() }
    }

    /// Gives each item the fingerprint of its value: equal for equal values, and with the same hasher only.
    pub fn with_fingerprints(self, hasher: &'a RandomState) -> Self {
        Self { hasher: Some(hasher), ..self }
    }

    #[cfg(test)]
    pub fn with_budget(self, budget: usize) -> Self {
        Self { budget, ..self }
    }

    fn pass(&mut self, from: &[u8]) -> Result<(), Error> {
        let mut window = Window { items: BTreeMap::new(), used: 0, budget: self.budget, end: None };
        changes(self.db, self.at, |change| {
            if change.key >= from && change.key.starts_with(self.prefix) {
                window.take(change, self.hasher);
            }
            Ok::<_, Error>(())
        })?;
        self.from = window.end;
        let items: Vec<_> = window.items.into_iter().map(|(key, item)| Item { key, ..item }).collect();
        self.batch = items.into_iter();
        Ok(())
    }
}

impl Iterator for Sorted<'_> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.batch.next() {
                return Some(Ok(item));
            }
            let from = self.from.take()?;
            if let Err(error) = self.pass(&from) {
                return Some(Err(error));
            }
        }
    }
}

/// The smallest keys that fit.
struct Window {
    /// By key; the item's own copy of it stays empty until the pass ends.
    items: BTreeMap<Vec<u8>, Item>,
    used: usize,
    budget: usize,
    /// The smallest key that did not fit. From here on keys are left for the next pass.
    end: Option<Vec<u8>>,
}

impl Window {
    fn take(&mut self, change: Change<'_>, hasher: Option<&RandomState>) {
        if self.end.as_ref().is_some_and(|end| change.key >= end.as_slice()) {
            return;
        }
        if change.revision.tombstone {
            if self.items.remove(change.key).is_some() {
                self.used -= change.key.len() + OVERHEAD;
            }
            return;
        }
        let mut item = Item::from(Change { key: &[], ..change });
        item.fingerprint = hasher.map_or(0, |hasher| hasher.hash_one(change.value));
        if let Some(known) = self.items.get_mut(change.key) {
            *known = item;
            return;
        }
        self.items.insert(change.key.to_vec(), item);
        self.used += change.key.len() + OVERHEAD;
        // One key stays whatever its size, or the next pass would not begin behind this one.
        while self.used > self.budget && self.items.len() > 1 {
            if let Some((key, _)) = self.items.pop_last() {
                self.used -= key.len() + OVERHEAD;
                self.end = Some(key);
            }
        }
    }
}
