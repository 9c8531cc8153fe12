mod growth;

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::backup::beside::{Beside, Line, Note, Ruling, Since, record_file, ruling_file, since_file};
use crate::backup::catalog::{Catalog, Doubt, tests::entry};
use crate::backup::identity::KubeSystem;
use crate::backup::name::{Compression, Prefix};
use crate::backup::record::{Compressed, Facts, Record, tests::facts};
use crate::backup::ruling::{covered, refuses_dismissal};
use crate::backup::verdict::{Before, Verdict, judge};

const OTHERS: [Class; 6] = [
    Class::Unconfirmed,
    Class::Doubtful(Doubt::Degraded),
    Class::Doubtful(Doubt::Suspicious),
    Class::Doubtful(Doubt::Dismissed),
    Class::Doubtful(Doubt::Damaged),
    Class::Doubtful(Doubt::Unknown),
];
const SUSPICIOUS: Class = Class::Doubtful(Doubt::Suspicious);

fn prefix() -> Prefix {
    "p-".parse().unwrap()
}

fn at(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + day * 86_400, 0).unwrap()
}

fn name(day: i64) -> BackupName {
    BackupName::new(&prefix(), at(day), Tz::UTC)
}

fn names(days: &[i64]) -> Vec<BackupName> {
    days.iter().copied().map(name).collect()
}

/// The newest first, as the catalog has them.
fn of(days: impl IntoIterator<Item = (i64, Class)>) -> Vec<Entry> {
    let mut entries: Vec<_> = days.into_iter().map(|(day, class)| entry(name(day), class)).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.taken_at));
    entries
}

fn good(days: &[i64]) -> Vec<Entry> {
    of(days.iter().map(|day| (*day, Class::Good)))
}

fn policy(age: Option<&str>, count: Option<usize>, keep: usize) -> Policy {
    Policy {
        max_age: age.map(|a| a.parse().unwrap()),
        max_count: count.and_then(NonZeroUsize::new),
        keep_last: NonZeroUsize::new(keep).unwrap(),
    }
}

fn removed(plan: &Plan) -> Vec<BackupName> {
    plan.remove.iter().map(|decision| decision.name.clone()).collect()
}

fn reasons(plan: &Plan, day: i64) -> &[Reason] {
    &plan.keep.iter().chain(&plan.remove).find(|decision| decision.name == name(day)).unwrap().reasons
}

fn planned(entries: &[Entry], policy: &Policy, now: i64) -> Plan {
    plan(entries, Spared::default(), policy, at(now))
}

#[test]
fn after_a_month_of_silence_the_newest_stay() {
    let plan = planned(&good(&[0, 1, 2, 3, 4]), &policy(Some("10d"), None, 3), 40);
    assert_eq!(removed(&plan), names(&[1, 0]));
    assert_eq!(plan.keep[0].reasons, [Reason::Newest]);
}

#[test]
fn a_future_date_neither_goes_nor_displaces() {
    let plan = planned(&good(&[0, 100, 101, 102, 20]), &policy(Some("10d"), None, 1), 40);
    assert_eq!(removed(&plan), names(&[0]));
    assert_eq!(plan.keep.iter().filter(|d| d.reasons == [Reason::Future]).count(), 3);
}

#[test]
fn either_limit_is_enough() {
    let plan = planned(&good(&[0, 38, 39, 40]), &policy(Some("10d"), Some(2), 1), 40);
    assert_eq!(removed(&plan), names(&[38, 0]));
    assert!(!plan.remove[0].is_expired() && plan.remove[1].is_expired());
}

#[test]
fn without_a_limit_everything_stays() {
    let entries = of([(0, Class::Good), (1, SUSPICIOUS), (2, Class::Good), (3, Class::Unconfirmed)]);
    let plan = planned(&entries, &policy(None, None, 1), 4000);
    assert_eq!(plan.keep.len(), 4);
    assert_eq!(reasons(&plan, 0), [Reason::NoLimit]);
    assert_eq!(reasons(&plan, 1), [Reason::NoLimit]);
}

