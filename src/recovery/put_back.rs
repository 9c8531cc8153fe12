//! Which keys of a backup are put back into a running cluster, and what becomes of each. Pure.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::inspect::line::{JsonKey, printable};
use crate::kubernetes::{Encryption, ObjectSummary, ResourceKey, StoredValue};
use crate::member::{Choice, Member};
use crate::snapshot::KeyState;

#[derive(Debug)]
pub struct PlannedKey {
    /// The key as the backup has it.
    pub state: KeyState,
    pub action: Action,
    /// What people should know before the key exists again.
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The cluster does not have the key.
    Create,
    /// The cluster has another value, which is replaced if it has not changed since this revision.
    Replace { mod_revision: i64 },
    /// The key exists, and nothing is done, for this reason.
    Leave(&'static str),
    /// The key is never put back, for this reason.
    Refuse(&'static str),
}

impl Action {
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Replace { .. })
    }
}

/// What became of a key. The numbers are the revisions at which keys were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be written, or this is only a plan.
    AsPlanned,
    Created(i64),
    Replaced(i64),
    /// Another client wrote the key after it was read, so it was left alone.
    Overtaken,
    /// There was no answer, for this reason: the key may have been written or not.
    Unknown(String),
    /// An earlier key failed.
    NotAttempted,
}

/// A key as it is in the cluster, compared with the backup.
#[derive(Debug, Clone, Copy)]
pub struct LiveKey {
    pub mod_revision: i64,
    /// The lease with which it expires; 0 for none.
    pub lease: i64,
    pub has_same_value: bool,
}

/// The best member of a cluster that has a quorum and no CORRUPT alarm, and, for writing, no NOSPACE alarm; else why there
/// is none.
pub fn healthy_member(choice: Choice, writing: bool) -> Result<Member, String> {
    if let Some(why) = choice.degraded {
        return Err(format!("cannot put keys back into a cluster that is not healthy: {why}"));
    }
    let member = choice.members.into_iter().next().ok_or("no member can be used")?;
    if writing && member.no_space {
        return Err("the cluster accepts no writes (NOSPACE); compact, defragment and disarm it first".into());
    }
    Ok(member)
}

/// Why a key is never put back; `None` for one that may be.
///
/// What is refused lives only as long as something renews it, or is made from what runs now: an old one would be wrong
/// from the start.
pub fn refusal(state: &KeyState, object: Option<&ObjectSummary>) -> Option<&'static str> {
    if state.lease != 0 {
        return Some("it expires with a lease of etcd, and leases are not put back");
    }
    // By the key's usual place, or by the object's own kind, because an API server can be told another root for its
    // keys (`--etcd-prefix`).
    let kind = object.map(|object| (object.api_version.split('/').next().unwrap_or_default(), object.kind.as_str()));
    match (ResourceKey::parse(&state.key).map(|place| place.resource), kind) {
        (Some("events"), _) | (_, Some(("v1" | "events.k8s.io", "Event"))) => {
            Some("it is an event, which expires by itself")
        }
        (Some("leases"), _) | (_, Some(("coordination.k8s.io", "Lease"))) => {
            Some("it is a Lease: its holder renews it, and an old one names a holder that may be gone")
        }
        (Some("masterleases"), _) => Some("it is the lease of an API server, which writes it anew"),
        (Some("services/endpoints" | "endpointslices"), _)
        | (_, Some(("v1", "Endpoints") | ("discovery.k8s.io", "EndpointSlice"))) => {
            Some("it holds endpoints, which Kubernetes makes from the pods that run now")
        }
        _ => None,
    }
}

/// Decides about a key that may be put back. `live` is `None` if the cluster does not have it.
pub const fn decide(live: Option<LiveKey>, overwrite: bool) -> Action {
    match live {
        None => Action::Create,
        Some(LiveKey { has_same_value: true, .. }) => Action::Leave("it exists and is the same"),
        Some(LiveKey { lease, .. }) if lease != 0 && overwrite => {
            Action::Refuse("it exists and expires with a lease of etcd, which replacing it would take away")
        }
        Some(LiveKey { mod_revision, .. }) if overwrite => Action::Replace { mod_revision },
        Some(_) => Action::Leave("it exists and differs; --overwrite replaces it"),
    }
}

pub fn note(content: &StoredValue<'_>) -> Option<String> {
    match content {
        StoredValue::Encrypted(Encryption { provider, name, .. }) => {
            Some(format!("it is encrypted: the API server needs the key `{name}` of provider {provider}"))
        }
        _ if content.object().is_some_and(|object| object.deleting) => {
            Some("it was being deleted when the backup was taken: Kubernetes will finish that".into())
        }
        _ => None,
    }
}

/// Sorts into the order in which the keys are written: that in which they were first created. An owner is older than
/// what it owns, and Kubernetes' garbage collector deletes an object whose owner does not exist.
pub fn sort_by_creation(states: &mut [KeyState]) {
    states.sort_by(|a, b| (a.create_revision, a.revision, &a.key).cmp(&(b.create_revision, b.revision, &b.key)));
}

