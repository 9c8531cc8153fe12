//! `inspect`: what a backup holds, or what two have different.

use std::hash::RandomState;
use std::io::{self, Write};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::OpenBackup;
use super::streaming::{self, streaming};
use crate::cli::Format;
use crate::config::InspectConfig;
use crate::exit::Failure;
use crate::inspect::{Diff, DiffCounts, Summary, Usage};
use crate::report::{Answer, Stdout, is_on_terminal};
use crate::snapshot::{self, Db, SortedKeys, alarms, members};
use crate::system::blocking::blocking;

pub async fn inspect(
    config: InspectConfig,
    format: Format,
    now: DateTime<Utc>,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let backup = OpenBackup::open(config.backup, now).await?;
    let Some(other) = config.other else {
        *answer = summary(&backup).await?;
        return Ok(());
    };
    let other = OpenBackup::open(other, now).await?;
    *answer = Answer::Streamed;
    let (before, after) = (Side::of(&other), Side::of(&backup));
    blocking(move || streaming(|out| write_differences(out, &before, &after, format))).await
}

async fn summary(backup: &OpenBackup) -> Result<Answer, Failure> {
    let proof = &backup.proved.proof;
    let (db, revisions) = (Arc::clone(&backup.db), proof.contents.revisions);
    let read = move || Ok::<_, snapshot::Error>((members(&db)?, alarms(&db)?, Usage::read(&db, revisions)?));
    let (members, alarms, usage) = blocking(read).await?;
    let (name, file, contents) = (backup.proved.label.as_str(), &proof.file, &proof.contents);
    let summary = Summary { name, file, contents, members, alarms, usage };
    Ok(Answer::Document { text: summary.text(is_on_terminal()), json: summary.json() })
}

/// One of two backups that are compared.
struct Side {
    name: String,
    db: Arc<Db>,
    revision: u64,
}

impl Side {
    fn of(backup: &OpenBackup) -> Self {
        let proved = &backup.proved;
        Self { name: proved.label.clone(), db: Arc::clone(&backup.db), revision: proved.proof.contents.revision }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "revision": self.revision })
    }
}

fn write_differences(out: &mut Stdout, before: &Side, after: &Side, format: Format) -> Result<(), streaming::Error> {
    // Values are compared by fingerprints, because those of all keys do not fit into memory.
    let hasher = RandomState::new();
    let keys_of = |side| keys_of(side, &hasher);
    let mut diff = Diff::new(keys_of(before), keys_of(after));
    for difference in diff.by_ref() {
        let difference = difference?;
        match format {
            Format::Text => writeln!(out, "{}", difference.text())?,
            Format::Json => writeln!(out, "{}", difference.json())?,
        }
    }
    write_counts(out, before, after, diff.counts(), format).map_err(Into::into)
}

fn keys_of<'a>(side: &'a Side, hasher: &'a RandomState) -> SortedKeys<'a> {
    SortedKeys::new(&side.db, b"", side.revision).with_fingerprints(hasher)
}

fn write_counts(out: &mut Stdout, before: &Side, after: &Side, counts: DiffCounts, format: Format) -> io::Result<()> {
    match format {
        Format::Text => {
            let DiffCounts { added, removed, changed, rewritten, same } = counts;
            writeln!(
                out,
                "from {} (revision {}) to {} (revision {}):",
                before.name, before.revision, after.name, after.revision
            )?;
            writeln!(
                out,
                "{added} added (+), {removed} removed (-), {changed} changed (~), {rewritten} rewritten (=), {same} the same"
            )
        }
        Format::Json => {
            let line = serde_json::json!({ "from": before.json(), "to": after.json(), "summary": counts });
            writeln!(out, "{line}")
        }
    }
}
