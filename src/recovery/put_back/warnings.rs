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
mod tests {
    use super::super::tests::{candidate, owned, planned};
    use super::super::{About, Candidate};
    use super::*;

    fn create(candidate: Candidate) -> PlannedKey {
        planned(candidate, Action::Create)
    }

    fn with_detail(key: &str, detail: Detail) -> Candidate {
        Candidate { about: About { detail, ..About::default() }, ..candidate(key, 1) }
    }

    fn around(stored: &[&str], live: &[(&str, &str)]) -> Surroundings {
        let bytes = |key: &str| key.as_bytes().to_vec();
        let object = |uid: &str| LiveObject { uid: Some(uid.into()), deleting: false };
        let mut around = Surroundings::default();
        around.backup.keys = stored.iter().map(|key| bytes(key)).collect();
        around.live = live.iter().map(|(key, uid)| (bytes(key), object(uid))).collect();
        around
    }

    fn texts(planned: &[PlannedKey], around: &Surroundings) -> Vec<(Kind, String)> {
        warnings(planned, around).into_iter().map(|warning| (warning.kind, warning.text)).collect()
    }

    fn only(planned: &[PlannedKey], around: &Surroundings) -> (Kind, String) {
        let mut all = texts(planned, around);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    const SHOP: &str = "/registry/namespaces/shop";

    #[test]
    fn a_missing_namespace_is_told_once() {
        let pods = || ["a", "b", "c"].map(|name| create(candidate(&format!("/registry/pods/shop/{name}"), 1)));
        let asked = questions(&pods());
        assert!(asked.keys.contains(SHOP.as_bytes()) && asked.uids.is_empty(), "{asked:?}");
        let (kind, text) = only(&pods(), &around(&[SHOP], &[]));
        assert_eq!(kind, Kind::NamespaceMissing);
        assert!(text.starts_with("/registry/pods/shop/a and 2 more: the namespace shop is neither in"), "{text}");
        assert!(
            text.ends_with("add /registry/namespaces/shop to the command, or --namespace shop for all that is in it")
        );
        assert!(only(&pods(), &around(&[], &[])).1.contains("`kubectl create namespace shop`"));
        // It is live, or put back with them, or nothing is to be written.
        assert_eq!(texts(&pods(), &around(&[SHOP], &[(SHOP, "n")])), []);
        let mut all: Vec<_> = pods().into();
        all.push(create(candidate(SHOP, 1)));
        assert_eq!(texts(&all, &around(&[], &[])), []);
        assert!(questions(&all).keys.is_empty());
        let left = pods().map(|pod| PlannedKey { action: Action::Leave("x"), ..pod });
        assert_eq!(texts(&left, &around(&[], &[])), []);
    }

    #[test]
    fn a_namespace_that_is_being_deleted_is_told_unless_it_is_replaced() {
        let mut around = around(&[SHOP], &[]);
        around.live.insert(SHOP.into(), LiveObject { uid: None, deleting: true });
        let mut all = vec![create(candidate("/registry/pods/shop/a", 1))];
        let (kind, text) = only(&all, &around);
        assert!(
            kind == Kind::NamespaceDeleting
                && text.contains("put /registry/namespaces/shop back first, with --overwrite")
        );
        all.push(planned(candidate(SHOP, 1), Action::Replace { mod_revision: 3 }));
        assert_eq!(texts(&all, &around), []);
    }

    const OWNER: &str = "/registry/example.com/apps/web";

    fn set() -> PlannedKey {
        create(owned("/registry/example.com/sets/web-1", 1, "set", &["app"]))
    }

    #[test]
    fn an_owner_that_is_missing_or_another_one_is_told_with_its_key() {
        let asked = questions(&[set()]);
        assert_eq!(asked.uids, ["app".to_owned()].into());
        let mut missing = around(&[], &[]);
        missing.backup.by_uid.insert("app".into(), OWNER.into());
        let (kind, text) = only(&[set()], &missing);
        assert_eq!(kind, Kind::OwnerMissing);
        assert!(text.contains("its owner Owner name-of-app is neither in the cluster nor put back"), "{text}");
        assert!(text.contains("deletes it again at once") && text.ends_with(&format!("add {OWNER} to the command")));

        let live = |uid: Option<&str>| {
            let mut around = around(&[], &[]);
            around.backup.by_uid.insert("app".into(), OWNER.into());
            around.live.insert(OWNER.into(), LiveObject { uid: uid.map(str::to_owned), deleting: false });
            around
        };
        assert_eq!(texts(&[set()], &live(Some("app"))), []);
        // Encrypted now: it is probably the same.
        assert_eq!(texts(&[set()], &live(None)), []);
        assert!(only(&[set()], &live(Some("app-2"))).1.contains("made anew in the cluster with another UID"));

        let text = only(&[set()], &around(&[], &[])).1;
        assert!(text.contains("(UID app) is not in the backup; if the cluster"), "{text}");
        let mut sealed = around(&[], &[]);
        sealed.backup.has_encrypted = true;
        assert!(only(&[set()], &sealed).1.contains("or encrypted there"));
    }

    #[test]
    fn an_owner_in_the_same_plan_counts_by_the_uid_that_it_will_have() {
        let owner = || owned(OWNER, 1, "app", &[]);
        let with = |action, live_uid: Option<&str>| {
            let owner = PlannedKey { live_uid: live_uid.map(str::to_owned), ..planned(owner(), action) };
            assert!(
                questions(&[set(), PlannedKey { live_uid: None, ..planned(self::candidate("/x", 1), action) }])
                    .uids
                    .len()
                    == 1
            );
            texts(&[set(), owner], &around(&[], &[]))
        };
        assert_eq!(with(Action::Create, None), []);
        assert_eq!(with(Action::Replace { mod_revision: 1 }, Some("app-2")), []);
        assert_eq!(with(Action::Leave("same"), Some("app")), []);
        let another = with(Action::Leave("differs"), Some("app-2"));
        assert!(another[0].1.contains("another UID") && another[0].1.contains(OWNER), "{another:?}");
    }

    #[test]
    fn one_owner_of_several_is_enough() {
        let of_two = create(owned("/registry/example.com/sets/web-1", 1, "set", &["app", "kept"]));
        let mut around = around(&[], &[("/registry/example.com/apps/kept", "kept")]);
        assert_eq!(texts(std::slice::from_ref(&of_two), &around).len(), 1);
        around.backup.by_uid.insert("kept".into(), b"/registry/example.com/apps/kept".to_vec());
        assert_eq!(texts(&[of_two], &around), []);
    }

    #[test]
    fn volumes_and_nodes_that_are_gone_are_named() {
        let claim =
            || [create(with_detail("/registry/persistentvolumeclaims/x", Detail::Claim { volume: "pv-1".into() }))];
        let volume = "/registry/persistentvolumes/pv-1";
        let (kind, text) = only(&claim(), &around(&[volume], &[]));
        assert_eq!(kind, Kind::VolumeMissing);
        assert!(
            text.contains("its PersistentVolume pv-1 is neither")
                && text.ends_with(&format!("add {volume} to the command"))
        );
        assert!(only(&claim(), &around(&[], &[])).1.contains("nor in the backup"));
        assert_eq!(texts(&claim(), &around(&[], &[(volume, "v")])), []);
        let pod = || [create(with_detail("/registry/pods/x", Detail::Pod { node: "n1".into() }))];
        let (kind, text) = only(&pod(), &around(&[], &[]));
        assert!(kind == Kind::NodeMissing && text.contains("the node n1"), "{text}");
        assert_eq!(texts(&pod(), &around(&[], &[("/registry/minions/n1", "n")])), []);
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let sealed = |name: &str| {
            let about = About::of(b"k8s:enc:aescbc:v1:key1:x");
            create(Candidate { about, ..candidate(&format!("/registry/sealed/{name}"), 1) })
        };
        let (kind, text) = only(&[sealed("a"), sealed("b")], &around(&[], &[]));
        assert!(kind == Kind::NotChecked && text.starts_with("2 of the keys are encrypted"), "{text}");
    }
}
