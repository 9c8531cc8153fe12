//! Finds the backup that a user means by `latest`, a name, an unambiguous part of a name, or a point in time. Only a full
//! name means a backup that does not count as good.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

use super::catalog::{Class, Entry};
use super::name::{BackupName, in_zone};

/// How many names an error lists.
const SHOWN: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest good one.
    Latest,
    /// The newest good one of this time or before.
    Before(DateTime<Utc>),
    /// The one of this name, else the only one with this text in its name.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointInTime {
    /// In RFC 3339, which names the offset from UTC.
    Absolute(DateTime<Utc>),
    /// A date, or a date and a time, in the zone of the names.
    Local(NaiveDateTime),
}

impl PointInTime {
    /// The moment, read as [`in_zone`] reads the times in names.
    pub fn at(self, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Absolute(at) => at,
            Self::Local(stamp) => in_zone(stamp, zone),
        }
    }
}

impl FromStr for PointInTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Absolute(at.with_timezone(&Utc)));
        }
        let text = text.replace(' ', "T");
        let time = |format| NaiveDateTime::parse_from_str(&text, format).ok();
        let midnight = || NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        let stamp = time("%Y-%m-%dT%H:%M:%S").or_else(|| time("%Y-%m-%dT%H:%M")).or_else(midnight);
        stamp.map(Self::Local).ok_or_else(|| {
            "is not a time; allowed is 2026-01-02T03:04:05Z, or 2026-01-02 and 2026-01-02T03:04 in the zone TZ".into()
        })
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("there are no backups")]
    Empty,
    #[error(
        "none of the {count} backups counts as good; the newest is {newest}, which is {class}: to use it, give its full name"
    )]
    NoneGood { count: usize, newest: BackupName, class: String },
    #[error("no good backup was taken at {time} or before; the oldest is {oldest}")]
    NoneBefore { time: String, oldest: BackupName },
    #[error("no backup has `{text}` in its name; there are {count}, the newest is {newest}")]
    NoMatch { text: String, count: usize, newest: BackupName },
    #[error("`{text}` is a part of the name of {name} alone, which is {class}: to use it, give its full name")]
    NotGood { text: String, name: BackupName, class: String },
    /// The candidates begin with the newest.
    #[error("`{text}` is ambiguous, name one of: {candidates}")]
    Ambiguous { text: String, candidates: String },
}

impl Selector {
    /// Reads the NAME argument of a command.
    pub fn parse(text: &str) -> Self {
        if text == "latest" { Self::Latest } else { Self::Named(text.to_owned()) }
    }
}

/// The backup of exactly this name, with the directory of its prefix or without.
pub fn exact<'a>(text: &str, mut names: impl Iterator<Item = &'a BackupName>) -> Option<&'a BackupName> {
    names.find(|name| is_full_name(text, name))
}

fn is_full_name(text: &str, name: &BackupName) -> bool {
    name.to_string() == text || name.leaf() == text
}

/// Finds the backup in `entries`, which begin with the newest. The newer ones that were passed over are those that do not
/// count as good, or not yet.
pub fn select<'a>(
    selector: &Selector,
    entries: &'a [Entry],
    now: DateTime<Utc>,
    zone: Tz,
) -> Result<(&'a Entry, Vec<&'a Entry>), SelectError> {
    let series = series(entries);
    let newest = *series.first().ok_or(SelectError::Empty)?;
    let until = match selector {
        Selector::Named(text) => return named(text, entries, &series, now).map(|entry| (entry, Vec::new())),
        Selector::Latest => None,
        Selector::Before(time) => Some(*time),
    };
    let in_time = |entry: &&Entry| until.is_none_or(|time| entry.taken_at <= time);
    let good = || entries.iter().filter(|entry| entry.is_current(now));
    let oldest = good().next_back().ok_or_else(|| SelectError::NoneGood {
        count: series.len(),
        newest: newest.name.clone(),
        class: described(newest, now),
    })?;
    let found = good().find(in_time).ok_or_else(|| SelectError::NoneBefore {
        time: until.unwrap_or(now).with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, true),
        oldest: oldest.name.clone(),
    })?;
    let newer = entries.iter().filter(in_time).take_while(|entry| entry.name != found.name);
    Ok((found, newer.collect()))
}

