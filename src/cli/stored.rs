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

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Leave out what only each object's metadata tell: on S3 that is one question an object
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// `latest` (default), a backup's name, an unambiguous part of one, or a local file
    #[arg(value_name = "NAME", conflicts_with_all = ["latest", "all"])]
    pub name: Option<String>,
    /// The newest backup
    #[arg(long, conflicts_with = "all")]
    pub latest: bool,
    /// Every backup; goes on after a bad one
    #[arg(long)]
    pub all: bool,
    /// Stage the file and walk every page, too; else the bytes pass through the SHA-256 and no disk is used
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}
