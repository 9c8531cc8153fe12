//! The names of backups, as text and parsed. Parsing accepts exactly what is written, so no other object is ever taken for a
//! backup and deleted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Duration, MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub const SUFFIX: &str = ".etcdb";

// The time, the suffix and those of an unfinished upload come after it, and file systems allow 255 bytes for a name.
const LONGEST_PREFIX: usize = 200;

/// `QuoteRune` of rclone's `lib/encoder`.
const RCLONES_QUOTE: char = '\u{201b}';

/// What a backup's name starts with. Up to its last `/` it is a directory below the target.
// Every name has it, and there may be very many names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// The backups' directory below the target, without a slash at its end; empty for none.
    pub fn directory(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// The start of the name's last part.
    pub fn leaf(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, leaf)| leaf)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            |why: &str| Err(format!("{why}; allowed is text such as `prod-` or `clusters/prod-`, or nothing at all"));
        if text.len() > LONGEST_PREFIX {
            return refuse(&format!("is {} bytes long, the limit is {LONGEST_PREFIX}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return refuse("has a control character");
        }
        // SeaweedFS takes a backslash for a slash, and stores in a directory that nobody looks into. The quotation mark is
        // what rclone marks its replacements with, and no remote lists a name that has it.
        if text.contains(['\\', RCLONES_QUOTE]) {
            return refuse("has a backslash, which some stores take for a slash, or a `‛`, which rclone replaces");
        }
        if text.starts_with('/') {
            return refuse("starts with `/`");
        }
        if text.split('/').any(|part| part == ".." || part == ".") {
            return refuse("has `.` or `..` as a directory");
        }
        if text.contains("//") {
            return refuse("has an empty directory name (`//`)");
        }
        // It is hard to see, and means another directory or other backups. At the end of a prefix it stands in the midst of
        // the names.
        let (directory, leaf) = text.rsplit_once('/').unwrap_or(("", text));
        if directory.split('/').any(|part| part != part.trim()) || leaf != leaf.trim_start() {
            return refuse("has a blank at the start of a name or at the end of a directory");
        }
        Ok(Self(text.into()))
    }
}

/// How what is stored is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    Zstd,
}

impl Compression {
    pub const ALL: [Self; 1] = [Self::Zstd];

    /// What it adds to a name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
        })
    }
}

/// `<prefix>YYYYMMDDHHMM.etcdb`, or `<prefix>YYYYMMDDHHMMSS.etcdb` if the minute's name was taken; compressed with `.zst` at
/// its end. The time is local in a zone, which the name does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupName {
    prefix: Prefix,
    stamp: NaiveDateTime,
    has_seconds: bool,
    compression: Option<Compression>,
}

impl BackupName {
    /// The name to the minute, of a backup that is not compressed.
    pub fn new(prefix: &Prefix, at: DateTime<Utc>, zone: Tz) -> Self {
        let local = at.with_timezone(&zone).naive_local();
        let stamp = local.with_second(0).and_then(|t| t.with_nanosecond(0)).unwrap_or(local);
        Self { prefix: prefix.clone(), stamp, has_seconds: false, compression: None }
    }

    /// The name of the same time for a backup that is compressed so.
    #[must_use]
    pub fn compressed(self, compression: Option<Compression>) -> Self {
        Self { compression, ..self }
    }

    pub const fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// A name for `at` that none of the `existing` has, and that is younger than all of those of its minute: the minute,
    /// else the second, else a later second. A time that a compressed backup has is taken for the others too, and the
    /// other way round, so that a time in a name means one backup. Only two runs that do not see each other can both have it.
    pub fn free(prefix: &Prefix, at: DateTime<Utc>, zone: Tz, existing: &[Self]) -> Self {
        let minute = Self::new(prefix, at, zone);
        let youngest_of_minute = |stamp: NaiveDateTime| {
            let of_minute = existing.iter().filter(|name| name.stamp.with_second(0) == stamp.with_second(0));
            of_minute.map(|name| name.stamp).max()
        };
        // A name without seconds counts as the start of its minute. Beside one with seconds it would be the older of the
        // two, and retention would delete the younger backup.
        if youngest_of_minute(minute.stamp).is_none() {
            return minute;
        }
        let local = at.with_timezone(&zone).naive_local();
        let mut stamp = local.with_nanosecond(0).unwrap_or(local);
        // A burst of runs at the end of a minute goes on in the next one.
        while let Some(youngest) = youngest_of_minute(stamp).filter(|youngest| *youngest >= stamp) {
            stamp = youngest + Duration::seconds(1);
        }
        Self { stamp, has_seconds: true, ..minute }
    }

