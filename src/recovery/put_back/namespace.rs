//! Whether a whole namespace can be put back now.

/// The namespace as the cluster has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveNamespace {
    Missing,
    Active,
    /// It waits for the deletion of what is in it.
    Deleting,
}

/// The namespace as the backup has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredNamespace {
    Missing,
    Active,
    Deleting,
}

/// Refuses where Kubernetes would delete again what is put back, with what to do instead. `label` is the backup's name.
pub fn check_namespace(
    name: &str,
    live: LiveNamespace,
    stored: StoredNamespace,
    overwrite: bool,
    label: &str,
) -> Result<(), String> {
    match (live, stored) {
        // The namespace is replaced first, and then no longer being deleted.
        (LiveNamespace::Deleting, StoredNamespace::Active) if overwrite => Ok(()),
        (LiveNamespace::Deleting, StoredNamespace::Active) => Err(format!(
            "namespace: {name} is being deleted in the cluster, with all that is put back into it; end that with `put-back {label} /registry/namespaces/{name} --overwrite --yes`, or wait until it is gone, and then run this again"
        )),
        (LiveNamespace::Deleting, _) => Err(format!(
            "namespace: {name} is being deleted in the cluster, with all that is put back into it, and {label} has no state of it from before; use an earlier backup"
        )),
        (LiveNamespace::Missing, StoredNamespace::Missing) => Err(format!(
            "namespace: neither {label} nor the cluster has {name}; `etcd-backup inspect` shows what a backup has"
        )),
        (LiveNamespace::Missing, StoredNamespace::Deleting) => Err(format!(
            "namespace: {name} was being deleted when {label} was taken, and Kubernetes would delete it again with all that is in it; use an earlier backup, or an earlier revision of this one (--revision)"
        )),
        (LiveNamespace::Active, _) | (LiveNamespace::Missing, StoredNamespace::Active) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LiveNamespace as Live, StoredNamespace as Stored, check_namespace};

    #[test]
    fn nothing_is_put_back_to_be_deleted_again() {
        let check = |live, stored, overwrite| check_namespace("shop", live, stored, overwrite, "b.etcdb");
        for stored in [Stored::Missing, Stored::Active, Stored::Deleting] {
            assert_eq!(check(Live::Active, stored, false), Ok(()));
        }
        assert_eq!(check(Live::Missing, Stored::Active, false), Ok(()));
        assert_eq!(check(Live::Deleting, Stored::Active, true), Ok(()));
        for (live, stored, overwrite, advice) in [
            (Live::Deleting, Stored::Active, false, "`put-back b.etcdb /registry/namespaces/shop --overwrite --yes`"),
            (Live::Deleting, Stored::Missing, true, "use an earlier backup"),
            (Live::Deleting, Stored::Deleting, true, "use an earlier backup"),
            (Live::Missing, Stored::Missing, false, "neither b.etcdb nor the cluster has shop"),
            (Live::Missing, Stored::Deleting, false, "an earlier revision of this one"),
        ] {
            let refused = check(live, stored, overwrite).unwrap_err();
            assert!(refused.starts_with("namespace: ") && refused.contains(advice), "{refused}");
        }
    }
}
