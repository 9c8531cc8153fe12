//! Groups of settings that commands share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::values::{Compress, Count, Span};
use crate::backup::name::Prefix;
use crate::backup::retention::Age;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of the report on stdout; `json` is one line
    #[arg(long, env = "OUTPUT", value_enum, default_value_t = Format::Text, global = true)]
    pub output: Format,
    /// What is logged on stderr: error, warn, info, debug or trace
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true, value_name = "LEVEL")]
    pub log_level: tracing::Level,
    /// Form of the log on stderr
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub log_format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Settings of every command that has any.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "General")]
pub struct SettingsArgs {
    /// Directory with a file for each setting, as a ConfigMap is mounted
    #[arg(long, env = "CONFIG_DIR", value_name = "DIR", default_value = "/config/etcd-backup")]
    pub config_dir: PathBuf,
    // Its help names the command's own default.
    #[arg(long, env = "TIMEOUT", value_name = "DURATION")]
    pub timeout: Option<Span>,
}

/// Which etcd, and how to reach it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "etcd")]
pub struct EtcdArgs {
    // These are text, because an empty variable counts as one that is not set.
    /// Client URLs of the members, separated by commas; wins over the kubeadm file
    #[arg(long, env = "ETCDCTL_ENDPOINTS", value_name = "URLS")]
    pub endpoints: Option<String>,
    /// kubeadm's ClusterConfiguration [default: /k8s/config.yaml if it is there]
    #[arg(long, env = "KUBEADM_CONFIG", value_name = "FILE")]
    pub kubeadm_config: Option<String>,
    /// Address of this node, where a stacked etcd is looked for besides 127.0.0.1
    #[arg(long, env = "HOST_IP", value_name = "IP")]
    pub host_ip: Option<IpAddr>,
    /// Certificate authorities that sign the members' certificates, PEM
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub cacert: Option<String>,
    /// Client certificate, PEM
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    pub cert: Option<String>,
    /// Key of the client certificate, PEM
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    pub key: Option<String>,
    /// Name to expect in the members' certificates, when it is not the one dialled
    #[arg(long, env = "TLS_SERVER_NAME", value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Give up on a member that has sent no bytes for this long
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "DURATION", default_value = "60s")]
    pub idle_timeout: Span,
    /// Refuse a degraded backup (exit 4) instead of taking it
    #[arg(long, env = "STRICT")]
    pub strict: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Work directory")]
pub struct WorkArgs {
    /// Directory in which snapshots are staged [default: /backup if it is a directory, else the system's temporary one]
    #[arg(long, env = "WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Work directory")]
pub struct StagingArgs {
    /// Whether a snapshot is staged on a disk before it is stored [default: disk]
    #[arg(long, env = "STAGING", value_enum, value_name = "WHERE")]
    pub staging: Option<Staging>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Staging {
    /// In the work directory: a store that is away is waited for with the snapshot at hand
    #[default]
    Disk,
    /// Nowhere: it goes from etcd through the proof to the store; a failed upload takes a new snapshot from the next member, and
    /// each member is tried once, whatever `--retry-for` says
    None,
}

impl FromStr for Staging {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "is not known; allowed is disk or none")
    }
}

/// Where backups are, and what they are called.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct NamingArgs {
    // Text, because clap repeats a value that it cannot parse, and users write credentials here by mistake.
    /// Where backups are: `remote:bucket/path` of an rclone remote, or an absolute path
    #[arg(long, env = "TARGET")]
    pub target: Option<String>,
    /// What backups' names start with; a `/` in it makes a directory [default: empty]
    #[arg(long, env = "BACKUP_PREFIX", value_name = "PREFIX")]
    pub backup_prefix: Option<Prefix>,
}

/// Where backups are, and how to get there.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    #[command(flatten)]
    pub naming: NamingArgs,
    /// rclone's configuration [default: /config/rclone/rclone.conf if it is there, else rclone's own]
    #[arg(long, env = "RCLONE_CONFIG", value_name = "FILE")]
    pub rclone_config: Option<PathBuf>,
    // Text, for the same reason as the target.
    /// More flags for rclone, split as a shell would split them
    #[arg(long, env = "RCLONE_FLAGS", value_name = "FLAGS", allow_hyphen_values = true)]
    pub rclone_flags: Option<String>,
    #[command(flatten)]
    pub listing: ListingArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct ListingArgs {
    /// How long one listing of the store may take [default: 30s]
    #[arg(long, env = "LIST_TIMEOUT", value_name = "DURATION")]
    pub list_timeout: Option<humantime::Duration>,
}

/// How long the commands that store wait for the store.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct PatienceArgs {
    /// How long to wait for a store that is away before giving up; `0s` does not wait [default: 15m]
    #[arg(long, env = "RETRY_FOR", value_name = "DURATION")]
    pub retry_for: Option<Span>,
}

/// How the commands that take a snapshot compress it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct CompressionArgs {
    /// How backups are compressed: `none`, `zstd:N` with N from 1 (fast) to 9 (small), or `zstd` for 2 [default: none]
    #[arg(long, env = "COMPRESSION", value_name = "HOW")]
    pub compression: Option<Compress>,
}

/// How the commands that store confirm what arrived.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct ConfirmArgs {
    /// How a stored backup is confirmed [default: auto]
    #[arg(long, env = "CONFIRM", value_enum, value_name = "HOW")]
    pub confirm: Option<Confirm>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Confirm {
    /// Compare with a hash that the store itself computed, where it does; else read back
    #[default]
    Auto,
    /// Always read the backup back
    Read,
}

impl FromStr for Confirm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "is not known; allowed is auto or read")
    }
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Retention")]
pub struct RetentionArgs {
    // Hyphens, so that `-5s` is refused for what it would do and not as an unknown flag.
    /// Delete backups older than this: 36h, 10d, 2w, 3M (months), 1y [default: none are deleted by age]
    #[arg(long, env = "RETENTION", value_name = "AGE", allow_hyphen_values = true)]
    pub retention: Option<Age>,
    /// Delete all but the newest N backups [default: none are deleted by number]
    #[arg(long, env = "RETENTION_COUNT", value_name = "N")]
    pub retention_count: Option<Count>,
    /// Never delete the newest N backups, whatever the limits say [default: 3]
    #[arg(long, env = "KEEP_LAST", value_name = "N")]
    pub keep_last: Option<Count>,
}
