//! Which keys of a backup are put back into a running cluster, and what becomes of each. Pure.

mod account;
mod in_flight;
mod namespace;
mod order;
mod scope;
mod warnings;

#[cfg(test)]
mod tests;

use crate::inspect::line::printable;
use crate::kubernetes::{Detail, Encryption, ObjectSummary, OwnerReference, ResourceKey, StoredValue};
use crate::member::{Choice, Member};
use crate::snapshot::KeyState;

pub use account::Account;
pub use in_flight::{AskedAfter, after_no_answer, asked_after};
pub use namespace::{FoundNamespace, State, check_namespace, that_counts};
pub use order::in_order;
pub use scope::{LeftOut, Scope, Selected, leave_out, refusal};
pub use warnings::{Surroundings, Warning, questions, warnings};

/// A key that a person has asked for, and what its value says of itself.
#[derive(Debug)]
pub struct Candidate {
    /// The key as the backup has it.
    pub state: KeyState,
    pub selected: Selected,
    pub about: About,
}

/// Boxed, so that a million of them are sorted and planned without a second copy of any.
pub type Candidates = Vec<Box<Candidate>>;

/// What is kept of a value while the plan is made: as little as can be, because there may be a million of them.
#[derive(Debug, Default)]
pub struct About {
    kind: Kind,
    uid: Box<str>,
    /// Whether it was deleted, and waited for its finalizers, when the backup was taken.
    pub is_deleting: bool,
    pub owners: Box<[OwnerReference]>,
    pub encryption: Option<Box<Encryption>>,
    pub detail: Detail,
}

/// The kinds of which something is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Namespace,
    Event,
    Lease,
    Endpoints,
    #[default]
    Other,
}

#[derive(Debug)]
pub struct PlannedKey {
    pub candidate: Box<Candidate>,
    pub action: Action,
    /// What the cluster has under the key; `None` too where that was not looked up.
    pub live: Option<Box<LiveObject>>,
    /// What people should know before the key exists again.
    pub note: Option<Box<str>>,
}

/// An object of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveObject {
    /// `None` if it cannot be read.
    pub uid: Option<String>,
    /// Whether it was deleted and waits for its finalizers.
    pub deleting: bool,
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
    Unknown(Box<str>),
    /// etcd refused to write it, for this reason.
    NotWritten(Box<str>),
    /// It ended before this key was begun.
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

impl LiveObject {
    pub fn of(value: &[u8]) -> Self {
        let value = StoredValue::parse(value);
        let deleting = value.object().is_some_and(|object| object.deleting);
        Self { uid: value.uid().map(str::to_owned), deleting }
    }
}

impl PlannedKey {
    /// Whether this is to cancel the deletion of a namespace. As long as that goes on, all that is put into the namespace
    /// is deleted again.
    pub fn cancels_deletion(&self) -> bool {
        let deleting = self.live.as_ref().is_some_and(|live| live.deleting);
        deleting && self.is_replaced_namespace()
    }

    pub fn is_replaced_namespace(&self) -> bool {
        matches!(self.action, Action::Replace { .. }) && self.candidate.is_namespace()
    }
}

impl About {
    pub fn of(value: &[u8]) -> Self {
        match StoredValue::parse(value) {
            StoredValue::Protobuf(Some(object)) | StoredValue::Json(_, Some(object)) => {
                Self { detail: Detail::of(value, &object), ..Self::of_object(object) }
            }
            StoredValue::Encrypted(encryption) => Self { encryption: Some(encryption.into()), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn of_object(object: ObjectSummary) -> Self {
        Self {
            kind: Kind::of(&object),
            uid: object.uid.into(),
            is_deleting: object.deleting,
            owners: object.owners.into(),
            ..Self::default()
        }
    }

    pub fn uid(&self) -> Option<&str> {
        Some(&*self.uid).filter(|uid| !uid.is_empty())
    }
}

impl Kind {
    fn of(object: &ObjectSummary) -> Self {
        // The group of Kubernetes' oldest kinds is `v1`.
        match (object.api_version.split('/').next().unwrap_or_default(), object.kind.as_str()) {
            ("v1", "Namespace") => Self::Namespace,
            ("v1" | "events.k8s.io", "Event") => Self::Event,
            ("coordination.k8s.io", "Lease") => Self::Lease,
            ("v1", "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => Self::Endpoints,
            _ => Self::Other,
        }
    }
}

impl Candidate {
    pub fn place(&self) -> Option<ResourceKey<'_>> {
        ResourceKey::parse(&self.state.key)
    }

    fn is_namespace(&self) -> bool {
        self.about.kind == Kind::Namespace || self.place().is_some_and(|place| place.resource == "namespaces")
    }
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

/// Decides about a key that may be put back. `live` is `None` if the cluster does not have it.
pub fn decide(candidate: &Candidate, live: Option<LiveKey>, overwrite: bool) -> Action {
    let deleting = candidate.about.is_deleting;
    match live {
        None if deleting && candidate.is_namespace() => {
            Action::Refuse("it was being deleted when the backup was taken: Kubernetes would delete all that is in it")
        }
        None => Action::Create,
        Some(LiveKey { has_same_value: true, .. }) => Action::Leave("it exists and is the same"),
        Some(_) if !overwrite => Action::Leave("it exists and differs; --overwrite replaces it"),
        Some(LiveKey { lease, .. }) if lease != 0 => {
            Action::Refuse("it exists and expires with a lease of etcd, which replacing it would take away")
        }
        Some(_) if deleting => {
            Action::Refuse("it exists, and was being deleted when the backup was taken: replacing it would delete it")
        }
        Some(LiveKey { mod_revision, .. }) => Action::Replace { mod_revision },
    }
}

/// What Kubernetes will do with an object that is put back, if that is more than to keep it.
pub fn note(about: &About) -> Option<Box<str>> {
    if let Some(Encryption { provider, name, .. }) = about.encryption.as_deref() {
        return Some(format!("it is encrypted: the API server needs the key `{name}` of provider {provider}").into());
    }
    if about.is_deleting {
        return Some("it was being deleted when the backup was taken: Kubernetes will finish that".into());
    }
    match &about.detail {
        Detail::ActiveJob => Some("it had not finished when the backup was taken: it runs again".into()),
        Detail::ActiveCronJob => {
            Some("it starts a job at once if a time of its schedule has passed since the backup".into())
        }
        Detail::Nothing | Detail::Pod { .. } | Detail::Claim { .. } => None,
    }
}

/// The keys that were named although they are never put back, each with its reason, in one line; `None` if there are none.
pub fn refusals(planned: &[PlannedKey]) -> Option<String> {
    // A prefix or a namespace may well cover keys that are never put back. To name one is a mistake.
    let named = planned.iter().filter(|planned| planned.candidate.selected == Selected::Key);
    let refused = named.filter_map(|planned| match planned.action {
        Action::Refuse(why) => Some(format!("{}: {why}", printable(&planned.candidate.state.key))),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}
