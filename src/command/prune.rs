//! `prune`: retention alone, or as the last step of the job.

use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::job;
use crate::backup::handover::Handover;
use crate::backup::name::BackupName;
use crate::backup::retention::Policy;
use crate::config::{PruneConfig, PruneMode};
use crate::exit::{Exit, Failure};
use crate::report::{JobReport, Report, since};
use crate::store::Store;

pub async fn prune(config: PruneConfig, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let PruneConfig { store, policy, mode, .. } = config;
    report.job.target = Some(store.target.to_string());
    report.job.dry_run = matches!(mode, PruneMode::DryRun);
    let begun = Instant::now();
    let store = Store::open(store).await?;
    let exit = match mode {
        PruneMode::After(record) => after(&record, &store, &policy, now, &mut report.job).await?,
        PruneMode::Now | PruneMode::DryRun => {
            let listing = store.list().await?;
            job::retain(&store, listing, None, &policy, now, &mut report.job).await?
        }
    };
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}

async fn after(
    path: &Path,
    store: &Store,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let handover = Handover::read(path)?;
    report.backup = Some(handover.record.clone());
    let stored = handover.stored.as_deref().ok_or_else(|| {
        let path = path.display();
        let why = format!("{path} does not say that its backup is stored and confirmed; nothing was pruned");
        Failure::message(Exit::Store, why)
    })?;
    // The record comes from another container, whose prefix an overlay may have set differently.
    let name = BackupName::parse_path(&store.config().naming.prefix, stored).ok_or_else(|| {
        let path = path.display();
        Failure::settings(format!("{path}: its backup `{stored}` is not one of the backup-prefix that is set here"))
    })?;
    report.name = Some(stored.to_owned());
    job::prune(store, (&name, &handover.record), handover.before, policy, now, report).await
}
