//! The report: text for people, one JSON line for machines, and in brief the pod's termination message. The only
//! writer of stdout.

mod stream;
pub mod table;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use serde::Serialize;

use crate::backup::record::Record;
use crate::backup::retention::{Decision, Plan, Reason};
use crate::cli::Format;
use crate::exit::Exit;
use crate::member::Refusal;
use crate::store::Removal;

pub use stream::Stdout;

/// Where Kubernetes reads a container's last words from; at most 4096 bytes of them.
const TERMINATION_LOG: &str = "/dev/termination-log";
const LAST_WORDS: usize = 4_000;

/// What a command that reads prints, in both forms.
#[derive(Debug)]
pub struct Body {
    /// For people; ends with a newline unless empty.
    pub text: String,
    /// For machines, printed as one line; `None` where the text is the only form.
    pub json: Option<serde_json::Value>,
}

impl Body {
    /// For a command that writes its stdout itself: nothing is added to it, whatever the end.
    pub const fn none() -> Self {
        Self { text: String::new(), json: None }
    }
}

/// Everything that a command has to say; filled while it runs, so that a run cut short can still be reported.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok`, `retention-incomplete`, `degraded`, `interrupted` or `failed`.
    pub outcome: &'static str,
    /// The exit code.
    pub exit: u8,
    /// Which command.
    pub command: &'static str,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// The stored object, below the target.
    pub name: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// The backup.
    #[serde(flatten)]
    pub backup: Option<Record>,
    /// Members that were not used.
    pub refused: Vec<Refused>,
    /// Seconds of each stage.
    pub seconds: Seconds,
    /// Why nothing was pruned although a limit is set.
    pub held_back: Option<String>,
    /// Whether nothing was deleted because nothing was to be.
    pub dry_run: bool,
    /// Backups that stay.
    pub kept: Vec<Judged>,
    /// Backups that are gone; of a dry run, that would go.
    pub removed: Vec<Judged>,
    /// Backups that should be gone and are not.
    pub failed: Vec<String>,
    /// Other files in the folder, which are never touched.
    pub foreign: usize,
    /// Printed in place of all this by a command that reads and came to its end.
    #[serde(skip)]
    pub body: Option<Body>,
}

/// A member that was not used.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// Its endpoint.
    pub endpoint: String,
    /// Why.
    pub reason: String,
}

/// A backup and the reasons for its fate.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// How long each stage took, in seconds; nothing for one that was not reached.
#[derive(Debug, Default, Serialize)]
pub struct Seconds {
    /// Asking the members and the remote.
    pub survey: Option<f64>,
    /// Streaming and proving.
    pub snapshot: Option<f64>,
    /// Uploading and confirming.
    pub store: Option<f64>,
    /// Planning and deleting.
    pub prune: Option<f64>,
    /// All of it.
    pub total: f64,
}

impl Report {
    /// An empty one.
    pub fn new(command: &'static str) -> Self {
        Self {
            outcome: "",
            exit: 0,
            command,
            error: None,
            name: None,
            target: None,
            backup: None,
            refused: vec![],
            seconds: Seconds::default(),
            held_back: None,
            dry_run: false,
            kept: vec![],
            removed: vec![],
            failed: vec![],
            foreign: 0,
            body: None,
        }
    }

    /// Notes members that were not used.
    pub fn refuse(&mut self, refusals: &[Refusal]) {
        let refused = refusals.iter().map(|r| Refused { endpoint: r.endpoint.to_string(), reason: r.reason.clone() });
        self.refused.extend(refused);
    }

    /// Notes a plan as if it were done.
    pub fn plan(&mut self, plan: &Plan) {
        self.kept = plan.keep.iter().map(judged).collect();
        self.removed = plan.remove.iter().map(judged).collect();
    }

    /// Notes what became of the plan.
    pub fn removal(&mut self, plan: &Plan, removal: &Removal) {
        let gone = plan.remove.iter().filter(|v| removal.removed.contains(&v.name));
        self.removed = gone.map(judged).collect();
        self.failed = removal.failed.iter().map(ToString::to_string).collect();
    }

