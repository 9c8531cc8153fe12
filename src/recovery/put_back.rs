//! Which keys may be brought back into a running cluster, and what is to become of each. Pure.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::inspect::line::{JsonKey, printable};
use crate::kubernetes::{Encryption, ObjectSummary, ResourceKey, StoredValue};
use crate::snapshot::KeyState;

/// A key of the backup, and what is to become of it.
#[derive(Debug)]
pub struct PlannedKey {
    /// As the backup has it.
    pub item: KeyState,
    /// What the plan says.
    pub action: Action,
    /// What somebody should know before it is there again.
    pub note: Option<String>,
}

/// What the plan says about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is gone: create it.
    Create,
    /// It exists and differs: replace it, if it is still at this revision.
    Replace {
        /// The revision that was read.
        mod_revision: i64,
    },
    /// It exists: nothing is done.
    Leave(&'static str),
    /// It is never brought back.
    Refuse(&'static str),
}

impl Action {
    /// Whether something is to be written.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Replace { .. })
    }
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was as planned; nothing was to be written.
    AsPlanned,
    /// It is there again, since this revision.
    Created(i64),
    /// It is as in the backup, since this revision.
    Replaced(i64),
    /// Somebody else wrote it after it was read; it was left alone.
    Overtaken,
    /// There was no answer: it may have been written or not.
    Unknown(String),
    /// An earlier key failed.
    NotAttempted,
}

/// A key as it is in the cluster, compared with the backup's.
#[derive(Debug, Clone, Copy)]
pub struct LiveKey {
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The lease that it ends with; 0 for none.
    pub lease: i64,
    /// Whether its value is the backup's.
    pub same: bool,
}

/// Why a key is never brought back; `None` for one that may be.
///
/// What is refused lives as long as something renews it, or is made anew from what runs now: an old one would be wrong
/// from the start.
pub fn refusal(item: &KeyState, object: Option<&ObjectSummary>) -> Option<&'static str> {
    if item.lease != 0 {
        return Some("it ends with a lease of etcd, and leases are not brought back");
    }
    // By its key, or under another root than the usual ones by what it says it is.
    let kind = object.map(|object| (object.api_version.split('/').next().unwrap_or_default(), object.kind.as_str()));
    match (ResourceKey::parse(&item.key).map(|place| place.resource), kind) {
        (Some("events"), _) | (_, Some(("v1" | "events.k8s.io", "Event"))) => {
            Some("it is an event, which expires by itself")
        }
        (Some("leases"), _) | (_, Some(("coordination.k8s.io", "Lease"))) => {
            Some("it is a lease: its holder renews it, and an old one names a holder that may be gone")
        }
        (Some("masterleases"), _) => Some("it is the lease of an API server, which makes it anew"),
        (Some("services/endpoints" | "endpointslices"), _)
        | (_, Some(("v1", "Endpoints") | ("discovery.k8s.io", "EndpointSlice"))) => {
            Some("it holds endpoints, which are made from the pods that run now")
        }
        _ => None,
    }
}

/// Decides about a key that may be brought back.
pub const fn decide(live: Option<LiveKey>, overwrite: bool) -> Action {
    match live {
        None => Action::Create,
        Some(LiveKey { same: true, .. }) => Action::Leave("it exists, and is the same"),
        Some(LiveKey { lease, .. }) if lease != 0 && overwrite => {
            Action::Refuse("it exists and ends with a lease of etcd, which replacing it would take away")
        }
        Some(LiveKey { mod_revision, .. }) if overwrite => Action::Replace { mod_revision },
        Some(_) => Action::Leave("it exists and differs; --overwrite replaces it"),
    }
}

/// What somebody should know about a value before it is there again.
pub fn note(content: &StoredValue<'_>) -> Option<String> {
    match content {
        StoredValue::Encrypted(Encryption { provider, name, .. }) => {
            Some(format!("it is encrypted: the API server needs its key `{name}` of provider {provider}"))
        }
        _ if content.object().is_some_and(|object| object.deleting) => {
            Some("its deletion had begun when the backup was taken: Kubernetes will finish it".into())
        }
        _ => None,
    }
}

/// Sorts into the order in which keys are to be written: the one in which they were first created. What owns others is
/// older than they are, and Kubernetes' garbage collector deletes what it finds without its owner.
pub fn in_order_of_creation(items: &mut [KeyState]) {
    items.sort_by(|a, b| (a.create_revision, a.revision, &a.key).cmp(&(b.create_revision, b.revision, &b.key)));
}

/// How many keys there are of each sort.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Created, or to be.
    pub create: u64,
    /// Replaced, or to be.
    pub replace: u64,
    /// Left alone, those that were overtaken included.
    pub leave: u64,
    /// Never brought back.
    pub refuse: u64,
    /// Those of which nobody knows, and those behind them.
    pub fail: u64,
}

impl Totals {
    /// Totals.
    pub fn of(done: &[(PlannedKey, Outcome)]) -> Self {
        let mut counts = Self::default();
        for (planned, outcome) in done {
            let count = match (planned.action, outcome) {
                (_, Outcome::Unknown(_) | Outcome::NotAttempted) => &mut counts.fail,
                (_, Outcome::Overtaken) | (Action::Leave(_), _) => &mut counts.leave,
                (Action::Create, _) => &mut counts.create,
                (Action::Replace { .. }, _) => &mut counts.replace,
                (Action::Refuse(_), _) => &mut counts.refuse,
            };
            *count += 1;
        }
        counts
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { create, replace, leave, refuse, fail } = self;
        write!(f, "{create} created, {replace} replaced, {leave} left alone, {refuse} refused")?;
        if *fail > 0 { write!(f, ", {fail} NOT DONE OR NOT KNOWN") } else { Ok(()) }
    }
}

