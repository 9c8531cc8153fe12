//! Which keys of a backup are put back into a running cluster, and what becomes of each. Pure.

mod ending;
mod namespace;
mod order;
mod scope;
mod warnings;

#[cfg(test)]
mod tests;

use crate::inspect::line::printable;
use crate::kubernetes::{Detail, Encryption, ObjectSummary, ResourceKey, StoredValue};
use crate::member::{Choice, Member};
use crate::snapshot::KeyState;

pub use ending::Ending;
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

/// What is kept of a value while the plan is made; the values of all keys together may not fit into memory.
#[derive(Debug, Default)]
pub struct About {
    /// Without its labels.
    pub object: Option<ObjectSummary>,
    pub encryption: Option<Encryption>,
    pub detail: Detail,
}

#[derive(Debug)]
pub struct PlannedKey {
    pub candidate: Candidate,
    pub action: Action,
    /// What the cluster has under the key; `None` too where that was not looked up.
    pub live: Option<LiveObject>,
    /// What people should know before the key exists again.
    pub note: Option<String>,
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
            StoredValue::Protobuf(Some(mut object)) | StoredValue::Json(_, Some(mut object)) => {
                object.labels.clear();
                Self { detail: Detail::of(value, &object), object: Some(object), encryption: None }
            }
            StoredValue::Encrypted(encryption) => Self { encryption: Some(encryption), ..Self::default() },
            _ => Self::default(),
        }
    }

    pub fn uid(&self) -> Option<&str> {
        self.object.as_ref().map(|object| object.uid.as_str()).filter(|uid| !uid.is_empty())
    }

    /// Whether it was deleted, and waited for its finalizers, when the backup was taken.
    pub fn is_deleting(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.deleting)
    }

    /// API group and kind; the group of Kubernetes' oldest kinds is `v1`.
    fn kind(&self) -> Option<(&str, &str)> {
        let object = self.object.as_ref()?;
        Some((object.api_version.split('/').next().unwrap_or_default(), object.kind.as_str()))
    }
}

impl Candidate {
    pub fn place(&self) -> Option<ResourceKey<'_>> {
        ResourceKey::parse(&self.state.key)
    }

    fn is_namespace(&self) -> bool {
        self.about.kind() == Some(("v1", "Namespace"))
            || self.place().is_some_and(|place| place.resource == "namespaces")
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
    let deleting = candidate.about.is_deleting();
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
pub fn note(about: &About) -> Option<String> {
    if let Some(Encryption { provider, name, .. }) = &about.encryption {
        return Some(format!("it is encrypted: the API server needs the key `{name}` of provider {provider}"));
    }
    if about.is_deleting() {
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
