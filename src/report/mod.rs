//! What a command prints at its end: text for people or one JSON line for machines, and the pod's termination message.
//! The only writer of stdout.

pub mod command_line;
pub mod job;
pub mod list;
pub mod ruling;
mod stdout;
pub mod table;
mod termination;
pub mod verify;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::usage::{one_line, tidied};
use crate::cli::{Format, command_of};
use crate::exit::{Exit, Purpose};
use crate::plain::{escaped, escaped_lines};

pub use job::JobReport;
pub use stdout::Stdout;

pub struct Report {
    command: &'static str,
    purpose: Purpose,
    /// Filled by the job and its steps alone.
    pub job: JobReport,
    pub seconds: Seconds,
    /// Given by every other command.
    pub answer: Answer,
}

type WriteAnswer = dyn Fn(&mut Stdout, Format) -> io::Result<()>;

#[derive(Default)]
pub enum Answer {
    /// How the command ended is printed instead.
    #[default]
    None,
    /// Printed whatever `--output` is.
    Text(String),
    Document {
        /// For people; ends with a newline.
        text: String,
        /// For machines, printed as one line.
        json: serde_json::Value,
    },
    /// What would not fit into memory as one text.
    KeyByKey(Box<WriteAnswer>),
    /// The command has written to stdout itself. Nothing is added, even if it failed.
    Streamed,
}

/// How long each stage took; `None` for one that was not reached.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Asking the members and the remote.
    pub survey: Option<f64>,
    /// Streaming and proving the snapshot.
    pub snapshot: Option<f64>,
    /// Uploading and confirming.
    pub store: Option<f64>,
    /// Planning and deleting.
    pub prune: Option<f64>,
    pub total: f64,
}

/// How a command ended. The fields are an interface.
#[derive(Debug, Serialize)]
struct Ending<'a> {
    /// `ok`, `retention-incomplete`, `degraded`, `interrupted` or `failed`.
    outcome: &'static str,
    exit: u8,
    command: &'a str,
    error: Option<String>,
    seconds: Seconds,
}

impl Report {
    pub fn new(command: &'static str, purpose: Purpose) -> Self {
        let (job, seconds) = (JobReport::default(), Seconds::default());
        Self { command, purpose, job, seconds, answer: Answer::None }
    }

    /// For a command whose settings decide what it does.
    pub const fn set_purpose(&mut self, purpose: Purpose) {
        self.purpose = purpose;
    }

    /// What an interruption or the deadline means for what was not done yet.
    pub fn cut_short(&self, exit: Exit) -> Option<Cow<'static, str>> {
        let is_interruption = exit.outcome() == Exit::Interrupted.outcome();
        match self.purpose {
            Purpose::StoredAndEtcd => {
                (is_interruption || exit == Exit::Deadline).then_some(Cow::Borrowed("nothing was written to etcd"))
            }
            Purpose::Stored | Purpose::Local => None,
            _ => is_interruption.then(|| self.job.stage.when_cut_short()),
        }
    }

    /// Prints how the command ended, and returns the exit code of the process.
    pub fn print(self, exit: Exit, error: Option<String>, format: Format, total: Duration) -> ExitCode {
        let seconds = Seconds { total: rounded(total), ..self.seconds };
        let ending = |exit: Exit, error| {
            let (outcome, command) = (exit.outcome(), self.command);
            Ending { outcome, exit: exit.code(), command, error, seconds }
        };
        let ended = |exit| ended(exit, self.purpose);
        let first = ending(exit, error);
        // Before stdout, which may be a pipe that nobody reads.
        termination::write(&self.brief(&first, &ended(exit)));
        let written = print(|out| self.write(out, &first, &ended(exit), format));
        let Err(lost) = written else { return exit.code().into() };
        let why = format!("cannot write to stdout: {lost}");
        if exit != Exit::Ok || !self.is_the_product() {
            tracing::warn!("{why}");
            return exit.code().into();
        }
        let exit = Exit::Disk;
        tracing::error!(exit = exit.code(), "{why}");
        termination::write(&self.brief(&ending(exit, Some(why)), &ended(exit)));
        exit.code().into()
    }

    /// Whether the command is run for what it prints. The job and its steps are run for what they do, and a Job that was
    /// red for a backup that is stored would take and store it again.
    const fn is_the_product(&self) -> bool {
        !self.purpose.is_job() || self.job.dry_run
    }

    fn write(&self, out: &mut Stdout, ending: &Ending<'_>, ended: &str, format: Format) -> io::Result<()> {
        match (&self.answer, format) {
            (Answer::KeyByKey(write), _) => write(out, format),
            (Answer::Streamed, _) => Ok(()),
            (Answer::Text(text), _) => out.write_all(text.as_bytes()),
            (Answer::Document { text, .. }, Format::Text) => out.write_all(escaped_lines(text).as_bytes()),
            (Answer::Document { json, .. }, Format::Json) => writeln!(out, "{json}"),
            (Answer::None, Format::Text) => out.write_all(ending.text(ended, &self.job).as_bytes()),
            (Answer::None, Format::Json) => out.write_all(ending.json(self.purpose, &self.job)?.as_bytes()),
        }
    }

    fn brief(&self, ending: &Ending<'_>, ended: &str) -> String {
        let subject = self.job.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let why = ending.error.as_ref().or(self.job.held_back.as_ref());
        let why = why.map(|why| format!(": {}", escaped(why))).unwrap_or_default();
        let decisions = self.job.holds.iter().take(job::HOLDS_SHOWN).map(|held| {
            format!("if {} is the cluster now: {}\nif it is not: {}\n", held.name, held.accept, held.dismiss)
        });
        let decisions: String = decisions.collect();
        let lost = self.job.lost_token.iter().map(|why| format!("{why}\n"));
        let lost: String = lost.collect();
        format!("etcd-backup {}: {} ({ended}){subject}{why}\n{lost}{decisions}", self.command, ending.outcome)
    }
}

