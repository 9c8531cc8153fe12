//! The job and its steps.

use std::path::PathBuf;

use clap::Args;

use super::{EtcdArgs, JobArgs, PlaceArgs, RetentionArgs, StoreArgs, WorkArgs};

/// `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}

/// `snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `store`.
#[derive(Args, Debug)]
pub struct StoreStepArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Print the plan with its reasons, delete nothing
    #[arg(long, conflicts_with = "after")]
    pub dry_run: bool,
    /// Prune only if this record, which `snapshot` and `store` left, says that its backup is stored and confirmed; the
    /// exit then is the whole job's verdict
    #[arg(long, value_name = "RECORD")]
    pub after: Option<PathBuf>,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}
