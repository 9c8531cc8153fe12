//! The stored backups, as `list` prints them. Pure.

use bytesize::ByteSize;
use chrono::TimeDelta;
use serde::Serialize;

use super::table::{Align, Table, known};
use crate::backup::catalog::Class;

/// What `list --output json` prints. Its fields are an interface; what is not known is `null`.
#[derive(Debug, Serialize)]
pub struct Listed {
    pub target: String,
    pub prefix: String,
    pub backups: Vec<ListedBackup>,
    /// How many other files are in the directory.
    pub foreign: usize,
}

#[derive(Debug, Serialize)]
pub struct ListedBackup {
    /// Its name below the target.
    pub name: String,
    /// RFC 3339, in UTC.
    pub taken_at: String,
    /// Negative for one from the future.
    pub age_seconds: i64,
    /// Of the snapshot.
    pub bytes: Option<u64>,
    /// Of the snapshot when it was stored, in hexadecimal.
    pub sha256: Option<String>,
    /// Of what is stored, which may be compressed.
    pub stored_bytes: Option<u64>,
    pub revision: Option<u64>,
    pub keys: Option<u64>,
    pub etcd_version: Option<String>,
    pub degraded: Option<bool>,
    /// `good`, `legacy`, `doubtful`, `unconfirmed` or `foreign`; not known with `--quick`.
    pub class: Option<&'static str>,
    /// Of a doubtful one: `degraded`, `suspicious`, `dismissed`, `damaged` or `unknown`.
    pub doubt: Option<&'static str>,
    /// Why it is not good, in one sentence.
    pub why: Option<String>,
}

impl Listed {
    pub fn text(&self) -> String {
        let right = Align::Right;
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("AGE", right),
            ("SIZE", right),
            ("REVISION", right),
            ("KEYS", right),
            ("ETCD", right),
            ("CLASS", Align::Left),
        ]);
        for line in &self.backups {
            table.row([
                line.name.clone(),
                age(TimeDelta::seconds(line.age_seconds)),
                known(line.stored_bytes.map(ByteSize)),
                known(line.revision),
                known(line.keys),
                known(line.etcd_version.as_ref()),
                known(line.class.map(|class| line.doubt.map_or(class.to_owned(), |doubt| format!("{class}: {doubt}")))),
            ]);
        }
        let alien = self.backups.iter().filter(|line| line.class == Some(Class::Foreign.word())).count();
        let backups = match self.backups.len() - alien {
            0 if self.prefix.is_empty() => format!("no backups in {}", self.target),
            0 => format!("no backups of prefix `{}` in {}", self.prefix, self.target),
            1 => format!("1 backup in {}", self.target),
            n => format!("{n} backups in {}", self.target),
        };
        let rows = if self.backups.is_empty() { String::new() } else { table.to_string() };
        let alien = if alien == 0 { String::new() } else { format!(", {alien} foreign") };
        let foreign = match self.foreign {
            0 => String::new(),
            1 => ", and 1 other file".to_owned(),
            n => format!(", and {n} other files"),
        };
        format!("{rows}{backups}{alien}{foreign}\n")
    }
}

fn age(age: TimeDelta) -> String {
    let (before, after) = if age < TimeDelta::zero() { ("in ", "") } else { ("", " ago") };
    let age = age.abs();
    // The number is rounded down, which would hide almost half of `1 day`.
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
