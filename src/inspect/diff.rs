//! What one backup has more, less or otherwise than another, key by key.

use std::cmp::Ordering;
use std::iter::Peekable;

use serde::Serialize;
use serde_json::{Value, json};

use crate::inspect::line::{Key, shown};
use crate::snapshot::{Error, Item};

/// A key that is not the same in both.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the newer one has it.
    Added(Item),
    /// Only the older one has it.
    Removed(Item),
    /// Both have it, with different values.
    Changed {
        /// As the older one has it.
        before: Item,
        /// As the newer one has it.
        after: Item,
    },
    /// Both have it, with the same value, but it was written anew in between.
    Rewritten {
        /// As the older one has it.
        before: Item,
        /// As the newer one has it.
        after: Item,
    },
}

/// How many keys there are of each sort.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiffCounts {
    /// Only in the newer one.
    pub added: u64,
    /// Only in the older one.
    pub removed: u64,
    /// With another value.
    pub changed: u64,
    /// Written anew with the same value.
    pub rewritten: u64,
    /// The very same in both.
    pub same: u64,
}

/// The differences between two sequences of keys, both sorted, with fingerprints of the same hasher.
pub struct Diff<A: Iterator, B: Iterator> {
    before: Peekable<A>,
    after: Peekable<B>,
    counts: DiffCounts,
}

type Read = Result<Item, Error>;

impl<A: Iterator<Item = Read>, B: Iterator<Item = Read>> Diff<A, B> {
    /// From `before` to `after`.
    pub fn new(before: A, after: B) -> Self {
        Self { before: before.peekable(), after: after.peekable(), counts: DiffCounts::default() }
    }

    /// What was met so far.
    pub const fn counts(&self) -> DiffCounts {
        self.counts
    }

    fn both(&mut self) -> Option<Result<Difference, Error>> {
        let (before, after) = match (self.before.next()?, self.after.next()?) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        let value = |item: &Item| (item.value_bytes, item.fingerprint);
        let write = |item: &Item| (item.create_revision, item.mod_revision, item.version, item.lease);
        if value(&before) != value(&after) {
            self.counts.changed += 1;
            return Some(Ok(Difference::Changed { before, after }));
        }
        if write(&before) != write(&after) {
            self.counts.rewritten += 1;
            return Some(Ok(Difference::Rewritten { before, after }));
        }
        self.counts.same += 1;
        None
    }
}

impl<A: Iterator<Item = Read>, B: Iterator<Item = Read>> Iterator for Diff<A, B> {
    type Item = Result<Difference, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return None,
                (Some(Ok(before)), Some(Ok(after))) => before.key.cmp(&after.key),
                // An error comes out of the side that has it.
                (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
                (None, Some(_)) | (_, Some(Err(_))) => Ordering::Greater,
            };
            match order {
                Ordering::Less => {
                    self.counts.removed += 1;
                    return Some(self.before.next()?.map(Difference::Removed));
                }
                Ordering::Greater => {
                    self.counts.added += 1;
                    return Some(self.after.next()?.map(Difference::Added));
                }
                Ordering::Equal => {
                    if let Some(difference) = self.both() {
                        return Some(difference);
                    }
                }
            }
        }
    }
}

impl Difference {
    /// For people: a sign and the key, as of `diff`.
    pub fn text(&self) -> String {
        match self {
            Self::Added(item) => format!("+ {}", shown(&item.key)),
            Self::Removed(item) => format!("- {}", shown(&item.key)),
            Self::Changed { before, after } => {
                let (key, from, to) = (shown(&after.key), before.mod_revision, after.mod_revision);
                format!("~ {key} (revision {from} to {to}, {} to {} bytes)", before.value_bytes, after.value_bytes)
            }
            Self::Rewritten { before, after } => {
                let (key, from, to) = (shown(&after.key), before.mod_revision, after.mod_revision);
                format!("= {key} (revision {from} to {to}, the same value)")
            }
        }
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let state = |item: &Item| {
            json!({
                "create_revision": item.create_revision,
                "mod_revision": item.mod_revision,
                "version": item.version,
                "lease": item.lease,
                "bytes": item.value_bytes,
            })
        };
        let (change, key, before, after) = match self {
            Self::Added(item) => ("added", &item.key, None, Some(item)),
            Self::Removed(item) => ("removed", &item.key, Some(item), None),
            Self::Changed { before, after } => ("changed", &after.key, Some(before), Some(after)),
            Self::Rewritten { before, after } => ("rewritten", &after.key, Some(before), Some(after)),
        };
        let mut line = json!(Key::new(key));
        line["change"] = change.into();
        line["before"] = before.map_or(Value::Null, state);
        line["after"] = after.map_or(Value::Null, state);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Revision;

    fn item(key: &str, mod_revision: i64, value: u64) -> Item {
        let revision = Revision { main: 1, sub: 0, tombstone: false };
        let key = key.into();
        let (create_revision, version, lease, value_bytes) = (1, 1, 0, 4);
        Item { key, revision, create_revision, mod_revision, version, lease, value_bytes, fingerprint: value }
    }

    #[test]
    fn every_key_is_of_one_sort() {
        let before = [item("a", 1, 1), item("b", 2, 2), item("c", 3, 3), item("e", 5, 5)];
        let after = [item("b", 2, 2), item("c", 9, 4), item("d", 10, 1), item("e", 11, 5), item("f", 12, 6)];
        let mut diff = Diff::new(before.into_iter().map(Ok), after.into_iter().map(Ok));
        let lines: Vec<_> = diff.by_ref().map(|difference| difference.unwrap().text()).collect();
        let expected =
            ["- a", "~ c (revision 3 to 9, 4 to 4 bytes)", "+ d", "= e (revision 5 to 11, the same value)", "+ f"];
        assert_eq!(lines, expected);
        assert_eq!(diff.counts(), DiffCounts { added: 2, removed: 1, changed: 1, rewritten: 1, same: 1 });
    }
}
