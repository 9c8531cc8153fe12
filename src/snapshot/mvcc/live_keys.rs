//! How many keys a client of the restored etcd can get, counted while the history passes by.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::{KeyHead, Revision};

/// A count of the live keys that is exact and, but for a moment in etcd's life, needs no memory.
///
/// A compaction at revision F leaves, of everything up to F, just the last put of each key that was alive at
/// F. Such a put is therefore one live key, whatever its version. After F nothing is gone: a key comes alive
/// with a put whose version is 1 (a deletion sets the version back) and dies with a tombstone. etcd writes
/// none for a key that does not exist. So the live keys are the puts up to F, and the puts of version 1 after F,
/// less the tombstones after F; newer releases keep a tombstone at F itself, which is not counted then.
///
/// While a compaction is under way (one is scheduled that is not finished) only a part of what it removes is
/// gone, and the live keys are remembered by a hash of 64 bits each.
pub enum LiveKeys {
    Counted { compacted: u64, born: u64, died: u64 },
    Remembered { keys: HashSet<u64>, hasher: RandomState },
}

impl LiveKeys {
    /// `finished` and `scheduled` are etcd's marks of the last compaction, 0 without one.
    pub fn new(finished: u64, scheduled: u64) -> Self {
        if scheduled > finished {
            Self::Remembered { keys: HashSet::new(), hasher: RandomState::new() }
        } else {
            Self::Counted { compacted: finished, born: 0, died: 0 }
        }
    }

    /// Takes the next revision of the history.
    pub fn add(&mut self, revision: Revision, head: &KeyHead) {
        match self {
            Self::Counted { compacted, born, died } => {
                let after = revision.main > *compacted;
                if revision.tombstone {
                    *died += u64::from(after);
                } else {
                    *born += u64::from(!after || head.version == 1);
                }
            }
            Self::Remembered { keys, hasher } => {
                let key = hasher.hash_one(&head.key);
                if revision.tombstone {
                    keys.remove(&key);
                } else {
                    keys.insert(key);
                }
            }
        }
    }

    /// The number of live keys; 0, never less, for a history that etcd would not have written.
    pub fn count(&self) -> u64 {
        match self {
            Self::Counted { born, died, .. } => born.saturating_sub(*died),
            Self::Remembered { keys, .. } => keys.len().try_into().unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A store that keeps what etcd keeps: its revisions in order, each with its key and version.
    #[derive(Default)]
    struct Store {
        history: Vec<(Revision, KeyHead)>,
        versions: BTreeMap<u8, i64>,
        revision: u64,
    }

    impl Store {
        fn change(&mut self, key: u8, put: bool) {
            let version = if put { self.versions.get(&key).copied().unwrap_or(0) + 1 } else { 0 };
            if put {
                self.versions.insert(key, version);
            } else if self.versions.remove(&key).is_none() {
                return;
            }
            self.revision += 1;
            let revision = Revision { main: self.revision, sub: 0, tombstone: !put };
            self.history.push((revision, KeyHead { key: vec![key], version, ..KeyHead::default() }));
        }

        /// Removes of the first `batch` revisions up to `at` those that a compaction at `at` does not leave.
        fn compact(&mut self, at: u64, keep_tombstone_at: bool, batch: usize) {
            let mut last = BTreeMap::new();
            for (revision, head) in self.history.iter().filter(|(revision, _)| revision.main <= at) {
                last.insert(head.key.clone(), *revision);
            }
            let mut left = batch;
            self.history.retain(|(revision, head)| {
                let is_last = last.get(&head.key) == Some(revision);
                let kept = !revision.tombstone || (keep_tombstone_at && revision.main == at);
                if revision.main > at || left == 0 || (is_last && kept) {
                    return true;
                }
                left -= 1;
                false
            });
        }

        fn count(&self, finished: u64, scheduled: u64) -> u64 {
            let mut live = LiveKeys::new(finished, scheduled);
            for (revision, head) in &self.history {
                live.add(*revision, head);
            }
            live.count()
        }
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_the_store(
            rounds in prop::collection::vec((prop::collection::vec((0_u8..12, any::<bool>()), 1..40), 0_u64..6), 1..6),
            keep_tombstone_at: bool,
            batch in 0_usize..30,
        ) {
            let mut store = Store::default();
            let mut finished = 0;
            for (changes, back) in rounds {
                for (key, put) in changes {
                    store.change(key, put);
                }
                let live = u64::try_from(store.versions.len()).unwrap();
                prop_assert_eq!(store.count(finished, finished), live);
                let at = store.revision.saturating_sub(back).max(finished);
                store.compact(at, keep_tombstone_at, batch);
                if at > finished {
                    prop_assert_eq!(store.count(finished, at), live, "halfway to {}", at);
                }
                store.compact(at, keep_tombstone_at, usize::MAX);
                finished = at;
                prop_assert_eq!(store.count(finished, finished), live, "compacted at {}", at);
            }
        }
    }
}
