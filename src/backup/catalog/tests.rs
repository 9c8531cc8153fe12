use super::super::beside::{Line, Note, Since, record_file, ruling_file, since_file};
use super::super::name::{Compression, Prefix};
use super::super::record::Record;
use super::super::record::tests::facts;
use super::super::retention::{Policy, Spared, plan};
use super::super::select::{Selector, select};
use super::*;

pub fn name(leaf: &str) -> BackupName {
    BackupName::parse(&prefix(), leaf).unwrap()
}

/// A backup of this class, taken at the time in its name.
pub fn entry(name: BackupName, class: Class) -> Entry {
    let why = "x".to_owned();
    let verdict = match class {
        Class::Good => Some(Verdict::Good),
        Class::Doubtful(Doubt::Degraded) => Some(Verdict::Degraded { why }),
        Class::Doubtful(Doubt::Suspicious) => Some(suspicious(Suspicion::AnotherCluster)),
        Class::Doubtful(Doubt::Damaged) => Some(Verdict::Damaged { why }),
        Class::Doubtful(Doubt::Dismissed | Doubt::Unknown) | Class::Legacy | Class::Unconfirmed | Class::Foreign => {
            None
        }
    };
    let taken_at = name.taken_at(Tz::UTC);
    let facts = verdict.is_some().then(|| Box::new(Facts { taken_at, ..facts() }));
    let has_record = facts.is_some() || class == Class::Doubtful(Doubt::Unknown);
    let ruling = (class == Class::Doubtful(Doubt::Dismissed)).then_some(Ruling::Dismissed);
    Entry {
        name,
        bytes: None,
        taken_at,
        class,
        facts,
        compressed: None,
        verdict,
        ruling,
        is_ours: class != Class::Foreign,
        has_record,
    }
}

pub fn suspicious(reason: Suspicion) -> Verdict {
    Verdict::Suspicious { reasons: vec![reason], why: "it is odd".into() }
}

const ONE: &str = "p-202601010000.etcdb";
const TWO: &str = "p-202601020000.etcdb";
const THREE: &str = "p-202601030000.etcdb";
const FOUR: &str = "p-202601040000.etcdb";

fn prefix() -> Prefix {
    "a/p-".parse().unwrap()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    time("2026-02-01T00:00:00Z")
}

/// A file beside the backups with its line; without one, it cannot be read.
type File = (String, Option<Line>);

fn recorded_at(leaf: &str, taken_at: DateTime<Utc>, verdict: Option<Verdict>) -> File {
    let facts = Some(Facts { taken_at, ..facts() });
    let compressed = |compression| Compressed { bytes: 7, sha256: "cd".into(), compression };
    let compressed = name(leaf).compression().map(compressed);
    (record_file(&name(leaf)), Some(Line::Backup(Record { facts, compressed, verdict, ..Record::new(&name(leaf)) })))
}

fn recorded(leaf: &str, verdict: Verdict) -> File {
    recorded_at(leaf, name(leaf).taken_at(Tz::UTC), Some(verdict))
}

fn unreadable(leaf: &str) -> File {
    (record_file(&name(leaf)), None)
}

fn ruled(leaf: &str, ruling: Ruling, covers: &[&str]) -> File {
    let covers = covers.iter().map(ToString::to_string).collect();
    let note = Note { name: leaf.into(), prefix: "p-".into(), at: now(), by: "jo".into(), covers, facts: None };
    let line = if ruling == Ruling::Accepted { Line::Accepted(note) } else { Line::Dismissed(note) };
    (ruling_file(&name(leaf), now(), ruling), Some(line))
}

fn since(leaves: &[&str]) -> File {
    let names = leaves.iter().map(ToString::to_string).collect();
    (since_file(&prefix()), Some(Line::Since(Since { prefix: "p-".into(), at: now(), names })))
}

fn in_zone(leaves: &[&str], files: &[File], zone: Tz) -> (Catalog, Beside) {
    let text: Vec<_> = files.iter().filter_map(|(_, line)| line.as_ref()).map(Line::encode).collect();
    let names: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
    let beside = Beside::parse(&prefix(), &names, &text.join(&b'\n'));
    (Catalog::new(leaves.iter().map(|leaf| (name(leaf), Some(1))), &beside, zone), beside)
}

fn catalog(leaves: &[&str], files: &[File]) -> Catalog {
    in_zone(leaves, files, Tz::UTC).0
}

