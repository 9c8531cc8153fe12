//! Every backup of a prefix with its class, derived from the backups' names and the files beside them. Pure.

use std::cmp::Reverse;
use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::beside::{Beside, Known, Ruling};
use super::name::BackupName;
use super::record::{Facts, Record};
use super::verdict::{Suspicion, Verdict};

/// How far ahead a backup may be dated before it counts as one from the future: two machines' clocks differ a little.
pub const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(10);

/// What a backup is worth to `latest` and to retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Its record says so, or a person.
    Good,
    /// It was there before this program, and counts as good.
    Legacy,
    Doubtful(Doubt),
    /// It has no record, because the run that stored it did not get so far.
    Unconfirmed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    Degraded,
    Suspicious,
    Dismissed,
    Damaged,
    /// It has a record, or a ruling, that cannot be read.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub name: BackupName,
    /// `None` where the backend cannot tell.
    pub bytes: Option<u64>,
    /// The record's second; without a record, the time in the name.
    pub taken_at: DateTime<Utc>,
    pub class: Class,
    pub facts: Option<Facts>,
    pub verdict: Option<Verdict>,
    pub ruling: Option<Ruling>,
    /// Whether a file beside it bears its record, readable or not.
    pub has_record: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// What is odd about the files beside the backups.
    pub warnings: Vec<String>,
}

/// A backup because of which nothing is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub name: BackupName,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Suspicious(String),
    Unknown,
    Future(DateTime<Utc>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspicious(why) => write!(f, "is suspicious: {why}"),
            Self::Unknown => f.write_str("has a record that cannot be read"),
            Self::Future(at) => write!(f, "is dated in the future, {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        }
    }
}

impl Class {
    /// Whether it counts as a backup of the cluster.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Good | Self::Legacy)
    }

    pub const fn doubt(self) -> Option<&'static str> {
        let Self::Doubtful(doubt) = self else { return None };
        Some(match doubt {
            Doubt::Degraded => "degraded",
            Doubt::Suspicious => "suspicious",
            Doubt::Dismissed => "dismissed",
            Doubt::Damaged => "damaged",
            Doubt::Unknown => "unknown",
        })
    }

    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Legacy => "legacy",
            Self::Doubtful(_) => "doubtful",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doubt().unwrap_or(self.word()))
    }
}

impl Entry {
    pub fn is_from_the_future(&self, now: DateTime<Utc>) -> bool {
        self.taken_at > now + CLOCKS_DIFFER
    }

    /// Whether `latest` may mean it.
    pub fn is_current(&self, now: DateTime<Utc>) -> bool {
        self.class.counts() && !self.is_from_the_future(now)
    }

    /// Why it does not count as good, in one sentence.
    pub fn why(&self, now: DateTime<Utc>) -> Option<String> {
        let reason = match (self.class, &self.verdict) {
            (Class::Good | Class::Legacy, _) => None,
            (Class::Unconfirmed, _) => Some("it has no record, so it was never confirmed".to_owned()),
            (Class::Doubtful(Doubt::Dismissed), _) => Some("it was dismissed".to_owned()),
            (Class::Doubtful(Doubt::Unknown), _) => Some("its record cannot be read".to_owned()),
            (Class::Doubtful(doubt), verdict) => {
                let why = verdict.as_ref().and_then(Verdict::why).unwrap_or_default();
                Some(format!("{}: {why}", Class::Doubtful(doubt)))
            }
        };
        let future = || self.is_from_the_future(now).then(|| "it is dated in the future".to_owned());
        reason.or_else(future)
    }

    fn hold(&self, now: DateTime<Utc>, counted: Option<DateTime<Utc>>) -> Option<Why> {
        if let (Class::Doubtful(Doubt::Suspicious), Some(verdict)) = (self.class, &self.verdict) {
            return Some(Why::Suspicious(verdict.why().unwrap_or_default().to_owned()));
        }
        // Until it can be read, it may be the one backup that says that something is wrong.
        if self.class == Class::Doubtful(Doubt::Unknown) && counted.is_none_or(|newest| self.taken_at >= newest) {
            return Some(Why::Unknown);
        }
        (self.is_from_the_future(now) && self.ruling.is_none()).then_some(Why::Future(self.taken_at))
    }
}