#[test]
fn the_runs_own_backup_stays_beside_younger_ones() {
    let own = name(0);
    let plan_for = |entries: &[Entry]| {
        plan(entries, Spared { own: Some(&own), unconfirmed: false }, &policy(Some("1d"), Some(1), 1), at(40))
    };
    let plan = plan_for(&good(&[0, 1, 2]));
    // The newest stays too: it may be what another run has just made.
    assert_eq!(removed(&plan), names(&[1]));
    assert_eq!(reasons(&plan, 0), [Reason::ThisRun]);
    for class in OTHERS {
        let plan = plan_for(&of([(0, class), (1, class), (2, Class::Good)]));
        assert_eq!(removed(&plan), names(&[1]));
        assert_eq!(reasons(&plan, 0), [Reason::ThisRun]);
    }
}

#[test]
fn the_order_of_the_catalog_decides_about_two_of_one_moment() {
    let second = BackupName::parse(&prefix(), &name(0).leaf().replace(".etcdb", "00.etcdb")).unwrap();
    let entries = [entry(second, Class::Good), entry(name(0), Class::Good)];
    assert_eq!(removed(&planned(&entries, &policy(None, Some(1), 1), 0)), names(&[0]));
}

#[test]
fn legacy_ones_fill_the_places_of_good_ones() {
    let entries = of([(0, Class::Legacy), (1, Class::Good), (2, Class::Legacy), (3, Class::Good)]);
    assert_eq!(removed(&planned(&entries, &policy(None, Some(2), 1), 4)), names(&[1, 0]));
}

#[test]
fn others_take_no_places() {
    for class in OTHERS {
        let entries = of([(0, Class::Good), (1, Class::Good), (2, class), (3, class), (4, class)]);
        let plan = planned(&entries, &policy(None, Some(2), 2), 5);
        assert_eq!(removed(&plan), []);
        assert_eq!(reasons(&plan, 0), [Reason::Newest, Reason::WithinCount]);
        assert_eq!(reasons(&plan, 4), [Reason::AmongGood]);
    }
}

#[test]
fn others_go_by_age() {
    for class in OTHERS {
        let entries = of([(0, class), (1, Class::Good), (20, class), (35, class)]);
        let plan = planned(&entries, &policy(Some("10d"), None, 1), 40);
        assert_eq!(removed(&plan), names(&[20, 0]));
        assert_eq!(reasons(&plan, 20), [Reason::Expired]);
        assert_eq!(reasons(&plan, 35), [Reason::Young]);
        // A count does not make it longer or shorter.
        assert_eq!(removed(&planned(&entries, &policy(Some("10d"), Some(5), 1), 40)), names(&[20, 0]));
    }
}

#[test]
fn without_an_age_others_go_once_they_are_older_than_what_stays() {
    for class in OTHERS {
        let entries = of([(0, class), (1, Class::Good), (2, class), (3, Class::Good), (4, class), (5, Class::Good)]);
        let plan = planned(&entries, &policy(None, Some(2), 1), 6);
        assert_eq!(removed(&plan), names(&[2, 1, 0]));
        assert_eq!(reasons(&plan, 2), [Reason::Outlived]);
        assert_eq!(reasons(&plan, 4), [Reason::AmongGood]);
    }
}

#[test]
fn without_an_age_another_of_the_same_moment_goes_by_its_place() {
    for class in OTHERS {
        let second = BackupName::parse(&prefix(), &name(0).leaf().replace(".etcdb", "00.etcdb")).unwrap();
        let entries = [entry(second, Class::Good), entry(name(0), class)];
        assert_eq!(removed(&planned(&entries, &policy(None, Some(1), 1), 0)), names(&[0]));
    }
}

#[test]
fn no_other_goes_while_there_are_few_good_ones() {
    for limits in [(Some("1d"), None), (None, Some(1)), (Some("1d"), Some(1))] {
        for class in OTHERS {
            // One that is dated in the future is not there yet.
            let entries = of([(0, class), (1, class), (2, Class::Good), (3, Class::Legacy), (100, Class::Good)]);
            let plan_of = |keep| planned(&entries, &policy(limits.0, limits.1, keep), 40);
            assert_eq!(removed(&plan_of(3)), []);
            assert_eq!(reasons(&plan_of(3), 0), [Reason::FewGood]);
            assert_eq!(removed(&plan_of(2)), names(&[1, 0]));
        }
    }
}

