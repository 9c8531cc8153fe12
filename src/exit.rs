//! The exit codes: an interface that Jobs, alerts and scripts rely on.

use std::fmt;

/// How a run ended. The numbers are documented in the README and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Stored, confirmed, retention done.
    Ok,
    /// Something that this program did not foresee.
    Unexpected,
    /// Settings, certificates or usage are wrong; nothing was attempted.
    Settings,
    /// Stored and confirmed, but retention is incomplete or held back.
    Retention,
    /// No usable member.
    NoMember,
    /// No member gave a snapshot that proved good, or a backup is damaged.
    Proof,
    /// The store failed: not stored, or not confirmed.
    Store,
    /// The deadline passed.
    Deadline,
    /// A degraded backup is stored; the cluster needs help.
    Degraded,
    /// Refused by etcd or by the store: credentials or permissions.
    Denied,
    /// The local disk: no room, or it failed.
    Disk,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// Every exit, in the order of the documentation.
    pub const ALL: [Self; 13] = [
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
        Self::Interrupted,
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
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The meaning, as `--help` prints it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "stored, confirmed, retention done",
            Self::Unexpected => "unexpected",
            Self::Settings => "settings, certificates or usage are wrong; nothing was attempted",
            Self::Retention => "stored and confirmed, but retention is incomplete or held back",
            Self::NoMember => "no usable member",
            Self::Proof => "no member gave a snapshot that proved good, or a backup is damaged",
            Self::Store => "the store failed: not stored, or not confirmed",
            Self::Deadline => "the deadline passed",
            Self::Degraded => "a degraded backup is stored; the cluster needs help",
            Self::Denied => "refused by etcd or the store: credentials or permissions",
            Self::Disk => "the local disk: no room, or it failed",
            Self::Interrupted => "interrupted (SIGINT)",
            Self::Terminated => "interrupted (SIGTERM)",
        }
    }

    /// One word for machines and for the report's first line.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retention => "retention-incomplete",
            Self::Degraded => "degraded",
            Self::Interrupted | Self::Terminated => "interrupted",
            _ => "failed",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meaning())
    }
}

/// An error and the exit that it leads to; what every command fails with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code's meaning.
    pub exit: Exit,
    /// What was attempted, on what, and why it failed.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure from any error.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Unexpected, error }
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
}
