//! How much of a snapshot each Kubernetes resource and each namespace uses, for its live keys and for its history.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

use crate::kubernetes::ResourceKey;
use crate::snapshot::{Change, Db, Error, changes};

// Changed keys that one pass keeps in memory. Their map takes 17 MiB: 2^20 slots of 17 bytes. It doubles at 917,504 keys;
// the margin is there because the passes get unequal parts of the keys.
const KEYS_PER_PASS: u64 = 800_000;
// Resources, or namespaces, that are counted apart. A cluster has some hundreds, but keys that only look like those of
// Kubernetes could make any number of groups, and use any amount of memory.
const GROUPS: usize = 20_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GroupUsage {
    /// The keys that a client can get.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
    /// Older values and deletions, which are only in the history.
    pub old_changes: u64,
    /// Bytes of their keys and values, which a compaction would free.
    pub old_bytes: u64,
}

impl GroupUsage {
    fn add(&mut self, bytes: u64, live: bool) {
        let (count, sum) =
            if live { (&mut self.keys, &mut self.bytes) } else { (&mut self.old_changes, &mut self.old_bytes) };
        *count += 1;
        *sum += bytes;
    }

    pub const fn plus(self, other: &Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            old_changes: self.old_changes + other.old_changes,
            old_bytes: self.old_bytes + other.old_bytes,
        }
    }
}

#[derive(Debug, Default)]
pub struct Usage {
    /// By [`ResourceKey::resource`]. If there are too many, the last are summed up as `(others)`; namespaces likewise.
    pub resources: HashMap<Box<str>, GroupUsage>,
    pub namespaces: HashMap<Box<str>, GroupUsage>,
    /// Objects that are in no namespace.
    pub cluster_scoped: GroupUsage,
    /// Keys that are not Kubernetes objects.
    pub other: GroupUsage,
}

impl Usage {
    /// Reads the whole file; `revisions` is the number of changes in it.
    pub fn read(db: &Db, revisions: u64) -> Result<Self, Error> {
        Self::in_passes(db, revisions, KEYS_PER_PASS)
    }

    fn in_passes(db: &Db, revisions: u64, keys_per_pass: u64) -> Result<Self, Error> {
        // A put is live unless a later change replaces it: a deletion, or a put of a version above 1. Only keys with such a
        // change are kept in memory, each as a hash of 64 bits. If they are too many, each pass takes a part of the keys.
        let mut usage = Self::default();
        let replacing = if revisions > keys_per_pass { count_replacing(db)? } else { revisions };
        let (passes, hasher) = (replacing.div_ceil(keys_per_pass).max(1), RandomState::new());
        for pass in 0..passes {
            usage.add_pass(db, |key| Some(hasher.hash_one(key)).filter(|hash| hash % passes == pass))?;
        }
        Ok(usage)
    }

    /// Adds the keys for which `hash` returns a hash.
    fn add_pass(&mut self, db: &Db, hash: impl Fn(&[u8]) -> Option<u64>) -> Result<(), Error> {
        // The file is read twice: only after the last change of a key is it known which put is live.
        let mut last_replacing: HashMap<u64, u64> = HashMap::new();
        let mut position = 0_u64;
        changes(db, u64::MAX, |change| {
            position += 1;
            if let Some(hash) = Some(change).filter(replaces).and_then(|change| hash(change.kv.key)) {
                last_replacing.insert(hash, position);
            }
            Ok::<_, Error>(())
        })?;
        let mut position = 0_u64;
        changes(db, u64::MAX, |change| {
            position += 1;
            if let Some(hash) = hash(change.kv.key) {
                let replaced = last_replacing.get(&hash).is_some_and(|last| position < *last);
                self.add(&change, !change.revision.tombstone && !replaced);
            }
            Ok::<_, Error>(())
        })
    }

    fn add(&mut self, change: &Change<'_>, live: bool) {
        let bytes = u64::try_from(change.kv.key.len().saturating_add(change.kv.value.len())).unwrap_or(u64::MAX);
        let Some(key) = ResourceKey::parse(change.kv.key) else { return self.other.add(bytes, live) };
        add_to(&mut self.resources, key.resource, bytes, live);
        match key.namespace {
            Some(namespace) => add_to(&mut self.namespaces, namespace, bytes, live),
            None => self.cluster_scoped.add(bytes, live),
        }
    }
}

/// Whether an earlier put of the key can no longer be live.
fn replaces(change: &Change<'_>) -> bool {
    change.revision.tombstone || change.kv.version > 1
}

fn count_replacing(db: &Db) -> Result<u64, Error> {
    let mut count = 0;
    changes(db, u64::MAX, |change| {
        count += u64::from(replaces(&change));
        Ok::<_, Error>(())
    })?;
    Ok(count)
}

fn add_to(groups: &mut HashMap<Box<str>, GroupUsage>, name: &str, bytes: u64, live: bool) {
    // `entry` alone would need a copy of the name for each change.
    if let Some(group) = groups.get_mut(name) {
        return group.add(bytes, live);
    }
    let name = if groups.len() < GROUPS { name } else { "(others)" };
    groups.entry(name.into()).or_default().add(bytes, live);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::snapshot::{SortedKeys, prove_file};

    #[test]
    fn what_is_live_is_what_can_be_read_in_one_pass_or_in_many() {
        for name in ["etcd-3.4.23", "etcd-3.5.1"] {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.etcdb"));
            let contents = prove_file(&path, &[]).unwrap().contents;
            let db = Db::open_path(&path).unwrap();
            let keys: Vec<_> = SortedKeys::new(&db, b"", contents.revision).map(Result::unwrap).collect();
            let bytes: usize = keys.iter().map(|state| state.key.len() + state.value_bytes).sum();
            for keys_per_pass in [1, 7, u64::MAX] {
                let usage = Usage::in_passes(&db, contents.revisions, keys_per_pass).unwrap();
                let all = || usage.resources.values().chain([&usage.other]);
                assert_eq!(all().map(|size| size.keys).sum::<u64>(), contents.live_keys);
                assert_eq!(all().map(|size| size.bytes).sum::<u64>(), u64::try_from(bytes).unwrap());
                assert_eq!(all().map(|size| size.keys + size.old_changes).sum::<u64>(), contents.revisions);
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
