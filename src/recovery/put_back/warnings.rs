//! What is missing around the keys that are put back, so that Kubernetes will not keep or not use them.

mod owner;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Serialize, Serializer};

use super::{LiveObject, PlannedKey};
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
    OwnerDeleting,
    VolumeMissing,
    VolumeDeleting,
    NodeMissing,
    NodeDeleting,
    NotChecked,
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            warning: Kind,
            text: &'a str,
            keys: Vec<JsonKey<'a>>,
        }
        let keys = self.keys.iter().map(|key| JsonKey::new(key)).collect();
        Line { warning: self.kind, text: &self.text, keys }.serialize(serializer)
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
        if let Some((kind, text)) = owner::lost(planned, &after, around) {
            warn(kind, text);
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
    &planned.candidate.about.owners
}

/// What the cluster has of the chosen keys once they are put back.
#[derive(Default)]
struct After<'a> {
    /// Those that are written.
    keys: HashSet<&'a [u8]>,
    /// Those that are written, but were being deleted when the backup was taken. Kubernetes finishes that.
    dying: HashSet<&'a [u8]>,
    /// Those that stay as they are.
    left: HashMap<&'a [u8], &'a LiveObject>,
    /// The objects that are there and stay there.
    uids: HashSet<&'a str>,
    /// The keys of all chosen objects, by the UIDs that they have in the backup.
    key_of: HashMap<&'a str, &'a [u8]>,
}

impl<'a> After<'a> {
    fn of(planned: &'a [PlannedKey]) -> Self {
        let mut after = Self::default();
        for planned in planned {
            let about = &planned.candidate.about;
            let (key, uid) = (planned.candidate.state.key.as_slice(), about.uid());
            after.key_of.extend(uid.map(|uid| (uid, key)));
            if planned.action.is_change() {
                after.keys.insert(key);
                if about.is_deleting {
                    after.dying.insert(key);
                } else {
                    after.uids.extend(uid);
                }
            } else if let Some(live) = planned.live.as_deref() {
                after.left.insert(key, live);
                after.uids.extend(live.uid.as_deref().filter(|_| !live.deleting));
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
            let is_dying = keys.iter().any(|key| after.dying.contains(key.as_slice()));
            return is_dying.then(|| self.deleting("was being deleted when the backup was taken", None));
        }
        // Of two, one was left behind by another API server, and must not hide that the other is being deleted.
        let live = keys.iter().filter_map(|key| Some((key, around.live.get(key)?)));
        match live.max_by_key(|(_, live)| live.deleting) {
            Some((key, LiveObject { deleting: true, .. })) => {
                let stored = around.backup.keys.contains(key).then(|| printable(key));
                Some(self.deleting("is being deleted in the cluster", stored))
            }
            Some(_) => None,
            None => {
                let stored = keys.iter().find(|key| around.backup.keys.contains(*key)).map(|key| printable(key));
                Some(self.missing(stored))
            }
        }
    }

    /// `stored` is the key under which the backup has it.
    fn missing(&self, stored: Option<String>) -> (Kind, String) {
        match self {
            Self::Namespace(name) => (Kind::NamespaceMissing, namespace_missing(name, stored)),
            Self::Volume(name) => (Kind::VolumeMissing, volume_missing(name, stored)),
            Self::Node(name) => {
                let what = format!("it is a pod of the node {name}, which the cluster does not have");
                (Kind::NodeMissing, format!("{what}: Kubernetes deletes the pod again"))
            }
        }
    }

    /// `stored` is the key with which the deletion can be cancelled.
    fn deleting(&self, is_deleting: &str, stored: Option<String>) -> (Kind, String) {
        let cancel = |how: &str| stored.map(|key| format!("; {}", how.replace("KEY", &key))).unwrap_or_default();
        match self {
            Self::Namespace(name) => {
                let what = format!("the namespace {name} {is_deleting}, with all that is put back into it");
                let cancel = cancel("cancel the deletion first with KEY alone and --overwrite");
                (Kind::NamespaceDeleting, what + &cancel)
            }
            Self::Volume(name) => {
                let what = format!("its PersistentVolume {name} {is_deleting}");
                let cancel = cancel(
                    "if the storage still has the volume, cancel the deletion with KEY in the command and --overwrite",
                );
                (Kind::VolumeDeleting, format!("{what}, and Kubernetes will then mark the claim as lost{cancel}"))
            }
            Self::Node(name) => {
                let what = format!("it is a pod of the node {name}, which {is_deleting}");
                (Kind::NodeDeleting, format!("{what}: Kubernetes will then delete the pod again"))
            }
        }
    }
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

#[cfg(test)]
mod tests;