impl Ending<'_> {
    fn text(&self, ended: &str, job: &JobReport) -> String {
        let mut lines = vec![("command", self.command.to_owned()), ("outcome", format!("{} ({ended})", self.outcome))];
        lines.extend(job.lines());
        lines.push(("took", self.seconds.to_string()));
        table::labelled(lines)
    }

    fn json(&self, purpose: Purpose, job: &JobReport) -> io::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            ending: &'a Ending<'a>,
            #[serde(flatten)]
            job: Option<&'a JobReport>,
        }
        // Only the job has a backup, members and retention to report.
        let line = Line { ending: self, job: purpose.is_job().then_some(job) };
        Ok(serde_json::to_string(&line)? + "\n")
    }
}

/// `exit 6: the store failed`.
fn ended(exit: Exit, purpose: Purpose) -> String {
    match exit.meaning(purpose) {
        Some(meaning) => format!("exit {}: {meaning}", exit.code()),
        None => format!("exit {}", exit.code()),
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s", self.total)?;
        let stages =
            [("survey", self.survey), ("snapshot", self.snapshot), ("store", self.store), ("prune", self.prune)];
        let stages: Vec<_> = stages.iter().filter_map(|(stage, t)| t.map(|t| format!("{stage} {t:.1} s"))).collect();
        if stages.is_empty() { Ok(()) } else { write!(f, ": {}", stages.join(", ")) }
    }
}

/// Writes to stdout until its end, and says whether all of it was taken.
fn print(write: impl FnOnce(&mut Stdout) -> io::Result<()>) -> io::Result<()> {
    let written = Stdout::open().and_then(|mut out| {
        write(&mut out)?;
        out.flush()
    });
    match written {
        // The reader, such as `head`, needs no more of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints help, the version, or what is wrong with the usage of a command, and returns the exit code of the process.
pub fn usage(usage: clap::Error, args: &[OsString], format: Format, total: Duration) -> ExitCode {
    let usage = tidied(usage);
    // Help and the version are errors to clap, too, which it prints to stdout.
    if !usage.use_stderr() {
        let text = usage.render();
        let text = if is_on_terminal() { text.ansi().to_string() } else { text.to_string() };
        let Err(lost) = print(|out| out.write_all(text.as_bytes())) else { return ExitCode::SUCCESS };
        eprintln!("error: cannot write to stdout: {lost}");
        return Exit::Disk.code().into();
    }
    // If it cannot be written, there is nobody to tell.
    let _ = usage.print();
    let (command, purpose) = command_of(args);
    let (exit, why) = (Exit::Settings, one_line(&usage));
    termination::write(&format!("etcd-backup {command}: {} ({}): {why}\n", exit.outcome(), ended(exit, purpose)));
    if format == Format::Json {
        let seconds = Seconds { total: rounded(total), ..Seconds::default() };
        let (outcome, command) = (exit.outcome(), command.as_str());
        let ending = Ending { outcome, exit: exit.code(), command, error: Some(why), seconds };
        // It is on stderr, too.
        let _ = print(|out| out.write_all(ending.json(purpose, &JobReport::default())?.as_bytes()));
    }
    exit.code().into()
}

/// Whether a person reads stdout as it is written.
pub fn is_on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Seconds since `start`, to the millisecond.
pub fn since(start: Instant) -> f64 {
    rounded(start.elapsed())
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
