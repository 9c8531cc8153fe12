//! Settings of the commands that read stored backups.

use std::path::PathBuf;

use clap::Args;

use super::{JobArgs, StoreArgs, WorkArgs};

/// Where backups are read from, and where they are staged.
#[derive(Args, Debug)]
pub struct ReadArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `fetch`.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// `latest`, a backup's name, an unambiguous part of one, or a local file
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The file to write; one that exists is never overwritten
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub read: ReadArgs,
}
