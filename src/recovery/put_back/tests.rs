use std::collections::BTreeSet;
use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::member::Role;
use crate::snapshot::Revision;

fn state(key: &str, create_revision: i64, lease: i64) -> KeyState {
    let revision = Revision { main: 9, sub: 0, tombstone: false };
    let key = key.into();
    KeyState { key, revision, create_revision, mod_revision: 9, version: 1, lease, value_bytes: 0, fingerprint: 0 }
}

fn object(api_version: &str, kind: &str) -> ObjectSummary {
    ObjectSummary { api_version: api_version.into(), kind: kind.into(), ..ObjectSummary::default() }
}

#[rstest]
#[case("/registry/events/ns/x", "event")]
#[case("/registry/leases/kube-system/kube-scheduler", "Lease")]
#[case("/registry/masterleases/10.0.0.1", "lease of an API server")]
#[case("/registry/services/endpoints/ns/x", "endpoints")]
#[case("/registry/endpointslices/ns/x", "endpoints")]
#[case("/kubernetes.io/events/ns/x", "event")]
fn refused_by_key(#[case] key: &str, #[case] why: &str) {
    assert!(refusal(&state(key, 1, 0), None).unwrap().contains(why));
}

#[rstest]
#[case("v1", "Event")]
#[case("events.k8s.io/v1", "Event")]
#[case("coordination.k8s.io/v1", "Lease")]
#[case("v1", "Endpoints")]
#[case("discovery.k8s.io/v1", "EndpointSlice")]
fn refused_by_kind(#[case] api_version: &str, #[case] kind: &str) {
    assert!(refusal(&state("/root/x/ns/x", 1, 0), Some(&object(api_version, kind))).is_some());
}

#[test]
fn other_things_of_the_same_name_are_not_refused() {
    for key in ["/registry/services/specs/ns/x", "/registry/example.com/events/ns/x", "/registry/pods/leases/x"] {
        assert_eq!(refusal(&state(key, 1, 0), Some(&object("example.com/v1", "Event"))), None);
    }
    assert!(refusal(&state("/registry/pods/ns/x", 1, 7), None).unwrap().contains("lease of etcd"));
}

#[test]
fn only_missing_keys_are_created() {
    let live = |lease, has_same_value| Some(LiveKey { mod_revision: 5, lease, has_same_value });
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
    let mut states = [state("/pod", 30, 0), state("/replicaset", 20, 0), state("/deployment", 10, 0)];
    sort_by_creation(&mut states);
    assert_eq!(states.map(|state| state.create_revision), [10, 20, 30]);
}

#[test]
fn every_key_is_counted_once() {
    let planned = |action| PlannedKey { state: state("/k", 1, 0), action, note: None };
    let done = [
        (planned(Action::Create), Outcome::Created(7)),
        (planned(Action::Create), Outcome::Overtaken),
        (planned(Action::Create), Outcome::Unknown("no answer".into())),
        (planned(Action::Replace { mod_revision: 1 }), Outcome::Replaced(8)),
        (planned(Action::Replace { mod_revision: 1 }), Outcome::NotAttempted),
        (planned(Action::Leave("")), Outcome::AsPlanned),
        (planned(Action::Refuse("")), Outcome::AsPlanned),
    ];
    let totals = Totals::of(&done);
    assert_eq!(totals, Totals { create: 1, replace: 1, leave: 2, refuse: 1, fail: 2 });
}

#[test]
fn a_note_warns_of_values_that_do_not_just_work() {
    let note = |value: &[u8]| note(&StoredValue::parse(value));
    assert!(note(b"k8s:enc:aescbc:v1:key1:xxxx").unwrap().contains("the key `key1` of provider aescbc"));
    assert_eq!(note(b"plain"), None);
    let deleting =
        br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"x","deletionTimestamp":"2026-01-02T03:04:05Z"}}"#;
    assert!(note(deleting).unwrap().contains("being deleted"));
    assert_eq!(note(br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"x"}}"#), None);
}

