//! The command line: every flag with its type and its environment variable, and nothing else.

mod copy_tls;
mod groups;
mod job;
mod judge;
mod read;
mod restore;
mod stored;
pub mod usage;
pub mod values;

use std::ffi::OsString;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::{Exit, Purpose};

pub use copy_tls::CopyTlsArgs;
pub use groups::{
    CompressionArgs, Confirm, ConfirmArgs, EtcdArgs, Format, ListingArgs, NamingArgs, OutputArgs, PatienceArgs,
    RetentionArgs, SettingsArgs, Staging, StagingArgs, StoreArgs, WorkArgs,
};
pub use job::{PruneArgs, RunArgs, SnapshotArgs, StoreStepArgs};
pub use judge::JudgeArgs;
pub use read::{ExportArgs, GetArgs, InspectArgs, PutBackArgs};
pub use restore::{ClusterArgs, RestoreArgs};
pub use stored::{FetchArgs, ListArgs, PassingArgs, ReadArgs, VerifyArgs};

/// Backs up a Kubernetes cluster's etcd to any rclone remote, and proves every backup before it counts.
///
/// Without a command, `run` is meant. A setting is taken from its flag, else its environment variable, else the file of
/// its name in --config-dir (a mounted ConfigMap), else its default.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Take a snapshot, prove it, store it, confirm it, then apply retention: the whole job (default)
    Run(RunArgs),
    /// First step of the job: leave a proved snapshot and a record of it in the work directory
    ///
    /// In place, which is where no target is set or the target is the work directory, the backup is stored, too: there is
    /// no step `store`.
    Snapshot(SnapshotArgs),
    /// Second step of the job: store and confirm what `snapshot` left
    Store(StoreStepArgs),
    /// Apply retention alone: with --dry-run only print the plan, with --after as the last step of the job
    Prune(PruneArgs),
    /// Say that a suspicious backup is of this cluster as it is now: after a wanted rebuild, restore or wipe
    ///
    /// It then counts as good, and later runs compare with it. This covers NAME, the suspicious backups before it that are
    /// of the same cluster or of none, and those after it that stand now, are of the same cluster and are suspicious for no
    /// other reason. What comes later is not covered. A backup without a readable record is downloaded and proved first.
    ///
    /// If the backup is a stray one, of another cluster or of a wrong configuration, use `dismiss`.
    Accept(JudgeArgs),
    /// Say that a backup is not of this cluster: a stray one of another cluster or of a wrong configuration
    ///
    /// It is then never `latest`, holds back no retention, and is deleted for its age alone. The backup itself is not
    /// touched now. A good backup is dismissed only if a newer good one stands.
    ///
    /// If the cluster was rebuilt, restored or wiped on purpose, and the backup shows what it is now, use `accept`.
    Dismiss(JudgeArgs),
    /// List the stored backups, newest first
    List(ListArgs),
    /// Prove stored backups without restoring them
    Verify(VerifyArgs),
    /// Show what a backup holds: revision, keys, members, and the size of each Kubernetes resource and namespace
    Inspect(InspectArgs),
    /// Print one key of a backup as JSON, or with --raw just its value
    Get(GetArgs),
    /// Print the keys of a backup as JSON Lines, in the order of `etcdctl get --prefix`
    Export(ExportArgs),
    /// Download a backup, prove it, and write it to a file for etcd's own tools
    Fetch(FetchArgs),
    /// Bring deleted keys back from a backup into the running cluster, byte for byte
    ///
    /// KEYs, --prefix and --namespace add up. Each key is created by a transaction of its own that does nothing when the
    /// key exists. Namespaces are written first, then service accounts, then what pods need to start, such as Secrets, then
    /// all else in the order in which it was first created; but owners always before what they own.
    ///
    /// Events, leases, masterleases, endpoints, endpointslices, and keys with an etcd lease are never brought back,
    /// because Kubernetes makes those itself. --namespace also leaves out pods that have a controller, what belongs to
    /// them, root certificates and storage capacities. To bring such a pod back, give its KEY.
    ///
    /// Without --yes the plan is printed, with the command that carries it out, and warnings: of namespaces, owners,
    /// volumes and nodes that are neither in the cluster nor brought back.
    PutBack(PutBackArgs),
    /// Restore a member's data directory from a backup, or with --plan print how to restore the whole cluster
    Restore(Box<RestoreArgs>),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
    /// Copy the TLS files that are set to another directory, for a container that cannot read the node's files
    CopyTls(CopyTlsArgs),
}

impl Command {
    /// The name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Snapshot(_) => "snapshot",
            Self::Store(_) => "store",
            Self::Prune(_) => "prune",
            Self::Accept(_) => "accept",
            Self::Dismiss(_) => "dismiss",
            Self::List(_) => "list",
            Self::Verify(_) => "verify",
            Self::Inspect(_) => "inspect",
            Self::Get(_) => "get",
            Self::Export(_) => "export",
            Self::Fetch(_) => "fetch",
            Self::PutBack(_) => "put-back",
            Self::Restore(_) => "restore",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
            Self::CopyTls(_) => "copy-tls",
        }
    }

    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Prune(args) if args.after.is_some() => Purpose::PruneAfter,
            command => purpose_of(command.name()),
        }
    }

    /// The deadline of the whole command where none is set.
    pub fn deadline(&self) -> Duration {
        deadline_of(self.name())
    }

    /// What every command that has settings takes; `None` for those that have none.
    pub const fn settings(&self) -> Option<&SettingsArgs> {
        Some(match self {
            Self::Run(args) => &args.settings,
            Self::Snapshot(args) => &args.settings,
            Self::Store(args) => &args.settings,
            Self::Prune(args) => &args.settings,
            Self::Accept(args) | Self::Dismiss(args) => &args.read.settings,
            Self::List(args) => &args.settings,
            Self::Verify(args) => &args.read.settings,
            Self::Inspect(args) => &args.read.settings,
            Self::Get(args) => &args.read.settings,
            Self::Export(args) => &args.read.settings,
            Self::Fetch(args) => &args.read.settings,
            Self::PutBack(args) => &args.read.settings,
            Self::Restore(args) => &args.read.settings,
            Self::Completions { .. } | Self::Man { .. } | Self::CopyTls(_) => return None,
        })
    }
}

