//! Settings of the job and its steps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::rclone_flags::RcloneFlags;
use super::target::Target;
use super::{Confirm, EtcdConfig, Naming, Settings, Staging, StoreConfig, env, work_dir};
use crate::backup::name::Compression;
use crate::backup::retention::Policy;
use crate::cli::{PruneArgs, RunArgs, SnapshotArgs, StoreStepArgs};
use crate::exit::Failure;

const SWEEP_AFTER: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub struct RunConfig {
    pub etcd: EtcdConfig,
    pub store: StoreConfig,
    pub policy: Policy,
    pub staging: Staging,
    pub work_dir: PathBuf,
    /// The level of zstd, if backups are compressed.
    pub compression: Option<u8>,
    /// How long to wait for a store that is away.
    pub retry_for: Duration,
    /// Unfinished uploads that are older than this are removed.
    pub sweep_after: Duration,
}

#[derive(Debug)]
pub struct SnapshotConfig {
    pub naming: Naming,
    pub work_dir: PathBuf,
    /// The level of zstd, if backups are compressed.
    pub compression: Option<u8>,
    /// Set if backups stay in the work directory, so that there is no step `store`.
    pub in_place: Option<InPlaceConfig>,
}

#[derive(Debug)]
pub struct InPlaceConfig {
    /// The work directory as a target.
    pub store: StoreConfig,
    pub sweep_after: Duration,
}

#[derive(Debug)]
pub struct StoreStepConfig {
    pub store: StoreConfig,
    pub work_dir: PathBuf,
    /// How long to wait for a store that is away.
    pub retry_for: Duration,
    /// Unfinished uploads that are older than this are removed.
    pub sweep_after: Duration,
}

