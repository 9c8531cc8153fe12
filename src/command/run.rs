//! `run`: the whole job in one process.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::{job, members};
use crate::backup::metadata::Metadata;
use crate::config::RunConfig;
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::store::Store;

pub async fn run(config: RunConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let RunConfig { etcd, store, policy, work_dir, .. } = config;
    report.job.target = Some(store.target.to_string());
    // It also sweeps what a killed run left, before the disk is needed.
    let workspace = Workspace::create(&work_dir)?;

    let begun = Instant::now();
    // Beside the survey, so that a wrong remote fails in a second, before a snapshot is taken.
    let preflight = async {
        let store = Store::open(store).await?;
        let listing = store.list().await?;
        Ok::<_, Failure>((store, listing))
    };
    let (choice, (store, listing)) =
        tokio::try_join!(members::choose(&etcd, |refused| report.job.refuse(refused)), preflight)?;
    report.job.foreign = listing.foreign;
    report.seconds.survey = Some(since(begun));

    let begun = Instant::now();
    let backup = job::snapshot(choice, &etcd, &workspace, now, &mut report.job).await?;
    report.job.backup = Some(backup.record.clone());
    report.seconds.snapshot = Some(since(begun));

    let begun = Instant::now();
    let name = job::put(&store, &backup).await?;
    report.job.name = Some(name.to_string());
    report.seconds.store = Some(since(begun));

    let begun = Instant::now();
    let stored = (&name, &backup.record);
    let exit = job::prune(&store, stored, Metadata::default(), &policy, now, &mut report.job).await?;
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}
