//! How many keys a client of the restored etcd can get, counted in one pass over the history.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::history::Change;

/// A count that is exact, and needs memory only while etcd is compacting.
pub enum LiveKeyCount {
    Counting { compacted: u64, created: u64, deleted: u64 },
    Hashing { keys: HashSet<u64>, hasher: RandomState },
}

impl LiveKeyCount {
    /// Both are revisions, 0 without a compaction.
    pub fn new(finished_compaction: u64, scheduled_compaction: u64) -> Self {
        // etcd compacts in batches. Until the last one, an unknown part of the changes is gone and counting is not enough:
        // each live key is kept as a hash of 64 bits.
        if scheduled_compaction > finished_compaction {
            Self::Hashing { keys: HashSet::new(), hasher: RandomState::new() }
        } else {
            Self::Counting { compacted: finished_compaction, created: 0, deleted: 0 }
        }
    }

    /// Takes the next change of the history.
    pub fn add(&mut self, change: &Change<'_>) {
        let revision = change.revision;
        match self {
            // A compaction leaves, of all changes up to its revision, the last put of each key that was live there. So such a
            // put is one live key, whatever its version. After that revision nothing is missing: a key begins with a put
            // of version 1, because a deletion sets the version back, and ends with a tombstone, because etcd writes none
            // for a key that does not exist. Newer releases keep a tombstone at the revision itself; it ends no key that
            // was counted.
            Self::Counting { compacted, created, deleted } => {
                let after = revision.main > *compacted;
                if revision.tombstone {
                    *deleted += u64::from(after);
                } else {
                    *created += u64::from(!after || change.kv.version == 1);
                }
            }
            Self::Hashing { keys, hasher } => {
                let key = hasher.hash_one(change.kv.key);
                if revision.tombstone {
                    keys.remove(&key);
                } else {
                    keys.insert(key);
                }
            }
        }
    }

    pub fn total(&self) -> u64 {
        match self {
            // Saturating, because a damaged history can have more tombstones than keys.
            Self::Counting { created, deleted, .. } => created.saturating_sub(*deleted),
            Self::Hashing { keys, .. } => keys.len().try_into().unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::mvcc::{KeyValue, Revision};

    /// Keeps what etcd keeps: its revisions in order, each with its key and version.
    #[derive(Default)]
    struct EtcdModel {
        history: Vec<(Revision, u8, i64)>,
        versions: BTreeMap<u8, i64>,
        revision: u64,
    }

    impl EtcdModel {
        fn change(&mut self, key: u8, put: bool) {
            let version = if put { self.versions.get(&key).copied().unwrap_or(0) + 1 } else { 0 };
            if put {
                self.versions.insert(key, version);
            } else if self.versions.remove(&key).is_none() {
                return;
            }
            self.revision += 1;
            let revision = Revision { main: self.revision, sub: 0, tombstone: !put };
            self.history.push((revision, key, version));
        }

        /// Removes of the first `batch` revisions up to `at` those that a compaction at `at` does not leave.
        fn compact(&mut self, at: u64, keep_tombstone_at: bool, batch: usize) {
            let mut last = BTreeMap::new();
            for (revision, key, _) in self.history.iter().filter(|(revision, ..)| revision.main <= at) {
                last.insert(*key, *revision);
            }
            let mut left = batch;
            self.history.retain(|(revision, key, _)| {
                let is_last = last.get(key) == Some(revision);
                let kept = !revision.tombstone || (keep_tombstone_at && revision.main == at);
                if revision.main > at || left == 0 || (is_last && kept) {
                    return true;
                }
                left -= 1;
                false
            });
        }

        fn count(&self, finished: u64, scheduled: u64) -> u64 {
            let mut live = LiveKeyCount::new(finished, scheduled);
            for (revision, key, version) in &self.history {
                let kv = KeyValue { key: &[*key], version: *version, ..KeyValue::default() };
                live.add(&Change { revision: *revision, kv });
            }
            live.total()
        }
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_etcd(
            rounds in prop::collection::vec((prop::collection::vec((0_u8..12, any::<bool>()), 1..40), 0_u64..6), 1..6),
            keep_tombstone_at: bool,
            batch in 0_usize..30,
        ) {
            let mut etcd = EtcdModel::default();
            let mut finished = 0;
            for (changes, back) in rounds {
                for (key, put) in changes {
                    etcd.change(key, put);
                }
                let live = u64::try_from(etcd.versions.len()).unwrap();
                prop_assert_eq!(etcd.count(finished, finished), live);
                let at = etcd.revision.saturating_sub(back).max(finished);
                etcd.compact(at, keep_tombstone_at, batch);
                if at > finished {
                    prop_assert_eq!(etcd.count(finished, at), live, "halfway to {}", at);
                }
                etcd.compact(at, keep_tombstone_at, usize::MAX);
                finished = at;
                prop_assert_eq!(etcd.count(finished, finished), live, "compacted at {}", at);
            }
        }
    }
}