    /// The backup whose name a file bears, whatever its ending: a backup, a record beside one, or a part of an upload.
    pub fn borne_by(prefix: &Prefix, file: &str) -> Option<Self> {
        let rest = file.strip_prefix(prefix.leaf())?;
        let (stamp, ending) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        let of_backup = ending.strip_prefix(SUFFIX).unwrap_or_default();
        let is_so = |compression: &Compression| {
            let after = of_backup.strip_prefix(compression.suffix());
            after.is_some_and(|after| after.is_empty() || after.starts_with('.'))
        };
        let name = Self::parse(prefix, &format!("{}{stamp}{SUFFIX}", prefix.leaf()))?;
        Some(name.compressed(Compression::ALL.into_iter().find(is_so)))
    }

    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Reads the name of a file in the prefix's directory. `None` unless this program writes exactly this name.
    pub fn parse(prefix: &Prefix, leaf: &str) -> Option<Self> {
        let rest = leaf.strip_prefix(prefix.leaf())?;
        let compression = Compression::ALL.into_iter().find(|compression| rest.ends_with(compression.suffix()));
        let digits = rest.strip_suffix(compression.map_or("", Compression::suffix))?.strip_suffix(SUFFIX)?;
        let has_seconds = match digits.len() {
            12 => false,
            14 => true,
            _ => return None,
        };
        // Parsing a number would also accept a sign.
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
        let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(4, 6)?, number(6, 8)?)?;
        let second = if has_seconds { number(12, 14)? } else { 0 };
        let stamp = date.and_hms_opt(number(8, 10)?, number(10, 12)?, second)?;
        Some(Self { prefix: prefix.clone(), stamp, has_seconds, compression })
    }

    /// Reads a name with its directory, as `Display` writes it.
    pub fn parse_path(prefix: &Prefix, path: &str) -> Option<Self> {
        let (directory, leaf) = path.rsplit_once('/').unwrap_or(("", path));
        (directory == prefix.directory()).then(|| Self::parse(prefix, leaf))?
    }

    /// When the backup was taken. A local time that is ambiguous counts as the later one, so that no backup is taken for
    /// older than it is.
    pub fn taken_at(&self, zone: Tz) -> DateTime<Utc> {
        in_zone(self.stamp, zone)
    }

    /// The earlier moment of a local time that comes twice, when clocks are set back; [`Self::taken_at`] is the later one.
    pub fn earlier_reading(&self, zone: Tz) -> Option<DateTime<Utc>> {
        let MappedLocalTime::Ambiguous(earlier, _) = zone.from_local_datetime(&self.stamp) else { return None };
        Some(earlier.with_timezone(&Utc))
    }

    /// Sorts backups by their age, the oldest first. No two names of one prefix have the same key, so the newest backup does
    /// not depend on the order in which the remote lists them.
    pub fn age_key(&self, zone: Tz) -> impl Ord + use<> {
        // When clocks are set forward, two local times can mean one moment. A name has seconds because the minute's name was
        // taken, so that backup is the later one of the two.
        (self.taken_at(zone), self.stamp, self.has_seconds, self.compression)
    }

    /// The last part of the name, without the directory of its prefix.
    pub fn leaf(&self) -> String {
        let (date, time, prefix) = (self.stamp.date(), self.stamp.time(), self.prefix.leaf());
        let compressed = self.compression.map_or("", Compression::suffix);
        let mut leaf = String::with_capacity(prefix.len() + "YYYYMMDDHHMMSS".len() + SUFFIX.len() + compressed.len());
        leaf.push_str(prefix);
        push_number(&mut leaf, u32::try_from(date.year()).unwrap_or_default(), 4);
        for number in [date.month(), date.day(), time.hour(), time.minute()] {
            push_number(&mut leaf, number, 2);
        }
        if self.has_seconds {
            push_number(&mut leaf, time.second(), 2);
        }
        leaf.push_str(SUFFIX);
        leaf.push_str(compressed);
        leaf
    }
}

/// Appends at least so many digits. Formatting takes several times as long, and there may be very many names.
fn push_number(text: &mut String, number: u32, digits: u32) {
    if digits > 1 || number > 9 {
        push_number(text, number / 10, digits.saturating_sub(1));
    }
    text.extend(char::from_digit(number % 10, 10));
}

