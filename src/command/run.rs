//! `run`: the whole job in one process.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::keep::Keeper;
use super::open::{open_if_there, open_patiently};
use super::retain::{self, Own};
use super::{members, take};
use crate::config::RunConfig;
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::system::patience::Patience;

pub async fn run(config: RunConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let RunConfig { etcd, store, policy, work_dir, retry_for, sweep_after } = config;
    report.job.target = Some(store.target.to_string());
    // It also sweeps what a killed run left, before the disk is needed.
    let workspace = Workspace::create(&work_dir)?;
    let patience = Patience::new(retry_for);

    let begun = Instant::now();
    // Beside the survey, so that a wrong remote fails in a second, before a snapshot is taken.
    let first_look = async { Ok(open_if_there(&store, retry_for, now).await?) };
    let choosing = members::choose(&etcd, |refused| report.job.refuse(refused));
    let (choice, opened) = tokio::try_join!(choosing, first_look)?;
    report.seconds.survey = Some(since(begun));

    let begun_snapshot = Instant::now();
    let snapshot = take::snapshot(choice, &etcd, &workspace, now, opened.as_ref(), &mut report.job);
    // A remote that is away may be back when the snapshot is done, so that is taken meanwhile.
    let (backup, store) = tokio::try_join!(snapshot, async {
        let store = match &opened {
            Some(store) => Arc::clone(store),
            None => open_patiently(&store, &patience, now).await?,
        };
        store.sweep(sweep_after, now).await;
        Ok(store)
    })?;
    report.job.backup = Some(backup.facts.clone());
    report.seconds.snapshot = Some(since(begun_snapshot));

    let begun_storing = Instant::now();
    let keeper = Keeper { store: &store, patience: &patience, began: (now, begun), in_place: false };
    let kept = keeper.keep(&backup, &mut report.job).await?;
    report.job.stage = Stage::Stored;
    report.seconds.store = Some(since(begun_storing));

    let begun_pruning = Instant::now();
    let own = Own { name: &kept.name, record: &kept.record, clock: kept.clock.as_deref() };
    let exit = retain::conclude(&store, &patience, own, &policy, (sweep_after, now), &mut report.job).await;
    report.seconds.prune = Some(since(begun_pruning));
    exit
}
