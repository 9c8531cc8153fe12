//! `get`: one key of a backup.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::input::open;
use super::streaming::streaming;
use crate::cli::{Format, GetArgs};
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::inspect::line::{KeyLine, Values, shown};
use crate::kubernetes::{Content, is_secret};
use crate::report::{Body, Report};
use crate::snapshot::{self, find};
use crate::system::blocking::blocking;

/// Reads and prints.
pub async fn get(args: &GetArgs, job: &Job, format: Format, report: &mut Report) -> Result<Exit, Failure> {
    if args.raw {
        report.body = Some(Body::none());
    }
    let source = open(&args.name, &args.read, job).await?;
    let at = source.revision(args.content.revision)?;
    let (db, key) = (Arc::clone(&source.db), args.key.as_bytes().to_vec());
    let read = move || {
        let Some(item) = find(&db, &[key], at)?.pop() else { return Ok::<_, snapshot::Error>(None) };
        let value = item.value(&db)?;
        Ok(Some((item, value)))
    };
    let Some((item, value)) = blocking(read).await? else {
        let key = shown(args.key.as_bytes());
        let why =
            format!("{} has no key {key} at revision {at}; `export` lists those that it has", source.proved.label);
        return Err(Failure::new(Exit::Settings, anyhow::anyhow!(why)));
    };
    if args.raw {
        if !args.content.show_secrets && is_secret(&item.key, Content::of(&value).object()) {
            let why = format!("{} is a Secret; add --show-secrets to write its value", shown(&item.key));
            return Err(Failure::new(Exit::Settings, anyhow::anyhow!(why)));
        }
        return blocking(move || streaming(|out| Ok(out.write_all(&value)?))).await;
    }
    let values = if args.content.show_secrets { Values::All } else { Values::WithoutSecrets };
    report.body = Some(Body::none());
    let write = move || {
        let line = KeyLine::new(&item, &value, values);
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
