//! The records that etcd keeps in its buckets: the history of the keys, the members, the alarms.

pub mod buckets;
mod cluster;
mod history;
mod key_value;
mod live_key_count;
mod revision;
mod sorted_keys;

pub use cluster::{Alarm, RecordedMember, alarms, members};
pub use history::{Change, KeyState, changes, find, find_all};
#[cfg(test)]
pub use key_value::KeyValue;
pub use live_key_count::LiveKeyCount;
pub use revision::Revision;
pub use sorted_keys::SortedKeys;
