//! Finds the backup that a user means by `latest`, a name, an unambiguous part of a name, or a point in time.

use std::cmp::Reverse;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

use crate::backup::name::{BackupName, in_zone};

/// How many names an error lists.
const SHOWN: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Latest,
    /// The newest one of this time or before.
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
    #[error("no backup was taken at {time} or before; the oldest is {oldest}")]
    NoneBefore { time: String, oldest: BackupName },
    #[error("no backup has `{text}` in its name; there are {count}, the newest is {newest}")]
    NoMatch { text: String, count: usize, newest: BackupName },
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

pub fn select(selector: &Selector, mut names: Vec<BackupName>, zone: Tz) -> Result<BackupName, SelectError> {
    names.sort_by_cached_key(|name| Reverse(name.age_key(zone)));
    let Some((newest, oldest)) = names.first().zip(names.last()) else { return Err(SelectError::Empty) };
    match selector {
        Selector::Latest => Ok(newest.clone()),
        Selector::Before(time) => {
            names.iter().find(|name| name.taken_at(zone) <= *time).cloned().ok_or_else(|| SelectError::NoneBefore {
                time: time.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, true),
                oldest: oldest.clone(),
            })
        }
        Selector::Named(text) => named(text, &names, newest),
    }
}

fn named(text: &str, names: &[BackupName], newest: &BackupName) -> Result<BackupName, SelectError> {
    // An exact name may be a part of another one, too: without a prefix, 201201020304 is in 20201201020304.
    if let Some(exact) = names.iter().find(|name| name.to_string() == text || name.leaf() == text) {
        return Ok(exact.clone());
    }
    // Every name contains the empty text, which is what an unset variable of a script gives.
    let has_part = |name: &&BackupName| !text.is_empty() && name.to_string().contains(text);
    let candidates: Vec<_> = names.iter().filter(has_part).collect();
    match candidates.as_slice() {
        [] => Err(SelectError::NoMatch { text: text.to_owned(), count: names.len(), newest: newest.clone() }),
        [only] => Ok((*only).clone()),
        many => Err(SelectError::Ambiguous { text: text.to_owned(), candidates: listed(many) }),
    }
}

fn listed(names: &[&BackupName]) -> String {
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::name::Prefix;

    fn names(leaves: &[&str]) -> Vec<BackupName> {
        let prefix: Prefix = "a/p-".parse().unwrap();
        leaves.iter().map(|leaf| BackupName::parse(&prefix, &format!("p-{leaf}.etcdb")).unwrap()).collect()
    }

    fn selected(selector: &Selector, leaves: &[&str]) -> Result<String, String> {
        select(selector, names(leaves), Tz::UTC).map(|name| name.to_string()).map_err(|e| e.to_string())
    }

    const THREE: [&str; 3] = ["202601020000", "20260102000030", "202601010000"];

    #[test]
    fn the_latest() {
        assert_eq!(selected(&Selector::parse("latest"), &THREE).unwrap(), "a/p-20260102000030.etcdb");
        assert_eq!(selected(&Selector::Latest, &[]).unwrap_err(), "there are no backups");
        // Of two names of one moment, the one with seconds is the later.
        assert_eq!(
            selected(&Selector::Latest, &["20260102000000", "202601020000"]).unwrap(),
            "a/p-20260102000000.etcdb"
        );
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
        let many: Vec<String> = (10..40).map(|minute| format!("2026010100{minute}")).collect();
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
            "no backup was taken at 2025-12-31T23:59:59Z or before; the oldest is a/p-202601010000.etcdb"
        );
    }
}
