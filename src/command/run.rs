//! `run`: the whole job in one process.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::job;
use crate::backup::record::Remembered;
use crate::cli::RunArgs;
use crate::config::{Job, work_dir};
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::store::Store;

/// Snapshot, store, prune.
pub async fn run(args: &RunArgs, job: &Job, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let store_config = job.store(&args.store)?;
    let policy = job.retention(&args.retention)?;
    let etcd = job.etcd(&args.etcd, now)?;
    report.target = Some(store_config.target.to_string());
    let workspace = Workspace::create(&work_dir(&args.work))?;

    let begun = Instant::now();
    let preflight = async {
        let store = Store::open(store_config).await?;
        let listing = store.list().await?;
        Ok::<_, Failure>((store, listing))
    };
    let (choice, (store, listing)) = tokio::try_join!(job::choose(&etcd, report), preflight)?;
    report.foreign = listing.foreign;
    report.seconds.survey = Some(since(begun));

    let begun = Instant::now();
    let backup = job::snapshot(choice, &etcd, &workspace, now, report).await?;
    report.backup = Some(backup.record.clone());
    report.seconds.snapshot = Some(since(begun));

    let begun = Instant::now();
    let name = job::put(&store, &backup).await?;
    report.name = Some(name.to_string());
    report.seconds.store = Some(since(begun));

    let begun = Instant::now();
    let exit = job::prune(&store, (&name, &backup.record), Remembered::default(), &policy, now, report).await?;
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}
