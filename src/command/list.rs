//! `list`: the stored backups, newest first.

use bytesize::ByteSize;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::ListConfig;
use crate::exit::{Exit, Failure};
use crate::report::Answer;
use crate::report::table::{Align, Table, known};
use crate::store::{Detail, Store, StoredBackup};

/// What `list --output json` prints. Its fields are an interface; what is not known is `null`.
#[derive(Debug, Serialize)]
struct Listed {
    target: String,
    prefix: String,
    /// Newest first.
    backups: Vec<ListedBackup>,
    /// How many other files are in the directory.
    foreign: usize,
}

#[derive(Debug, Serialize)]
struct ListedBackup {
    /// Its name below the target.
    name: String,
    /// RFC 3339, in UTC.
    taken_at: String,
    /// Negative for one from the future.
    age_seconds: i64,
    bytes: Option<u64>,
    /// Of the whole file when it was stored, in hexadecimal.
    sha256: Option<String>,
    revision: Option<u64>,
    keys: Option<u64>,
    etcd_version: Option<String>,
    degraded: Option<bool>,
}

pub async fn list(config: ListConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let store = Store::open(config.store).await?;
    let detail = if config.quick { Detail::Sizes } else { Detail::Metadata };
    let listing = store.list(detail).await?;
    let config = store.config();
    let zone = config.naming.zone;
    let listed = Listed {
        target: config.target.to_string(),
        prefix: config.naming.prefix.to_string(),
        backups: listing.backups.into_iter().map(|backup| line(backup, zone, now)).collect(),
        foreign: listing.foreign,
    };
    let json = serde_json::to_value(&listed).map_err(|e| Failure::new(Exit::Unexpected, e))?;
    *answer = Answer::Document { text: listed.text(), json };
    Ok(())
}

fn line(backup: StoredBackup, zone: Tz, now: DateTime<Utc>) -> ListedBackup {
    let taken_at = backup.name.taken_at(zone);
    let metadata = backup.metadata;
    ListedBackup {
        name: backup.name.to_string(),
        taken_at: taken_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        age_seconds: (now - taken_at).num_seconds(),
        bytes: backup.bytes,
        sha256: metadata.sha256,
        revision: metadata.revision,
        keys: metadata.keys,
        etcd_version: metadata.etcd_version,
        degraded: metadata.degraded,
    }
}

impl Listed {
    fn text(&self) -> String {
        let right = Align::Right;
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("AGE", right),
            ("SIZE", right),
            ("REVISION", right),
            ("KEYS", right),
            ("ETCD", right),
            ("DEGRADED", Align::Left),
        ]);
        for line in &self.backups {
            table.row([
                line.name.clone(),
                age(TimeDelta::seconds(line.age_seconds)),
                known(line.bytes.map(ByteSize)),
                known(line.revision),
                known(line.keys),
                known(line.etcd_version.as_ref()),
                known(line.degraded.map(|degraded| if degraded { "DEGRADED" } else { "no" })),
            ]);
        }
        let backups = match self.backups.len() {
            0 => format!("no backups of prefix `{}` in {}", self.prefix, self.target),
            1 => format!("1 backup in {}", self.target),
            n => format!("{n} backups in {}", self.target),
        };
        let rows = if self.backups.is_empty() { String::new() } else { table.to_string() };
        let foreign = match self.foreign {
            0 => String::new(),
            1 => ", and 1 other file".to_owned(),
            n => format!(", and {n} other files"),
        };
        format!("{rows}{backups}{foreign}\n")
    }
}

/// An age in the largest unit of which there are at least two or three.
fn age(age: TimeDelta) -> String {
    let (before, after) = if age < TimeDelta::zero() { ("in ", "") } else { ("", " ago") };
    let age = age.abs();
    let text = match (age.num_days(), age.num_hours(), age.num_minutes()) {
        (days @ 3.., _, _) => format!("{days} days"),
        (_, hours @ 3.., _) => format!("{hours} h"),
        (_, _, minutes @ 2..) => format!("{minutes} min"),
        _ => format!("{} s", age.num_seconds()),
    };
    format!("{before}{text}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_for_people() {
        for (seconds, text) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (3 * 3600 - 1, "179 min ago"),
            (3 * 3600, "3 h ago"),
            (3 * 86_400 - 1, "71 h ago"),
            (30 * 86_400, "30 days ago"),
            (-7200, "in 120 min"),
        ] {
            assert_eq!(age(TimeDelta::seconds(seconds)), text);
        }
    }
}