#[test]
fn witnesses_stay_for_the_run_that_had_nothing_better() {
    let own = name(40);
    let entries = of([(0, Class::Unconfirmed), (1, SUSPICIOUS), (40, Class::Good)]);
    let plan_with = |unconfirmed, limits: (Option<&str>, Option<usize>)| {
        plan(&entries, Spared { own: Some(&own), unconfirmed }, &policy(limits.0, limits.1, 1), at(40))
    };
    for limits in [(Some("1d"), None), (None, Some(1))] {
        let spared = plan_with(true, limits);
        assert_eq!(removed(&spared), names(&[1]));
        assert_eq!(reasons(&spared, 0), [Reason::Witness]);
        assert_eq!(removed(&plan_with(false, limits)), names(&[1, 0]));
    }
}

#[test]
fn what_another_program_may_have_made_stays() {
    let mut unknown = of([(0, Class::Doubtful(Doubt::Unknown)), (1, Class::Good)]);
    unknown[1].is_ours = false;
    let foreign = of([(0, Class::Foreign), (1, Class::Good), (2, Class::Foreign), (900, Class::Foreign)]);
    for policy in [policy(Some("1d"), None, 1), policy(None, Some(1), 1), policy(Some("1d"), Some(1), 1)] {
        let plan = planned(&unknown, &policy, 40);
        assert_eq!((removed(&plan), reasons(&plan, 0)), (vec![], &[Reason::Foreign][..]));
        // It has no place in the plan at all.
        let plan = planned(&foreign, &policy, 40);
        assert_eq!((plan.keep.len(), removed(&plan)), (1, vec![]));
    }
}

/// Compressed backups that were made by hand, and the backups of a series, each with the hour when it was taken and whether
/// it is compressed; those that have no record are of runs that were killed.
fn any_series() -> impl Strategy<Value = (BTreeSet<i64>, BTreeMap<i64, (bool, bool)>)> {
    let series = proptest::collection::btree_map(0i64..200, (any::<bool>(), any::<bool>()), 0..20);
    (proptest::collection::btree_set(0i64..200, 1..20), series)
}

proptest! {
    #[test]
    fn what_was_compressed_by_hand_changes_nothing_before_the_first_run_that_compresses_or_beside_its_backup(
        (by_hand, series) in any_series(),
        policy in any_policy(),
        now in 0i64..20,
    ) {
        let named = |hours: i64| BackupName::new(&prefix(), at(0) + Duration::hours(hours), Tz::UTC);
        let zstd = Some(Compression::Zstd);
        let (mut names, mut files, mut first) = (Vec::new(), vec![Line::Since(Since { prefix: "p-".into(), at: at(0), names: BTreeSet::new() })], None);
        for (hours, (is_compressed, has_record)) in series {
            let name = named(hours).compressed(zstd.filter(|_| is_compressed));
            if has_record {
                let taken_at = name.taken_at(Tz::UTC);
                let compressed = name.compression().map(|compression| Compressed { bytes: 1, sha256: "a".into(), compression });
                let (facts, verdict) = (Some(Facts { taken_at, ..facts() }), Some(Verdict::Good));
                files.push(Line::Backup(Record { facts, compressed, verdict, ..Record::new(&name) }));
                first = first.or(Some(hours).filter(|_| is_compressed));
            }
            names.push(name);
        }
        let by_hand = by_hand.into_iter().filter(|hours| first.is_none_or(|first| *hours <= first) || names.contains(&named(*hours)));
        let by_hand: Vec<_> = by_hand.map(|hours| named(hours).compressed(zstd)).filter(|name| !names.contains(name)).collect();
        let text: Vec<_> = files.iter().map(Line::encode).collect();
        let beside: Vec<_> = names.iter().map(record_file).chain([since_file(&prefix())]).collect();
        let told = String::from_utf8(text.join(&b'\n')).unwrap();
        let beside: Vec<_> = beside.into_iter().filter(|file| told.contains(&format!("\"{}\"", file.trim_end_matches(".json"))) || file.contains("since")).collect();
        let beside = Beside::parse(&prefix(), &beside, told.as_bytes());
        let decided = |names: &[BackupName]| {
            let catalog = Catalog::new(names.iter().map(|name| (name.clone(), None)), &beside, Tz::UTC);
            let plan = plan(&catalog.entries, Spared::default(), &policy, at(now));
            let holds: Vec<_> = catalog.holds(at(now)).into_iter().map(|hold| hold.name).collect();
            (plan, holds, catalog.first_names(&beside), catalog.warnings)
        };
        prop_assert_eq!(decided(&[&names[..], &by_hand].concat()), decided(&names));
    }
}

