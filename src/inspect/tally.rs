//! How much of a snapshot each Kubernetes resource and each namespace takes, now and in the history.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use crate::kubernetes::Place;
use crate::snapshot::{Change, Db, Error, changes};

/// Keys whose last change is remembered at once, in 18 MiB: a little less than fit, for parts are not quite equal.
const REMEMBERED: u64 = 800_000;
/// Resources or namespaces that are told apart. Kubernetes has some hundreds; other data could have any number.
const GROUPS: usize = 20_000;

/// What a group of keys takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Keys that a client can get.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
    /// Changes that only the history still has: older values, and deletions.
    pub old_changes: u64,
    /// Bytes of their keys and values, which a compaction would free.
    pub old_bytes: u64,
}

impl Size {
    fn add(&mut self, bytes: u64, live: bool) {
        let (count, sum) =
            if live { (&mut self.keys, &mut self.bytes) } else { (&mut self.old_changes, &mut self.old_bytes) };
        *count += 1;
        *sum += bytes;
    }

    /// Both together.
    pub const fn and(self, other: &Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            old_changes: self.old_changes + other.old_changes,
            old_bytes: self.old_bytes + other.old_bytes,
        }
    }
}

/// The sums of a snapshot.
#[derive(Debug, Default)]
pub struct Tally {
    /// By resource as keys spell it. From the twenty-thousandth on they are `(others)`, as are namespaces.
    pub resources: HashMap<Box<str>, Size>,
    /// By namespace.
    pub namespaces: HashMap<Box<str>, Size>,
    /// Objects of Kubernetes outside all namespaces.
    pub cluster_scoped: Size,
    /// Keys that are not Kubernetes'.
    pub other: Size,
}

impl Tally {
    /// Adds up the whole file; `revisions` is the number of changes in it.
    ///
    /// A put is live unless a later change of its key follows. Such a change is a deletion, or a put whose version is
    /// above 1. So only the keys that have one are remembered, each by a hash of 64 bits; a part of them at a time if
    /// they are more than fit.
    ///
    /// # Errors
    /// As [`changes`].
    pub fn of(db: &Db, revisions: u64) -> Result<Self, Error> {
        Self::in_parts(db, revisions, REMEMBERED)
    }

    fn in_parts(db: &Db, revisions: u64, remembered: u64) -> Result<Self, Error> {
        let mut tally = Self::default();
        let replacing = if revisions > remembered { count_replacing(db)? } else { revisions };
        let (parts, hasher) = (replacing.div_ceil(remembered).max(1), RandomState::new());
        for part in 0..parts {
            tally.add_part(db, |key| Some(hasher.hash_one(key)).filter(|hash| hash % parts == part))?;
        }
        Ok(tally)
    }

    /// Adds the keys that `hash` has an answer for.
    fn add_part(&mut self, db: &Db, hash: impl Fn(&[u8]) -> Option<u64>) -> Result<(), Error> {
        let mut last_replacing: HashMap<u64, u64> = HashMap::new();
        let mut at = 0_u64;
        changes(db, u64::MAX, |change| {
            at += 1;
            if let Some(hash) = Some(change).filter(replaces).and_then(|change| hash(change.key)) {
                last_replacing.insert(hash, at);
            }
            Ok::<_, Error>(())
        })?;
        let mut at = 0_u64;
        changes(db, u64::MAX, |change| {
            at += 1;
            if let Some(hash) = hash(change.key) {
                let replaced = last_replacing.get(&hash).is_some_and(|last| at < *last);
                self.add(&change, !change.revision.tombstone && !replaced);
            }
            Ok::<_, Error>(())
        })
    }

    fn add(&mut self, change: &Change<'_>, live: bool) {
        let bytes = u64::try_from(change.key.len().saturating_add(change.value.len())).unwrap_or(u64::MAX);
        let Some(place) = Place::of(change.key) else { return self.other.add(bytes, live) };
        add_to(&mut self.resources, place.resource, bytes, live);
        match place.namespace {
            Some(namespace) => add_to(&mut self.namespaces, namespace, bytes, live),
            None => self.cluster_scoped.add(bytes, live),
        }
    }
}

/// Whether an earlier put of its key is none that a client can get.
fn replaces(change: &Change<'_>) -> bool {
    change.revision.tombstone || change.version > 1
}

fn count_replacing(db: &Db) -> Result<u64, Error> {
    let mut count = 0;
    changes(db, u64::MAX, |change| {
        count += u64::from(replaces(&change));
        Ok::<_, Error>(())
    })?;
    Ok(count)
}

fn add_to(groups: &mut HashMap<Box<str>, Size>, name: &str, bytes: u64, live: bool) {
    // An entry would want a copy of the name each time.
    if let Some(size) = groups.get_mut(name) {
        return size.add(bytes, live);
    }
    let name = if groups.len() < GROUPS { name } else { "(others)" };
    groups.entry(name.into()).or_default().add(bytes, live);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::snapshot::{Sorted, prove_file};

    #[test]
    fn what_is_live_is_what_can_be_got_in_one_part_or_in_many() {
        for name in ["etcd-3.4.23", "etcd-3.5.1"] {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.etcdb"));
            let facts = prove_file(&path).unwrap().facts;
            let db = Db::open_path(&path).unwrap();
            let items: Vec<_> = Sorted::new(&db, b"", facts.revision).map(Result::unwrap).collect();
            let bytes: usize = items.iter().map(|item| item.key.len() + item.value_bytes).sum();
            for remembered in [1, 7, u64::MAX] {
                let tally = Tally::in_parts(&db, facts.revisions, remembered).unwrap();
                let all = || tally.resources.values().chain([&tally.other]);
                assert_eq!(all().map(|size| size.keys).sum::<u64>(), facts.live_keys);
                assert_eq!(all().map(|size| size.bytes).sum::<u64>(), u64::try_from(bytes).unwrap());
                assert_eq!(all().map(|size| size.keys + size.old_changes).sum::<u64>(), facts.revisions);
            }
        }
    }

    #[test]
    fn groups_are_bounded() {
        let mut groups = HashMap::new();
        for i in 0..GROUPS + 5 {
            add_to(&mut groups, &i.to_string(), 10, true);
        }
        add_to(&mut groups, "0", 10, false);
        assert_eq!(groups.len(), GROUPS + 1);
        assert_eq!(groups["(others)"].keys, 5);
        assert_eq!((groups["0"].keys, groups["0"].old_bytes), (1, 10));
    }
}
