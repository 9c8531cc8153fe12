//! Restoring from a backup: a member's directories, the plan for a whole cluster, and single keys.

pub mod data_dir;
pub mod etcd_settings;
pub mod etcdutl;
pub mod initial_cluster;
pub mod place;
pub mod put_back;
pub mod runbook;
