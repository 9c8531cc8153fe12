//! The exit codes: an interface that Jobs, alerts and scripts rely on.

use std::fmt::Display;

use crate::plain::with_cut_values;

/// How a command ended. The numbers are documented in the README and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// Something that this program did not foresee.
    Unexpected,
    Settings,
    /// The backup is stored and confirmed, but retention is incomplete or held back.
    Retention,
    NoMember,
    /// No member gave a snapshot that proved good, or a stored backup is damaged.
    Proof,
    /// The remote failed: the backup is not stored, or not confirmed.
    Store,
    Deadline,
    /// A degraded backup is stored; the cluster needs help.
    Degraded,
    /// etcd or the remote refused the credentials or their permissions.
    Denied,
    /// The local disk has no room, or it failed.
    Disk,
    /// SIGHUP.
    HungUp,
    /// SIGINT.
    Interrupted,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminated,
}

/// What a command is for, which decides what its exit codes say, and which of them it can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Run,
    Snapshot,
    /// `snapshot` where backups stay in the work directory. It is known only when its settings are read.
    SnapshotInPlace,
    Store,
    Prune,
    /// `prune --after`, which ends as the whole job.
    PruneAfter,
    /// Commands that read the store, or write a decision to it.
    Stored,
    /// The command that also talks to etcd: `put-back`.
    StoredAndEtcd,
    /// Commands that know neither.
    Local,
}

impl Purpose {
    /// Whether it is the job or one of its steps.
    pub const fn is_job(self) -> bool {
        !matches!(self, Self::Stored | Self::StoredAndEtcd | Self::Local)
    }

    /// What the same command is for in another use of it, and which use that is.
    pub const fn other_use(self) -> Option<(Self, &'static str)> {
        match self {
            Self::Snapshot => Some((Self::SnapshotInPlace, "in place")),
            Self::Prune => Some((Self::PruneAfter, "with --after")),
            _ => None,
        }
    }

    /// What is done when a command of this purpose ends with 0.
    const fn done(self) -> &'static str {
        match self {
            Self::Run => "stored, confirmed, retention done",
            Self::Snapshot => "snapshot taken and proved; not stored yet",
            Self::SnapshotInPlace | Self::Store => "stored and confirmed; not pruned yet",
            Self::Prune => "retention done",
            Self::PruneAfter => "the backup is stored and confirmed, retention done",
            Self::Stored | Self::StoredAndEtcd | Self::Local => "done",
        }
    }
}

impl Exit {
    /// Every exit, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Unexpected,
        Self::Settings,
        Self::Retention,
        Self::NoMember,
        Self::Proof,
        Self::Store,
        Self::Deadline,
        Self::Degraded,
        Self::Denied,
        Self::Disk,
        Self::HungUp,
        Self::Interrupted,
        Self::Quit,
        Self::Terminated,
    ];

    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unexpected => 1,
            Self::Settings => 2,
            Self::Retention => 3,
            Self::NoMember => 4,
            Self::Proof => 5,
            Self::Store => 6,
            Self::Deadline => 7,
            Self::Degraded => 8,
            Self::Denied => 9,
            Self::Disk => 10,
            // 128 and the number of the signal, as shells have it.
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Quit => 131,
            Self::Terminated => 143,
        }
    }

    /// The meaning, as `--help`, the report and the README have it; `None` for an exit that commands of this purpose
    /// never end with.
    pub const fn meaning(self, purpose: Purpose) -> Option<&'static str> {
        use Purpose::{Local, Prune, PruneAfter, Run, Snapshot, SnapshotInPlace, Store, Stored, StoredAndEtcd};
        Some(match (self, purpose) {
            (Self::Ok, _) => purpose.done(),
            (Self::Unexpected, _) => "unexpected",
            (Self::Settings, _) => "settings, certificates or usage are wrong; nothing was attempted",
            (Self::HungUp, _) => "interrupted (SIGHUP)",
            (Self::Interrupted, _) => "interrupted (SIGINT)",
            (Self::Quit, _) => "interrupted (SIGQUIT)",
            (Self::Terminated, _) => "interrupted (SIGTERM)",
            (Self::Retention, Run) => "stored and confirmed, but retention is incomplete or held back",
            (Self::Retention, Prune | PruneAfter) => "retention is incomplete or held back",
            (Self::Degraded, Run | PruneAfter) => "a degraded backup is stored; the cluster needs help",
            (Self::NoMember, Run | Snapshot | SnapshotInPlace | StoredAndEtcd) => "no usable member",
            (Self::Proof, Run) => "no member gave a snapshot that proved good, or a backup is damaged",
            (Self::Proof, Snapshot | SnapshotInPlace) => "no member gave a snapshot that proved good",
            (Self::Proof, Store) => "what `snapshot` left is damaged, or another file",
            (Self::Proof, Stored | StoredAndEtcd) => "a backup is damaged",
            (Self::Store, Run | SnapshotInPlace | Store) => "the store failed: not stored, or not confirmed",
            (Self::Store, PruneAfter) => "the backup is not stored; nothing was pruned",
            (Self::Store, Prune | Stored | StoredAndEtcd) => "the store failed",
            (Self::Disk, purpose) if purpose.is_job() => "the local disk: no room, or it failed",
            (Self::Disk, _) => "the local disk or stdout: no room, or it failed",
            (Self::Retention | Self::Degraded | Self::NoMember | Self::Proof, _)
            | (Self::Store, Snapshot)
            | (_, Local) => return None,
            (Self::Deadline, _) => "the deadline passed",
            (Self::Denied, _) => "refused by etcd or the store: credentials or permissions",
        })
    }

    /// One word for machines and for the report's first line.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retention => "retention-incomplete",
            Self::Degraded => "degraded",
            Self::HungUp | Self::Interrupted | Self::Quit | Self::Terminated => "interrupted",
            _ => "failed",
        }
    }
}

/// What every command fails with.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What was attempted, on what, and why it failed.
    pub error: anyhow::Error,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    pub fn message(exit: Exit, message: impl Display) -> Self {
        Self::new(exit, anyhow::anyhow!("{message}"))
    }

    /// A refused setting or argument; the message begins with the setting's name and a colon.
    pub fn settings(message: impl Display) -> Self {
        Self::message(Exit::Settings, with_cut_values(&message.to_string()))
    }

    /// The same failure, of which more is known.
    pub fn and(self, more: Option<&str>) -> Self {
        match more {
            Some(more) => Self::message(self.exit, format!("{self}; {more}")),
            None => self,
        }
    }

    /// The error and its causes in one line.
    pub fn one_line(&self) -> String {
        format!("{:#}", self.error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.one_line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<_> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
    }

    #[test]
    fn a_job_can_end_in_every_way() {
        assert!(Exit::ALL.iter().all(|exit| exit.meaning(Purpose::Run).is_some()));
        assert_eq!(Exit::Degraded.meaning(Purpose::Stored), None);
        assert_eq!(Exit::Store.meaning(Purpose::Local), None);
    }

    #[test]
    fn only_what_stores_says_stored() {
        for exit in Exit::ALL.iter().filter_map(|exit| exit.meaning(Purpose::Snapshot)) {
            let says_so = exit.contains("stored") && !exit.contains("not stored");
            assert!(!says_so, "{exit}");
        }
        assert!(!Exit::Ok.meaning(Purpose::Prune).unwrap().contains("stored"));
    }
}
