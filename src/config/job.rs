//! Settings of the job and its steps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Confirm, EtcdConfig, Naming, Settings, StoreConfig, work_dir};
use crate::backup::retention::Policy;
use crate::cli::{PruneArgs, RunArgs, SnapshotArgs, StoreStepArgs};
use crate::exit::Failure;

#[derive(Debug)]
pub struct RunConfig {
    pub etcd: EtcdConfig,
    pub store: StoreConfig,
    pub policy: Policy,
    pub work_dir: PathBuf,
    /// How long to wait for a store that is away.
    #[expect(dead_code, reason = "the commands that wait for the store are next")]
    pub retry_for: Duration,
}

#[derive(Debug)]
pub struct SnapshotConfig {
    pub naming: Naming,
    pub work_dir: PathBuf,
    /// Whether backups stay in the work directory, so that there is no step `store`.
    pub in_place: bool,
    /// How a backup that stays there is confirmed.
    #[expect(dead_code, reason = "the store that confirms by it is next")]
    pub confirm: Confirm,
}

#[derive(Debug)]
pub struct StoreStepConfig {
    pub store: StoreConfig,
    pub work_dir: PathBuf,
    /// How long to wait for a store that is away.
    #[expect(dead_code, reason = "the commands that wait for the store are next")]
    pub retry_for: Duration,
}

#[derive(Debug)]
pub struct PruneConfig {
    pub store: StoreConfig,
    pub policy: Policy,
    pub mode: PruneMode,
    /// How long to wait for a store that is away, after a backup; by hand nothing is waited for.
    #[expect(dead_code, reason = "the commands that wait for the store are next")]
    pub retry_for: Duration,
}

#[derive(Debug)]
pub enum PruneMode {
    /// Apply the policy to what is stored.
    Now,
    /// Print what would go.
    DryRun,
    /// Apply the policy if this record says that its backup is stored and confirmed.
    After(PathBuf),
}

impl Settings {
    pub fn run(&self, args: &RunArgs, now: DateTime<Utc>) -> Result<RunConfig, Failure> {
        Ok(RunConfig {
            store: self.store_to_write(&args.store, &args.confirm)?,
            retry_for: self.retry_for(&args.patience)?,
            policy: self.retention(&args.retention)?,
            etcd: self.etcd(&args.etcd, now)?,
            work_dir: work_dir(&args.work),
        })
    }

    pub fn snapshot_source(&self, args: &SnapshotArgs, now: DateTime<Utc>) -> Result<EtcdConfig, Failure> {
        self.etcd(&args.etcd, now)
    }

    pub fn snapshot_step(&self, args: &SnapshotArgs) -> Result<SnapshotConfig, Failure> {
        let work_dir = work_dir(&args.work);
        let naming = self.naming(&args.naming)?;
        // The package `etcd-backup-pvc` mounts its claim as the work directory, and names it as the target. By hand,
        // `snapshot` needs no target at all.
        let in_place = self.target(&args.naming)?.is_none_or(|target| Path::new(&target.to_string()) == work_dir);
        Ok(SnapshotConfig { naming, work_dir, in_place, confirm: self.confirm(&args.confirm)? })
    }

    pub fn store_step(&self, args: &StoreStepArgs) -> Result<StoreStepConfig, Failure> {
        Ok(StoreStepConfig {
            store: self.store_to_write(&args.store, &args.confirm)?,
            work_dir: work_dir(&args.work),
            retry_for: self.retry_for(&args.patience)?,
        })
    }

    pub fn prune(&self, args: &PruneArgs) -> Result<PruneConfig, Failure> {
        let mode = match (&args.after, args.dry_run) {
            (Some(record), _) => PruneMode::After(record.clone()),
            (None, true) => PruneMode::DryRun,
            (None, false) => PruneMode::Now,
        };
        Ok(PruneConfig {
            store: self.store(&args.store)?,
            policy: self.retention(&args.retention)?,
            mode,
            retry_for: self.retry_for(&args.patience)?,
        })
    }
}
