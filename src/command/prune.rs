//! `prune`: retention alone, or as the last step of the job.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::open::{check_settings, open_prepared};
use super::retain::{self, Own};
use crate::backup::handover::Handover;
use crate::config::{PruneConfig, PruneMode};
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Report, since};
use crate::store::{Next, Store};
use crate::system::patience::Patience;

pub async fn prune(config: PruneConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    report.job.target = Some(config.store.target.to_string());
    report.job.dry_run = matches!(config.mode, PruneMode::DryRun);
    let begun = Instant::now();
    let exit = match &config.mode {
        PruneMode::After(handover) => after(handover, &config, now, report).await?,
        PruneMode::Now | PruneMode::DryRun => alone(&config, now, report).await?,
    };
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}

async fn alone(config: &PruneConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let store = Store::open(config.store.clone(), Next::Look).await?;
    let inventory = Inventory::read(&store).await?;
    if !report.job.dry_run {
        store.sweep(config.sweep_after, now).await;
    }
    let at_once = Patience::new(Duration::ZERO);
    let exit = retain::retain(&store, &at_once, &inventory, None, &config.policy, now, &mut report.job).await;
    report.job.stage = retain::stage_after(&exit);
    if !report.job.dry_run {
        store.sweep(config.sweep_after, now).await;
    }
    exit
}

async fn after(path: &Path, config: &PruneConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let prepared = check_settings(&config.store, now).await?;
    let prefix = &config.store.naming.prefix;
    let path = Handover::locate(path, prefix, &config.store.target.to_string());
    let handover = Handover::read(&path)?;
    let path = path.display();
    report.job.backup.clone_from(&handover.record.facts);
    report.job.compressed.clone_from(&handover.record.compressed);
    if !handover.stored {
        let why = format!("{path} does not say that its backup is stored and confirmed; nothing was pruned");
        return Err(Failure::message(Exit::Store, why));
    }
    // The record comes from another container, whose prefix an overlay may have set differently.
    let name = handover.name(prefix).ok_or_else(|| {
        let stored = &handover.record.name;
        Failure::settings(format!("{path}: its backup `{stored}` is not one of the backup-prefix that is set here"))
    })?;
    report.job.name = Some(name.to_string());
    report.job.verdict.clone_from(&handover.record.verdict);
    report.job.confirmed = handover.record.confirmed;
    report.job.stage = Stage::Stored;

    // From here on the backup is stored, so a store that cannot be asked only leaves retention undone.
    let patience = Patience::new(config.retry_for);
    let store = open_prepared(prepared, &config.store, &patience, now).await.map_err(retain::incomplete)?;
    store.sweep(config.sweep_after, now).await;
    let own = Own { name: &name, record: &handover.record, clock: handover.clock.as_deref() };
    let times = (config.sweep_after, now);
    retain::conclude(&store, &patience, own, &config.policy, times, &mut report.job).await
}
