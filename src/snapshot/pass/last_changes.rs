//! How many keys are live, of changes that may come in any order.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::snapshot::mvcc::{Change, Revision};

/// The last change of each key, the key as a hash of 64 bits; the changes may come in any order. If there may be too many keys,
/// each of several rounds is for a part of the hashes.
#[derive(Debug)]
pub struct LastChanges {
    /// The main revision, and the sub revision above one bit, which is set for a deletion.
    by_key: HashMap<u64, (u64, u64)>,
    hasher: RandomState,
    part: u64,
    parts: u64,
    /// Live keys of the parts before.
    before: u64,
}

impl Default for LastChanges {
    fn default() -> Self {
        Self { by_key: HashMap::new(), hasher: RandomState::new(), part: 0, parts: 1, before: 0 }
    }
}

impl LastChanges {
    /// So many rounds are enough for every memory: whoever reads a backup from far away reads it that often.
    const MOST_PARTS: u64 = 4;
    /// Bytes of a place in the table, of which seven in eight are used before it grows.
    const PLACE: u64 = 25;

    /// For so many changes of as many keys, in about so many bytes: with a lot of small changes it is more, up to 15 bytes a change.
    pub fn of(changes: u64, bytes: u64) -> Self {
        let places = 1_u64 << (bytes / Self::PLACE).max(1).ilog2();
        // The parts are not equally large.
        let parts = changes.div_ceil(places / 4 * 3 + 1).clamp(1, Self::MOST_PARTS);
        Self { parts, ..Self::default() }.with_room(changes)
    }

    fn with_room(mut self, changes: u64) -> Self {
        let in_part = changes / self.parts + changes / self.parts / 16;
        // Growing would take half as much again.
        let _ = usize::try_from(in_part).map(|keys| self.by_key.try_reserve(keys));
        self
    }

    /// For the next round, if this one was not the last.
    pub fn next(self, changes: u64) -> Result<Self, u64> {
        let (before, part) = (self.live(), self.part + 1);
        if part == self.parts {
            return Err(before);
        }
        Ok(Self { by_key: HashMap::new(), before, part, ..self }.with_room(changes))
    }

    /// Two keys of one hash would count as one: of ten million keys, with a probability of about 1 in 370,000.
    pub fn add(&mut self, change: &Change<'_>) {
        let Revision { main, sub, tombstone } = change.revision;
        let key = self.hasher.hash_one(change.kv.key);
        if key % self.parts == self.part {
            let change = (main, (sub << 1) | u64::from(tombstone));
            let last = self.by_key.entry(key).or_insert(change);
            *last = change.max(*last);
        }
    }

    /// How many keys were not deleted last, of this part and those before.
    pub fn live(&self) -> u64 {
        let live = self.by_key.values().filter(|(_, sub)| sub & 1 == 0).count();
        self.before + u64::try_from(live).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::mvcc::KeyValue;

    #[test]
    fn many_keys_are_counted_in_parts_of_bounded_memory() {
        // Every third of 9,000 keys is deleted; in the reverse order.
        let mut last = LastChanges::of(12_000, 2048 * LastChanges::PLACE);
        for rounds in 1.. {
            for main in (0..12_000_u64).rev() {
                let (key, tombstone) = if main < 9000 { (main, false) } else { ((main - 9000) * 3, true) };
                let key = key.to_string();
                let kv = KeyValue { key: key.as_bytes(), ..KeyValue::default() };
                last.add(&Change { revision: Revision { main, sub: 0, tombstone }, kv });
            }
            assert!(last.by_key.capacity() < 4096, "{}", last.by_key.capacity());
            last = match last.next(12_000) {
                Ok(next) => next,
                Err(live) => {
                    assert_eq!((live, rounds), (6000, 4));
                    return;
                }
            };
        }
    }
}
