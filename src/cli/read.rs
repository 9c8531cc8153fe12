//! Commands that look into a backup, and the one that brings keys back from it.

use std::ffi::OsString;

use clap::{ArgGroup, Args};

use super::stored::NAME;
use super::values::revision;
use super::{EtcdArgs, ReadArgs};

/// In an order that can be typed: clap would put the alternatives before NAME.
const PUT_BACK: &str = "etcd-backup put-back <NAME> <KEY>... [OPTIONS]
       etcd-backup put-back <NAME> --prefix <PREFIX> [OPTIONS]
       etcd-backup put-back <NAME> --namespace <NS> [OPTIONS]";
const REVISION: &str = "Read as of this revision, back to the last compaction [default: the snapshot's newest]";

#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    #[arg(default_value = "latest", help = NAME)]
    pub name: String,
    /// Show instead the keys that were added, changed and removed since backup OTHER
    #[arg(long, value_name = "OTHER")]
    pub diff: Option<String>,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    #[arg(help = NAME)]
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

#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    #[arg(help = NAME)]
    pub name: String,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub prefix: OsString,
    /// Include the values
    #[arg(long)]
    pub values: bool,
    #[command(flatten)]
    pub content: ContentArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What is read, and how much of it is shown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Content")]
pub struct ContentArgs {
    #[arg(long, value_name = "REVISION", value_parser = revision, help = REVISION)]
    pub revision: Option<u64>,
    /// Show the values of Secrets too, also those that are encrypted
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Clone, Debug)]
#[command(override_usage = PUT_BACK)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["keys", "prefix", "namespaces"]))]
pub struct PutBackArgs {
    #[arg(help = NAME)]
    pub name: String,
    /// The keys to bring back
    #[arg(value_name = "KEY")]
    pub keys: Vec<OsString>,
    /// Bring back every key that begins with this
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,
    /// Bring back this namespace and all that is in it, but not what makes itself anew; may be given several times
    #[arg(long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    #[arg(long, value_name = "REVISION", value_parser = revision, help = REVISION)]
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
    /// The flags as they were typed, without `--yes` and those that say where the backups are or what is put back.
    #[arg(skip)]
    pub typed: Vec<OsString>,
}
