//! `get`: one key of a backup.

use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::OpenBackup;
use super::streaming::streaming;
use crate::cli::Format;
use crate::config::GetConfig;
use crate::exit::Failure;
use crate::inspect::line::{KeyLine, ShowValues, printable};
use crate::kubernetes::{StoredValue, is_secret};
use crate::report::Answer;
use crate::snapshot::{self, KeyState, find};
use crate::system::blocking::blocking;

pub async fn get(config: GetConfig, format: Format, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let GetConfig { backup, key, revision, raw, show_secrets } = config;
    if raw {
        // A program reads this stdout, so no report may follow the value, even if the command fails.
        *answer = Answer::Streamed;
    }
    let backup = OpenBackup::open(backup, now).await?;
    let revision = backup.revision(revision)?;
    let (state, value) = read(&backup, key, revision).await?;
    *answer = Answer::Streamed;
    if raw {
        if !show_secrets && is_secret(&state.key, StoredValue::parse(&value).object()) {
            let key = printable(&state.key);
            return Err(Failure::settings(format!("{key} is a Secret; add --show-secrets to write its value")));
        }
        return blocking(move || streaming(|out| Ok(out.write_all(&value)?))).await;
    }
    let values = if show_secrets { ShowValues::All } else { ShowValues::WithoutSecrets };
    let write = move || {
        let line = KeyLine::new(&state, &value, values);
        if line.is_withheld() {
            tracing::warn!("the value of a Secret is withheld; add --show-secrets to see it");
        }
        streaming(|out| {
            match format {
                Format::Text => serde_json::to_writer_pretty(&mut *out, &line)?,
                Format::Json => serde_json::to_writer(&mut *out, &line)?,
            }
            Ok(writeln!(out)?)
        })
    };
    blocking(write).await
}

async fn read(backup: &OpenBackup, key: Vec<u8>, revision: u64) -> Result<(KeyState, Vec<u8>), Failure> {
    let (db, wanted) = (Arc::clone(&backup.db), key.clone());
    let read = move || {
        let Some(state) = find(&db, &[wanted], revision)?.pop() else { return Ok::<_, snapshot::Error>(None) };
        let value = state.value(&db)?;
        Ok(Some((state, value)))
    };
    blocking(read).await?.ok_or_else(|| {
        let (name, key) = (&backup.proved.label, printable(&key));
        Failure::settings(format!("{name} has no key {key} at revision {revision}; `export` lists those that it has"))
    })
}