fn any_class() -> impl Strategy<Value = Class> {
    let other = (0..OTHERS.len()).prop_map(|at| OTHERS[at]);
    prop_oneof![4 => Just(Class::Good), 1 => Just(Class::Legacy), 4 => other]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (proptest::option::of(1u32..300), proptest::option::of(1usize..30), 1usize..10)
        .prop_map(|(age, count, keep)| policy(age.map(|days| format!("{days}d")).as_deref(), count, keep))
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::btree_map(0i64..400, any_class(), 0..40).prop_map(of)
}

proptest! {
    #[test]
    fn plans_are_whole_and_keep_the_newest(
        entries in any_entries(),
        policy in any_policy(),
        own in 0usize..80,
        unconfirmed in any::<bool>(),
        now in 0i64..500,
    ) {
        let own = entries.get(own).map(|entry| &entry.name);
        let plan = plan(&entries, Spared { own, unconfirmed }, &policy, at(now));
        let current: Vec<_> = entries.iter().filter(|entry| entry.is_current(at(now))).collect();
        let rank = |entry: &Entry| current.iter().position(|other| other.name == entry.name);
        let stays = |entry: &&&Entry| plan.keep.iter().any(|decision| decision.name == entry.name);
        let oldest_kept = current.iter().filter(stays).map(|entry| entry.taken_at).min();

        prop_assert_eq!(plan.keep.len() + plan.remove.len(), entries.len());
        let in_order = |decisions: &[Decision]| decisions.is_sorted_by(|a, b| a.name.age_key(Tz::UTC) > b.name.age_key(Tz::UTC));
        prop_assert!(in_order(&plan.keep) && in_order(&plan.remove));
        for entry in &entries {
            let gone = plan.remove.iter().any(|decision| decision.name == entry.name);
            prop_assert_ne!(gone, plan.keep.iter().any(|decision| decision.name == entry.name));
            if !gone {
                continue;
            }
            prop_assert!(policy.has_limit() && own != Some(&entry.name) && !entry.is_from_the_future(at(now)));
            let old = is_expired(at(now) - entry.taken_at, &policy);
            if let Some(rank) = rank(entry) {
                prop_assert!(rank >= policy.keep_last.get());
                prop_assert!(old || policy.max_count.is_some_and(|count| rank >= count.get()));
            } else {
                prop_assert!(current.len() >= policy.keep_last.get());
                prop_assert!(!(unconfirmed && entry.class == Class::Unconfirmed));
                let outlived = policy.max_age.is_none() && oldest_kept.is_some_and(|oldest| entry.taken_at < oldest);
                prop_assert!(old || outlived);
            }
        }
    }

    #[test]
    fn adding_one_that_is_not_good_never_removes_a_good_one(
        entries in any_entries(),
        policy in any_policy(),
        class in any_class(),
        day in 0i64..900,
        now in 0i64..400,
    ) {
        let added = entry(BackupName::new(&prefix(), at(day) + Duration::hours(1), Tz::UTC), class);
        prop_assume!(!added.is_current(at(now)));
        let gone = |entries: &[Entry]| {
            let gone = removed(&planned(entries, &policy, now));
            let counted = entries.iter().filter(|entry| entry.class.counts() && gone.contains(&entry.name));
            counted.map(|entry| entry.name.leaf()).collect::<Vec<_>>()
        };
        let mut more = [&entries[..], &[added]].concat();
        more.sort_by_key(|entry| std::cmp::Reverse(entry.taken_at));
        prop_assert_eq!(gone(&entries), gone(&more));
    }
}

/// The nights of a cluster, and what persons decide by day.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The cluster goes on, at a revision that is so much higher.
    Same(u64),
    /// It was put back by so much.
    PutBack(u64),
    /// Another cluster, such as a re-created one.
    Other(u8),
    Empty,
    Degraded,
    /// The run was killed before it wrote the record.
    Killed,
    /// A record was written that cannot be read.
    Spoiled,
    WrongClock,
    Accept(usize),
    Dismiss(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0u64..9).prop_map(Event::Same),
        1 => (1u64..50).prop_map(Event::PutBack),
        1 => (1u8..3).prop_map(Event::Other),
        1 => Just(Event::Empty),
        1 => Just(Event::Degraded),
        1 => Just(Event::Killed),
        1 => Just(Event::Spoiled),
        1 => Just(Event::WrongClock),
        4 => (0usize..6).prop_map(Event::Accept),
        3 => (0usize..6).prop_map(Event::Dismiss),
    ]
}

