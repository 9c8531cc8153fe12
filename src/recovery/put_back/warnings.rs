//! What is missing around the keys that are put back, so that Kubernetes will not keep or not use them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Action, PlannedKey};
use crate::inspect::line::{JsonKey, printable};
use crate::inspect::objects::FoundObjects;
use crate::kubernetes::{Detail, OwnerReference, namespace_keys};

/// One for everything that is missing, whatever the number of keys that need it.
#[derive(Debug, PartialEq, Eq)]
pub struct Warning {
    pub kind: Kind,
    /// The keys that are put back, and that it is about.
    pub keys: Vec<Vec<u8>>,
    pub text: String,
}

/// As it is in JSON, which is an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    NamespaceMissing,
    NamespaceDeleting,
    OwnerMissing,
    VolumeMissing,
    NodeMissing,
    NotChecked,
}

impl Warning {
    pub fn json(&self) -> Value {
        let keys: Vec<_> = self.keys.iter().map(|key| JsonKey::new(key)).collect();
        json!({ "warning": self.kind, "text": self.text, "keys": keys })
    }
}

/// What has to be known for the warnings.
#[derive(Debug, Default)]
pub struct Questions {
    /// The objects with these UIDs are looked for in the backup.
    pub uids: HashSet<String>,
    /// These keys are looked for in the cluster and in the backup.
    pub keys: HashSet<Vec<u8>>,
}

/// The answers.
#[derive(Debug, Default)]
pub struct Surroundings {
    pub backup: FoundObjects,
    /// Those of the keys that were asked for, and of the keys of owners, that the cluster has.
    pub live: HashMap<Vec<u8>, LiveObject>,
}

#[derive(Debug, Clone, Default)]
pub struct LiveObject {
    /// `None` if it cannot be read.
    pub uid: Option<String>,
    pub deleting: bool,
}

pub fn questions(planned: &[PlannedKey]) -> Questions {
    let after = After::of(planned);
    let mut asked = Questions::default();
    for planned in changes(planned) {
        let needed = needs(planned).into_iter().map(|need| need.keys());
        asked.keys.extend(needed.filter(|keys| !after.has_any(keys)).flatten());
        let owners = owners(planned).iter().map(|owner| &owner.uid);
        asked.uids.extend(owners.filter(|uid| !after.key_of.contains_key(uid.as_str())).cloned());
    }
    asked
}

pub fn warnings(planned: &[PlannedKey], around: &Surroundings) -> Vec<Warning> {
    let after = After::of(planned);
    let mut missing: BTreeMap<(Kind, String), Vec<Vec<u8>>> = BTreeMap::new();
    for planned in changes(planned) {
        let key = &planned.candidate.state.key;
        let mut warn = |kind, text| missing.entry((kind, text)).or_default().push(key.clone());
        for need in needs(planned) {
            if let Some((kind, text)) = need.warning(&after, around) {
                warn(kind, text);
            }
        }
        if let Some(text) = lost_owner(planned, &after, around) {
            warn(Kind::OwnerMissing, text);
        }
        if planned.candidate.about.encryption.is_some() {
            warn(Kind::NotChecked, "encrypted, so that nobody can read whether they have owners, volumes or nodes, and these were not checked".into());
        }
    }
    missing.into_iter().map(|((kind, text), keys)| Warning { text: sentence(kind, &keys, &text), kind, keys }).collect()
}

/// With the first of the keys, and the number of the others.
fn sentence(kind: Kind, keys: &[Vec<u8>], text: &str) -> String {
    let first = keys.first().map(|key| printable(key)).unwrap_or_default();
    match (kind, keys.len()) {
        (Kind::NotChecked, n) => format!("{n} of the keys are {text}"),
        (_, 1) => format!("{first}: {text}"),
        (_, n) => format!("{first} and {} more: {text}", n - 1),
    }
}

fn changes(planned: &[PlannedKey]) -> impl Iterator<Item = &PlannedKey> {
    planned.iter().filter(|planned| planned.action.is_change())
}

fn owners(planned: &PlannedKey) -> &[OwnerReference] {
    planned.candidate.about.object.as_ref().map_or(&[], |object| &object.owners)
}

/// What the cluster has of the chosen keys once they are put back.
struct After<'a> {
    /// Those that are written.
    keys: HashSet<&'a [u8]>,
    uids: HashSet<&'a str>,
    /// Those that stay as they are.
    left: HashSet<&'a [u8]>,
    /// The keys of all chosen objects, by the UIDs that they have in the backup.
    key_of: HashMap<&'a str, &'a [u8]>,
}

impl<'a> After<'a> {
    fn of(planned: &'a [PlannedKey]) -> Self {
        let mut after =
            Self { keys: HashSet::new(), uids: HashSet::new(), left: HashSet::new(), key_of: HashMap::new() };
        for planned in planned {
            let (key, uid) = (planned.candidate.state.key.as_slice(), planned.candidate.about.uid());
            after.key_of.extend(uid.map(|uid| (uid, key)));
            if planned.action.is_change() {
                after.uids.extend(uid);
                after.keys.insert(key);
            } else if matches!(planned.action, Action::Leave(_)) {
                after.uids.extend(planned.live_uid.as_deref());
                after.left.insert(key);
            }
        }
        after
    }

    /// Whether one of these keys is written.
    fn has_any(&self, keys: &[Vec<u8>]) -> bool {
        keys.iter().any(|key| self.keys.contains(key.as_slice()))
    }
}

