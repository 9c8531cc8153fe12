//! The command line: every flag with its type and environment variable, and nothing else.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::rclone_flags::RcloneFlags;
use crate::config::target::Target;
use crate::exit::Exit;
use crate::name::Prefix;
use crate::retention::Age;

/// Backs up a Kubernetes cluster's etcd to any rclone remote, and proves every backup before it counts.
///
/// Without a command, `run` is meant. A setting is taken from its flag, else its environment variable, else the file of
/// its name in --config-dir (a mounted ConfigMap), else the default.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// For every command.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Take a snapshot, prove it, store it, confirm it, then apply retention: the whole job (default)
    Run(RunArgs),
    /// Apply retention alone, or with --dry-run print what it would do
    Prune(PruneArgs),
}

/// Logs and report.
#[derive(Args, Debug)]
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

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

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

/// The job as a whole.
#[derive(Args, Debug)]
#[command(next_help_heading = "Job")]
pub struct JobArgs {
    /// Folder with a file for each setting, as a ConfigMap is mounted
    #[arg(long, env = "CONFIG_DIR", value_name = "DIR", default_value = "/config/etcd-backup")]
    pub config_dir: PathBuf,
    /// Give up after this long, and leave nothing half-made [default: 1h]
    #[arg(long, env = "TIMEOUT", value_name = "DURATION")]
    pub timeout: Option<humantime::Duration>,
}

/// Which etcd, and how to reach it.
#[derive(Args, Debug)]
#[command(next_help_heading = "etcd")]
pub struct EtcdArgs {
    /// Members' client URLs, separated by commas; wins over the kubeadm file
    #[arg(long, env = "ETCDCTL_ENDPOINTS", value_name = "URLS")]
    pub endpoints: Option<String>,
    /// kubeadm's ClusterConfiguration [default: /k8s/config.yaml if it is there]
    #[arg(long, env = "KUBEADM_CONFIG", value_name = "FILE")]
    pub kubeadm_config: Option<String>,
    /// Authorities that sign the members' certificates, PEM
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub cacert: Option<String>,
    /// Client certificate, PEM
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    pub cert: Option<String>,
    /// Client key, PEM
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    pub key: Option<String>,
    /// Name to expect in the members' certificates, when it is not the one dialled
    #[arg(long, env = "TLS_SERVER_NAME", value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Give up on a member that has sent no bytes for this long
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "DURATION", default_value = "60s")]
    pub idle_timeout: humantime::Duration,
    /// Refuse (exit 4) rather than take a degraded backup
    #[arg(long, env = "STRICT")]
    pub strict: bool,
}

/// Where files are staged.
#[derive(Args, Debug)]
#[command(next_help_heading = "Staging")]
pub struct WorkArgs {
    /// Staging folder [default: /backup if it is a folder, else the system's temporary one]
    #[arg(long, env = "WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
}

/// Where backups are stored.
#[derive(Args, Debug)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// `remote:bucket/path` of an rclone remote, or an absolute path
    #[arg(long, env = "TARGET")]
    pub target: Option<Target>,
    /// What backups' names start with; a `/` in it is a folder [default: empty]
    #[arg(long, env = "BACKUP_PREFIX", value_name = "PREFIX")]
    pub backup_prefix: Option<Prefix>,
    /// rclone's configuration [default: /config/rclone/rclone.conf if it is there, else rclone's own]
    #[arg(long, env = "RCLONE_CONFIG", value_name = "FILE")]
    pub rclone_config: Option<PathBuf>,
    /// Extra flags for rclone, split as a shell would
    #[arg(long, env = "RCLONE_FLAGS", value_name = "FLAGS", allow_hyphen_values = true)]
    pub rclone_flags: Option<RcloneFlags>,
}

/// How long backups are kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "Retention")]
pub struct RetentionArgs {
    /// Delete backups older than this: 36h, 10d, 2w, 3M (months), 1y [default: none are deleted by age]
    #[arg(long, env = "RETENTION", value_name = "AGE", allow_hyphen_values = true)]
    pub retention: Option<Age>,
    /// Delete backups beyond the newest of this number [default: none are deleted by number]
    #[arg(long, env = "RETENTION_COUNT", value_name = "N")]
    pub retention_count: Option<NonZeroUsize>,
    /// Never delete the newest of this number [default: 3]
    #[arg(long, env = "KEEP_LAST", value_name = "N")]
    pub keep_last: Option<NonZeroUsize>,
}

/// Reads the command line and the environment.
///
/// # Errors
/// clap's own, which also stand for `--help` and `--version`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(with_default_command(args.into_iter().collect()))?;
    Cli::from_arg_matches(&matches)
}

/// The command line's description, with the exit codes at its end and no values of the environment in its help.
pub fn command() -> clap::Command {
    let exits = Exit::ALL.iter().map(|e| format!("  {:>3}  {e}", e.code())).collect::<Vec<_>>().join("\n");
    let exits = format!("Exit codes:\n{exits}");
    let command = Cli::command().after_help(exits.clone()).mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(move |sub| sub.after_help(exits.clone()).mut_args(|arg| arg.hide_env_values(true)))
}

/// Prints help, version or what is wrong with the usage.
pub fn explain(usage: &clap::Error) -> std::process::ExitCode {
    let wrong = usage.use_stderr();
    if wrong {
        crate::report::leave_last_words(&usage.to_string());
    }
    // Help that cannot be written has nobody to read it.
    let _ = usage.print();
    if wrong { Exit::Settings.code().into() } else { std::process::ExitCode::SUCCESS }
}

/// `run` is meant where no command is named.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let known = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        matches!(&*arg, "-h" | "--help" | "-V" | "--version" | "help") || command.find_subcommand(&*arg).is_some()
    };
    if !args.iter().skip(1).any(known) {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Command {
        parse(std::iter::once("etcd-backup").chain(args.iter().copied()).map(OsString::from)).unwrap().command
    }

    #[test]
    fn run_is_the_default() {
        assert!(matches!(parsed(&[]), Command::Run(_)));
        assert!(matches!(parsed(&["--target", "a:b"]), Command::Run(_)));
        assert!(matches!(parsed(&["--output", "json", "prune"]), Command::Prune(_)));
    }

    #[test]
    fn the_description_is_sound() {
        command().debug_assert();
    }
}
