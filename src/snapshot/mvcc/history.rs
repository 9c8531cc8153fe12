//! The history of the keys: every change that is still in the file, read without copying a value.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::buckets;
use super::key_value::KeyValue;
use super::revision::Revision;
use crate::snapshot::bolt::Db;
use crate::snapshot::error::{Damage, Error};

/// One change of one key, as it lies on its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    pub revision: Revision,
    /// Its key is never empty. A deletion has nothing but the key.
    pub kv: KeyValue<'a>,
}

impl<'a> Change<'a> {
    /// Reads the value at `revision`; `None` for a revision that changes no key.
    pub fn parse(revision: Revision, value: &'a [u8]) -> Result<Option<Self>, String> {
        // `etcdutl snapshot restore --bump-revision` writes a revision whose value is empty, without even a key.
        if value.is_empty() {
            return Ok(None);
        }
        let main = revision.main;
        let kv = KeyValue::decode(value).ok_or_else(|| format!("the value of revision {main} cannot be read"))?;
        if kv.key.is_empty() {
            return Err(format!("the value of revision {main} has no key"));
        }
        // The value of a tombstone holds only the key, so its revision cannot be compared.
        if !revision.tombstone && u64::try_from(kv.mod_revision) != Ok(main) {
            return Err(format!("revision {main} has the value of revision {}", kv.mod_revision));
        }
        Ok(Some(Self { revision, kv }))
    }
}

/// A key as it was at some revision. Its value stays in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    pub key: Vec<u8>,
    /// That of the last change of the key. The value is stored under it.
    pub revision: Revision,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
    pub value_bytes: usize,
    /// A hash of the value, to be compared with others of the same hasher; 0 if there was no hasher.
    pub fingerprint: u64,
}

impl From<Change<'_>> for KeyState {
    fn from(Change { revision, kv }: Change<'_>) -> Self {
        Self {
            key: kv.key.to_vec(),
            revision,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            value_bytes: kv.value.len(),
            fingerprint: 0,
        }
    }
}

impl KeyState {
    /// Reads the value from the file in which the key was found.
    pub fn value(&self, db: &Db) -> Result<Vec<u8>, Error> {
        let stored = db.get(buckets::KEY, &self.revision.to_key())?.unwrap_or_default();
        let change = Change::parse(self.revision, &stored).map_err(|what| db.damaged(Damage::file(what)))?;
        let missing = || Damage::file(format!("the value of revision {} is missing", self.revision.main));
        change.map(|change| change.kv.value.to_vec()).ok_or_else(|| db.damaged(missing()))
    }
}

/// Visits every change up to revision `to`, oldest first.
pub fn changes<E: From<Error>>(db: &Db, to: u64, mut visit: impl FnMut(Change<'_>) -> Result<(), E>) -> Result<(), E> {
    let damaged = |what: String| db.damaged(Damage::file(what));
    db.scan(buckets::KEY, b"", |key, value| {
        let Some(revision) = Revision::parse(key) else {
            return Err(damaged("a key of the history is not a revision".into()).into());
        };
        if revision.main > to {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(change) = Change::parse(revision, value).map_err(damaged)? {
            visit(change)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// These keys as they were at revision `at`, in no order; those that did not exist are left out.
pub fn find(db: &Db, keys: &[Vec<u8>], at: u64) -> Result<Vec<KeyState>, Error> {
    // The file has no index by key (etcd builds one in memory when it starts), so every change has to be read.
    let mut found: HashMap<&[u8], Option<KeyState>> = keys.iter().map(|key| (key.as_slice(), None)).collect();
    changes(db, at, |change| {
        if let Some(state) = found.get_mut(change.kv.key) {
            *state = (!change.revision.tombstone).then(|| change.into());
        }
        Ok::<_, Error>(())
    })?;
    Ok(found.into_values().flatten().collect())
}

/// That there are too many keys, or that they cannot be read.
struct TooMany(Option<Error>);

impl From<Error> for TooMany {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}

/// The keys that are wanted, as they were at revision `at`; `None` if there were more than `most` at once.
pub fn find_all<F: Fn(&[u8]) -> bool>(
    db: &Db,
    at: u64,
    most: usize,
    is_wanted: F,
) -> Result<Option<impl Iterator<Item = KeyState> + use<F>>, Error> {
    // A tree, because a map of hashes takes twice its memory when it grows.
    let mut found: BTreeMap<Vec<u8>, KeyState> = BTreeMap::new();
    let read = changes(db, at, |change| {
        let key = change.kv.key;
        if change.revision.tombstone {
            found.remove(key);
        } else if is_wanted(key) {
            // The key is in the tree, and not held twice.
            let keyless = Change { kv: KeyValue { key: &[], ..change.kv }, ..change };
            let is_full = found.len() >= most;
            match found.get_mut(key) {
                Some(known) => *known = keyless.into(),
                None if is_full => return Err(TooMany(None)),
                None => drop(found.insert(key.to_vec(), keyless.into())),
            }
        }
        Ok::<_, TooMany>(())
    });
    match read {
        Ok(()) => Ok(Some(found.into_iter().map(|(key, state)| KeyState { key, ..state }))),
        Err(TooMany(None)) => Ok(None),
        Err(TooMany(Some(error))) => Err(error),
    }
}
