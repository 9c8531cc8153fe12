//! Whether a whole namespace can be put back now.

/// A namespace under one of the keys where it may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNamespace {
    pub key: Vec<u8>,
    /// As the cluster has it.
    pub live: State,
    /// As the backup has it.
    pub stored: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Missing,
    Active,
    /// It waits for the deletion of what is in it.
    Deleting,
}

impl State {
    /// `deleting` is `None` if it is missing.
    pub fn of(deleting: Option<bool>) -> Self {
        deleting.map_or(Self::Missing, |deleting| if deleting { Self::Deleting } else { Self::Active })
    }
}

/// Of the keys of one namespace the one that Kubernetes uses, as far as can be known.
pub fn that_counts(found: impl IntoIterator<Item = FoundNamespace>) -> Option<FoundNamespace> {
    // A key that another API server left behind must not hide that the namespace is being deleted.
    let rank = |found: &FoundNamespace| (found.live, found.stored != State::Missing);
    found.into_iter().reduce(|first, next| if rank(&next) > rank(&first) { next } else { first })
}

/// Refuses where Kubernetes would delete again what is put back, with what to do instead. `label` is the backup's name, and
/// `cancel` the command that cancels the deletion of the namespace.
pub fn check_namespace(
    name: &str,
    found: &FoundNamespace,
    overwrite: bool,
    label: &str,
    cancel: &str,
) -> Result<(), String> {
    match (found.live, found.stored) {
        // The namespace is replaced first, and then no longer being deleted.
        (State::Deleting, State::Active) if overwrite => Ok(()),
        (State::Deleting, State::Active) => Err(format!(
            "namespace: {name} is being deleted in the cluster, with all that is put back into it; cancel the deletion with `{cancel}`, or wait until it is gone, and then run this again"
        )),
        (State::Deleting, _) => Err(format!(
            "namespace: {name} is being deleted in the cluster, with all that is put back into it, and {label} has no state of it from before; use an earlier backup"
        )),
        (State::Missing, State::Missing) => Err(format!(
            "namespace: neither {label} nor the cluster has {name}; `etcd-backup inspect` shows what a backup has"
        )),
        (State::Missing, State::Deleting) => Err(format!(
            "namespace: {name} was being deleted when {label} was taken, and Kubernetes would delete it again with all that is in it; use an earlier backup, or an earlier revision of this one (--revision)"
        )),
        (State::Active, _) | (State::Missing, State::Active) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, live: State, stored: State) -> FoundNamespace {
        FoundNamespace { key: key.into(), live, stored }
    }

    #[test]
    fn nothing_is_put_back_to_be_deleted_again() {
        let check = |live, stored, overwrite| {
            check_namespace("shop", &found("/k", live, stored), overwrite, "b.etcdb", "etcd-backup put-back x")
        };
        for stored in [State::Missing, State::Active, State::Deleting] {
            assert_eq!(check(State::Active, stored, false), Ok(()));
        }
        assert_eq!(check(State::Missing, State::Active, false), Ok(()));
        assert_eq!(check(State::Deleting, State::Active, true), Ok(()));
        for (live, stored, overwrite, advice) in [
            (State::Deleting, State::Active, false, "cancel the deletion with `etcd-backup put-back x`, or wait"),
            (State::Deleting, State::Missing, true, "use an earlier backup"),
            (State::Deleting, State::Deleting, true, "use an earlier backup"),
            (State::Missing, State::Missing, false, "neither b.etcdb nor the cluster has shop"),
            (State::Missing, State::Deleting, false, "an earlier revision of this one"),
        ] {
            let refused = check(live, stored, overwrite).unwrap_err();
            assert!(refused.starts_with("namespace: ") && refused.contains(advice), "{refused}");
        }
    }

    #[test]
    fn a_key_that_was_left_behind_does_not_hide_the_one_in_use() {
        use State::{Active, Deleting, Missing};
        for (first, second, counts) in [
            ((Deleting, Active), (Active, Active), "/first"),
            ((Active, Active), (Deleting, Active), "/second"),
            ((Missing, Active), (Active, Missing), "/second"),
            ((Missing, Missing), (Missing, Active), "/second"),
            ((Missing, Active), (Missing, Active), "/first"),
        ] {
            let both = [found("/first", first.0, first.1), found("/second", second.0, second.1)];
            assert_eq!(that_counts(both).unwrap().key, counts.as_bytes(), "{first:?} {second:?}");
        }
        assert_eq!([None, Some(false), Some(true)].map(State::of), [Missing, Active, Deleting]);
    }
}
