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
    /// The key was written in between, with the same value.
    Rewritten { before: KeyState, after: KeyState },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiffCounts {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    pub rewritten: u64,
    /// Not written in between.
    pub same: u64,
}

/// An iterator over the differences between two sequences of keys. Both must be sorted, with fingerprints of the same
/// hasher.
pub struct Diff<A: Iterator, B: Iterator> {
    before: Peekable<A>,
    after: Peekable<B>,
    counts: DiffCounts,
}

type ReadKey = Result<KeyState, Error>;

impl<A: Iterator<Item = ReadKey>, B: Iterator<Item = ReadKey>> Diff<A, B> {
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
        // By fingerprint: the values stay in the files, so that two large backups can be compared in little memory.
        let value = |key: &KeyState| (key.value_bytes, key.fingerprint);
        // The version alone is not enough: a key that is deleted and created again can reach the same version.
        let write = |key: &KeyState| (key.create_revision, key.mod_revision, key.version, key.lease);
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

impl<A: Iterator<Item = ReadKey>, B: Iterator<Item = ReadKey>> Iterator for Diff<A, B> {
    type Item = Result<Difference, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return None,
                (Some(Ok(before)), Some(Ok(after))) => before.key.cmp(&after.key),
                // An error is taken from its side as if it were a key, and returned below.
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
            Self::Added(added) => format!("+ {}", printable(&added.key)),
            Self::Removed(removed) => format!("- {}", printable(&removed.key)),
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
        let state = |key: &KeyState| {
            json!({
                "create_revision": key.create_revision,
                "mod_revision": key.mod_revision,
                "version": key.version,
                "lease": key.lease,
                "bytes": key.value_bytes,
            })
        };
        let (change, key, before, after) = match self {
            Self::Added(added) => ("added", &added.key, None, Some(added)),
            Self::Removed(removed) => ("removed", &removed.key, Some(removed), None),
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

    fn key_state(key: &str, mod_revision: i64, value: u64) -> KeyState {
        let revision = Revision { main: 1, sub: 0, tombstone: false };
        let key = key.into();
        let (create_revision, version, lease, value_bytes) = (1, 1, 0, 4);
        KeyState { key, revision, create_revision, mod_revision, version, lease, value_bytes, fingerprint: value }
    }

    #[test]
    fn an_error_of_either_side_comes_first() {
        let failed = || Err(Error::Io { doing: "read", path: "x".into(), source: std::io::Error::other("why") });
        let good = || Ok(key_state("a", 1, 1));
        for (before, after) in
            [(vec![failed()], vec![good()]), (vec![good()], vec![failed()]), (vec![], vec![failed()])]
        {
            let first = Diff::new(before.into_iter(), after.into_iter()).next();
            assert!(matches!(first, Some(Err(_))), "{first:?}");
        }
    }

    #[test]
    fn every_key_is_counted_once() {
        let before = [key_state("a", 1, 1), key_state("b", 2, 2), key_state("c", 3, 3), key_state("e", 5, 5)];
        let after = [
            key_state("b", 2, 2),
            key_state("c", 9, 4),
            key_state("d", 10, 1),
            key_state("e", 11, 5),
            key_state("f", 12, 6),
        ];
        let mut diff = Diff::new(before.into_iter().map(Ok), after.into_iter().map(Ok));
        let lines: Vec<_> = diff.by_ref().map(|difference| difference.unwrap().text()).collect();
        let expected =
            ["- a", "~ c (revision 3 to 9, 4 to 4 bytes)", "+ d", "= e (revision 5 to 11, the same value)", "+ f"];
        assert_eq!(lines, expected);
        assert_eq!(diff.counts(), DiffCounts { added: 2, removed: 1, changed: 1, rewritten: 1, same: 1 });
    }
}
