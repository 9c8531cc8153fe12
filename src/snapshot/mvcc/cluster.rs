//! The members and the alarms that a snapshot records.

use std::ops::ControlFlow;

use prost::Message;
use serde::Deserialize;

use super::buckets;
use crate::snapshot::bolt::Db;
use crate::snapshot::error::{Damage, Error};

/// A member of the cluster, in the JSON that etcd stores.
// etcd leaves out fields that are empty or false, hence the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordedMember {
    pub id: u64,
    /// Empty for a member that never started.
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Empty for a member that never started.
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
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

/// Sorted by the ID as hexadecimal text, which is the key of each record.
pub fn members(db: &Db) -> Result<Vec<RecordedMember>, Error> {
    let mut members = Vec::new();
    db.scan(buckets::MEMBERS, b"", |key, value| {
        // Unknown fields are ignored: a newer etcd may add some.
        let member = serde_json::from_slice(value).map_err(|error| {
            let id = String::from_utf8_lossy(key);
            db.damaged(Damage::file(format!("the record of member {id} cannot be read: {error}")))
        })?;
        members.push(member);
        Ok::<_, Error>(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

pub fn alarms(db: &Db) -> Result<Vec<Alarm>, Error> {
    let mut alarms = Vec::new();
    // etcd stores the message as the key, with an empty value.
    db.scan(buckets::ALARM, b"", |key, _| {
        let unreadable = |error| db.damaged(Damage::file(format!("an alarm cannot be read: {error}")));
        alarms.push(Alarm::decode(key).map_err(unreadable)?);
        Ok::<_, Error>(ControlFlow::Continue(()))
    })?;
    Ok(alarms)
}