/// The backups without the foreign ones, unless there are no others.
fn series(entries: &[Entry]) -> Vec<&Entry> {
    let series: Vec<_> = entries.iter().filter(|entry| entry.class != Class::Foreign).collect();
    if series.is_empty() { entries.iter().collect() } else { series }
}

fn named<'a>(
    text: &str,
    entries: &'a [Entry],
    series: &[&'a Entry],
    now: DateTime<Utc>,
) -> Result<&'a Entry, SelectError> {
    // An exact name may be a part of another one, too: without a prefix, 201201020304 is in 20201201020304.
    if let Some(entry) = entries.iter().find(|entry| is_full_name(text, &entry.name)) {
        return Ok(entry);
    }
    // Every name contains the empty text, which is what an unset variable of a script gives.
    let has_part = |entry: &&Entry| !text.is_empty() && entry.name.to_string().contains(text);
    let mut candidates: Vec<_> = series.iter().copied().filter(has_part).collect();
    if candidates.is_empty() {
        candidates = entries.iter().filter(has_part).collect();
    }
    match candidates.as_slice() {
        [] => Err(no_match(text, series)),
        [only] if only.is_current(now) => Ok(*only),
        [only] => {
            Err(SelectError::NotGood { text: text.to_owned(), name: only.name.clone(), class: described(only, now) })
        }
        many => Err(SelectError::Ambiguous { text: text.to_owned(), candidates: listed(many) }),
    }
}

fn no_match(text: &str, series: &[&Entry]) -> SelectError {
    series.first().map_or(SelectError::Empty, |newest| SelectError::NoMatch {
        text: text.to_owned(),
        count: series.len(),
        newest: newest.name.clone(),
    })
}

/// The class, or that its time has not come.
pub fn described(entry: &Entry, now: DateTime<Utc>) -> String {
    if entry.class == Class::Foreign {
        return "compressed and without a record, so perhaps another program's".to_owned();
    }
    if entry.is_from_the_future(now) { "dated in the future".to_owned() } else { entry.class.to_string() }
}

