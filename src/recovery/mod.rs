//! Restoring from a backup: a member's data directory, the plan for a whole cluster, and single keys.

pub mod data_dir;
pub mod etcdutl;
pub mod initial_cluster;
pub mod put_back;
pub mod runbook;
