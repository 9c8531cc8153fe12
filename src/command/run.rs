//! `run`: the whole job in one process.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::keep::{Keeper, Kept};
use super::open::{check_settings, look_if_there, open_if_there, open_patiently, open_prepared};
use super::retain::{self, Own};
use super::{members, take, unstaged};
use crate::config::{RunConfig, Staging};
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::store::{self, Store};
use crate::system::patience::Patience;

pub async fn run(config: RunConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    report.job.target = Some(config.store.target.to_string());
    let patience = Patience::new(config.retry_for);
    let (store, kept) = match config.staging {
        Staging::Disk => staged(&config, &patience, now, report).await?,
        Staging::None => unstaged(&config, &patience, now, report).await?,
    };
    report.job.stage = Stage::Stored;

    let begun_pruning = Instant::now();
    let own = Own { name: &kept.name, record: &kept.record, clock: kept.clock.as_deref() };
    let when = (config.sweep_after, now);
    let exit = retain::conclude(&store, &patience, own, &config.policy, when, &mut report.job).await;
    report.seconds.prune = Some(since(begun_pruning));
    exit
}

async fn staged(
    config: &RunConfig,
    patience: &Patience,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<(Arc<Store>, Kept), Failure> {
    let RunConfig { etcd, store, work_dir, compression, retry_for, sweep_after, .. } = config;
    // It also sweeps what a killed run left, before the disk is needed.
    let workspace = Workspace::create(work_dir)?;

    let begun = Instant::now();
    // Beside the survey, so that a wrong remote fails in a second, before a snapshot is taken.
    let first_look = async { Ok(open_if_there(store, *retry_for, now).await?) };
    let choosing = members::choose(etcd, |refused| report.job.refuse(refused));
    let (choice, opened) = tokio::try_join!(choosing, first_look)?;
    report.seconds.survey = Some(since(begun));

    let begun_snapshot = Instant::now();
    let snapshot = take::snapshot(choice, etcd, &workspace, *compression, now, opened.as_ref(), &mut report.job);
    // A remote that is away may be back when the snapshot is done, so that is taken meanwhile.
    let (backup, store) = tokio::try_join!(snapshot, async {
        let store = match &opened {
            Some(store) => Arc::clone(store),
            None => open_patiently(store, patience, now).await?,
        };
        store.sweep(*sweep_after, now).await;
        Ok(store)
    })?;
    report.job.taken(&backup.facts, backup.compressed.as_ref());
    report.seconds.snapshot = Some(since(begun_snapshot));

    let begun_storing = Instant::now();
    let keeper = Keeper { store: &store, patience, began: (now, begun), in_place: false };
    let kept = keeper.keep(&backup, &mut report.job).await?;
    report.seconds.store = Some(since(begun_storing));
    Ok((store, kept))
}

async fn unstaged(
    config: &RunConfig,
    patience: &Patience,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<(Arc<Store>, Kept), Failure> {
    let RunConfig { etcd, store, retry_for, sweep_after, .. } = config;
    let begun = Instant::now();
    // Whether the store takes a stream, before etcd is asked for anything.
    let prepared = check_settings(store, now).await?;
    check_streaming(prepared.as_deref())?;
    let first_look = async { Ok(look_if_there(prepared.clone(), *retry_for).await?) };
    let choosing = members::choose(etcd, |refused| report.job.refuse(refused));
    let (mut choice, opened) = tokio::try_join!(choosing, first_look)?;
    let store = if let Some(store) = opened {
        store
    } else {
        tracing::warn!("the store is away, and without staging no snapshot is taken before it is there");
        let store = open_prepared(prepared, store, patience, now).await?;
        check_streaming(Some(&store))?;
        // The members may have changed since.
        choice = members::choose(etcd, |refused| report.job.refuse(refused)).await?;
        store
    };
    report.seconds.survey = Some(since(begun));

    let begun_storing = Instant::now();
    store.sweep(*sweep_after, now).await;
    let keeper = Keeper { store: &store, patience, began: (now, begun), in_place: false };
    let kept = unstaged::keep(&keeper, choice, etcd, now, &mut report.job).await?;
    report.seconds.store = Some(since(begun_storing));
    Ok((store, kept))
}

fn check_streaming(store: Option<&Store>) -> Result<(), store::Error> {
    store.map_or(Ok(()), Store::check_streaming)
}