fn listed(entries: &[&Entry]) -> String {
    let mut shown: Vec<_> = entries.iter().take(SHOWN).map(|entry| entry.name.to_string()).collect();
    if entries.len() > SHOWN {
        shown.push(format!("and {} more", entries.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::catalog::tests::{entry, name};
    use crate::backup::catalog::{Class, Doubt};

    /// The newest first, as the catalog has them.
    fn of(leaves: &[(&str, Class)]) -> Vec<Entry> {
        leaves.iter().map(|(leaf, class)| entry(name(&format!("p-{leaf}.etcdb")), *class)).collect()
    }

    /// The name that was found, and those that were passed over.
    fn found(selector: &Selector, entries: &[Entry]) -> Result<(String, Vec<String>), String> {
        let (entry, newer) = select(selector, entries, now(), Tz::UTC).map_err(|e| e.to_string())?;
        Ok((entry.name.to_string(), newer.iter().map(|entry| entry.name.leaf()).collect()))
    }

    fn selected(selector: &Selector, leaves: &[&str]) -> Result<String, String> {
        let leaves: Vec<_> = leaves.iter().map(|leaf| (*leaf, Class::Good)).collect();
        found(selector, &of(&leaves)).map(|(name, newer)| {
            assert!(newer.is_empty(), "{newer:?}");
            name
        })
    }

    fn now() -> DateTime<Utc> {
        "2026-02-01T00:00:00Z".parse().unwrap()
    }

    const THREE: [&str; 3] = ["20260102000030", "202601020000", "202601010000"];
    const NOT_GOOD: [Class; 6] = [
        Class::Unconfirmed,
        Class::Doubtful(Doubt::Degraded),
        Class::Doubtful(Doubt::Suspicious),
        Class::Doubtful(Doubt::Dismissed),
        Class::Doubtful(Doubt::Damaged),
        Class::Doubtful(Doubt::Unknown),
    ];

    #[test]
    fn the_latest() {
        assert_eq!(selected(&Selector::parse("latest"), &THREE).unwrap(), "a/p-20260102000030.etcdb");
        assert_eq!(selected(&Selector::Latest, &[]).unwrap_err(), "there are no backups");
    }

    #[test]
    fn the_latest_passes_over_what_is_not_good_and_names_it() {
        for class in NOT_GOOD {
            for good in [Class::Good, Class::Legacy] {
                let entries = of(&[
                    ("202601040000", class),
                    ("202601030000", good),
                    ("202601020000", class),
                    ("202601010000", good),
                ]);
                let expected = ("a/p-202601030000.etcdb".to_owned(), vec!["p-202601040000.etcdb".to_owned()]);
                assert_eq!(found(&Selector::Latest, &entries), Ok(expected), "{class}");
            }
            let error = found(&Selector::Latest, &of(&[("202601040000", class), ("202601030000", class)])).unwrap_err();
            let expected = format!(
                "none of the 2 backups counts as good; the newest is a/p-202601040000.etcdb, which is {class}: to use it, give its full name"
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_foreign_one_is_meant_by_its_full_name_alone() {
        let by_hand = |leaf: &str| entry(name(&format!("p-{leaf}.etcdb.zst")), Class::Foreign);
        let plain = of(&[("202601030000", Class::Good), ("202601020000", Class::Good)]);
        let entries = [&[by_hand("202601040000")], &plain[..1], &[by_hand("202601020000")], &plain[1..]].concat();
        let of_leaf = |leaf: &str| Ok((format!("a/p-{leaf}"), Vec::<String>::new()));
        // On the day on which the records are lost, it may be what counts.
        let latest = ("a/p-202601030000.etcdb".to_owned(), vec!["p-202601040000.etcdb.zst".to_owned()]);
        assert_eq!(found(&Selector::Latest, &entries), Ok(latest));
        for (text, leaf) in [
            ("20260102", "202601020000.etcdb"),
            ("p-202601020000.etcdb", "202601020000.etcdb"),
            ("p-202601020000.etcdb.zst", "202601020000.etcdb.zst"),
        ] {
            assert_eq!(found(&Selector::parse(text), &entries), of_leaf(leaf), "{text}");
        }
        let error = |text: &str, entries: &[Entry]| found(&Selector::parse(text), entries).unwrap_err();
        assert!(error("20260104", &entries).contains("perhaps another program's: to use it, give its full name"));
        assert!(error("2025", &entries).contains("there are 2, the newest is a/p-202601030000.etcdb"));
        assert!(error("latest", &entries[..1]).contains(
            "none of the 1 backups counts as good; the newest is a/p-202601040000.etcdb.zst, which is compressed"
        ));
    }

    #[test]
    fn the_latest_is_not_from_the_future() {
        let entries = of(&[("209901010000", Class::Good), ("202601010000", Class::Good)]);
        let expected = ("a/p-202601010000.etcdb".to_owned(), vec!["p-209901010000.etcdb".to_owned()]);
        assert_eq!(found(&Selector::Latest, &entries), Ok(expected));
        // Nor if that time is asked for.
        let later = Selector::Before("2100-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(found(&later, &entries).unwrap().0, "a/p-202601010000.etcdb");
        let error = found(&Selector::Latest, &entries[..1]).unwrap_err();
        assert!(error.contains("which is dated in the future: to use it"), "{error}");
        // A clock that is nine minutes ahead is not of the future.
        let entries = of(&[("202602010009", Class::Good), ("202601010000", Class::Good)]);
        assert_eq!(found(&Selector::Latest, &entries).unwrap().0, "a/p-202602010009.etcdb");
    }

    #[test]
    fn only_a_full_name_means_one_that_is_not_good() {
        let future = ("209901010000", Class::Good);
        for odd in NOT_GOOD.map(|class| ("202601030000", class)).into_iter().chain([future]) {
            let entries = of(&[odd, ("202601020000", Class::Good)]);
            let leaf = format!("p-{}.etcdb", odd.0);
            for full in [leaf.clone(), format!("a/{leaf}")] {
                assert_eq!(found(&Selector::parse(&full), &entries), Ok((format!("a/{leaf}"), vec![])), "{full}");
            }
            for part in [odd.0, &odd.0[..8], "p-2026010300", "a/p-2099"]
                .into_iter()
                .filter(|part| leaf.contains(part.trim_start_matches("a/")))
            {
                let error = found(&Selector::parse(part), &entries).unwrap_err();
                assert!(error.contains(&format!("`{part}` is a part of the name of a/{leaf} alone")), "{error}");
                assert!(error.ends_with("to use it, give its full name"), "{error}");
            }
            // A part that both have is no choice between them.
            assert!(found(&Selector::parse("20"), &entries).unwrap_err().contains("is ambiguous"));
        }
    }

    #[test]
    fn a_full_name_is_never_ambiguous() {
        let prefix = "".parse().unwrap();
        let names =
            ["20201201020304.etcdb", "201201020304.etcdb"].map(|leaf| BackupName::parse(&prefix, leaf).unwrap());
        let entries = names.map(|name| entry(name, Class::Good));
        assert_eq!(found(&Selector::parse("201201020304.etcdb"), &entries).unwrap().0, "201201020304.etcdb");
        assert!(found(&Selector::parse("201201020304"), &entries).unwrap_err().contains("ambiguous"));
    }

    #[test]
    fn by_name_and_by_part() {
        for full in ["a/p-202601020000.etcdb", "p-202601020000.etcdb"] {
            assert_eq!(selected(&Selector::parse(full), &THREE).unwrap(), "a/p-202601020000.etcdb", "{full}");
        }
        assert_eq!(selected(&Selector::parse("20260101"), &THREE).unwrap(), "a/p-202601010000.etcdb");
        let ambiguous = selected(&Selector::parse("20260102"), &THREE).unwrap_err();
        assert!(ambiguous.ends_with("name one of: a/p-20260102000030.etcdb, a/p-202601020000.etcdb"), "{ambiguous}");
        for none in ["", "2025", "P-"] {
            let error = selected(&Selector::parse(none), &THREE).unwrap_err();
            assert!(error.contains("there are 3, the newest is a/p-20260102000030.etcdb"), "{error}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Vec<String> = (10..40).rev().map(|minute| format!("2026010100{minute}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = selected(&Selector::parse("2026"), &many).unwrap_err();
        assert!(error.contains("p-202601010039") && error.ends_with("and 20 more"), "{error}");
    }

    #[test]
    fn points_in_time() {
        let rome: Tz = "Europe/Rome".parse().unwrap();
        let at = |text: &str| text.parse::<PointInTime>().map(|time| time.at(rome).to_rfc3339());
        for (text, utc) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
            ("2026-01-02T03:04:05-05:00", "2026-01-02T08:04:05+00:00"),
            ("2026-01-02T03:04:05", "2026-01-02T02:04:05+00:00"),
            ("2026-07-02 03:04", "2026-07-02T01:04:00+00:00"),
            ("2026-01-02", "2026-01-01T23:00:00+00:00"),
        ] {
            assert_eq!(at(text).unwrap(), utc, "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "20260102", "2026-01-02T"] {
            assert!(at(bad).unwrap_err().contains("allowed is"), "{bad}");
        }
    }

    #[test]
    fn by_time() {
        let before = |text: &str| Selector::Before(text.parse().unwrap());
        assert_eq!(selected(&before("2026-01-02T00:00:00Z"), &THREE).unwrap(), "a/p-202601020000.etcdb");
        assert_eq!(selected(&before("2026-01-01T23:59:59Z"), &THREE).unwrap(), "a/p-202601010000.etcdb");
        let error = selected(&before("2025-12-31T23:59:59Z"), &THREE).unwrap_err();
        assert_eq!(
            error,
            "no good backup was taken at 2025-12-31T23:59:59Z or before; the oldest is a/p-202601010000.etcdb"
        );
    }
    #[test]
    fn by_time_passes_over_what_is_not_good_in_that_time_alone() {
        let before = Selector::Before("2026-01-03T00:00:00Z".parse().unwrap());
        let odd = Class::Doubtful(Doubt::Suspicious);
        let entries =
            of(&[("202601040000", odd), ("202601030000", odd), ("202601020000", Class::Good), ("202601010000", odd)]);
        let expected = ("a/p-202601020000.etcdb".to_owned(), vec!["p-202601030000.etcdb".to_owned()]);
        assert_eq!(found(&before, &entries), Ok(expected));
        let error = found(&Selector::Before("2026-01-01T12:00:00Z".parse().unwrap()), &entries).unwrap_err();
        assert!(error.ends_with("the oldest is a/p-202601020000.etcdb"), "{error}");
    }
}