/// The moment of a local time. One that comes twice, when clocks are set back, is the second; one that is skipped, when they
/// are set forward, counts as an hour later.
pub fn in_zone(stamp: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let local = zone.from_local_datetime(&stamp).latest().or_else(|| {
        let after_the_gap = stamp + Duration::hours(1);
        zone.from_local_datetime(&after_the_gap).latest()
    });
    // Only a longer gap has no moment yet, such as the day that Samoa skipped in 2011. Any moment close to it will do.
    local.map_or_else(|| stamp.and_utc(), |t| t.with_timezone(&Utc))
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.prefix.directory();
        let slash = if directory.is_empty() { "" } else { "/" };
        write!(f, "{directory}{slash}{}", self.leaf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ours(p: &str, leaf: &str) -> bool {
        BackupName::parse(&prefix(p), leaf).is_some()
    }

    #[test]
    fn only_exact_names_are_ours() {
        assert!(ours("prod-", "prod-202611210100.etcdb"));
        assert!(ours("prod-", "prod-20261121010059.etcdb"));
        assert!(ours("", "202611210100.etcdb"));
        assert!(ours("a/b-", "b-202611210100.etcdb"));
        assert!(ours("prod-", "prod-202611210100.etcdb.zst") && ours("", "20261121010059.etcdb.zst"));
        for foreign in [
            "prod-eu-202611210100.etcdb",
            "prod-notes.etcdb",
            "prod-202611210100.etcdb.bak",
            "prod-209913451260.etcdb",
            "prod-202602300100.etcdb",
            "PROD-202611210100.etcdb",
            "prod-202611210100.ETCDB",
            "prod-2026112101000.etcdb",
            "prod-20261121010060.etcdb",
            "prod-٢٠٢٦١١٢١٠١٠٠.etcdb",
            "xprod-202611210100.etcdb",
            "prod-202611210100.zst",
            "prod-202611210100.etcdb.ZST",
            "prod-202611210100.etcdbzst",
            "prod-202611210100.etcdb.zst.zst",
            "prod-202611210100.zst.etcdb",
            "prod-202611210100.etcdb.gz",
        ] {
            assert!(!ours("prod-", foreign), "{foreign}");
        }
    }

    #[test]
    fn a_taken_name_is_never_used_again() {
        let at = Utc.with_ymd_and_hms(2026, 11, 21, 1, 2, 3).unwrap();
        let p = prefix("p-");
        let mut taken = Vec::new();
        for expected in ["p-202611210102.etcdb", "p-20261121010203.etcdb", "p-20261121010204.etcdb"] {
            let name = BackupName::free(&p, at, Tz::UTC, &taken);
            assert_eq!(name.to_string(), expected);
            taken.push(name);
        }
    }

    #[test]
    fn a_name_is_the_youngest_of_its_minute() {
        let at = Utc.with_ymd_and_hms(2026, 11, 21, 1, 2, 3).unwrap();
        let free = |existing: &[&str]| {
            let existing: Vec<_> =
                existing.iter().map(|leaf| BackupName::parse(&prefix("p-"), leaf).unwrap()).collect();
            BackupName::free(&prefix("p-"), at, Tz::UTC, &existing).to_string()
        };
        // The backup that had the minute's name is gone, the ones after it are not.
        assert_eq!(free(&["p-20261121010202.etcdb"]), "p-20261121010203.etcdb");
        assert_eq!(free(&["p-20261121010230.etcdb"]), "p-20261121010231.etcdb");
        assert_eq!(free(&["p-20261121010259.etcdb", "p-20261121010300.etcdb"]), "p-20261121010301.etcdb");
        assert_eq!(free(&["p-20261121010259.etcdb", "p-202611210103.etcdb"]), "p-20261121010301.etcdb");
        assert_eq!(free(&["p-20261121010259.etcdb", "p-20261121010307.etcdb"]), "p-20261121010308.etcdb");
        assert_eq!(free(&["p-202611210101.etcdb", "p-202611210103.etcdb"]), "p-202611210102.etcdb");
    }

    #[test]
    fn a_name_is_taken_by_a_file_of_any_ending() {
        let p = prefix("a/p.q-");
        for file in
            ["p.q-202601020304", "p.q-202601020304.etcdb.json", "p.q-202601020304.etcdb.age", "p.q-202601020304.x"]
        {
            assert_eq!(BackupName::borne_by(&p, file).unwrap().to_string(), "a/p.q-202601020304.etcdb", "{file}");
        }
        for file in ["p.q-202601020304.etcdb.zst", "p.q-202601020304.etcdb.zst.json", "p.q-202601020304.etcdb.zst.age"]
        {
            assert_eq!(BackupName::borne_by(&p, file).unwrap().to_string(), "a/p.q-202601020304.etcdb.zst", "{file}");
        }
        let other = BackupName::borne_by(&p, "p.q-202601020304.etcdb.zstd").unwrap();
        assert_eq!(other.to_string(), "a/p.q-202601020304.etcdb");
        for file in ["p.q-.since.json", "p.q-2026010203045.etcdb", "p.q-x202601020304.etcdb", "p-202601020304.etcdb"] {
            assert_eq!(BackupName::borne_by(&p, file), None, "{file}");
        }
    }

    #[test]
    fn one_time_is_one_backup_compressed_or_not() {
        let at = Utc.with_ymd_and_hms(2026, 11, 21, 1, 2, 3).unwrap();
        let p = prefix("p-");
        for compression in [None, Some(Compression::Zstd)] {
            let taken = BackupName::new(&p, at, Tz::UTC).compressed(compression);
            assert_eq!(BackupName::parse(&p, &taken.leaf()), Some(taken.clone()));
            let free = BackupName::free(&p, at, Tz::UTC, std::slice::from_ref(&taken));
            assert_eq!(free.to_string(), "p-20261121010203.etcdb");
        }
        // Two that came to stand there all the same are two backups, in one order.
        let [plain, compressed] =
            [None, Some(Compression::Zstd)].map(|c| BackupName::new(&p, at, Tz::UTC).compressed(c));
        assert_ne!(plain, compressed);
        assert!(plain.age_key(Tz::UTC) < compressed.age_key(Tz::UTC));
        assert_eq!(compressed.to_string(), "p-202611210102.etcdb.zst");
    }

    #[test]
    fn an_hour_that_comes_twice_counts_as_the_later_one() {
        let name = BackupName::parse(&prefix(""), "202610250230.etcdb").unwrap();
        let rome: Tz = "Europe/Rome".parse().unwrap();
        assert_eq!(name.taken_at(rome), Utc.with_ymd_and_hms(2026, 10, 25, 1, 30, 0).unwrap());
    }

    #[test]
    fn an_hour_that_never_comes_is_still_a_time() {
        let name = BackupName::parse(&prefix(""), "202603290230.etcdb").unwrap();
        let rome: Tz = "Europe/Rome".parse().unwrap();
        assert_eq!(name.taken_at(rome), Utc.with_ymd_and_hms(2026, 3, 29, 1, 30, 0).unwrap());
    }

    #[test]
    fn names_of_one_moment_have_one_order() {
        let rome: Tz = "Europe/Rome".parse().unwrap();
        // The second pair is one moment because 02:30 is skipped when summer time begins.
        for (older, newer) in
            [("202601020000", "20260102000000"), ("202603290230", "202603290330"), ("20260329023000", "202603290330")]
        {
            let name = |digits: &str| BackupName::parse(&prefix("p-"), &format!("p-{digits}.etcdb")).unwrap();
            let (older, newer) = (name(older), name(newer));
            assert_eq!(older.taken_at(rome), newer.taken_at(rome));
            assert!(older.age_key(rome) < newer.age_key(rome), "{older} {newer}");
        }
    }

    #[test]
    fn prefixes_that_leave_the_target_are_refused() {
        for bad in [
            "/x",
            "../x",
            "a/../b",
            "a\nb",
            "a//b",
            "./x",
            "a\\b-",
            "a\\b/c-",
            "\u{201b}-",
            " p-",
            "a /p-",
            &"x".repeat(201),
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
        for good in ["", "my-s3-etcd-backup-", "a/b/c-", "pr[ae]d-", "{{", "slash／-", "trailing blank ", "a..b", "-x"]
        {
            assert!(good.parse::<Prefix>().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(p in "[a-z{}\\[\\]*?-]{0,10}", seconds in 0i64..4_000_000_000) {
            let p = prefix(&p);
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let minute = BackupName::new(&p, at, Tz::UTC);
            prop_assert_eq!(BackupName::parse(&p, &minute.leaf()), Some(minute.clone()));
            let second = BackupName::free(&p, at, Tz::UTC, std::slice::from_ref(&minute));
            let at_least_a_second_later = at.max(minute.taken_at(Tz::UTC) + Duration::seconds(1));
            prop_assert_eq!(second.taken_at(Tz::UTC), at_least_a_second_later);
            prop_assert_eq!(BackupName::parse(&p, &second.leaf()), Some(second));
        }

        #[test]
        fn any_text_is_read_back_as_it_was(leaf in "\\PC{0,40}") {
            if let Some(name) = BackupName::parse(&Prefix::default(), &leaf) {
                prop_assert_eq!(name.leaf(), leaf);
            }
        }
    }
}