fn class(catalog: &Catalog, leaf: &str) -> Class {
    catalog.find(&name(leaf)).unwrap().class
}

fn order(catalog: &Catalog) -> Vec<String> {
    catalog.names().map(BackupName::leaf).collect()
}

fn holds(catalog: &Catalog) -> Vec<(String, Why)> {
    catalog.holds(now()).into_iter().map(|hold| (hold.name.leaf(), hold.why)).collect()
}

#[test]
fn a_record_decides_the_class() {
    let why = || "x".to_owned();
    for (verdict, expected) in [
        (Verdict::Good, Class::Good),
        (Verdict::Degraded { why: why() }, Class::Doubtful(Doubt::Degraded)),
        (suspicious(Suspicion::Empty), Class::Doubtful(Doubt::Suspicious)),
        (Verdict::Damaged { why: why() }, Class::Doubtful(Doubt::Damaged)),
    ] {
        // Whatever else is known of it.
        for other in [since(&[ONE]), since(&[]), recorded(TWO, Verdict::Good)] {
            assert_eq!(class(&catalog(&[ONE], &[recorded(ONE, verdict.clone()), other]), ONE), expected);
        }
    }
    // A record that says no verdict is one that nobody finished.
    let without = recorded_at(ONE, now(), None);
    assert_eq!(class(&catalog(&[ONE], &[without]), ONE), Class::Doubtful(Doubt::Unknown));
}

#[test]
fn a_person_decides_over_the_record() {
    let degraded = Verdict::Degraded { why: "x".into() };
    for record in [recorded(ONE, Verdict::Good), recorded(ONE, degraded), unreadable(ONE), since(&[ONE]), since(&[])] {
        let accepted = catalog(&[ONE], &[record.clone(), ruled(ONE, Ruling::Accepted, &[ONE])]);
        assert_eq!(class(&accepted, ONE), Class::Good, "{record:?}");
        let dismissed = catalog(&[ONE], &[record.clone(), ruled(ONE, Ruling::Dismissed, &[ONE])]);
        assert_eq!(class(&dismissed, ONE), Class::Doubtful(Doubt::Dismissed), "{record:?}");
    }
    let covered = catalog(
        &[ONE, TWO],
        &[
            recorded(ONE, suspicious(Suspicion::Empty)),
            recorded(TWO, suspicious(Suspicion::AnotherCluster)),
            ruled(TWO, Ruling::Accepted, &[TWO, ONE]),
        ],
    );
    assert_eq!([ONE, TWO].map(|leaf| class(&covered, leaf)), [Class::Good; 2]);
}

#[test]
fn a_record_or_ruling_that_cannot_be_read_is_unknown() {
    for file in [unreadable(ONE), (ruled(ONE, Ruling::Accepted, &[]).0, None)] {
        for other in [since(&[ONE]), since(&[]), recorded(TWO, Verdict::Good)] {
            let catalog = catalog(&[ONE, TWO], &[file.clone(), other]);
            assert_eq!(class(&catalog, ONE), Class::Doubtful(Doubt::Unknown));
            assert!(catalog.warnings.iter().any(|warning| warning.contains(ONE)), "{:?}", catalog.warnings);
        }
    }
    // It was good, but may have been dismissed.
    let catalog = catalog(&[ONE], &[recorded(ONE, Verdict::Good), (ruled(ONE, Ruling::Dismissed, &[]).0, None)]);
    assert_eq!(class(&catalog, ONE), Class::Doubtful(Doubt::Unknown));
}

#[test]
fn a_suspicious_one_stays_that_until_a_ruling_can_be_read() {
    let files = [
        recorded(ONE, suspicious(Suspicion::OlderState)),
        (ruled(ONE, Ruling::Accepted, &[]).0, None),
        recorded(TWO, Verdict::Good),
    ];
    let catalog = catalog(&[ONE, TWO], &files);
    assert_eq!(class(&catalog, ONE), Class::Doubtful(Doubt::Suspicious));
    assert_eq!(holds(&catalog), [(ONE.into(), Why::Suspicious("it is odd".into()))]);
}

#[test]
fn without_a_record_it_is_legacy_if_it_was_there_first() {
    let catalog = catalog(&[ONE, TWO, THREE], &[since(&[TWO]), recorded(THREE, Verdict::Good)]);
    assert_eq!([ONE, TWO].map(|leaf| class(&catalog, leaf)), [Class::Unconfirmed, Class::Legacy]);
    assert_eq!(catalog.warnings, [""; 0]);
}

