//! Every backup of a prefix with its class, derived from the backups' names and the files beside them. Pure.

mod origin;

use std::cmp::Reverse;
use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::beside::{Beside, Known, Ruling};
use super::name::BackupName;
use super::record::{Compressed, Facts};
use super::verdict::{Suspicion, Verdict};
use origin::Origins;

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
    /// It is compressed, and nothing tells that this program made it. It is no backup of the series.
    Foreign,
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
    /// Of what is stored; `None` where the backend cannot tell.
    pub bytes: Option<u64>,
    /// The record's second; without a record, the time in the name.
    pub taken_at: DateTime<Utc>,
    pub class: Class,
    // Most of an entry, of which there may be very many, and many have none.
    pub facts: Option<Box<Facts>>,
    /// What its record says of the compressed file.
    pub compressed: Option<Compressed>,
    pub verdict: Option<Verdict>,
    pub ruling: Option<Ruling>,
    /// Whether this program made it, or may have, or a person counts it in. No other one is ever deleted.
    pub is_ours: bool,
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

const FOREIGN: &str = "it is compressed and has no record, so another program may have made it: it is never deleted, and counts once it is accepted";
/// Why the time in a name is not what it was when the backup was made.
pub const CLOCK_OR_ZONE: &str = "a clock is or was wrong, or the time zone TZ is another one than when it was named";

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
    /// The same, by the time in its name alone.
    NamedInFuture(DateTime<Utc>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspicious(why) => write!(f, "is suspicious: {why}"),
            Self::Unknown => f.write_str("has a record that cannot be read"),
            Self::Future(at) | Self::NamedInFuture(at) => {
                write!(f, "is dated in the future, {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
                if matches!(self, Self::NamedInFuture(_)) { write!(f, " by its name: {CLOCK_OR_ZONE}") } else { Ok(()) }
            }
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
            Self::Foreign => "foreign",
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

    /// The SHA-256 of what was stored, compressed or not, if its record tells.
    pub fn stored_sha256(&self) -> Option<&str> {
        let plain = || Some(&self.facts.as_ref().filter(|_| self.name.compression().is_none())?.sha256);
        self.compressed.as_ref().map(|compressed| &compressed.sha256).or_else(plain).map(String::as_str)
    }

    /// Why it does not count as good, in one sentence.
    pub fn why(&self, now: DateTime<Utc>) -> Option<String> {
        let reason = match (self.class, &self.verdict) {
            (Class::Good | Class::Legacy, _) => None,
            (Class::Unconfirmed, _) => Some("it has no record, so it was never confirmed".to_owned()),
            (Class::Foreign, _) => Some(FOREIGN.to_owned()),
            (Class::Doubtful(Doubt::Dismissed), _) => Some("it was dismissed".to_owned()),
            (Class::Doubtful(Doubt::Unknown), _) => Some("its record cannot be read".to_owned()),
            (Class::Doubtful(doubt), verdict) => {
                let why = verdict.as_ref().and_then(Verdict::why).unwrap_or_default();
                Some(format!("{}: {why}", Class::Doubtful(doubt)))
            }
        };
        let future = || match self.future(now)? {
            Why::NamedInFuture(_) => Some(format!("it is dated in the future by its name: {CLOCK_OR_ZONE}")),
            _ => Some("it is dated in the future".to_owned()),
        };
        reason.or_else(future)
    }

    fn hold(&self, now: DateTime<Utc>, counted: Option<DateTime<Utc>>) -> Option<Why> {
        if self.class == Class::Foreign {
            return None;
        }
        if let (Class::Doubtful(Doubt::Suspicious), Some(verdict)) = (self.class, &self.verdict) {
            return Some(Why::Suspicious(verdict.why().unwrap_or_default().to_owned()));
        }
        // Until it can be read, it may be the one backup that says that something is wrong.
        if self.class == Class::Doubtful(Doubt::Unknown) && counted.is_none_or(|newest| self.taken_at >= newest) {
            return Some(Why::Unknown);
        }
        self.future(now).filter(|_| self.ruling.is_none())
    }

    /// A name tells the time of a zone, but not of which, so there the setting may be wrong and not a clock.
    fn future(&self, now: DateTime<Utc>) -> Option<Why> {
        let why = if self.facts.is_some() { Why::Future } else { Why::NamedInFuture };
        self.is_from_the_future(now).then(|| why(self.taken_at))
    }
}

impl Catalog {
    /// `names` are the backups that stand there, with their sizes.
    pub fn new(names: impl IntoIterator<Item = (BackupName, Option<u64>)>, beside: &Beside, zone: Tz) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        let origins = Origins::new(names.iter().map(|(name, _)| name), beside, zone);
        let entry = |(name, bytes): (BackupName, Option<u64>)| entry(name, bytes, beside, &origins, zone);
        let mut entries: Vec<_> = names.into_iter().map(entry).collect();
        entries.sort_by_cached_key(|entry| Reverse((entry.taken_at, entry.name.age_key(zone))));
        let mut warnings = warnings(beside, &entries);
        warnings.extend(unsure_pairs(&entries, zone));
        Self { entries, warnings }
    }

    pub fn names(&self) -> impl Iterator<Item = &BackupName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// How many of them are no backups of the series.
    pub fn foreign(&self) -> usize {
        self.entries.iter().filter(|entry| entry.class == Class::Foreign).count()
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
            if older { Some((&entry.name, entry.facts.as_deref()?)) } else { None }
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

fn entry(name: BackupName, bytes: Option<u64>, beside: &Beside, origins: &Origins<'_>, zone: Tz) -> Entry {
    let leaf = name.leaf();
    let record = beside.records.get(&leaf);
    let ruling = beside.rulings.get(&leaf);
    let read = record.and_then(Known::read);
    let noted = ruling.and_then(|d| d.note.as_ref()).filter(|(_, note)| note.name == leaf);
    let facts = read
        .and_then(|r| r.facts.as_ref())
        .or_else(|| noted.and_then(|(_, note)| note.facts.as_ref()))
        .cloned()
        .map(Box::new);
    let taken_at = facts.as_ref().map_or_else(|| name.taken_at(zone), |facts| facts.taken_at);
    let compressed = read.and_then(|record| record.compressed.clone());
    let verdict = read.and_then(|record| record.verdict.clone());
    let class = match (ruling.map(|d| d.note.as_ref().map(|(ruling, _)| *ruling)), record) {
        (Some(Some(Ruling::Accepted)), _) => Class::Good,
        (Some(Some(Ruling::Dismissed)), _) => Class::Doubtful(Doubt::Dismissed),
        // Whatever was decided about it, it is not known.
        (Some(None), _) if matches!(verdict, Some(Verdict::Suspicious { .. })) => Class::Doubtful(Doubt::Suspicious),
        (Some(None), _) => Class::Doubtful(Doubt::Unknown),
        (None, Some(_)) => verdict.as_ref().map_or(Class::Doubtful(Doubt::Unknown), class_of),
        (None, None) if origins.was_first(&name, taken_at) => Class::Legacy,
        (None, None) if origins.may_be_ours(&name, taken_at) => Class::Unconfirmed,
        (None, None) => Class::Foreign,
    };
    let ruling = ruling.and_then(|d| d.note.as_ref()).map(|(ruling, _)| *ruling);
    let is_ours = read.is_some() || ruling.is_some() || origins.may_be_ours(&name, taken_at);
    Entry { name, bytes, taken_at, class, facts, compressed, verdict, ruling, is_ours, has_record: record.is_some() }
}

const fn class_of(verdict: &Verdict) -> Class {
    match verdict {
        Verdict::Good => Class::Good,
        Verdict::Degraded { .. } => Class::Doubtful(Doubt::Degraded),
        Verdict::Suspicious { .. } => Class::Doubtful(Doubt::Suspicious),
        Verdict::Damaged { .. } => Class::Doubtful(Doubt::Damaged),
    }
}

/// The pairs whose order is not known, because a time in a name comes twice and no record tells which of the two it is.
fn unsure_pairs(entries: &[Entry], zone: Tz) -> Vec<String> {
    let entries: Vec<_> = entries.iter().filter(|entry| entry.class != Class::Foreign).collect();
    let pair = |(at, entry): (usize, &&Entry)| {
        let earlier = if entry.facts.is_none() { entry.name.earlier_reading(zone)? } else { return None };
        let older = entries.get(at + 1..)?.iter().take_while(|other| other.taken_at >= earlier).last()?;
        let counts = entry.taken_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Some(format!(
            "the time in the name of {} comes twice, as clocks were set back, and no record tells which one it is: it counts as the later, {counts}, but {} may be younger",
            entry.name, older.name
        ))
    };
    entries.iter().enumerate().filter_map(pair).collect()
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
pub mod tests;
