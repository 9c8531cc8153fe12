//! The records that etcd keeps in its database: revisions, keys with their values, members, alarms.
//!
//! The layout is etcd's: `server/storage/schema` for the buckets, `server/storage/mvcc/revision.go` for the
//! keys, `api/mvccpb/kv.proto` for the values.

pub mod history;
pub mod live_keys;
pub mod sorted;

use std::ops::ControlFlow;

use prost::Message;
use serde::Deserialize;

use super::bolt::Db;
use super::{Damage, Error};

const MEMBERS: &[u8] = b"members";
const ALARM: &[u8] = b"alarm";

/// Where a revision stands in the history: its number and its place in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The number that etcd's clients see, from 1 (2 for the first write).
    pub main: u64,
    /// The place among the changes of one transaction, from 0.
    pub sub: u64,
    /// Whether it is the deletion of a key.
    pub tombstone: bool,
}

impl Revision {
    /// Reads a key of the bucket `key`: 17 bytes, or 18 with a final `t` for a deletion.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (place, tombstone) = match key.len() {
            17 => (key, false),
            18 => (key.strip_suffix(b"t")?, true),
            _ => return None,
        };
        let (main, rest) = place.split_first_chunk::<8>()?;
        let sub = rest.strip_prefix(b"_")?.first_chunk::<8>()?;
        Some(Self { main: u64::from_be_bytes(*main), sub: u64::from_be_bytes(*sub), tombstone })
    }

    /// The key of the bucket `key` for this revision.
    pub fn to_key(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(18);
        key.extend(self.main.to_be_bytes());
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        key.extend(self.tombstone.then_some(b't'));
        key
    }
}

/// A value of the bucket `key`, `mvccpb.KeyValue`, as etcd writes it. A deletion has only the key.
#[cfg(test)]
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// The user's key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The revision that created the key.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The revision of this very change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// How many changes there were since the key was created, this one included.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The user's value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease that the key ends with; 0 for none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// `mvccpb.KeyValue` without its value, which a proof has no use for and need not copy.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyHead {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
}

/// A member of the cluster as the snapshot records it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordedMember {
    /// Its number; etcd prints it in hexadecimal.
    pub id: u64,
    /// Its name; empty when it never started.
    #[serde(default)]
    pub name: String,
    /// Where the other members reach it.
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty when it never started.
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

/// An alarm that was raised when the snapshot was taken, `etcdserverpb.AlarmMember`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Alarm {
    /// The member that raised it.
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// 1 for NOSPACE, 2 for CORRUPT.
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

/// The members that the snapshot records, in the order of their numbers' text.
///
/// # Errors
/// As [`Db::scan`], or when an entry is not the JSON that etcd writes.
pub fn members(db: &Db) -> Result<Vec<RecordedMember>, Error> {
    let mut members = Vec::new();
    db.scan(MEMBERS, b"", |key, value| {
        let member = serde_json::from_slice(value).map_err(|error| {
            let id = String::from_utf8_lossy(key);
            db.damaged(Damage::file(format!("the record of member {id} cannot be read: {error}")))
        })?;
        members.push(member);
        Ok::<_, Error>(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// The alarms that were raised when the snapshot was taken.
///
/// # Errors
/// As [`Db::scan`], or when an entry is not the message that etcd writes.
pub fn alarms(db: &Db) -> Result<Vec<Alarm>, Error> {
    let mut alarms = Vec::new();
    db.scan(ALARM, b"", |key, _| {
        let unreadable = |error| db.damaged(Damage::file(format!("an alarm cannot be read: {error}")));
        alarms.push(Alarm::decode(key).map_err(unreadable)?);
        Ok::<_, Error>(ControlFlow::Continue(()))
    })?;
    Ok(alarms)
}