#[test]
fn all_are_legacy_where_this_program_never_was() {
    let (catalog, beside) = in_zone(&[ONE, TWO], &[], Tz::UTC);
    assert_eq!([ONE, TWO].map(|leaf| class(&catalog, leaf)), [Class::Legacy; 2]);
    assert_eq!(catalog.warnings, [""; 0]);
    assert_eq!(catalog.first_names(&beside).unwrap(), [TWO, ONE]);
}

#[test]
fn a_first_run_that_was_killed_leaves_one_that_is_unconfirmed() {
    let (catalog, beside) = in_zone(&[ONE, TWO], &[since(&[ONE])], Tz::UTC);
    assert_eq!([ONE, TWO].map(|leaf| class(&catalog, leaf)), [Class::Legacy, Class::Unconfirmed]);
    // The second run goes on with what the first one wrote.
    assert_eq!(catalog.first_names(&beside), None);
}

/// The file that says which were there first is lost.
#[test]
fn what_is_older_than_the_oldest_record_is_legacy_with_a_warning() {
    for lost in [vec![], vec![(since_file(&prefix()), None)]] {
        for oldest in [recorded(TWO, suspicious(Suspicion::Empty)), unreadable(TWO)] {
            // Its backup may be gone.
            for names in [&[ONE, TWO, THREE, FOUR][..], &[ONE, THREE, FOUR]] {
                let files = [lost.clone(), vec![oldest.clone(), recorded(FOUR, Verdict::Good)]].concat();
                let (catalog, beside) = in_zone(names, &files, Tz::UTC);
                let found = [ONE, THREE].map(|leaf| class(&catalog, leaf));
                assert_eq!(found, [Class::Legacy, Class::Unconfirmed], "{oldest:?}");
                assert!(catalog.warnings[0].contains("the 1 without a record"), "{:?}", catalog.warnings);
                // A lost one is written again, as it is known; one that is there is not replaced.
                assert_eq!(catalog.first_names(&beside), lost.is_empty().then(|| vec![ONE.to_owned()]));
            }
        }
    }
}

#[test]
fn what_is_as_old_as_the_oldest_record_is_not_legacy() {
    let recorded = recorded("p-20260102000000.etcdb", Verdict::Good);
    assert_eq!(class(&catalog(&[TWO], std::slice::from_ref(&recorded)), TWO), Class::Unconfirmed);
}

#[test]
fn a_lost_folder_leaves_them_all_legacy_and_an_unreadable_list_none() {
    assert_eq!(class(&catalog(&[ONE], &[]), ONE), Class::Legacy);
    let catalog = catalog(&[ONE], &[(since_file(&prefix()), None)]);
    assert_eq!(class(&catalog, ONE), Class::Unconfirmed);
    assert_eq!(catalog.warnings.len(), 1);
}

#[test]
fn the_order_is_that_of_the_records_seconds() {
    // Names of another zone, or of another clock.
    let files = [
        recorded_at(TWO, time("2026-01-01T12:00:00Z"), Some(Verdict::Good)),
        recorded_at(ONE, time("2026-01-01T12:00:01Z"), Some(Verdict::Good)),
    ];
    assert_eq!(order(&catalog(&[ONE, TWO, THREE], &files)), [THREE, ONE, TWO]);
    let tokyo: Tz = "Asia/Tokyo".parse().unwrap();
    // 2026-01-03T00:00 there is 15:00 the day before in UTC.
    let late = recorded_at(ONE, time("2026-01-02T15:00:01Z"), Some(Verdict::Good));
    let early = recorded_at(ONE, time("2026-01-02T14:59:59Z"), Some(Verdict::Good));
    assert_eq!(order(&in_zone(&[ONE, THREE], &[late], tokyo).0), [ONE, THREE]);
    assert_eq!(order(&in_zone(&[ONE, THREE], &[early], tokyo).0), [THREE, ONE]);
}