#[derive(Debug)]
pub struct PruneConfig {
    pub store: StoreConfig,
    pub policy: Policy,
    pub mode: PruneMode,
    /// How long to wait for a store that is away, after a backup; by hand nothing is waited for.
    pub retry_for: Duration,
    /// Unfinished uploads that are older than this are removed.
    pub sweep_after: Duration,
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
        let compression = self.compression(&args.compression)?;
        let mut store = self.store_to_write(&args.store, &args.confirm)?;
        store.naming.compression = at_level(compression);
        let staging = self.dir.or(args.staging.staging, "staging").map_err(Failure::settings)?.unwrap_or_default();
        if (staging, compression.is_some()) == (Staging::None, true) {
            // A store takes a stream under its final name only if its length is known at the start.
            return Err(Failure::settings(
                "staging: `none` cannot be combined with compression, because its compressed length is known only once \
                 it is on a disk; allowed is disk, or compression none",
            ));
        }
        Ok(RunConfig {
            store,
            compression,
            retry_for: self.retry_for(&args.patience)?,
            policy: self.retention(&args.retention)?,
            staging,
            etcd: self.etcd(&args.etcd, now)?,
            work_dir: work_dir(&args.work),
            sweep_after: self.sweep_after(),
        })
    }

    /// So late that no run can still be at work on them.
    fn sweep_after(&self) -> Duration {
        SWEEP_AFTER.max(self.timeout.saturating_mul(2))
    }

    pub fn snapshot_source(&self, args: &SnapshotArgs, now: DateTime<Utc>) -> Result<EtcdConfig, Failure> {
        self.staged_alone("snapshot")?;
        self.etcd(&args.etcd, now)
    }

    /// `step` is one of those that hand a snapshot on.
    fn staged_alone(&self, step: &str) -> Result<(), Failure> {
        let set = env::var("STAGING").ok();
        let flag = set.as_deref().map(str::parse).transpose().map_err(|why: &str| {
            Failure::settings(format!("staging: `{}` {why} (from STAGING)", set.as_deref().unwrap_or_default()))
        })?;
        match self.dir.or(flag, "staging").map_err(Failure::settings)?.unwrap_or_default() {
            Staging::Disk => Ok(()),
            Staging::None => Err(Failure::settings(format!(
                "staging: `none` leaves nothing for `{step}` to hand on, as the steps share a snapshot on a disk; allowed is \
                 disk, or `run` in place of the steps"
            ))),
        }
    }

    pub fn snapshot_step(&self, args: &SnapshotArgs) -> Result<SnapshotConfig, Failure> {
        let work_dir = work_dir(&args.work);
        let compression = self.compression(&args.compression)?;
        let naming = Naming { compression: at_level(compression), ..self.naming(&args.naming)? };
        // The package `etcd-backup-pvc` mounts its claim as the work directory, and names it as the target. By hand,
        // `snapshot` needs no target at all.
        let is_in_place = match self.target(&args.naming) {
            Ok(target) => target.is_none_or(|target| is_directory(&target, &work_dir)),
            Err(why) if is_from_flag(args.naming.target.as_deref()) => return Err(why),
            // It is the target of `store`, whatever is wrong with it.
            Err(_) => false,
        };
        // `store` uses it, if there is one.
        let in_place = if is_in_place {
            let (confirm, list_timeout) = (self.confirm(&args.confirm)?, self.list_timeout(&args.listing)?);
            Some(self.in_place(&work_dir, naming.clone(), confirm, list_timeout)?)
        } else {
            None
        };
        self.warn_after_snapshot(is_in_place);
        Ok(SnapshotConfig { naming, work_dir, compression, in_place })
    }

    fn in_place(
        &self,
        work_dir: &Path,
        naming: Naming,
        confirm: Confirm,
        list_timeout: Duration,
    ) -> Result<InPlaceConfig, Failure> {
        let absolute = std::path::absolute(work_dir).map_err(|e| Failure::settings(format!("work-dir: {e}")))?;
        let refused = |why| Failure::settings(format!("work-dir: `{}` {why}", absolute.display()));
        let target = absolute.to_string_lossy().parse().map_err(refused)?;
        let rclone_flags = RcloneFlags::default();
        let store = StoreConfig { target, naming, rclone_config: None, rclone_flags, confirm, list_timeout };
        Ok(InPlaceConfig { store, sweep_after: self.sweep_after() })
    }

    pub fn store_step(&self, args: &StoreStepArgs) -> Result<StoreStepConfig, Failure> {
        self.staged_alone("store")?;
        self.warn_after_store();
        Ok(StoreStepConfig {
            store: self.store_to_write(&args.store, &args.confirm)?,
            work_dir: work_dir(&args.work),
            retry_for: self.retry_for(&args.patience)?,
            sweep_after: self.sweep_after(),
        })
    }

    pub fn prune(&self, args: &PruneArgs) -> Result<PruneConfig, Failure> {
        let mode = match (&args.after, args.dry_run) {
            (Some(record), _) => PruneMode::After(record.clone()),
            (None, true) => PruneMode::DryRun,
            (None, false) => PruneMode::Now,
        };
        // By hand it is of use beside `run`, too, with the same ConfigMap.
        if matches!(mode, PruneMode::After(_)) {
            self.staged_alone("prune --after")?;
        }
        Ok(PruneConfig {
            store: self.store(&args.store)?,
            policy: self.retention(&args.retention)?,
            mode,
            retry_for: self.retry_for(&args.patience)?,
            sweep_after: self.sweep_after(),
        })
    }
}

/// How a backup is compressed, if it has a level.
fn at_level(level: Option<u8>) -> Option<Compression> {
    level.map(|_| Compression::Zstd)
}

fn is_directory(target: &Target, directory: &Path) -> bool {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    Path::new(&target.to_string()).components().eq(absolute.components())
}

/// Whether a target was given as a flag. clap does not tell it from the variable.
fn is_from_flag(target: Option<&str>) -> bool {
    target.is_some() && env::var("TARGET").ok().as_deref() != target
}