/// The packages' `activeDeadlineSeconds` is above the sum of their steps', so that a report is written before Kubernetes
/// ends the pod.
fn deadline_of(command: &str) -> Duration {
    Duration::from_mins(match command {
        "snapshot" | "prune" => 20,
        "store" => 40,
        _ => 60,
    })
}

fn purpose_of(command: &str) -> Purpose {
    match command {
        "run" => Purpose::Run,
        "snapshot" => Purpose::Snapshot,
        "store" => Purpose::Store,
        "prune" => Purpose::Prune,
        "put-back" => Purpose::StoredAndEtcd,
        "completions" | "man" | "copy-tls" => Purpose::Local,
        _ => Purpose::Stored,
    }
}

/// Reads the command line and the environment. clap's error also stands for `--help` and `--version`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(with_default_command(args.into_iter().collect()))?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::PutBack(args), Some((name, matches))) = (&mut cli.command, matches.subcommand()) {
        args.typed = command.find_subcommand(name).map(|command| typed(command, matches)).unwrap_or_default();
    }
    Ok(cli)
}

/// The flags on the command line, and not those from the environment, in the order of the help; without those that the
/// command to carry out a plan has anyway.
fn typed(command: &clap::Command, matches: &ArgMatches) -> Vec<OsString> {
    const KNOWN: [&str; 7] = ["yes", "target", "backup-prefix", "prefix", "namespace", "revision", "overwrite"];
    let mut words = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let Some(long) = arg.get_long() else { continue };
        if KNOWN.contains(&long) || matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let flag = format!("--{long}");
        if !arg.get_action().takes_values() {
            words.push(flag.into());
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            if value.as_encoded_bytes().starts_with(b"-") {
                // In one word, so that it is no flag.
                let mut word = OsString::from(format!("{flag}="));
                word.push(value);
                words.push(word);
            } else {
                words.extend([OsString::from(&flag), value.to_owned()]);
            }
        }
    }
    words
}

/// The command line's description, with the exit codes at its end. Values from the environment are left out of the help,
/// as it may be pasted anywhere.
pub fn command() -> clap::Command {
    let complete = |command: clap::Command, purpose| {
        let deadline = humantime::format_duration(deadline_of(command.get_name()));
        let complete = |arg: clap::Arg| match arg.get_id().as_str() {
            "timeout" => arg.help(format!("Give up after this long [default: {deadline}]")),
            _ => arg,
        };
        command.after_help(exit_codes(purpose)).mut_args(|arg| complete(arg).hide_env_values(true))
    };
    complete(Cli::command(), Purpose::Run).mut_subcommands(|command| {
        let purpose = purpose_of(command.get_name());
        complete(command, purpose)
    })
}

fn exit_codes(purpose: Purpose) -> String {
    let lines: Vec<_> = Exit::ALL
        .iter()
        .filter_map(|exit| Some(format!("  {:>3}  {}", exit.code(), meaning(*exit, purpose)?)))
        .collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// With what the exit means in another use of the command.
fn meaning(exit: Exit, purpose: Purpose) -> Option<String> {
    let usual = exit.meaning(purpose);
    let other = purpose.other_use().and_then(|(other, when)| Some((exit.meaning(other)?, when)));
    match (usual, other) {
        (Some(usual), Some((other, when))) if usual != other => Some(format!("{usual} ({when}: {other})")),
        (None, Some((other, when))) => Some(format!("{when}: {other}")),
        (usual, _) => usual.map(ToOwned::to_owned),
    }
}

/// A shell's completion script.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "etcd-backup", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of the program or of one of its commands, in roff; `None` where there is no such command.
pub fn man_page(name: Option<&str>) -> Option<String> {
    let mut program = command();
    // Gives each command its full name, which is also its page's.
    program.build();
    let documented = match name {
        Some(name) => program.find_subcommand(name)?.clone(),
        None => program,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(documented).render(&mut page).ok()?;
    String::from_utf8(page).ok()
}

/// The command that the arguments name, for a message about arguments that do not parse.
pub fn command_of(args: &[OsString]) -> (String, Purpose) {
    let command = Cli::command();
    let named = args.iter().skip(1).find_map(|arg| Some(command.find_subcommand(arg)?.get_name().to_owned()));
    let name = named.unwrap_or_else(|| "run".to_owned());
    let purpose = purpose_of(&name);
    (name, purpose)
}

/// `run` is meant where no command is named.
fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    // Global flags may stand before the command, and their values look like anything.
    let known = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        matches!(&*arg, "-h" | "--help" | "-V" | "--version" | "help") || command.find_subcommand(&*arg).is_some()
    };
    // A word that stands first is a misspelt command, for which clap knows the nearest one.
    let is_word = args.get(1).is_some_and(|first| !first.to_string_lossy().starts_with('-'));
    if !is_word && !args.iter().skip(1).any(known) {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

#[cfg(test)]
mod tests;
