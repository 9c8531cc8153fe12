use super::super::tests::{candidate, owned, planned};
use super::super::{About, Action, Candidate};
use super::*;

fn create(candidate: Box<Candidate>) -> PlannedKey {
    planned(candidate, Action::Create)
}

fn with_detail(key: &str, detail: Detail) -> Box<Candidate> {
    Box::new(Candidate { about: About { detail, ..About::default() }, ..*candidate(key, 1) })
}

fn around(stored: &[&str], live: &[(&str, &str)]) -> Surroundings {
    let bytes = |key: &str| key.as_bytes().to_vec();
    let mut around = Surroundings::default();
    around.backup.keys = stored.iter().map(|key| bytes(key)).collect();
    around.live = live.iter().map(|(key, uid)| (bytes(key), live_object(uid, false))).collect();
    around
}

fn live_object(uid: &str, deleting: bool) -> LiveObject {
    LiveObject { uid: Some(uid.into()), deleting }
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
    assert!(text.ends_with("add /registry/namespaces/shop to the command, or --namespace shop for all that is in it"));
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
            && text.ends_with("; cancel the deletion first with /registry/namespaces/shop alone and --overwrite")
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
        let owner =
            PlannedKey { live: live_uid.map(|uid| Box::new(live_object(uid, false))), ..planned(owner(), action) };
        assert!(questions(&[set(), planned(candidate("/x", 1), action)]).uids.len() == 1);
        texts(&[set(), owner], &around(&[], &[]))
    };
    assert_eq!(with(Action::Create, None), []);
    assert_eq!(with(Action::Replace { mod_revision: 1 }, Some("app-2")), []);
    assert_eq!(with(Action::Leave("same"), Some("app")), []);
    let another = with(Action::Leave("differs"), Some("app-2"));
    assert!(another[0].1.contains("another UID") && another[0].1.contains(OWNER), "{another:?}");
}

#[test]
fn an_owner_that_is_being_deleted_does_not_hold_what_it_owns() {
    let live = |uid: &str, deleting| {
        let mut around = around(&[], &[]);
        around.backup.by_uid.insert("app".into(), OWNER.into());
        around.live.insert(OWNER.into(), live_object(uid, deleting));
        around
    };
    assert_eq!(texts(&[set()], &live("app", false)), []);
    let (kind, text) = only(&[set()], &live("app", true));
    assert!(kind == Kind::OwnerDeleting && text.contains("name-of-app is being deleted in the cluster"), "{text}");
    assert!(text.ends_with(&format!("cancel the deletion with {OWNER} in the command and --overwrite")), "{text}");
    assert_eq!(only(&[set()], &live("app-2", true)).0, Kind::OwnerMissing);

    // In the same plan: left alone, or put back as it was.
    let left = PlannedKey {
        live: Some(Box::new(live_object("app", true))),
        ..planned(owned(OWNER, 1, "app", &[]), Action::Leave("differs"))
    };
    let (kind, text) = only(&[set(), left], &around(&[], &[]));
    assert!(kind == Kind::OwnerDeleting && text.contains("is being deleted in the cluster"), "{text}");
    let mut dying = owned(OWNER, 1, "app", &[]);
    dying.about.is_deleting = true;
    let (kind, text) = only(&[set(), create(dying)], &around(&[], &[]));
    assert!(kind == Kind::OwnerDeleting && text.contains("was being deleted when the backup was taken"), "{text}");
}

#[test]
fn an_owner_that_is_not_replaced_is_live_all_the_same() {
    let refused = PlannedKey {
        live: Some(Box::new(live_object("app", false))),
        ..planned(owned(OWNER, 1, "app", &[]), Action::Refuse("it would be deleted"))
    };
    assert_eq!(texts(&[set(), refused], &around(&[], &[])), []);
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
    let claim = || [create(with_detail("/registry/persistentvolumeclaims/x", Detail::Claim { volume: "pv-1".into() }))];
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
fn volumes_and_nodes_that_are_being_deleted_are_told() {
    let deleting = |stored: &[&str], key: &str| {
        let mut around = around(stored, &[]);
        around.live.insert(key.into(), live_object("x", true));
        around
    };
    let claim = || create(with_detail("/registry/persistentvolumeclaims/x", Detail::Claim { volume: "pv-1".into() }));
    let volume = "/registry/persistentvolumes/pv-1";
    let (kind, text) = only(&[claim()], &deleting(&[volume], volume));
    assert_eq!(kind, Kind::VolumeDeleting);
    let expected =
        "its PersistentVolume pv-1 is being deleted in the cluster, and Kubernetes will then mark the claim as lost";
    assert!(text.contains(expected) && text.ends_with("pv-1 in the command and --overwrite"), "{text}");
    assert!(only(&[claim()], &deleting(&[], volume)).1.ends_with("as lost"));
    // Another API server left one behind.
    let mut both = deleting(&[], volume);
    both.live.insert(b"/kubernetes.io/persistentvolumes/pv-1".to_vec(), live_object("x", false));
    assert_eq!(only(&[claim()], &both).0, Kind::VolumeDeleting);
    // It is replaced; or put back as it was, which is to be deleted.
    let replaced = planned(candidate(volume, 1), Action::Replace { mod_revision: 1 });
    assert_eq!(texts(&[claim(), replaced], &deleting(&[], volume)), []);
    let mut dying = owned(volume, 1, "v", &[]);
    dying.about.is_deleting = true;
    let (kind, text) = only(&[claim(), create(dying)], &around(&[], &[]));
    assert!(kind == Kind::VolumeDeleting && text.contains("pv-1 was being deleted when"), "{text}");

    let pod = || [create(with_detail("/registry/pods/x", Detail::Pod { node: "n1".into() }))];
    let (kind, text) = only(&pod(), &deleting(&[], "/registry/minions/n1"));
    assert!(kind == Kind::NodeDeleting && text.contains("node n1, which is being deleted in the cluster"), "{text}");
}

#[test]
fn what_cannot_be_read_is_counted() {
    let sealed = |name: &str| {
        let about = About::of(b"k8s:enc:aescbc:v1:key1:x");
        create(Box::new(Candidate { about, ..*candidate(&format!("/registry/sealed/{name}"), 1) }))
    };
    let (kind, text) = only(&[sealed("a"), sealed("b")], &around(&[], &[]));
    assert!(kind == Kind::NotChecked && text.starts_with("2 of the keys are encrypted"), "{text}");
}
