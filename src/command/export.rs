//! `export`: the keys of a backup as JSON Lines.

use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::OpenBackup;
use super::streaming::{Error, streaming};
use crate::config::ExportConfig;
use crate::exit::Failure;
use crate::inspect::line::{KeyLine, ShowValues, printable};
use crate::report::Answer;
use crate::snapshot::{Db, SortedKeys};
use crate::system::blocking::blocking;

#[derive(Default)]
struct Exported {
    keys: u64,
    /// How many of them without their value.
    withheld: u64,
}

pub async fn export(config: ExportConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    // A program reads this stdout, so no report may follow the keys, even if the command fails.
    *answer = Answer::Streamed;
    let backup = OpenBackup::open(config.backup, now).await?;
    let revision = backup.revision(config.revision)?;
    let values = match (config.values, config.show_secrets) {
        (false, _) => ShowValues::Hidden,
        (true, false) => ShowValues::WithoutSecrets,
        (true, true) => ShowValues::All,
    };
    let (db, prefix) = (Arc::clone(&backup.db), config.prefix.clone());
    let Exported { keys, withheld } = blocking(move || write_keys(&db, &prefix, revision, values)).await?;
    let (name, prefix) = (&backup.proved.label, printable(&config.prefix));
    // A prefix without keys is most likely misspelt, which an empty output alone would not show.
    if keys == 0 && !prefix.is_empty() {
        return Err(Failure::settings(format!("{name} has no key that begins with {prefix} at revision {revision}")));
    }
    if withheld > 0 {
        tracing::warn!("the values of {withheld} Secrets are withheld; add --show-secrets to have them");
    }
    tracing::info!("exported {keys} keys of {name} at revision {revision}");
    Ok(())
}

fn write_keys(db: &Db, prefix: &[u8], revision: u64, values: ShowValues) -> Result<Exported, Failure> {
    let mut exported = Exported::default();
    streaming(|out| {
        for state in SortedKeys::new(db, prefix, revision) {
            let state = state?;
            let value = state.value(db)?;
            let line = KeyLine::new(&state, &value, values);
            exported.withheld += u64::from(line.is_withheld());
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
            exported.keys += 1;
        }
        Ok::<_, Error>(())
    })?;
    Ok(exported)
}
