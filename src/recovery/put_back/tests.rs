use std::collections::BTreeSet;
use std::time::Duration;

use rstest::rstest;

use super::account::Totals;
use super::scope::MadeAnew;
use super::*;
use crate::kubernetes::OwnerReference;
use crate::member::Role;
use crate::snapshot::Revision;

fn state(key: &str, create_revision: i64, lease: i64) -> KeyState {
    let revision = Revision { main: 9, sub: 0, tombstone: false };
    let key = key.into();
    KeyState { key, revision, create_revision, mod_revision: 9, version: 1, lease, value_bytes: 0, fingerprint: 0 }
}

fn object(api_version: &str, kind: &str) -> About {
    let object = ObjectSummary { api_version: api_version.into(), kind: kind.into(), ..ObjectSummary::default() };
    About::of_object(object)
}

/// A key that was asked for by its namespace.
pub fn candidate(key: &str, create_revision: i64) -> Box<Candidate> {
    let state = state(key, create_revision, 0);
    Box::new(Candidate { state, selected: Selected::Namespace, about: About::default() })
}

/// With an object of this UID, and with owners, of which each is its controller.
pub fn owned(key: &str, create_revision: i64, uid: &str, owners: &[&str]) -> Box<Candidate> {
    let owner = |uid: &&str| OwnerReference {
        kind: "Owner".into(),
        name: format!("name-of-{uid}"),
        uid: (*uid).into(),
        controller: Some(true),
    };
    let owners = owners.iter().map(owner).collect();
    let object = ObjectSummary { uid: uid.into(), owners, ..ObjectSummary::default() };
    Box::new(Candidate { about: About::of_object(object), ..*candidate(key, create_revision) })
}

pub fn planned(candidate: Box<Candidate>, action: Action) -> PlannedKey {
    PlannedKey { candidate, action, live: None, note: None }
}

#[rstest]
#[case("/registry/events/ns/x", "event")]
#[case("/registry/leases/kube-system/kube-scheduler", "Lease")]
#[case("/registry/masterleases/10.0.0.1", "lease of an API server")]
#[case("/registry/services/endpoints/ns/x", "endpoints")]
#[case("/registry/endpointslices/ns/x", "endpoints")]
#[case("/kubernetes.io/events/ns/x", "event")]
fn refused_by_key(#[case] key: &str, #[case] why: &str) {
    assert!(refusal(&state(key, 1, 0), &About::default()).unwrap().why().contains(why));
}

#[rstest]
#[case("v1", "Event")]
#[case("events.k8s.io/v1", "Event")]
#[case("coordination.k8s.io/v1", "Lease")]
#[case("v1", "Endpoints")]
#[case("discovery.k8s.io/v1", "EndpointSlice")]
fn refused_by_kind(#[case] api_version: &str, #[case] kind: &str) {
    assert!(refusal(&state("/root/x/ns/x", 1, 0), &object(api_version, kind)).is_some());
}

#[test]
fn other_things_of_the_same_name_are_not_refused() {
    for key in ["/registry/services/specs/ns/x", "/registry/example.com/events/ns/x", "/registry/pods/leases/x"] {
        assert_eq!(refusal(&state(key, 1, 0), &object("example.com/v1", "Event")), None);
    }
    assert!(refusal(&state("/registry/pods/ns/x", 1, 7), &About::default()) == Some(MadeAnew::Leased));
}

#[test]
fn only_missing_keys_are_created() {
    let live = |lease, has_same_value| Some(LiveKey { mod_revision: 5, lease, has_same_value });
    let decide = |live, overwrite| super::decide(&candidate("/k", 1), live, overwrite);
    assert_eq!(decide(None, false), Action::Create);
    assert_eq!(decide(None, true), Action::Create);
    assert!(matches!(decide(live(0, false), false), Action::Leave(why) if why.contains("differs")));
    assert!(matches!(decide(live(0, true), true), Action::Leave(why) if why.contains("the same")));
    assert_eq!(decide(live(0, false), true), Action::Replace { mod_revision: 5 });
    assert!(matches!(decide(live(7, false), true), Action::Refuse(_)));
    assert!(matches!(decide(live(7, false), false), Action::Leave(_)));
}

#[test]
fn nothing_that_is_live_is_deleted_by_what_was_being_deleted() {
    let deleting = |key: &str| {
        let about = About { is_deleting: true, ..About::default() };
        Candidate { about, ..*candidate(key, 1) }
    };
    let live = Some(LiveKey { mod_revision: 5, lease: 0, has_same_value: false });
    let (pod, namespace) = (deleting("/registry/pods/ns/x"), deleting("/registry/namespaces/ns"));
    assert!(matches!(decide(&pod, live, true), Action::Refuse(why) if why.contains("would delete it")));
    assert!(matches!(decide(&pod, live, false), Action::Leave(_)));
    assert_eq!(decide(&pod, None, false), Action::Create);
    assert!(note(&pod.about).unwrap().contains("finish that"));
    assert!(matches!(decide(&namespace, live, true), Action::Refuse(_)));
    assert!(matches!(decide(&namespace, None, false), Action::Refuse(why) if why.contains("all that is in it")));
}

#[test]
fn every_key_is_counted_once() {
    let planned = |action| planned(candidate("/k", 1), action);
    let done = [
        (planned(Action::Create), Outcome::Created(7)),
        (planned(Action::Create), Outcome::Overtaken),
        (planned(Action::Create), Outcome::Unknown("no answer".into())),
        (planned(Action::Replace { mod_revision: 1 }), Outcome::Replaced(8)),
        (planned(Action::Replace { mod_revision: 1 }), Outcome::NotAttempted),
        (planned(Action::Leave("")), Outcome::AsPlanned),
        (planned(Action::Refuse("")), Outcome::AsPlanned),
    ];
    let totals = Totals::of(&done, &LeftOut::default());
    assert_eq!(totals, Totals { create: 1, replace: 1, leave: 2, refuse: 1, fail: 2, unknown: 1, left_out: 0 });
}

