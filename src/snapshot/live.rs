//! How many keys a client of the restored etcd can get, counted while the history passes by.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::mvcc::{KeyHead, Revision};

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
pub(super) enum LiveKeys {
    Counted { compacted: u64, born: u64, died: u64 },
    Remembered { keys: HashSet<u64>, hasher: RandomState },
}

impl LiveKeys {
    /// `finished` and `scheduled` are etcd's marks of the last compaction, 0 without one.
    pub(super) fn new(finished: u64, scheduled: u64) -> Self {
        if scheduled > finished {
            Self::Remembered { keys: HashSet::new(), hasher: RandomState::new() }
        } else {
            Self::Counted { compacted: finished, born: 0, died: 0 }
        }
    }

    /// Takes the next revision of the history.
    pub(super) fn add(&mut self, revision: Revision, head: &KeyHead) {
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
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Counted { born, died, .. } => born.saturating_sub(*died),
            Self::Remembered { keys, .. } => keys.len().try_into().unwrap_or(u64::MAX),
        }
    }
}