#[rstest]
#[case(Action::Create, Outcome::AsPlanned, "would create  /k (note)", "would-create")]
#[case(Action::Replace { mod_revision: 1 }, Outcome::AsPlanned, "would replace /k (note)", "would-replace")]
#[case(Action::Leave("same"), Outcome::AsPlanned, "left alone    /k (same; note)", "left-alone")]
#[case(Action::Refuse("lease"), Outcome::AsPlanned, "refused       /k (lease; note)", "refused")]
#[case(Action::Create, Outcome::Created(7), "created       /k (at revision 7; note)", "created")]
#[case(Action::Create, Outcome::Unknown("gone".into()), "unknown       /k (gone; note)", "unknown")]
#[case(Action::Create, Outcome::NotAttempted, "not attempted /k (note)", "not-attempted")]
fn a_key_in_the_report(#[case] action: Action, #[case] outcome: Outcome, #[case] text: &str, #[case] result: &str) {
    let planned = PlannedKey { state: state("/k", 1, 0), action, note: Some("note".into()) };
    assert_eq!(planned.text(&outcome), text);
    let json = planned.json(&outcome);
    assert_eq!((&json["key"], &json["result"], &json["note"]), (&"/k".into(), &result.into(), &"note".into()));
}

fn member(no_space: bool) -> Member {
    Member {
        endpoint: "https://10.0.0.1:2379".parse().unwrap(),
        id: 1,
        cluster_id: 1,
        version: "3.5.16".into(),
        role: Role::Leader,
        db_size: 1,
        applied_index: 1,
        revision: 1,
        round_trip: Duration::ZERO,
        read_error: None,
        corrupt: BTreeSet::new(),
        no_space,
    }
}

#[test]
fn only_a_healthy_cluster_is_written_to() {
    let choice = |members, degraded: Option<&str>| Choice {
        members,
        refused: vec![],
        degraded: degraded.map(ToOwned::to_owned),
    };
    assert!(healthy_member(choice(vec![member(false)], None), true).is_ok());
    // A plan only reads, which NOSPACE allows.
    assert!(healthy_member(choice(vec![member(true)], None), false).is_ok());
    for (choice, why) in [
        (choice(vec![member(true)], None), "NOSPACE"),
        (choice(vec![member(false)], Some("no quorum")), "not healthy: no quorum"),
        (choice(vec![], None), "no member"),
    ] {
        let refused = healthy_member(choice, true).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

fn planned(key: &str, action: Action) -> PlannedKey {
    PlannedKey { state: state(key, 1, 0), action, note: None }
}

#[test]
fn refused_keys_are_named_with_their_reasons() {
    let event = planned("/k", Action::Refuse("it is an event"));
    assert_eq!(refusals(&[planned("/a", Action::Create), event]).unwrap(), "/k: it is an event");
    assert_eq!(refusals(&[planned("/a", Action::Create)]), None);
}

#[test]
fn a_plan_says_how_it_is_carried_out() {
    let member = member(false);
    let text = |written, action, outcome| {
        let done = [(planned("/k", action), outcome)];
        Ending { backup: "b", revision: 9, member: &member, written, done: &done, error: None }.text()
    };
    let counts = "created, 0 replaced, 0 left alone, 0 refused";
    let plan = text(false, Action::Create, Outcome::AsPlanned);
    assert!(plan.starts_with("from b (revision 9) through https://10.0.0.1:2379:\nwould create  /k\n"), "{plan}");
    assert!(plan.ends_with(&format!("1 {counts} if you add --yes; nothing was written\n")), "{plan}");
    assert!(text(true, Action::Create, Outcome::Created(3)).ends_with(&format!("1 {counts}\n")));
    assert!(text(false, Action::Leave("x"), Outcome::AsPlanned).ends_with(": there is nothing to do\n"));
}
