//! `prune`: retention alone.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::steps;
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
    let store = Store::open(store_config).await?;
    let begun = Instant::now();
    let exit = steps::retain(&store, &policy, now, report).await?;
    report.seconds.prune = Some(since(begun));
    Ok(exit)
}
