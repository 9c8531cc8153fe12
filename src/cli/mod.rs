//! The command line: every flag with its type and environment variable, and nothing else.

mod copy_tls;
mod groups;
mod job;
mod read;
mod restore;
mod stored;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::Exit;

pub use copy_tls::CopyTlsArgs;
pub use groups::{EtcdArgs, Format, JobArgs, OutputArgs, PlaceArgs, RetentionArgs, StoreArgs, WorkArgs};
pub use job::{PruneArgs, RunArgs, SnapshotArgs, StoreStepArgs};
pub use read::{ExportArgs, GetArgs, InspectArgs, PutBackArgs};
pub use restore::{EtcdKind, RestoreArgs, WhoArgs};
pub use stored::{FetchArgs, ListArgs, ReadArgs, VerifyArgs};

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
    /// First step alone: leave a proved snapshot and a record of it in the staging folder
    Snapshot(SnapshotArgs),
    /// Second step alone: store and confirm what `snapshot` left
    Store(StoreStepArgs),
    /// Apply retention alone: with --dry-run print what it would do, with --after as the third step of a job
    Prune(PruneArgs),
    /// Show what a backup holds: revision, keys, members, and the size of each Kubernetes resource and namespace
    Inspect(InspectArgs),
    /// Print one key of a backup as JSON, or with --raw just its value
    Get(GetArgs),
    /// Print the keys of a backup as JSON Lines, in the order of `etcdctl get --prefix`
    Export(ExportArgs),
    /// Bring deleted keys back from a backup into the running cluster, byte for byte
    ///
    /// Each key is created by a transaction of its own that does nothing when the key exists, in the order in which
    /// the keys were first created, so that owners are there before what they own. Never brought back are keys that end
    /// with a lease, events, leases, masterleases, endpoints and endpointslices: Kubernetes makes those itself.
    PutBack(PutBackArgs),
    /// List the stored backups, newest first
    List(ListArgs),
    /// Prove stored backups without restoring them
    Verify(VerifyArgs),
    /// Get a backup, prove it, and write it to a file for use with etcd's own tools
    Fetch(FetchArgs),
    /// Restore a member's data folder from a backup, or with --plan print how to restore the whole cluster
    Restore(Box<RestoreArgs>),
    /// Print a shell's completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Copy the TLS files that are set to another folder, for a container that cannot read the node's
    CopyTls(CopyTlsArgs),
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

/// A shell's completion script.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "etcd-backup", &mut script);
    String::from_utf8_lossy(&script).into_owned()
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