#[test]
fn an_hour_that_comes_twice_keeps_the_records_order() {
    let rome: Tz = "Europe/Rome".parse().unwrap();
    let [first, second] = ["p-202610250250.etcdb", "p-202610250210.etcdb"];
    let files = [
        recorded_at(first, time("2026-10-25T00:50:00Z"), Some(Verdict::Good)),
        recorded_at(second, time("2026-10-25T01:10:00Z"), Some(Verdict::Good)),
    ];
    let (catalog, _) = in_zone(&[first, second], &files, rome);
    assert_eq!(order(&catalog), [second, first]);
    assert_eq!(catalog.entries[1].taken_at, time("2026-10-25T00:50:00Z"));
}

#[test]
fn two_of_one_second_are_in_the_order_of_their_names() {
    let seconds = "p-20260101000007.etcdb";
    let at = time("2026-01-01T00:00:07Z");
    let files = [ONE, seconds].map(|leaf| recorded_at(leaf, at, Some(Verdict::Good)));
    for names in [[ONE, seconds], [seconds, ONE]] {
        assert_eq!(order(&catalog(&names, &files)), [seconds, ONE]);
    }
}

#[test]
fn a_suspicious_one_holds_however_old_it_is_until_somebody_decides() {
    let odd = recorded(ONE, suspicious(Suspicion::AnotherCluster));
    let good = recorded(TWO, Verdict::Good);
    let held = [(ONE.to_owned(), Why::Suspicious("it is odd".into()))];
    assert_eq!(holds(&catalog(&[ONE, TWO], &[odd.clone(), good.clone()])), held);
    for ruling in [Ruling::Accepted, Ruling::Dismissed] {
        for by in [ONE, TWO] {
            let files = [odd.clone(), good.clone(), ruled(by, ruling, &[ONE])];
            assert_eq!(holds(&catalog(&[ONE, TWO], &files)), []);
        }
    }
    // Its record without its backup holds nothing.
    assert_eq!(holds(&catalog(&[TWO], &[odd, good])), []);
}

#[test]
fn degraded_damaged_and_unconfirmed_ones_hold_nothing() {
    let why = || "x".to_owned();
    let files =
        [since(&[]), recorded(ONE, Verdict::Degraded { why: why() }), recorded(TWO, Verdict::Damaged { why: why() })];
    assert_eq!(holds(&catalog(&[ONE, TWO, THREE], &files)), []);
}

#[test]
fn an_unknown_one_holds_while_it_is_younger_than_every_one_that_counts() {
    let unknown = |other: File| holds(&catalog(&[ONE, TWO, THREE], &[since(&[]), unreadable(TWO), other]));
    let held = [(TWO.to_owned(), Why::Unknown)];
    assert_eq!(unknown(recorded(ONE, Verdict::Good)), held);
    assert_eq!(unknown(recorded(THREE, suspicious(Suspicion::Empty)))[1..], held);
    assert_eq!(unknown(recorded(THREE, Verdict::Degraded { why: "x".into() })), held);
    assert_eq!(unknown(recorded(THREE, Verdict::Good)), []);
    assert_eq!(unknown(ruled(THREE, Ruling::Accepted, &[])), []);
    // A wrong clock makes none older.
    let future = recorded_at(THREE, time("2099-01-01T00:00:00Z"), Some(Verdict::Good));
    assert_eq!(unknown(future.clone())[1..], held);
    let files = [since(&[]), unreadable(TWO), future, ruled(THREE, Ruling::Accepted, &[])];
    assert_eq!(holds(&catalog(&[TWO, THREE], &files)), held);
    // Legacy ones count, too.
    assert_eq!(holds(&catalog(&[TWO, THREE], &[since(&[THREE]), unreadable(TWO)])), []);
}

#[test]
fn an_unknown_one_holds_nothing_once_somebody_decided() {
    for ruling in [Ruling::Accepted, Ruling::Dismissed] {
        assert_eq!(holds(&catalog(&[ONE], &[unreadable(ONE), ruled(ONE, ruling, &[])])), []);
    }
}