#[test]
fn a_note_warns_of_values_that_do_not_just_work() {
    let note = |value: &[u8]| note(&About::of(value));
    assert!(note(b"k8s:enc:aescbc:v1:key1:xxxx").unwrap().contains("the key `key1` of provider aescbc"));
    assert_eq!(note(b"plain"), None);
    let object = |api_version: &str, kind: &str, more: &str| {
        note(format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"x"{more}}}}}"#).as_bytes())
    };
    assert!(object("v1", "X", r#","deletionTimestamp":"2026-01-02T03:04:05Z""#).unwrap().contains("being deleted"));
    assert_eq!(object("v1", "X", ""), None);
    assert!(object("batch/v1", "Job", "").unwrap().contains("runs again"));
    assert!(object("batch/v1", "CronJob", "").unwrap().contains("schedule"));
}

#[rstest]
#[case(Action::Create, Outcome::AsPlanned, "would create  /k (note)", "would-create")]
#[case(Action::Replace { mod_revision: 1 }, Outcome::AsPlanned, "would replace /k (note)", "would-replace")]
#[case(Action::Leave("same"), Outcome::AsPlanned, "left alone    /k (same; note)", "left-alone")]
#[case(Action::Refuse("lease"), Outcome::AsPlanned, "refused       /k (lease; note)", "refused")]
#[case(Action::Create, Outcome::Created(7), "created       /k (at revision 7; note)", "created")]
#[case(Action::Create, Outcome::Unknown("gone".into()), "unknown       /k (gone; note)", "unknown")]
#[case(Action::Create, Outcome::NotWritten("no space".into()), "not written   /k (no space; note)", "not-written")]
#[case(Action::Create, Outcome::NotAttempted, "not attempted /k (note)", "not-attempted")]
fn a_key_in_the_report(#[case] action: Action, #[case] outcome: Outcome, #[case] text: &str, #[case] result: &str) {
    let planned = PlannedKey { note: Some("note".into()), ..planned(candidate("/k", 1), action) };
    assert_eq!(planned.text(&outcome), text);
    let json = serde_json::json!(planned.line(&outcome));
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

#[test]
fn refused_keys_that_were_named_are_told_with_their_reasons() {
    let refused = |selected| {
        let candidate = Box::new(Candidate { selected, ..*candidate("/k", 1) });
        refusals(&[
            planned(self::candidate("/a", 1), Action::Create),
            planned(candidate, Action::Refuse("it is an event")),
        ])
    };
    assert_eq!(refused(Selected::Key).unwrap(), "/k: it is an event");
    assert_eq!((refused(Selected::Prefix), refused(Selected::Namespace)), (None, None));
}

#[test]
fn a_plan_says_how_it_is_carried_out() {
    let member = member(false);
    let warning = || Warning { kind: warnings::Kind::OwnerMissing, keys: vec![b"/k".into()], text: "no owner".into() };
    let ending = |writes, action, outcome| {
        let pod = owned("/registry/pods/ns/x", 1, "u", &["set"]);
        let account = Account {
            backup: "b".into(),
            revision: 9,
            cluster_id: 1,
            member: member.endpoint.clone(),
            writes,
            keys: vec![(planned(candidate("/k", 1), action), outcome)],
            left_out: leave_out(vec![pod]).1,
            warnings: vec![warning()],
            carry_out: "etcd-backup put-back b /k --yes".into(),
            error: None,
        };
        let mut text = Vec::new();
        account.write_text(&mut text).unwrap();
        (String::from_utf8(text).unwrap(), serde_json::json!(account))
    };
    let counts = "created, 0 replaced, 0 left alone, 0 refused, 1 left out";
    let (plan, json) = ending(false, Action::Create, Outcome::AsPlanned);
    let expected = format!(
        "from b (revision 9) through https://10.0.0.1:2379:\n\
         would create  /k\n\
         left out      pods: 1, their controllers make them anew\n\
         WARNING       no owner\n\
         1 {counts} if you carry out this plan; nothing was written yet:\n\
         etcd-backup put-back b /k --yes\n"
    );
    assert_eq!(plan, expected);
    assert_eq!(json["carry_out"], "etcd-backup put-back b /k --yes");
    assert_eq!(
        json["warnings"][0],
        serde_json::json!({"warning": "owner-missing", "keys": [{"key": "/k"}], "text": "no owner"})
    );
    assert_eq!(json["left_out"][0]["count"], 1);
    let (done, json) = ending(true, Action::Create, Outcome::Created(3));
    assert!(done.ends_with(&format!("1 {counts}\n")) && json["carry_out"].is_null(), "{done}");
    for outcome in [Outcome::NotAttempted, Outcome::Unknown("gone".into())] {
        let (cut_short, json) = ending(true, Action::Create, outcome);
        assert!(cut_short.ends_with("is the same:\netcd-backup put-back b /k --yes\n"), "{cut_short}");
        assert_eq!(json["carry_out"], "etcd-backup put-back b /k --yes");
    }
    let (nothing, json) = ending(false, Action::Leave("x"), Outcome::AsPlanned);
    assert!(nothing.ends_with(": there is nothing to do\n") && json["carry_out"].is_null(), "{nothing}");
}