impl PlannedKey {
    /// In one word, and why.
    fn result(&self, outcome: &Outcome) -> (&'static str, Option<String>) {
        match (outcome, self.action) {
            (Outcome::Created(revision), _) => ("created", Some(format!("at revision {revision}"))),
            (Outcome::Replaced(revision), _) => ("replaced", Some(format!("at revision {revision}"))),
            (Outcome::Overtaken, _) => ("overtaken", Some("it was written by somebody else meanwhile".into())),
            (Outcome::Unknown(why), _) => ("unknown", Some(why.clone())),
            (Outcome::NotAttempted, _) => ("not-attempted", None),
            (Outcome::AsPlanned, Action::Create) => ("would-create", None),
            (Outcome::AsPlanned, Action::Replace { .. }) => ("would-replace", None),
            (Outcome::AsPlanned, Action::Leave(why)) => ("left-alone", Some(why.into())),
            (Outcome::AsPlanned, Action::Refuse(why)) => ("refused", Some(why.into())),
        }
    }

    /// For people.
    pub fn text(&self, outcome: &Outcome) -> String {
        let (result, why) = self.result(outcome);
        let words: Vec<_> = why.into_iter().chain(self.note.clone()).collect();
        let why = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
        format!("{:<13} {}{why}", result.replace('-', " "), printable(&self.item.key))
    }

    /// For machines.
    pub fn json(&self, outcome: &Outcome) -> Value {
        let (result, why) = self.result(outcome);
        let mut line = json!(JsonKey::new(&self.item.key));
        line["result"] = result.into();
        line["reason"] = why.into();
        line["note"] = self.note.clone().into();
        line["backup_mod_revision"] = self.item.mod_revision.into();
        line["bytes"] = self.item.value_bytes.into();
        line
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::snapshot::Revision;

    fn item(key: &str, create_revision: i64, lease: i64) -> KeyState {
        let revision = Revision { main: 9, sub: 0, tombstone: false };
        let key = key.into();
        KeyState { key, revision, create_revision, mod_revision: 9, version: 1, lease, value_bytes: 0, fingerprint: 0 }
    }

    fn object(api_version: &str, kind: &str) -> ObjectSummary {
        ObjectSummary { api_version: api_version.into(), kind: kind.into(), ..ObjectSummary::default() }
    }

    #[rstest]
    #[case("/registry/events/ns/x", "event")]
    #[case("/registry/leases/kube-system/kube-scheduler", "lease")]
    #[case("/registry/masterleases/10.0.0.1", "lease of an API server")]
    #[case("/registry/services/endpoints/ns/x", "endpoints")]
    #[case("/registry/endpointslices/ns/x", "endpoints")]
    #[case("/kubernetes.io/events/ns/x", "event")]
    fn refused_by_key(#[case] key: &str, #[case] why: &str) {
        assert!(refusal(&item(key, 1, 0), None).unwrap().contains(why));
    }

    #[rstest]
    #[case("v1", "Event")]
    #[case("events.k8s.io/v1", "Event")]
    #[case("coordination.k8s.io/v1", "Lease")]
    #[case("v1", "Endpoints")]
    #[case("discovery.k8s.io/v1", "EndpointSlice")]
    fn refused_by_kind(#[case] api_version: &str, #[case] kind: &str) {
        assert!(refusal(&item("/root/x/ns/x", 1, 0), Some(&object(api_version, kind))).is_some());
    }

    #[test]
    fn what_others_call_so_is_not_refused() {
        for key in ["/registry/services/specs/ns/x", "/registry/example.com/events/ns/x", "/registry/pods/leases/x"] {
            assert_eq!(refusal(&item(key, 1, 0), Some(&object("example.com/v1", "Event"))), None);
        }
        assert!(refusal(&item("/registry/pods/ns/x", 1, 7), None).unwrap().contains("lease of etcd"));
    }

    #[test]
    fn only_what_is_gone_is_created() {
        let live = |lease, same| Some(LiveKey { mod_revision: 5, lease, same });
        assert_eq!(decide(None, false), Action::Create);
        assert_eq!(decide(None, true), Action::Create);
        assert!(matches!(decide(live(0, false), false), Action::Leave(why) if why.contains("differs")));
        assert!(matches!(decide(live(0, true), true), Action::Leave(why) if why.contains("the same")));
        assert_eq!(decide(live(0, false), true), Action::Replace { mod_revision: 5 });
        assert!(matches!(decide(live(7, false), true), Action::Refuse(_)));
        assert!(matches!(decide(live(7, false), false), Action::Leave(_)));
    }

    #[test]
    fn owners_come_first() {
        let mut items = [item("/pod", 30, 0), item("/replicaset", 20, 0), item("/deployment", 10, 0)];
        in_order_of_creation(&mut items);
        assert_eq!(items.map(|item| item.create_revision), [10, 20, 30]);
    }

    #[test]
    fn every_key_is_counted_once() {
        let planned = |action| PlannedKey { item: item("/k", 1, 0), action, note: None };
        let done = [
            (planned(Action::Create), Outcome::Created(7)),
            (planned(Action::Create), Outcome::Overtaken),
            (planned(Action::Create), Outcome::Unknown("no answer".into())),
            (planned(Action::Replace { mod_revision: 1 }), Outcome::Replaced(8)),
            (planned(Action::Replace { mod_revision: 1 }), Outcome::NotAttempted),
            (planned(Action::Leave("")), Outcome::AsPlanned),
            (planned(Action::Refuse("")), Outcome::AsPlanned),
        ];
        let counts = Totals::of(&done);
        assert_eq!(counts, Totals { create: 1, replace: 1, leave: 2, refuse: 1, fail: 2 });
    }
}
