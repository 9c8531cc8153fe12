//! The differences between two backups, key by key.

use std::cmp::Ordering;
use std::iter::Peekable;

use serde::Serialize;
use serde_json::{Value, json};

use crate::inspect::line::{JsonKey, printable};
use crate::snapshot::{Error, KeyState};

/// A key that differs between an older and a newer backup.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the newer one has the key.
    Added(KeyState),
    /// Only the older one has the key.
    Removed(KeyState),
    /// The values differ.
    Changed { before: KeyState, after: KeyState },
    /// The values are the same, but the key was written in between.
    Rewritten { before: KeyState, after: KeyState },
}

/// How many keys there are of each [`Difference`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiffCounts {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    pub rewritten: u64,
    /// Not written in between.
    pub same: u64,
}

/// An iterator over the differences between two sequences of keys. Both must be sorted, and have fingerprints of the
/// same hasher: values are compared by those, so that the keys of two large backups never have to be in memory.
pub struct Diff<A: Iterator, B: Iterator> {
    before: Peekable<A>,
    after: Peekable<B>,
    counts: DiffCounts,
}

type Read = Result<KeyState, Error>;

impl<A: Iterator<Item = Read>, B: Iterator<Item = Read>> Diff<A, B> {
    pub fn new(before: A, after: B) -> Self {
        Self { before: before.peekable(), after: after.peekable(), counts: DiffCounts::default() }
    }

    /// The counts of what the iterator has passed so far.
    pub const fn counts(&self) -> DiffCounts {
        self.counts
    }

    /// Compares the next key of both sides, which is the same key; `None` if nothing differs.
    fn compare_next(&mut self) -> Option<Result<Difference, Error>> {
        let (before, after) = match (self.before.next()?, self.after.next()?) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        let value = |item: &KeyState| (item.value_bytes, item.fingerprint);
        // A key can be deleted and created again with the same version, but not with the same revisions.
        let write = |item: &KeyState| (item.create_revision, item.mod_revision, item.version, item.lease);
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
                // An error is taken from its side like a key, and returned below.
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
                    if let Some(difference) = self.compare_next() {
                        return Some(difference);
                    }
                }
            }
        }
    }
}

impl Difference {
    /// One line for a terminal, with a sign as in the output of `diff`.
    pub fn text(&self) -> String {
        match self {
            Self::Added(item) => format!("+ {}", printable(&item.key)),
            Self::Removed(item) => format!("- {}", printable(&item.key)),
            Self::Changed { before, after } => {
                let (key, from, to) = (printable(&after.key), before.mod_revision, after.mod_revision);
                format!("~ {key} (revision {from} to {to}, {} to {} bytes)", before.value_bytes, after.value_bytes)
            }
            Self::Rewritten { before, after } => {
                let (key, from, to) = (printable(&after.key), before.mod_revision, after.mod_revision);
                format!("= {key} (revision {from} to {to}, the same value)")
            }
        }
    }

    pub fn json(&self) -> Value {
        let state = |item: &KeyState| {
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
        let mut line = json!(JsonKey::new(key));
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

    fn item(key: &str, mod_revision: i64, value: u64) -> KeyState {
        let revision = Revision { main: 1, sub: 0, tombstone: false };
        let key = key.into();
        let (create_revision, version, lease, value_bytes) = (1, 1, 0, 4);
        KeyState { key, revision, create_revision, mod_revision, version, lease, value_bytes, fingerprint: value }
    }

    #[test]
    fn an_error_of_either_side_comes_first() {
        let failed = || Err(Error::Io { doing: "read", path: "x".into(), source: std::io::Error::other("why") });
        let good = || Ok(item("a", 1, 1));
        for (before, after) in
            [(vec![failed()], vec![good()]), (vec![good()], vec![failed()]), (vec![], vec![failed()])]
        {
            let first = Diff::new(before.into_iter(), after.into_iter()).next();
            assert!(matches!(first, Some(Err(_))), "{first:?}");
        }
    }

    #[test]
    fn every_key_is_counted_once() {
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