    /// Sets the ending and prints.
    ///
    /// # Errors
    /// A stdout that cannot be written to.
    pub fn finish(mut self, exit: Exit, error: Option<String>, format: Format, total: Duration) -> io::Result<()> {
        self.outcome = exit.outcome();
        self.exit = exit.code();
        self.error = error;
        self.seconds.total = rounded(total);
        let text = match (format, self.body.take()) {
            (Format::Json, Some(Body { json: Some(json), .. })) => format!("{json}\n"),
            (_, Some(body)) => body.text,
            (Format::Text, None) => self.text(exit),
            (Format::Json, None) => serde_json::to_string(&self)? + "\n",
        };
        leave_last_words(&self.brief(exit));
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    fn brief(&self, exit: Exit) -> String {
        let subject = self.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let why = self.error.as_ref().or(self.held_back.as_ref()).map(|e| format!(": {e}")).unwrap_or_default();
        format!("etcd-backup {}: {} (exit {}: {exit}){subject}{why}\n", self.command, self.outcome, self.exit)
    }

    fn text(&self, exit: Exit) -> String {
        let mut out = String::new();
        let mut line = |label: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{label:<10} {value}");
        };
        if exit == Exit::Ok {
            line("outcome", self.outcome);
        } else {
            line("outcome", &format!("{} (exit {}: {exit})", self.outcome, self.exit));
        }
        if let Some(name) = &self.name {
            line("stored", &format!("{name} in {}", self.target.as_deref().unwrap_or_default()));
        }
        if let Some(b) = &self.backup {
            line("size", &format!("{} ({} bytes)", ByteSize(b.bytes), b.bytes));
            line("sha256", &b.sha256);
            line("content", &format!("revision {}, {} keys", b.revision, b.keys));
            line(
                "member",
                &format!("{} ({}), etcd {}, cluster {}", b.member, b.member_id, b.etcd_version, b.cluster_id),
            );
            if let Some(why) = &b.degraded {
                line("degraded", why);
            }
        }
        for refused in &self.refused {
            line("not used", &format!("{}: {}", refused.endpoint, refused.reason));
        }
        self.retention_text(&mut line);
        line("took", &self.took());
        out
    }

    fn retention_text(&self, line: &mut impl FnMut(&str, &str)) {
        if let Some(why) = &self.held_back {
            line("held back", &format!("nothing was pruned: {why}"));
        }
        if self.dry_run {
            for kept in &self.kept {
                line("keep", &kept.to_string());
            }
        } else if !self.kept.is_empty() {
            let plural = if self.kept.len() == 1 { "" } else { "s" };
            line("kept", &format!("{} backup{plural}", self.kept.len()));
        }
        for gone in &self.removed {
            line(if self.dry_run { "would go" } else { "removed" }, &gone.to_string());
        }
        for name in &self.failed {
            line("NOT gone", name);
        }
        if self.foreign > 0 {
            line("foreign", &format!("{} other files, never touched", self.foreign));
        }
    }

    fn took(&self) -> String {
        let s = &self.seconds;
        let stages = [("survey", s.survey), ("snapshot", s.snapshot), ("store", s.store), ("prune", s.prune)];
        let stages: Vec<_> = stages.iter().filter_map(|(stage, t)| t.map(|t| format!("{stage} {t:.1} s"))).collect();
        if stages.is_empty() { format!("{:.1} s", s.total) } else { format!("{:.1} s: {}", s.total, stages.join(", ")) }
    }
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
        write!(f, "{} ({})", self.name, reasons.join(", "))
    }
}

/// Whether a person reads stdout as it is written.
pub fn is_on_terminal() -> bool {
    io::stdout().is_terminal()
}

fn judged(verdict: &Decision) -> Judged {
    Judged { name: verdict.name.to_string(), reasons: verdict.reasons.clone() }
}

/// Seconds since `start`, to the millisecond.
pub fn since(start: Instant) -> f64 {
    rounded(start.elapsed())
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Writes the pod's termination message, where there is a file for it.
pub fn leave_last_words(text: &str) {
    let path = Path::new(TERMINATION_LOG);
    if !path.is_file() {
        return;
    }
    let text = text.get(..text.floor_char_boundary(LAST_WORDS)).unwrap_or(text);
    if let Err(error) = std::fs::write(path, text) {
        tracing::debug!(%error, "writing {TERMINATION_LOG}");
    }
}
