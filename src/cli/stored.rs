//! Commands that read stored backups, and what they share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{SettingsArgs, StoreArgs, WorkArgs};

/// What NAME means, in the help of every command that takes one.
pub const NAME: &str = "The backup: `latest`, a name, a part of one that no other has, or the path of a local file";

/// Where backups are read from, and where they are put while they are read.
#[derive(Args, Clone, Debug)]
pub struct ReadArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Where backups are read from by commands that put them nowhere meanwhile.
#[derive(Args, Clone, Debug)]
pub struct PassingArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    // They once put them there, so scripts may still say where. Of `WORK_DIR`, which is set for other commands, nothing is refused.
    #[arg(long, value_name = "DIR", hide = true)]
    work_dir: Option<OsString>,
}

#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    #[arg(help = NAME)]
    pub name: String,
    /// The file to write; one that exists is never overwritten
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub read: PassingArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Leave out what only the records tell, such as the class: the store is asked for one listing alone
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[arg(conflicts_with_all = ["latest", "all"], help = NAME)]
    pub name: Option<String>,
    /// The newest backup (default)
    #[arg(long, conflicts_with = "all")]
    pub latest: bool,
    /// Every backup; a bad one does not end the command
    #[arg(long)]
    pub all: bool,
    /// Prove every page as it passes; without this, only hash the bytes. Neither uses a disk
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub read: PassingArgs,
}