#[test]
fn a_future_date_holds_until_somebody_decides_or_it_comes() {
    let ahead = time("2026-02-01T00:10:01Z");
    let future = recorded_at(ONE, ahead, Some(Verdict::Good));
    let held = catalog(&[ONE], std::slice::from_ref(&future));
    assert_eq!(holds(&held), [(ONE.into(), Why::Future(ahead))]);
    assert!(held.entries[0].is_from_the_future(now()) && !held.entries[0].is_current(now()));
    // Two machines' clocks may differ by ten minutes.
    assert!(held.holds(now() + TimeDelta::seconds(1)).is_empty());
    assert!(held.entries[0].is_current(now() + TimeDelta::seconds(1)));
    for ruling in [Ruling::Accepted, Ruling::Dismissed] {
        let decided = catalog(&[ONE], &[future.clone(), ruled(ONE, ruling, &[])]);
        assert_eq!(holds(&decided), []);
        // Its date is still wrong.
        assert!(!decided.entries[0].is_current(now()));
    }
    // One without a record is as young as its name says.
    assert_eq!(holds(&catalog(&["p-209901010000.etcdb"], &[since(&[])])).len(), 1);
}

#[test]
fn older_states_between_the_good_one_and_the_next_are_undecided() {
    let older = |leaf| recorded(leaf, suspicious(Suspicion::OlderState));
    let undecided = |files: &[File], before: &str| {
        let catalog = catalog(&[ONE, TWO, THREE, FOUR], files);
        let before = name(before);
        catalog.undecided_older_states(&before).map(|(name, _)| name.leaf()).collect::<Vec<_>>()
    };
    let good = recorded(TWO, Verdict::Good);
    let stray = recorded(THREE, suspicious(Suspicion::AnotherCluster));
    let night = [older(ONE), good.clone(), stray.clone(), older(FOUR)];
    assert_eq!(undecided(&night, TWO), [FOUR]);
    assert_eq!(undecided(&[older(ONE), good.clone(), older(THREE), older(FOUR)], TWO), [FOUR, THREE]);
    for ruling in [Ruling::Accepted, Ruling::Dismissed] {
        let files = [good.clone(), older(THREE), older(FOUR), ruled(FOUR, ruling, &[])];
        assert_eq!(undecided(&files, TWO), [THREE]);
    }
    // A decision that cannot be read is none, and a good one of a wrong clock hides nothing.
    let unreadable = (ruled(FOUR, Ruling::Accepted, &[]).0, None);
    assert_eq!(undecided(&[good.clone(), older(FOUR), unreadable], TWO), [FOUR]);
    let future = recorded_at(ONE, time("2099-01-01T00:00:00Z"), Some(Verdict::Good));
    assert_eq!(undecided(&[future, good, older(FOUR)], TWO), [FOUR]);
}

const ZST: [&str; 3] = ["p-202601010000.etcdb.zst", "p-202601020000.etcdb.zst", "p-202601030000.etcdb.zst"];

/// The classes of the three, and whether they may be this program's.
fn compressed(standing: &[&str], files: &[File]) -> Vec<(Class, bool)> {
    let catalog = catalog(standing, files);
    let of = |leaf: &&&str| catalog.find(&name(leaf)).map(|entry| (entry.class, entry.is_ours));
    ZST.iter().filter_map(|leaf| of(&leaf)).collect()
}

#[test]
fn people_compress_backups_too() {
    const FOREIGN: (Class, bool) = (Class::Foreign, false);
    for files in [vec![], vec![since(&[])], vec![since(&ZST)], vec![(since_file(&prefix()), None)]] {
        for plain in [vec![], vec![recorded(ONE, Verdict::Good)], vec![recorded(FOUR, Verdict::Good), unreadable(ONE)]]
        {
            let files = [files.clone(), plain].concat();
            assert_eq!(compressed(&[&ZST[..], &[ONE, FOUR]].concat(), &files), [FOREIGN; 3], "{files:?}");
        }
    }
    let (catalog, beside) = in_zone(&[ZST[0], ONE, "p-209901010000.etcdb.zst"], &[], Tz::UTC);
    assert_eq!(catalog.first_names(&beside).unwrap(), [ONE]);
    assert_eq!((holds(&catalog), catalog.foreign()), (vec![], 2));
}

#[test]
fn a_compressed_one_may_be_of_a_run_that_was_killed_if_an_earlier_run_compressed() {
    let older = suspicious(Suspicion::OlderState);
    for verdict in [Verdict::Good, older, Verdict::Degraded { why: "x".into() }] {
        let files = [since(&[]), recorded(ZST[1], verdict)];
        let [first, _, third] = compressed(&ZST, &files)[..] else { panic!("{files:?}") };
        assert_eq!((first, third), ((Class::Foreign, false), (Class::Unconfirmed, true)));
        // A record without its backup tells nothing.
        assert_eq!(compressed(&[ZST[0], ZST[2]], &files), [(Class::Foreign, false); 2]);
    }
    // Of the same moment, it is not younger.
    let same = recorded_at(ZST[1], name(ZST[2]).taken_at(Tz::UTC), Some(Verdict::Good));
    assert_eq!(compressed(&ZST, &[same])[2], (Class::Foreign, false));
}