/// Another object without which Kubernetes does not keep or not use the one that is put back.
enum Need<'a> {
    Namespace(&'a str),
    Volume(&'a str),
    Node(&'a str),
}

fn needs(planned: &PlannedKey) -> Vec<Need<'_>> {
    let namespace = planned.candidate.place().and_then(|place| place.namespace).map(Need::Namespace);
    let bound = match &planned.candidate.about.detail {
        Detail::Claim { volume } => Some(Need::Volume(volume)),
        Detail::Pod { node } => Some(Need::Node(node)),
        Detail::Nothing | Detail::ActiveJob | Detail::ActiveCronJob => None,
    };
    namespace.into_iter().chain(bound).collect()
}

impl Need<'_> {
    /// Where it may be stored.
    fn keys(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Namespace(name) => namespace_keys(name).into(),
            Self::Volume(name) => roots(&format!("persistentvolumes/{name}")),
            Self::Node(name) => roots(&format!("minions/{name}")),
        }
    }

    fn warning(&self, after: &After<'_>, around: &Surroundings) -> Option<(Kind, String)> {
        let keys = self.keys();
        if after.has_any(&keys) {
            return None;
        }
        let live = keys.iter().find_map(|key| around.live.get(key));
        let stored = keys.iter().find(|key| around.backup.keys.contains(*key)).map(|key| printable(key));
        match (self, live) {
            (Self::Namespace(name), Some(LiveObject { deleting: true, .. })) => {
                Some((Kind::NamespaceDeleting, namespace_deleting(name)))
            }
            (_, Some(_)) => None,
            (Self::Namespace(name), None) => Some((Kind::NamespaceMissing, namespace_missing(name, stored))),
            (Self::Volume(name), None) => Some((Kind::VolumeMissing, volume_missing(name, stored))),
            (Self::Node(name), None) => {
                let what = format!("it is a pod of the node {name}, which the cluster does not have");
                Some((Kind::NodeMissing, format!("{what}: Kubernetes deletes the pod again")))
            }
        }
    }
}

fn namespace_deleting(name: &str) -> String {
    let what = format!("the namespace {name} is being deleted in the cluster, with all that is put back into it");
    format!("{what}; to end that, put /registry/namespaces/{name} back first, with --overwrite")
}

fn namespace_missing(name: &str, stored: Option<String>) -> String {
    let nothing = "and Kubernetes starts nothing in it";
    match stored {
        Some(key) => format!(
            "the namespace {name} is neither in the cluster nor put back, {nothing}; to bring it back too, add {key} to the command, or --namespace {name} for all that is in it"
        ),
        None => format!(
            "the namespace {name} is neither in the cluster nor in the backup, {nothing}; make it with `kubectl create namespace {name}`"
        ),
    }
}

fn volume_missing(name: &str, stored: Option<String>) -> String {
    let what = format!("its PersistentVolume {name} is neither in the cluster nor");
    let lost = "and Kubernetes marks the claim as lost";
    match stored {
        Some(key) => {
            format!("{what} put back, {lost}; if the storage still has the volume, add {key} to the command")
        }
        None => format!("{what} in the backup, {lost}"),
    }
}

fn roots(rest: &str) -> Vec<Vec<u8>> {
    ["/registry/", "/kubernetes.io/"].map(|root| format!("{root}{rest}").into_bytes()).into()
}

/// Why the garbage collector deletes the object again; `None` if it has no owner, or one that is there.
fn lost_owner(planned: &PlannedKey, after: &After<'_>, around: &Surroundings) -> Option<String> {
    let owners = owners(planned);
    let first = owners.first()?;
    // One owner is enough to stay. References to the others are taken away.
    if owners.iter().any(|owner| is_there(&owner.uid, after, around)) {
        return None;
    }
    let name = format!("{} {}", printable(first.kind.as_bytes()), printable(first.name.as_bytes()));
    let deletes = "Kubernetes' garbage collector deletes it again at once";
    let key = key_of(&first.uid, after, around);
    let is_live = key.is_some_and(|key| around.live.contains_key(key) || after.left.contains(key));
    Some(match (key.map(printable), is_live) {
        (Some(key), true) => format!(
            "its owner {name} was made anew in the cluster with another UID, and {deletes}; to bring the old owner back, add {key} to the command, with --overwrite"
        ),
        (Some(key), false) => format!(
            "its owner {name} is neither in the cluster nor put back, and {deletes}; to bring the owner back too, add {key} to the command"
        ),
        (None, _) => {
            let sealed = if around.backup.has_encrypted { ", or encrypted there" } else { "" };
            let uid = printable(first.uid.as_bytes());
            format!(
                "its owner {name} (UID {uid}) is not in the backup{sealed}; if the cluster does not have it, {deletes}"
            )
        }
    })
}

fn key_of<'a>(uid: &str, after: &After<'a>, around: &'a Surroundings) -> Option<&'a [u8]> {
    after.key_of.get(uid).copied().or_else(|| around.backup.by_uid.get(uid).map(Vec::as_slice))
}

fn is_there(uid: &str, after: &After<'_>, around: &Surroundings) -> bool {
    if after.uids.contains(uid) {
        return true;
    }
    let live = key_of(uid, after, around).and_then(|key| around.live.get(key));
    // What cannot be read is not warned of without need.
    live.is_some_and(|live| live.uid.as_deref().is_none_or(|theirs| theirs == uid))
}

#[cfg(test)]
mod tests;
