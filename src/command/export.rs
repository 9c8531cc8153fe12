//! `export`: the keys of a backup as JSON Lines.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::input::open;
use super::streaming::{Error, streaming};
use crate::cli::ExportArgs;
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::inspect::line::{KeyLine, Values, shown};
use crate::report::{Body, Report};
use crate::snapshot::Sorted;
use crate::system::blocking::blocking;

/// Reads and prints, a key at a time.
pub async fn export(args: &ExportArgs, job: &Job, report: &mut Report) -> Result<Exit, Failure> {
    // What reads this wants keys and nothing else, also when it ends badly.
    report.body = Some(Body::none());
    let source = open(&args.name, &args.read, job).await?;
    let at = source.revision(args.content.revision)?;
    let values = match (args.values, args.content.show_secrets) {
        (false, _) => Values::Hidden,
        (true, false) => Values::WithoutSecrets,
        (true, true) => Values::All,
    };
    let (db, prefix) = (Arc::clone(&source.db), args.prefix.as_bytes().to_vec());
    let (name, wanted) = (source.proved.label.clone(), shown(&prefix));
    let write = move || {
        let (mut exported, mut withheld) = (0_u64, 0_u64);
        let exit = streaming(|out| {
            for item in Sorted::new(&db, &prefix, at) {
                let item = item?;
                let value = item.value(&db)?;
                let line = KeyLine::new(&item, &value, values);
                withheld += u64::from(line.is_withheld());
                serde_json::to_writer(&mut *out, &line)?;
                writeln!(out)?;
                exported += 1;
            }
            Ok::<_, Error>(())
        })?;
        Ok::<_, Failure>((exit, exported, withheld))
    };
    let (exit, exported, withheld) = blocking(write).await?;
    if exported == 0 && !wanted.is_empty() {
        let why = format!("{name} has no key that begins with {wanted} at revision {at}");
        return Err(Failure::new(Exit::Settings, anyhow::anyhow!(why)));
    }
    if withheld > 0 {
        tracing::warn!("the values of {withheld} Secrets are withheld; add --show-secrets to have them");
    }
    tracing::info!("{exported} keys of {name} at revision {at}");
    Ok(exit)
}