#[test]
fn what_is_compressed_of_a_backup_of_the_same_time_was_compressed_by_hand() {
    const FOREIGN: (Class, bool) = (Class::Foreign, false);
    let files = [since(&[]), recorded(ZST[0], Verdict::Good)];
    let third = |standing: &[&str], more: &[File]| {
        let standing = [&ZST[..], standing].concat();
        compressed(&standing, &[&files[..], more].concat())[2]
    };
    assert_eq!(third(&[ONE, TWO], &[recorded(TWO, Verdict::Good)]), (Class::Unconfirmed, true));
    // With and without `--rm`.
    assert_eq!(third(&[THREE], &[]), FOREIGN);
    assert_eq!(third(&[THREE], &[recorded(THREE, Verdict::Good)]), FOREIGN);
    for file in [recorded(THREE, Verdict::Good), unreadable(THREE), ruled(THREE, Ruling::Accepted, &[])] {
        assert_eq!(third(&[], &[file]), FOREIGN);
    }
    // One that a run has recorded is that run's.
    assert_eq!(third(&[THREE], &[recorded(ZST[2], Verdict::Good)]), (Class::Good, true));
}

#[test]
fn a_person_counts_a_compressed_one_in() {
    let ruled = |ruling| compressed(&ZST[..1], &[since(&[]), ruled(ZST[0], ruling, &[])]);
    assert_eq!(ruled(Ruling::Accepted), [(Class::Good, true)]);
    assert_eq!(ruled(Ruling::Dismissed), [(Class::Doubtful(Doubt::Dismissed), true)]);
}

#[test]
fn what_does_not_say_that_it_is_compressed_is_no_record_of_a_compressed_one() {
    let by_hand = Record { facts: Some(facts()), verdict: Some(Verdict::Good), ..Record::new(&name(ZST[1])) };
    let by_hand = (record_file(&name(ZST[1])), Some(Line::Backup(by_hand)));
    let ruling = (ruled(ZST[1], Ruling::Accepted, &[]).0, None);
    for file in [by_hand, unreadable(ZST[1]), ruling] {
        // Until it can be read, it may be what says that something is wrong. But it is not deleted.
        let files = [since(&[]), file];
        assert_eq!(compressed(&ZST[1..2], &files), [(Class::Doubtful(Doubt::Unknown), false)], "{files:?}");
        assert_eq!(holds(&catalog(&[ZST[1]], &files)), [(ZST[1].into(), Why::Unknown)]);
        let after = [&files[..], &[recorded(ZST[0], Verdict::Good)]].concat();
        assert_eq!(compressed(&ZST[..2], &after)[1], (Class::Doubtful(Doubt::Unknown), true));
    }
    let compressed = Some(Compressed { bytes: 7, sha256: "cd".into(), compression: Compression::Zstd });
    let other = Record { facts: Some(facts()), verdict: Some(Verdict::Good), compressed, ..Record::new(&name(ONE)) };
    let catalog = catalog(&[ONE], &[(record_file(&name(ONE)), Some(Line::Backup(other)))]);
    assert_eq!(class(&catalog, ONE), Class::Doubtful(Doubt::Unknown));
}

