//! The job and its steps.

use clap::Args;

use super::{EtcdArgs, JobArgs, RetentionArgs, StoreArgs, WorkArgs};

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

/// `prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Print the plan with its reasons, delete nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}
