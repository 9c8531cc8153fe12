//! `store`: the second step of the job alone. It stores what `snapshot` left, and says so in the record.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::keep::Keeper;
use super::open::{check_settings, look_if_there, open_prepared};
use super::staging::prove_handed_on;
use super::take::Backup;
use crate::backup::handover::Handover;
use crate::config::StoreStepConfig;
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Report, since};
use crate::snapshot::{Digested, FileHash, prove_file_with_digest};
use crate::store::Store;
use crate::system::blocking::blocking;
use crate::system::patience::Patience;

pub async fn store(config: StoreStepConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let StoreStepConfig { mut store, work_dir, retry_for, sweep_after } = config;
    report.job.target = Some(store.target.to_string());
    let path = work_dir.join(Handover::FILE);
    let handover = Handover::read(&path);
    // How long a name may get depends on it.
    store.naming.compression = handover.as_ref().ok().and_then(|handover| handover.record.compression());
    // Wrong settings end the job, whatever the step before has left.
    let prepared = check_settings(&store, now).await?;
    let handover = handover?;
    let facts = handover.facts(&path)?;
    report.job.taken(facts, handover.record.compressed.as_ref());
    // A container that is started again finds that an earlier one has done the work.
    if handover.stored {
        tracing::info!(name = handover.record.name, "already stored and confirmed");
        report.job.name = handover.name(&store.naming.prefix).map(|name| name.to_string());
        return Ok(Exit::Ok);
    }
    let begun = Instant::now();
    // The proof takes long, so what the store refuses comes before it, unless the store is away.
    let seen = look_if_there(prepared.clone(), retry_for).await?;
    let compressed = handover.record.compressed.clone();
    let mut backup = Backup { facts: facts.clone(), file: work_dir.join(&handover.file), compressed, digest: None };
    backup.digest = prove(&backup, seen.clone()).await?;
    let patience = Patience::new(retry_for);
    let store = match seen {
        Some(store) => store,
        None => open_prepared(prepared, &store, &patience, now).await?,
    };
    store.sweep(sweep_after, now).await;
    let keeper = Keeper { store: &store, patience: &patience, began: (now, begun), in_place: false };
    let kept = keeper.keep(&backup, &mut report.job).await?;
    report.seconds.store = Some(since(begun));
    Handover { stored: true, record: kept.record, clock: kept.clock, ..handover }.write(&path)?;
    report.job.stage = Stage::Done(Exit::Ok);
    store.sweep(sweep_after, now).await;
    Ok(Exit::Ok)
}

/// Proves the file, with the digest that the store wants, if that is open.
async fn prove(backup: &Backup, store: Option<Arc<Store>>) -> Result<Option<Digested>, Failure> {
    // Again, because other containers can write to the volume that the file comes from.
    let file = backup.file.clone();
    let wanted = move |bytes| store.as_ref().and_then(|store| store.digest_kind(bytes));
    if let Some(compressed) = backup.compressed.clone() {
        let snapshot = FileHash { bytes: backup.facts.bytes, sha256: backup.facts.sha256.clone() };
        return Ok(blocking(move || prove_handed_on(&file, &snapshot, &compressed, wanted)).await?);
    }
    let (proof, digest) = blocking(move || prove_file_with_digest(&file, &[], wanted)).await?;
    if proof.file.sha256 == backup.facts.sha256 {
        return Ok(digest);
    }
    let why = format!("{} is not the file of its record: its SHA-256 differs", backup.file.display());
    Err(Failure::message(Exit::Proof, why))
}