/// The keys that are never put back, each with its reason, in one line; `None` if there are none.
pub fn refusals(planned: &[PlannedKey]) -> Option<String> {
    let refused = planned.iter().filter_map(|planned| match planned.action {
        Action::Refuse(why) => Some(format!("{}: {why}", printable(&planned.state.key))),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

/// How many keys were created, replaced and so on; in a plan, how many would be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub create: u64,
    pub replace: u64,
    /// Includes the overtaken ones.
    pub leave: u64,
    pub refuse: u64,
    /// Includes those whose outcome is unknown, and those that were not attempted.
    pub fail: u64,
}

impl Totals {
    pub fn of(done: &[(PlannedKey, Outcome)]) -> Self {
        let mut totals = Self::default();
        for (planned, outcome) in done {
            let count = match (planned.action, outcome) {
                (_, Outcome::Unknown(_) | Outcome::NotAttempted) => &mut totals.fail,
                (_, Outcome::Overtaken) | (Action::Leave(_), _) => &mut totals.leave,
                (Action::Create, _) => &mut totals.create,
                (Action::Replace { .. }, _) => &mut totals.replace,
                (Action::Refuse(_), _) => &mut totals.refuse,
            };
            *count += 1;
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { create, replace, leave, refuse, fail } = self;
        write!(f, "{create} created, {replace} replaced, {leave} left alone, {refuse} refused")?;
        if *fail > 0 { write!(f, ", {fail} NOT DONE OR UNKNOWN") } else { Ok(()) }
    }
}

/// What `put-back` prints at its end. The fields of its JSON are an interface.
#[derive(Debug)]
pub struct Ending<'a> {
    pub backup: &'a str,
    /// The revision at which the backup was read.
    pub revision: u64,
    /// The member that the keys were written through.
    pub member: &'a Member,
    /// Whether keys were written, not only the plan printed.
    pub written: bool,
    pub done: &'a [(PlannedKey, Outcome)],
    pub error: Option<String>,
}

impl Ending<'_> {
    pub fn text(&self) -> String {
        let (totals, endpoint) = (Totals::of(self.done), &self.member.endpoint);
        let head = format!("from {} (revision {}) through {endpoint}:\n", self.backup, self.revision);
        let keys: String = self.done.iter().map(|(planned, outcome)| planned.text(outcome) + "\n").collect();
        let end = match (self.written, totals.create + totals.replace) {
            (true, _) => "",
            (false, 0) => ": there is nothing to do",
            (false, _) => " if you add --yes; nothing was written",
        };
        format!("{head}{keys}{totals}{end}\n")
    }

    pub fn json(&self) -> Value {
        json!({
            "backup": self.backup,
            "revision": self.revision,
            "cluster_id": format!("{:x}", self.member.cluster_id),
            "member": self.member.endpoint.to_string(),
            "written": self.written,
            "counts": Totals::of(self.done),
            "keys": self.done.iter().map(|(planned, outcome)| planned.json(outcome)).collect::<Vec<_>>(),
            "error": self.error,
        })
    }
}

impl PlannedKey {
    /// The result as an identifier, and the reason for it.
    fn result(&self, outcome: &Outcome) -> (&'static str, Option<String>) {
        match (outcome, self.action) {
            (Outcome::Created(revision), _) => ("created", Some(format!("at revision {revision}"))),
            (Outcome::Replaced(revision), _) => ("replaced", Some(format!("at revision {revision}"))),
            (Outcome::Overtaken, _) => ("overtaken", Some("somebody else wrote it meanwhile".into())),
            (Outcome::Unknown(why), _) => ("unknown", Some(why.clone())),
            (Outcome::NotAttempted, _) => ("not-attempted", None),
            (Outcome::AsPlanned, Action::Create) => ("would-create", None),
            (Outcome::AsPlanned, Action::Replace { .. }) => ("would-replace", None),
            (Outcome::AsPlanned, Action::Leave(why)) => ("left-alone", Some(why.into())),
            (Outcome::AsPlanned, Action::Refuse(why)) => ("refused", Some(why.into())),
        }
    }

    pub fn text(&self, outcome: &Outcome) -> String {
        let (result, why) = self.result(outcome);
        let words: Vec<_> = why.into_iter().chain(self.note.clone()).collect();
        let why = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
        format!("{:<13} {}{why}", result.replace('-', " "), printable(&self.state.key))
    }

    pub fn json(&self, outcome: &Outcome) -> Value {
        let (result, why) = self.result(outcome);
        let mut line = json!(JsonKey::new(&self.state.key));
        line["result"] = result.into();
        line["reason"] = why.into();
        line["note"] = self.note.clone().into();
        line["backup_mod_revision"] = self.state.mod_revision.into();
        line["bytes"] = self.state.value_bytes.into();
        line
    }
}
