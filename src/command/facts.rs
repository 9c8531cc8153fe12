//! What a record says of a proved file.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::backup::record::{Facts, to_the_second};
use crate::exit::Failure;
use crate::inspect::identity::kube_system;
use crate::snapshot::{Db, Proof};
use crate::system::blocking::blocking;

/// The facts that are in the file itself.
pub async fn facts_of(path: &Path, proof: &Proof, taken_at: DateTime<Utc>) -> Result<Facts, Failure> {
    let path = path.to_owned();
    let kube_system = blocking(move || kube_system(&Db::open_path(&path)?)).await?;
    let (file, contents) = (&proof.file, &proof.contents);
    Ok(Facts {
        taken_at: to_the_second(taken_at),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        revision: contents.revision,
        keys: contents.live_keys,
        hash: format!("{:x}", contents.hash),
        storage_version: contents.storage_version.clone(),
        kube_system,
        member: None,
        member_id: None,
        cluster_id: None,
        etcd_version: None,
        degraded: None,
    })
}