impl Catalog {
    /// `names` are the backups that stand there, with their sizes.
    pub fn new(names: impl IntoIterator<Item = (BackupName, Option<u64>)>, beside: &Beside, zone: Tz) -> Self {
        let legacy = Legacy { beside, oldest_record: oldest_record(beside, zone) };
        let entry = |(name, bytes): (BackupName, Option<u64>)| entry(name, bytes, beside, &legacy, zone);
        let mut entries: Vec<_> = names.into_iter().map(entry).collect();
        entries.sort_by_cached_key(|entry| Reverse((entry.taken_at, entry.name.age_key(zone))));
        let warnings = warnings(beside, &entries);
        Self { entries, warnings }
    }

    pub fn names(&self) -> impl Iterator<Item = &BackupName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    pub fn find(&self, name: &BackupName) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }

    pub fn holds(&self, now: DateTime<Utc>) -> Vec<Hold> {
        let counted = self.entries.iter().find(|entry| entry.is_current(now)).map(|entry| entry.taken_at);
        let hold = |entry: &Entry| Some(Hold { name: entry.name.clone(), why: entry.hold(now, counted)? });
        self.entries.iter().filter_map(hold).collect()
    }

    /// The backups of an older state, younger than the one `before`, about which nobody has decided.
    pub fn undecided_older_states(&self, before: &BackupName) -> impl Iterator<Item = (&BackupName, &Facts)> {
        let younger = self.entries.iter().take_while(move |entry| entry.name != *before);
        younger.filter_map(|entry| {
            let older = entry.class == Class::Doubtful(Doubt::Suspicious)
                && entry.verdict.as_ref().is_some_and(|v| v.reasons().contains(&Suspicion::OlderState));
            if older { Some((&entry.name, entry.facts.as_ref()?)) } else { None }
        })
    }

    /// The names to write into the file that says which backups were there first; `None` if it is there.
    pub fn first_names(&self, beside: &Beside) -> Option<Vec<String>> {
        if !beside.since.is_missing() {
            return None;
        }
        let legacy = self.entries.iter().filter(|entry| entry.class == Class::Legacy);
        Some(legacy.map(|entry| entry.name.leaf()).collect())
    }
}

/// When the oldest backup that has a record was taken. One that cannot be read is as old as its name says.
fn oldest_record(beside: &Beside, zone: Tz) -> Option<DateTime<Utc>> {
    let recorded = beside.borne.iter().filter_map(|name| Some((name, beside.records.get(&name.leaf())?)));
    let taken_at = |(name, record): (&BackupName, &Known<Record>)| {
        let facts = record.read().and_then(|record| record.facts.as_ref());
        facts.map_or_else(|| name.taken_at(zone), |facts| facts.taken_at)
    };
    recorded.map(taken_at).min()
}

struct Legacy<'a> {
    beside: &'a Beside,
    oldest_record: Option<DateTime<Utc>>,
}

impl Legacy<'_> {
    /// Whether a backup without a record was there before this program.
    fn has(&self, leaf: &str, taken_at: DateTime<Utc>) -> bool {
        match &self.beside.since {
            Known::Read(since) => since.names.contains(leaf),
            Known::Missing | Known::Unreadable if self.beside.has_records() => {
                self.oldest_record.is_some_and(|oldest| taken_at < oldest)
            }
            Known::Missing => true,
            // It is known that this program was here, and not what it found.
            Known::Unreadable => false,
        }
    }
}

