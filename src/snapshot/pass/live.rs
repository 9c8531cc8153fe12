//! How many keys are live, from the sums of pages.

use super::last_changes::LastChanges;
use super::record::{Kind, Leaf, Tally};
use crate::snapshot::mvcc::{Change, Revision};

/// As [`LiveKeyCount`](crate::snapshot::mvcc::LiveKeyCount) counts, whose comments give the reasons.
#[derive(Debug)]
pub enum Live {
    Counting { compacted: u64, created: u64, deleted: u64 },
    Hashing { last: LastChanges, are_leaves_in: bool },
}

impl Live {
    /// `last` has the changes of all leaves, if they were looked at for it.
    pub fn new(finished_compaction: u64, scheduled_compaction: u64, last: Option<LastChanges>) -> Self {
        if scheduled_compaction > finished_compaction {
            Self::Hashing { are_leaves_in: last.is_some(), last: last.unwrap_or_default() }
        } else {
            Self::Counting { compacted: finished_compaction, created: 0, deleted: 0 }
        }
    }

    /// `change` is `None` for a revision that changes no key.
    pub fn add(&mut self, revision: Revision, change: Option<&Change<'_>>) {
        match (self, change) {
            (Self::Counting { .. }, None) => {}
            (counting @ Self::Counting { .. }, Some(_)) => counting.count(revision.main, Kind::of(change)),
            (Self::Hashing { last, .. }, change) => change.into_iter().for_each(|change| last.add(change)),
        }
    }

    fn count(&mut self, main: u64, kind: Kind) {
        let Self::Counting { compacted, created, deleted } = self else { return };
        let mut tally = Tally::default();
        tally.add(kind);
        if main > *compacted {
            *created += tally.firsts;
            *deleted += tally.tombstones;
        } else {
            *created += tally.puts;
        }
    }

    /// Adds a leaf, from the revision of its first pair to that of its last. Returns whether the record tells enough.
    pub fn add_leaf(&mut self, leaf: &Leaf<'_>, tally: Tally, first: u64, last: u64) -> bool {
        match self {
            Self::Counting { compacted, created, .. } if last <= *compacted => *created += tally.puts,
            Self::Counting { compacted, created, deleted } if first > *compacted => {
                *created += tally.firsts;
                *deleted += tally.tombstones;
            }
            // The history was compacted at a revision of this leaf.
            Self::Counting { .. } => {
                let mut pairs = 0;
                for (main, kind) in leaf.changes(first) {
                    self.count(main, kind);
                    pairs += 1;
                }
                return pairs == leaf.pairs;
            }
            Self::Hashing { .. } => {}
        }
        true
    }

    /// Whether every key of the leaves has to be looked at before there can be a total.
    pub fn needs_leaves(&self) -> bool {
        matches!(self, Self::Hashing { are_leaves_in: false, .. })
    }

    /// `changes` is how many there are in all.
    pub fn total(self, changes: u64) -> Total {
        match self {
            Self::Counting { created, deleted, .. } => Total::Keys(created.saturating_sub(deleted)),
            Self::Hashing { last, .. } => last.next(changes).map_or_else(Total::Keys, Total::Next),
        }
    }
}

/// How many keys are live at the last revision.
pub enum Total {
    Keys(u64),
    /// There is none before another round.
    Next(LastChanges),
}
