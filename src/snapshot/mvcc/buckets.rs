//! The names of etcd's buckets and of single records in them, as in its `server/storage/schema`.

pub const KEY: &[u8] = b"key";
pub const META: &[u8] = b"meta";
pub const CLUSTER: &[u8] = b"cluster";
pub const MEMBERS: &[u8] = b"members";
pub const ALARM: &[u8] = b"alarm";

// In the bucket `meta`.
pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
pub const TERM: &[u8] = b"term";
pub const CONF_STATE: &[u8] = b"confState";
pub const STORAGE_VERSION: &[u8] = b"storageVersion";
pub const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
pub const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";

// In the bucket `cluster`.
pub const CLUSTER_VERSION: &[u8] = b"clusterVersion";