fn entry(name: BackupName, bytes: Option<u64>, beside: &Beside, legacy: &Legacy<'_>, zone: Tz) -> Entry {
    let leaf = name.leaf();
    let record = beside.records.get(&leaf);
    let ruling = beside.rulings.get(&leaf);
    let read = record.and_then(Known::read);
    let noted = ruling.and_then(|d| d.note.as_ref()).filter(|(_, note)| note.name == leaf);
    let facts =
        read.and_then(|r| r.facts.as_ref()).or_else(|| noted.and_then(|(_, note)| note.facts.as_ref())).cloned();
    let taken_at = facts.as_ref().map_or_else(|| name.taken_at(zone), |facts| facts.taken_at);
    let verdict = read.and_then(|record| record.verdict.clone());
    let class = match (ruling.map(|d| d.note.as_ref().map(|(ruling, _)| *ruling)), record) {
        (Some(Some(Ruling::Accepted)), _) => Class::Good,
        (Some(Some(Ruling::Dismissed)), _) => Class::Doubtful(Doubt::Dismissed),
        // Whatever was decided about it, it is not known.
        (Some(None), _) if matches!(verdict, Some(Verdict::Suspicious { .. })) => Class::Doubtful(Doubt::Suspicious),
        (Some(None), _) => Class::Doubtful(Doubt::Unknown),
        (None, Some(_)) => verdict.as_ref().map_or(Class::Doubtful(Doubt::Unknown), class_of),
        (None, None) if legacy.has(&leaf, taken_at) => Class::Legacy,
        (None, None) => Class::Unconfirmed,
    };
    let ruling = ruling.and_then(|d| d.note.as_ref()).map(|(ruling, _)| *ruling);
    Entry { name, bytes, taken_at, class, facts, verdict, ruling, has_record: record.is_some() }
}

const fn class_of(verdict: &Verdict) -> Class {
    match verdict {
        Verdict::Good => Class::Good,
        Verdict::Degraded { .. } => Class::Doubtful(Doubt::Degraded),
        Verdict::Suspicious { .. } => Class::Doubtful(Doubt::Suspicious),
        Verdict::Damaged { .. } => Class::Doubtful(Doubt::Damaged),
    }
}

fn warnings(beside: &Beside, entries: &[Entry]) -> Vec<String> {
    let mut warnings = Vec::new();
    let guessed = entries.iter().filter(|entry| entry.class == Class::Legacy).count();
    match &beside.since {
        Known::Unreadable if guessed == 0 => warnings.push(
            "the file that says which backups were there first cannot be read; none without a record counts as such"
                .to_owned(),
        ),
        Known::Unreadable => warnings.push(format!(
            "the file that says which backups were there first cannot be read; the {guessed} without a record that are older than the oldest record count as such"
        )),
        Known::Missing if beside.has_records() && guessed > 0 => warnings.push(format!(
            "the file that says which backups were there first is gone; the {guessed} without a record that are older than the oldest record count as such"
        )),
        Known::Missing | Known::Read(_) => {}
    }
    let unknown = entries.iter().filter(|entry| entry.class == Class::Doubtful(Doubt::Unknown));
    warnings.extend(unknown.map(|entry| format!("a file that says what {} is worth cannot be read", entry.name)));
    warnings
}

#[cfg(test)]
pub mod tests {
    use super::super::beside::{Line, Note, Since, record_file, ruling_file, since_file};
    use super::super::name::Prefix;
    use super::super::record::tests::facts;
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
            Class::Doubtful(Doubt::Dismissed | Doubt::Unknown) | Class::Legacy | Class::Unconfirmed => None,
        };
        let taken_at = name.taken_at(Tz::UTC);
        let facts = verdict.is_some().then(|| Facts { taken_at, ..facts() });
        let has_record = facts.is_some() || class == Class::Doubtful(Doubt::Unknown);
        let ruling = (class == Class::Doubtful(Doubt::Dismissed)).then_some(Ruling::Dismissed);
        Entry { name, bytes: None, taken_at, class, facts, verdict, ruling, has_record }
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
        (record_file(&name(leaf)), Some(Line::Backup(Record { facts, verdict, ..Record::new(&name(leaf)) })))
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
        for record in
            [recorded(ONE, Verdict::Good), recorded(ONE, degraded), unreadable(ONE), since(&[ONE]), since(&[])]
        {
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
        let files = [
            since(&[]),
            recorded(ONE, Verdict::Degraded { why: why() }),
            recorded(TWO, Verdict::Damaged { why: why() }),
        ];
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
}
