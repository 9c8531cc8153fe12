//! The proof that a file is a whole snapshot: its trailer, its size, and every page.

use std::path::Path;

use super::bolt::Db;
use super::contents::Contents;
use super::error::{Damage, Error};
use super::mvcc::find;
use super::trailer::FileHash;

/// Exists only for a file whose trailer matched and all of whose pages are sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub file: FileHash,
    pub contents: Contents,
    /// Of the keys that were asked for, in their order.
    pub newest: Vec<Newest>,
}

impl Proof {
    /// etcd serves a snapshot from the member's own database. A member that has fallen behind, or is cut off from the quorum,
    /// sends a file that is whole but old.
    pub(super) fn reaching(self, floor: u64, name: &Path) -> Result<Self, Error> {
        let revision = self.contents.revision;
        if revision < floor {
            let what = format!("it is at revision {revision}, but the cluster was already at {floor}");
            return Err(Error::damaged(name)(Damage::file(what)));
        }
        Ok(self)
    }
}

/// A key as it is at the newest revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    pub key: &'static [u8],
    /// `None` if there is no such key.
    pub value: Option<Vec<u8>>,
}

impl Newest {
    pub(super) fn read(db: &Db, keys: &[&'static [u8]]) -> Result<Vec<Self>, Error> {
        let owned: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
        let states = find(db, &owned, u64::MAX)?;
        let one = |key: &&'static [u8]| {
            let state = states.iter().find(|state| state.key == *key);
            Ok(Self { key, value: state.map(|state| state.value(db)).transpose()? })
        };
        keys.iter().map(one).collect()
    }
}
