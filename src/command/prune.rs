//! `prune`: retention alone, or as the last step of a job.

use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::job;
use crate::backup::name::BackupName;
use crate::backup::record::Handover;
use crate::backup::retention::Policy;
use crate::cli::PruneArgs;
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::store::Store;

/// Applies the policy, or prints what it would do.
pub async fn prune(args: &PruneArgs, job: &Job, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let store_config = job.store(&args.store)?;
    let policy = job.retention(&args.retention)?;
    report.target = Some(store_config.target.to_string());
    report.dry_run = args.dry_run;
    let begun = Instant::now();
    let store = Store::open(store_config).await?;
    let exit = if let Some(record) = &args.after {
        after(record, &store, &policy, now, report).await?
    } else {
        let listing = store.list().await?;
        job::retain(&store, listing, &policy, now, report).await?
    };
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}

async fn after(
    path: &Path,
    store: &Store,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let handover = Handover::read(path)?;
    report.backup = Some(handover.record.clone());
    let stored = handover.stored.as_deref().ok_or_else(|| {
        let error = anyhow::anyhow!(
            "{} does not say that its backup is stored and confirmed; nothing was pruned",
            path.display()
        );
        Failure::new(Exit::Store, error)
    })?;
    let prefix = &store.config().naming.prefix;
    let name = BackupName::parse_path(prefix, stored).ok_or_else(|| {
        let error = anyhow::anyhow!(
            "{}: its backup `{stored}` is not one of the backup-prefix that is set here",
            path.display()
        );
        Failure::new(Exit::Settings, error)
    })?;
    report.name = Some(stored.to_owned());
    job::prune(store, (&name, &handover.record), handover.before, policy, now, report).await
}
