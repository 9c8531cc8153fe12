//! `inspect`: what a backup holds, or what two have different.

use std::hash::RandomState;
use std::io::{self, Write};
use std::sync::Arc;

use super::input::{OpenBackup, open};
use super::streaming::{self, streaming};
use crate::cli::{Format, InspectArgs};
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::inspect::{Diff, DiffCounts, Summary, Tally};
use crate::report::{Body, Report, Stdout, is_on_terminal};
use crate::snapshot::{self, Db, Sorted, alarms, members};
use crate::system::blocking::blocking;

/// Reads and prints.
pub async fn inspect(args: &InspectArgs, job: &Job, format: Format, report: &mut Report) -> Result<Exit, Failure> {
    let source = open(&args.name, &args.read, job).await?;
    let Some(other) = &args.diff else { return summary(&source, report).await };
    let other = open(other, &args.read, job).await?;
    report.body = Some(Body::none());
    differences(&other, &source, format).await
}

async fn summary(source: &OpenBackup, report: &mut Report) -> Result<Exit, Failure> {
    let proof = &source.proved.proof;
    let (db, revisions) = (Arc::clone(&source.db), proof.facts.revisions);
    let read = move || Ok::<_, snapshot::Error>((members(&db)?, alarms(&db)?, Tally::of(&db, revisions)?));
    let (members, alarms, tally) = blocking(read).await?;
    let (name, digest, facts) = (source.proved.label.as_str(), &proof.digest, &proof.facts);
    let summary = Summary { name, digest, facts, members, alarms, tally };
    report.body = Some(Body { text: summary.text(is_on_terminal()), json: Some(summary.json()) });
    Ok(Exit::Ok)
}

async fn differences(before: &OpenBackup, after: &OpenBackup, format: Format) -> Result<Exit, Failure> {
    let place =
        |source: &OpenBackup| (source.proved.label.clone(), Arc::clone(&source.db), source.proved.proof.facts.revision);
    let (before, after) = (place(before), place(after));
    blocking(move || streaming(|out| write_differences(out, &before, &after, format))).await
}

type Place = (String, Arc<Db>, u64);

fn write_differences(out: &mut Stdout, before: &Place, after: &Place, format: Format) -> Result<(), streaming::Error> {
    let hasher = RandomState::new();
    let sorted = |(_, db, at): &'_ Place| (Arc::clone(db), *at);
    let ((old, old_at), (new, new_at)) = (sorted(before), sorted(after));
    let keys = |db, at| Sorted::new(db, b"", at).with_fingerprints(&hasher);
    let mut diff = Diff::new(keys(&old, old_at), keys(&new, new_at));
    for difference in diff.by_ref() {
        let difference = difference?;
        match format {
            Format::Text => writeln!(out, "{}", difference.text())?,
            Format::Json => writeln!(out, "{}", difference.json())?,
        }
    }
    write_counts(out, before, after, diff.counts(), format).map_err(Into::into)
}

fn write_counts(out: &mut Stdout, before: &Place, after: &Place, counts: DiffCounts, format: Format) -> io::Result<()> {
    let (from, to) = ((&before.0, before.2), (&after.0, after.2));
    match format {
        Format::Text => {
            let DiffCounts { added, removed, changed, rewritten, same } = counts;
            writeln!(out, "from {} (revision {}) to {} (revision {}):", from.0, from.1, to.0, to.1)?;
            writeln!(
                out,
                "{added} added (+), {removed} removed (-), {changed} changed (~), {rewritten} rewritten (=), {same} the same"
            )
        }
        Format::Json => {
            let side = |(name, revision)| serde_json::json!({ "name": name, "revision": revision });
            writeln!(out, "{}", serde_json::json!({ "from": side(from), "to": side(to), "summary": counts }))
        }
    }
}
