//! Commands that look into a backup, and the one that brings objects back from it.

use std::ffi::OsString;

use clap::{ArgGroup, Args};

use super::{EtcdArgs, ReadArgs};

/// `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The backup: `latest`, a name, a part of one that no other has, or the path of a file
    #[arg(value_name = "NAME|PATH", default_value = "latest")]
    pub name: String,
    /// Show instead, key by key, what this backup has more, less or otherwise than OTHER
    #[arg(long, value_name = "OTHER")]
    pub diff: Option<String>,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The backup: `latest`, a name, a part of one that no other has, or the path of a file
    pub name: String,
    /// The key, such as /registry/configmaps/kube-system/kubeadm-config
    pub key: OsString,
    /// Write exactly the stored bytes of the value, and nothing else
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub content: ContentArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The backup: `latest`, a name, a part of one that no other has, or the path of a file
    pub name: String,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub prefix: OsString,
    /// With the values
    #[arg(long)]
    pub values: bool,
    #[command(flatten)]
    pub content: ContentArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What is read, and how much of it is shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Content")]
pub struct ContentArgs {
    /// Read as of this revision, back to the last compaction [default: the snapshot's newest]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: Option<u64>,
    /// Show the values of Secrets, too, also those that are encrypted
    #[arg(long)]
    pub show_secrets: bool,
}

/// `put-back`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["keys", "prefix"]))]
pub struct PutBackArgs {
    /// The backup: `latest`, a name, a part of one that no other has, or the path of a file
    pub name: String,
    /// The keys to bring back
    #[arg(value_name = "KEY")]
    pub keys: Vec<OsString>,
    /// Bring back every key that begins with this
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,
    /// Take the keys as of this revision, back to the last compaction [default: the snapshot's newest]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: Option<u64>,
    /// Also replace keys that exist and differ, if they are still as they were read
    #[arg(long)]
    pub overwrite: bool,
    /// Do it; without this, the plan is printed and nothing is written
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub etcd: EtcdArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}