/// A store, as it changes from night to night.
struct World {
    day: i64,
    revision: u64,
    uid: u8,
    backups: BTreeMap<String, BackupName>,
    /// The files beside them; those without a line cannot be read.
    files: BTreeMap<String, Option<Line>>,
}

impl World {
    /// The days before the first are those of legacy backups.
    fn new(first: i64) -> Self {
        let backups: BTreeMap<_, _> = (0..first).map(|day| (name(day).leaf(), name(day))).collect();
        let since = Since { prefix: "p-".into(), at: at(first), names: backups.keys().cloned().collect() };
        let files = BTreeMap::from([(since_file(&prefix()), Some(Line::Since(since)))]);
        Self { day: first, revision: 100, uid: 0, backups, files }
    }

    fn read(&self) -> (Catalog, Beside) {
        let files: Vec<_> = self.files.keys().cloned().collect();
        let text: Vec<_> = self.files.values().flatten().map(Line::encode).collect();
        let beside = Beside::parse(&prefix(), &files, &text.join(&b'\n'));
        let names = self.backups.values().map(|name| (name.clone(), None));
        (Catalog::new(names, &beside, Tz::UTC), beside)
    }

    fn now(&self) -> DateTime<Utc> {
        at(self.day)
    }

    fn rule(&mut self, ruling: Ruling, place: usize) {
        let (catalog, _) = self.read();
        let Some(entry) = catalog.entries.get(place) else { return };
        let covers = match ruling {
            Ruling::Accepted => covered(&catalog, &entry.name, entry.facts.as_deref().unwrap_or(&facts())),
            Ruling::Dismissed if refuses_dismissal(&catalog, entry, self.now()).is_some() => return,
            Ruling::Dismissed => vec![entry.name.leaf()],
        };
        let note =
            Note { name: entry.name.leaf(), prefix: "p-".into(), at: self.now(), by: "jo".into(), covers, facts: None };
        let line = if ruling == Ruling::Accepted { Line::Accepted(note) } else { Line::Dismissed(note) };
        self.files.insert(ruling_file(&entry.name, self.now(), ruling), Some(line));
    }

    fn snapshot(&mut self, event: Event) -> Facts {
        match event {
            Event::Same(more) => self.revision += more,
            Event::PutBack(less) => self.revision = self.revision.saturating_sub(less),
            Event::Other(uid) => self.uid = uid,
            _ => self.revision += 1,
        }
        let uid = KubeSystem::Uid(self.uid.to_string());
        Facts {
            taken_at: self.now() + Duration::days(if matches!(event, Event::WrongClock) { 1_000 } else { 0 }),
            revision: self.revision,
            keys: if matches!(event, Event::Empty) { 0 } else { 2 },
            kube_system: if matches!(event, Event::Empty) { KubeSystem::Absent } else { uid },
            degraded: matches!(event, Event::Degraded).then(|| "no quorum".into()),
            ..facts()
        }
    }

    fn store(&mut self, event: Event) -> BackupName {
        let facts = self.snapshot(event);
        let (catalog, _) = self.read();
        let legacy = Facts { revision: 100, kube_system: KubeSystem::Uid("0".into()), ..facts.clone() };
        let good = catalog.entries.iter().find(|entry| entry.is_current(self.now()));
        let leaf = good.map(|entry| entry.name.leaf()).unwrap_or_default();
        let (verdict, compared) = match good {
            Some(good) => {
                let before = Before::Backup { name: &leaf, facts: good.facts.as_deref().unwrap_or(&legacy) };
                judge(&facts, before, catalog.undecided_older_states(&good.name).map(|(_, facts)| ("older", facts)))
            }
            None => judge(&facts, Before::Nothing, []),
        };
        let name = BackupName::new(&prefix(), facts.taken_at, Tz::UTC);
        let record = Record { facts: Some(facts), verdict: Some(verdict), compared, ..Record::new(&name) };
        self.backups.insert(name.leaf(), name.clone());
        if !matches!(event, Event::Killed) {
            let line = (!matches!(event, Event::Spoiled)).then_some(Line::Backup(record));
            self.files.insert(record_file(&name), line);
        }
        name
    }

