//! `store`: the second step of the job alone. It stores what `snapshot` left, and says so in the record.

use std::time::Instant;

use super::job::{self, Backup};
use crate::backup::handover::Handover;
use crate::config::StoreStepConfig;
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::prove_file;
use crate::store::Store;
use crate::system::blocking::blocking;

pub async fn store(config: StoreStepConfig, report: &mut Report) -> Result<Exit, Failure> {
    let StoreStepConfig { store, work_dir, .. } = config;
    let handover = Handover::read(&work_dir.join(Handover::FILE))?;
    report.job.target = Some(store.target.to_string());
    report.job.backup = Some(handover.record.clone());
    // A container that is started again finds that an earlier one has done the work.
    if let Some(name) = &handover.stored {
        tracing::info!(name, "already stored and confirmed");
        report.job.name = Some(name.clone());
        return Ok(Exit::Ok);
    }
    let begun = Instant::now();
    let store = Store::open(store).await?;
    let listing = store.list().await?;
    report.job.foreign = listing.foreign;
    let backup = Backup { record: handover.record.clone(), file: work_dir.join(&handover.file) };
    prove(&backup).await?;
    let name = job::put(&store, &backup).await?.to_string();
    report.job.name = Some(name.clone());
    report.seconds.store = Some(since(begun));
    Handover { stored: Some(name), ..handover }.write(&work_dir)?;
    Ok(Exit::Ok)
}

async fn prove(backup: &Backup) -> Result<(), Failure> {
    // Again, because other containers can write to the volume that the file comes from.
    let file = backup.file.clone();
    let proof = blocking(move || prove_file(&file)).await?;
    if proof.file.sha256 == backup.record.sha256 {
        return Ok(());
    }
    let why = format!("{} is not the file of its record: its SHA-256 differs", backup.file.display());
    Err(Failure::message(Exit::Proof, why))
}
