//! What a record says of a proved file.

use chrono::{DateTime, Utc};

use crate::backup::record::{Facts, to_the_second};
use crate::inspect::identity::kube_system;
use crate::snapshot::Proof;

/// The facts that are in the snapshot itself, whose proof was asked for the keys of the namespace kube-system.
pub fn facts_of(proof: &Proof, taken_at: DateTime<Utc>) -> Facts {
    let (file, contents) = (&proof.file, &proof.contents);
    Facts {
        taken_at: to_the_second(taken_at),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        revision: contents.revision,
        keys: contents.live_keys,
        hash: format!("{:x}", contents.hash),
        storage_version: contents.storage_version.clone(),
        kube_system: kube_system(&proof.newest),
        member: None,
        member_id: None,
        cluster_id: None,
        etcd_version: None,
        degraded: None,
    }
}