    /// Retention, as the last step of a run does it.
    fn prune(&mut self, own: &BackupName, policy: &Policy) -> Vec<BackupName> {
        let (catalog, beside) = self.read();
        if !catalog.holds(self.now()).is_empty() {
            return Vec::new();
        }
        let plan = plan(&catalog.entries, Spared { own: Some(own), unconfirmed: false }, policy, self.now());
        let gone: BTreeSet<_> = removed(&plan).iter().map(BackupName::leaf).collect();
        self.backups.retain(|leaf, _| !gone.contains(leaf));
        let standing = self.backups.keys().cloned().collect();
        for file in beside.files_of(&gone, &standing) {
            self.files.remove(&file);
        }
        removed(&plan)
    }

    fn night(&mut self, event: Event, policy: &Policy) -> Vec<BackupName> {
        self.day += 1;
        match event {
            Event::Accept(place) => self.rule(Ruling::Accepted, place),
            Event::Dismiss(place) => self.rule(Ruling::Dismissed, place),
            _ => {
                let own = self.store(event);
                // A run that was killed does not come to retention.
                if !matches!(event, Event::Killed) {
                    return self.prune(&own, policy);
                }
            }
        }
        Vec::new()
    }

    fn classes(&self) -> BTreeMap<String, Class> {
        classes(&self.read().0)
    }
}

fn classes(catalog: &Catalog) -> BTreeMap<String, Class> {
    catalog.entries.iter().map(|entry| (entry.name.leaf(), entry.class)).collect()
}

/// Seven backups that are older than the limit, and one night in which the cluster is another one.
#[test]
fn nothing_goes_from_a_red_night_until_somebody_decides() {
    let policy = policy(Some("10d"), None, 3);
    let mut world = World::new(0);
    for _ in 0..7 {
        assert_eq!(world.night(Event::Same(1), &policy), []);
    }
    world.day += 10;
    for _ in 0..30 {
        assert_eq!(world.night(Event::Other(1), &policy), []);
    }
    assert_eq!(world.backups.len(), 37);
    // Accepted, all of them are good, and retention goes on.
    assert_eq!(world.night(Event::Accept(0), &policy), []);
    assert!(world.classes().values().all(|class| *class == Class::Good));
    assert_eq!(world.night(Event::Same(1), &policy).len(), 28);
}

/// One run of another cluster's configuration does not spoil those that follow.
#[test]
fn a_stray_holds_and_spoils_nothing() {
    let policy = policy(None, Some(3), 3);
    let mut world = World::new(0);
    for _ in 0..5 {
        world.night(Event::Same(1), &policy);
    }
    assert_eq!(world.backups.len(), 3);
    world.night(Event::Other(1), &policy);
    assert_eq!(world.night(Event::Other(0), &policy), []);
    let classes: Vec<_> = world.classes().into_values().rev().collect();
    assert_eq!(classes, [Class::Good, SUSPICIOUS, Class::Good, Class::Good, Class::Good]);
    world.night(Event::Dismiss(1), &policy);
    // The one that was dismissed goes with the first good one that is younger and goes.
    assert_eq!(world.night(Event::Same(1), &policy).len(), 2);
    world.night(Event::Same(1), &policy);
    assert_eq!(world.classes().into_values().collect::<Vec<_>>(), [Class::Good; 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_good_one_leaves_the_newest_under_any_history(
        events in proptest::collection::vec(any_event(), 0..40),
        policy in any_policy(),
        first in 0i64..8,
    ) {
        let mut world = World::new(first);
        for event in events {
            let (before, _) = world.read();
            let was = classes(&before);
            let gone = world.night(event, &policy);
            let is = world.classes();
            let current = before.entries.iter().filter(|entry| entry.is_current(world.now()));
            // The run's own backup may be a good one, too.
            for entry in current.take(policy.keep_last.get() - 1) {
                prop_assert!(!gone.contains(&entry.name), "{} after {event:?}", entry.name);
            }
            if matches!(event, Event::Accept(_) | Event::Dismiss(_)) {
                prop_assert!(gone.is_empty());
                continue;
            }
            // What goes takes nothing along that is known of what stays.
            for (leaf, class) in was.iter().filter(|(leaf, _)| world.backups.contains_key(*leaf)) {
                prop_assert_eq!(Some(class), is.get(leaf), "{}", leaf);
            }
            let counted = |classes: &BTreeMap<String, Class>| classes.values().filter(|class| class.counts()).count();
            prop_assert!(counted(&is) >= counted(&was).min(policy.keep_last.get()));
        }
    }
}