/// Of two runs of one minute, neither sees the other's name.
#[test]
fn two_of_one_time_are_two_backups() {
    let (plain, zst) = (ONE, ZST[0]);
    for (of_plain, of_zst, newest) in [("05", "06", zst), ("06", "05", plain), ("05", "05", zst)] {
        let at = |seconds: &str| time(&format!("2026-01-01T00:00:{seconds}Z"));
        let files = [
            recorded_at(plain, at(of_plain), Some(Verdict::Good)),
            recorded_at(zst, at(of_zst), Some(suspicious(Suspicion::Empty))),
        ];
        for names in [[plain, zst], [zst, plain]] {
            let (catalog, beside) = in_zone(&names, &files, Tz::UTC);
            assert_eq!(order(&catalog)[0], newest);
            let [of_plain, of_zst] = [plain, zst].map(|leaf| class(&catalog, leaf));
            assert_eq!((of_plain, of_zst), (Class::Good, Class::Doubtful(Doubt::Suspicious)));
            let taken: Vec<_> = catalog.names().cloned().collect();
            let third = BackupName::free(&prefix(), at("07"), Tz::UTC, &taken);
            assert_eq!(third.leaf(), "p-20260101000007.etcdb");
            // What goes takes no file of the other along.
            for (goes, stays) in [(plain, zst), (zst, plain)] {
                let [goes, stays] = [goes, stays].map(|leaf| std::collections::BTreeSet::from([leaf.to_owned()]));
                let files: Vec<_> = goes.iter().map(|leaf| format!("{leaf}.json")).collect();
                assert_eq!(beside.files_of(&goes, &stays), files);
            }
        }
        let dismissed = catalog(&[plain, zst], &[&files[..], &[ruled(zst, Ruling::Dismissed, &[])]].concat());
        assert_eq!((class(&dismissed, plain), holds(&dismissed)), (Class::Good, vec![]));
    }
}

/// The hour from 00:00 to 01:00 UTC, and the one after it, both are from 2 to 3 o'clock there.
const ROME: Tz = Tz::Europe__Rome;

#[test]
fn of_times_that_come_twice_the_record_tells_which_it_is() {
    let (older, younger) = ("p-202610250245.etcdb", "p-202610250215.etcdb");
    let files = [
        recorded_at(older, time("2026-10-25T00:45:00Z"), Some(Verdict::Good)),
        recorded_at(younger, time("2026-10-25T01:15:00Z"), Some(Verdict::Good)),
    ];
    let (catalog, _) = in_zone(&[older, younger], &files, ROME);
    assert_eq!(order(&catalog), [younger, older]);
    assert_eq!(catalog.warnings, [""; 0]);
    let now = time("2026-10-25T02:00:00Z");
    let latest = select(&Selector::Latest, &catalog.entries, now, ROME).unwrap().0;
    assert_eq!(latest.name.leaf(), younger);
    let one = std::num::NonZeroUsize::MIN;
    let policy = Policy { max_age: None, max_count: Some(one), keep_last: one };
    let plan = plan(&catalog.entries, Spared::default(), &policy, now);
    assert_eq!(plan.remove.iter().map(|gone| gone.name.leaf()).collect::<Vec<_>>(), [older]);
}

#[test]
fn where_no_record_tells_the_later_one_counts_and_the_pair_is_named() {
    let (first, second, before) = ("p-202610250245.etcdb", "p-202610250215.etcdb", "p-202610250130.etcdb");
    let (catalog, _) = in_zone(&[before, second, first], &[], ROME);
    assert_eq!(order(&catalog), [first, second, before]);
    assert_eq!(catalog.entries[0].taken_at, time("2026-10-25T01:45:00Z"));
    let [warning] = &catalog.warnings[..] else { panic!("{:?}", catalog.warnings) };
    for words in [first, second, "comes twice", "2026-10-25T01:45:00Z"] {
        assert!(warning.contains(words), "{words} is not in {warning}");
    }
    // A record of one of the two is enough, if its backup is not in between.
    let sure = recorded_at(second, time("2026-10-25T00:15:00Z"), Some(Verdict::Good));
    let (catalog, _) = in_zone(&[first, second], &[sure], ROME);
    assert_eq!(catalog.warnings.iter().filter(|warning| warning.contains("comes twice")).count(), 0, "{catalog:?}");
}

proptest::proptest! {
    #[test]
    fn recorded_backups_are_in_the_order_in_which_they_were_taken(
        minutes in proptest::collection::btree_set(0_i64..240, 2..12),
    ) {
        let night = time("2026-10-24T23:00:00Z");
        let mut taken = Vec::new();
        let mut files = Vec::new();
        for minute in &minutes {
            let at = night + TimeDelta::minutes(*minute);
            let name = BackupName::free(&prefix(), at, ROME, &taken);
            files.push(recorded_at(&name.leaf(), at, Some(Verdict::Good)));
            taken.push(name);
        }
        let leaves: Vec<_> = taken.iter().map(BackupName::leaf).collect();
        let (catalog, _) = in_zone(&leaves.iter().map(String::as_str).collect::<Vec<_>>(), &files, ROME);
        let mut expected = leaves;
        expected.reverse();
        proptest::prop_assert_eq!(order(&catalog), expected);
    }
}
