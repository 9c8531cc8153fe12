//! Who made a backup, by what stands beside all of them: it was there before this program, this program made it, or it may be
//! another's.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::super::beside::{Beside, Known};
use super::super::name::BackupName;
use super::super::record::Record;

pub struct Origins<'a> {
    beside: &'a Beside,
    oldest_record: Option<DateTime<Utc>>,
    /// When the oldest backup that stands there was taken whose record says that it is compressed.
    oldest_compressed: Option<DateTime<Utc>>,
    /// The names of the backups that stand there, or of which a file beside them tells, without those that are compressed.
    plain: BTreeSet<String>,
}

impl<'a> Origins<'a> {
    /// `standing` are the backups that stand there.
    pub fn new<'n>(standing: impl Iterator<Item = &'n BackupName> + Clone, beside: &'a Beside, zone: Tz) -> Self {
        let record = |name: &BackupName| beside.records.get(&name.leaf());
        let recorded = beside.borne.iter().filter_map(|name| Some(taken_at(name, record(name)?, zone)));
        let leaf = |name: &BackupName| name.compression().is_none().then(|| name.leaf());
        let plain = standing.clone().filter_map(leaf).chain(beside.borne.iter().filter_map(leaf)).collect();
        let compressed = standing.filter(|name| name.compression().is_some());
        let is_read = |record: &&Known<Record>| record.read().is_some();
        let compressed = compressed.filter_map(|name| Some(taken_at(name, record(name).filter(is_read)?, zone)));
        Self { beside, oldest_record: recorded.min(), oldest_compressed: compressed.min(), plain }
    }

    /// Whether a backup without a record was there before this program.
    pub fn was_first(&self, name: &BackupName, taken_at: DateTime<Utc>) -> bool {
        // No older program than this one compressed any.
        if name.compression().is_some() {
            return false;
        }
        match &self.beside.since {
            Known::Read(since) => since.names.contains(&name.leaf()),
            Known::Missing | Known::Unreadable if self.beside.has_records() => {
                self.oldest_record.is_some_and(|oldest| taken_at < oldest)
            }
            Known::Missing => true,
            // It is known that this program was here, and not what it found.
            Known::Unreadable => false,
        }
    }

    /// Whether this program may have made a backup of which neither a record nor a person tells. People compress backups by
    /// hand, too, so a compressed one may be a run's that was killed only if an earlier run has compressed one, and not beside
    /// a plain one of the same time, as a run takes no time that another backup has.
    pub fn may_be_ours(&self, name: &BackupName, taken_at: DateTime<Utc>) -> bool {
        name.compression().is_none()
            || (self.oldest_compressed.is_some_and(|oldest| taken_at > oldest)
                && !self.plain.contains(&name.clone().compressed(None).leaf()))
    }
}

/// One whose record cannot be read is as old as its name says.
fn taken_at(name: &BackupName, record: &Known<Record>, zone: Tz) -> DateTime<Utc> {
    let facts = record.read().and_then(|record| record.facts.as_ref());
    facts.map_or_else(|| name.taken_at(zone), |facts| facts.taken_at)
}
