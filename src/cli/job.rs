//! The job and its steps.

use std::path::PathBuf;

use clap::Args;

use super::{
    CompressionArgs, ConfirmArgs, EtcdArgs, ListingArgs, NamingArgs, PatienceArgs, RetentionArgs, SettingsArgs,
    StagingArgs, StoreArgs, WorkArgs,
};

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub staging: StagingArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub compression: CompressionArgs,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    #[command(flatten)]
    pub patience: PatienceArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}

#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub naming: NamingArgs,
    #[command(flatten)]
    pub compression: CompressionArgs,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    #[command(flatten)]
    pub listing: ListingArgs,
}

/// `store`.
#[derive(Args, Clone, Debug)]
pub struct StoreStepArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Print the plan with its reasons, delete nothing
    #[arg(long, conflicts_with = "after")]
    pub dry_run: bool,
    /// Prune only if the record that `snapshot` and `store` left says that its backup is stored and confirmed; the exit
    /// code is then that of the whole job
    #[arg(long, value_name = "RECORD")]
    pub after: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub patience: PatienceArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}
