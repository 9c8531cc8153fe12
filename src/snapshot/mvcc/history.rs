//! The history of the keys: every change that etcd has kept, read without copying a value.

use std::collections::HashMap;
use std::ops::ControlFlow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::Revision;
use crate::snapshot::bolt::Db;
use crate::snapshot::proof::facts::Facts;
use crate::snapshot::{Damage, Error};

const KEY: &[u8] = b"key";

/// One change of one key, as it lies on its page: `mvccpb.KeyValue` and its place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// When it was made, and whether it is a deletion; that one has only a key.
    pub revision: Revision,
    /// The user's key, never empty.
    pub key: &'a [u8],
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of this very change.
    pub mod_revision: i64,
    /// How many changes there were since the key was created, this one included.
    pub version: i64,
    /// The user's value.
    pub value: &'a [u8],
    /// The lease that the key ends with; 0 for none.
    pub lease: i64,
}

impl<'a> Change<'a> {
    /// Reads a value of the bucket `key`; `None` for what is no `mvccpb.KeyValue`.
    pub fn parse(revision: Revision, mut bytes: &'a [u8]) -> Option<Self> {
        let mut change =
            Self { revision, key: &[], create_revision: 0, mod_revision: 0, version: 0, value: &[], lease: 0 };
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).ok()?;
            match (tag, wire) {
                (1, WireType::LengthDelimited) => change.key = take(&mut bytes)?,
                (2, WireType::Varint) => change.create_revision = int64(&mut bytes)?,
                (3, WireType::Varint) => change.mod_revision = int64(&mut bytes)?,
                (4, WireType::Varint) => change.version = int64(&mut bytes)?,
                (5, WireType::LengthDelimited) => change.value = take(&mut bytes)?,
                (6, WireType::Varint) => change.lease = int64(&mut bytes)?,
                _ => skip_field(wire, tag, &mut bytes, DecodeContext::default()).ok()?,
            }
        }
        (!change.key.is_empty()).then_some(change)
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn int64(bytes: &mut &[u8]) -> Option<i64> {
    decode_varint(bytes).ok().map(u64::cast_signed)
}

/// A key as it was at some revision; its value stays in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The user's key.
    pub key: Vec<u8>,
    /// The change that it owes its state to.
    pub revision: Revision,
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// How many changes there were since it was created.
    pub version: i64,
    /// The lease that it ends with; 0 for none.
    pub lease: i64,
    /// Bytes of its value.
    pub value_bytes: usize,
    /// Hash of its value with a hasher of the caller's; 0 where nobody asked for one.
    pub fingerprint: u64,
}

impl From<Change<'_>> for Item {
    fn from(change: Change<'_>) -> Self {
        Self {
            key: change.key.to_vec(),
            revision: change.revision,
            create_revision: change.create_revision,
            mod_revision: change.mod_revision,
            version: change.version,
            lease: change.lease,
            value_bytes: change.value.len(),
            fingerprint: 0,
        }
    }
}

impl Item {
    /// Reads its value from the file that it was found in.
    ///
    /// # Errors
    /// As [`Db::get`], or when the value is not where the item was.
    pub fn value(&self, db: &Db) -> Result<Vec<u8>, Error> {
        let stored = db.get(KEY, &self.revision.to_key())?;
        let change = stored.as_deref().and_then(|bytes| Change::parse(self.revision, bytes));
        change.map(|change| change.value.to_vec()).ok_or_else(|| unreadable(db, self.revision))
    }
}

/// Why there is no state of the keys at a revision; the words are etcd's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    /// It lies before the last compaction.
    #[error("required revision {asked} has been compacted; the history in this snapshot begins at {first}")]
    Compacted {
        /// The revision asked for.
        asked: u64,
        /// The oldest one that can be had.
        first: u64,
    },
    /// It is yet to come.
    #[error("required revision {asked} is a future revision; this snapshot is at {last}")]
    Future {
        /// The revision asked for.
        asked: u64,
        /// The newest one that can be had.
        last: u64,
    },
}

/// The revision to read at: the one asked for if the file can answer for it, else its newest.
///
/// # Errors
/// As etcd: a revision before the last compaction, or one after the last change.
pub fn revision_to_read(asked: Option<u64>, facts: &Facts) -> Result<u64, NoRevision> {
    match asked {
        None => Ok(facts.revision),
        Some(asked) if asked > facts.revision => Err(NoRevision::Future { asked, last: facts.revision }),
        Some(asked) if asked < facts.compact_revision => {
            Err(NoRevision::Compacted { asked, first: facts.compact_revision })
        }
        Some(asked) => Ok(asked),
    }
}

/// Visits every change up to revision `to`, oldest first.
///
/// # Errors
/// As [`Db::scan`], for a change that cannot be read, or what `visit` returns.
pub fn changes<E: From<Error>>(db: &Db, to: u64, mut visit: impl FnMut(Change<'_>) -> Result<(), E>) -> Result<(), E> {
    db.scan(KEY, b"", |key, value| {
        let Some(revision) = Revision::parse(key) else {
            return Err(db.damaged(Damage::file("a key of the history is not a revision")).into());
        };
        if revision.main > to {
            return Ok(ControlFlow::Break(()));
        }
        // `etcdutl snapshot restore --bump-revision` leaves a revision that is nobody's.
        if !value.is_empty() {
            visit(Change::parse(revision, value).ok_or_else(|| unreadable(db, revision))?)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// These keys as they were at revision `at`; those that did not exist are left out.
///
/// # Errors
/// As [`changes`].
pub fn find(db: &Db, keys: &[Vec<u8>], at: u64) -> Result<Vec<Item>, Error> {
    let mut found: HashMap<&[u8], Option<Item>> = keys.iter().map(|key| (key.as_slice(), None)).collect();
    changes(db, at, |change| {
        if let Some(item) = found.get_mut(change.key) {
            *item = (!change.revision.tombstone).then(|| change.into());
        }
        Ok::<_, Error>(())
    })?;
    Ok(found.into_values().flatten().collect())
}

fn unreadable(db: &Db, revision: Revision) -> Error {
    db.damaged(Damage::file(format!("revision {} cannot be read", revision.main)))
}
