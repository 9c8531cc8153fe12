//! `store`: the second step of the job alone. It stores what `snapshot` left, and says so in the record.

use std::time::Instant;

use super::job::{self, Backup};
use crate::backup::record::Handover;
use crate::cli::StoreStepArgs;
use crate::config::{Job, work_dir};
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::prove_file;
use crate::store::Store;
use crate::system::blocking::blocking;

/// Proves the file against its record again, uploads that one file, and confirms it.
pub async fn store(args: &StoreStepArgs, job: &Job, report: &mut Report) -> Result<Exit, Failure> {
    let config = job.store(&args.store)?;
    let folder = work_dir(&args.work);
    let handover = Handover::read(&folder.join(Handover::FILE))?;
    report.target = Some(config.target.to_string());
    report.backup = Some(handover.record.clone());
    if let Some(name) = &handover.stored {
        tracing::info!(name, "already stored and confirmed");
        report.name = Some(name.clone());
        return Ok(Exit::Ok);
    }
    let begun = Instant::now();
    let store = Store::open(config).await?;
    let listing = store.list().await?;
    report.foreign = listing.foreign;
    let backup = Backup { record: handover.record.clone(), file: folder.join(&handover.file) };
    prove(&backup).await?;
    let name = job::put(&store, &backup).await?.to_string();
    report.name = Some(name.clone());
    report.seconds.store = Some(since(begun));
    Handover { stored: Some(name), ..handover }.write(&folder)?;
    Ok(Exit::Ok)
}

async fn prove(backup: &Backup) -> Result<(), Failure> {
    let file = backup.file.clone();
    let proof = blocking(move || prove_file(&file)).await?;
    if proof.digest.sha256 == backup.record.sha256 {
        return Ok(());
    }
    let error = anyhow::anyhow!("{} is not the file of its record: its SHA-256 differs", backup.file.display());
    Err(Failure::new(Exit::Proof, error))
}
