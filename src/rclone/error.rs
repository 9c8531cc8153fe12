//! The failures of a call of rclone: their messages and their exit codes.

use std::path::PathBuf;
use std::time::Duration;

use super::away;
use super::classify::classify;
use super::sections::Unusable;
use crate::exit::{Exit, Failure};
use crate::system::blocking::CutShort;
use crate::system::process::BadExit;

/// The oldest version that has `--inplace` and the `--separator` of `cat`, and everything else that is used here.
pub const OLDEST: (u64, u64) = (1, 63);

// Each message contains its cause. Were the cause a `source` too, it would be printed twice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `path` is the value of the variable `PATH`.
    #[error("cannot find rclone in PATH ({path}); install rclone {}.{} or newer", OLDEST.0, OLDEST.1)]
    Missing { path: String },
    #[error("{} is rclone {version}, too old; install {}.{} or newer", program.display(), OLDEST.0, OLDEST.1)]
    TooOld { program: PathBuf, version: String },
    #[error("cannot start {}: {cause}", program.display())]
    Start { program: PathBuf, cause: std::io::Error },
    #[error("rclone-config: cannot read {}: {cause}", file.display())]
    ConfigFile { file: PathBuf, cause: std::io::Error },
    #[error("cannot make a private copy of {}: {cause}", file.display())]
    Config { file: PathBuf, cause: std::io::Error },
    #[error("{}", why.message(file))]
    Unusable { file: String, why: Unusable },
    /// The complaint in `exit` has no secrets in it.
    #[error("rclone {subcommand} {path}: {} ({})", without_repetition(&exit.complaint, subcommand), exit.status)]
    Failed { subcommand: String, path: String, exit: BadExit },
    #[error("cannot read the output of rclone {subcommand}: {cause}")]
    Unreadable { subcommand: String, cause: serde_json::Error },
    #[error("rclone {subcommand} {path}: no answer within {} s", limit.as_secs())]
    TimedOut { subcommand: String, path: String, limit: Duration },
    #[error(transparent)]
    CutShort(#[from] CutShort),
}

impl Error {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. }
            | Self::TooOld { .. }
            | Self::Start { .. }
            | Self::ConfigFile { .. }
            | Self::Unusable { .. } => Exit::Settings,
            Self::Failed { exit, .. } => classify(exit.code, &exit.complaint),
            Self::Config { .. } => Exit::Disk,
            Self::Unreadable { .. } | Self::TimedOut { .. } => Exit::Store,
            Self::CutShort(_) => Exit::Unexpected,
        }
    }

    /// Whether an upload or a move found its name taken. rclone's own check ends in exit code 9, that of an S3 store in HTTP
    /// status 412.
    pub fn is_name_taken(&self) -> bool {
        self.code() == Some(9) || self.complains_of(&["PreconditionFailed", "StatusCode: 412"])
    }

    /// Whether the store does not implement the request, which is HTTP status 501.
    pub fn is_not_implemented(&self) -> bool {
        self.complains_of(&["NotImplemented", "StatusCode: 501"])
    }

    /// Whether the store is away and may be there again in a while: it refuses or drops connections, does not answer in time,
    /// or says that it is busy or broken.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Failed { exit, .. } => away::says(exit.code, &exit.complaint),
            Self::TimedOut { .. } => true,
            _ => false,
        }
    }

    pub fn is_directory_not_found(&self) -> bool {
        self.code() == Some(3)
    }

    pub fn is_file_not_found(&self) -> bool {
        self.code() == Some(4)
    }

    fn code(&self) -> Option<i32> {
        if let Self::Failed { exit, .. } = self { exit.code } else { None }
    }

    fn complains_of(&self, words: &[&str]) -> bool {
        matches!(self, Self::Failed { exit, .. } if words.iter().any(|word| exit.complaint.contains(word)))
    }
}

/// rclone's complaint without what the message says already, as in `Failed to lsjson with 2 errors: last error was: error in
/// ListJSON: reason`.
fn without_repetition<'a>(complaint: &'a str, subcommand: &str) -> &'a str {
    let Some(rest) = complaint.strip_prefix("Failed to ").and_then(|rest| rest.strip_prefix(subcommand)) else {
        return complaint;
    };
    let rest = rest.split_once(": last error was: ").map_or(rest, |(_, reason)| reason);
    rest.trim_start_matches(": ").trim_start_matches("error in ListJSON: ")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once() {
        for (complaint, said) in [
            ("Failed to lsjson with 2 errors: last error was: error in ListJSON: api error A: b", "api error A: b"),
            ("Failed to lsjson: api error A: b", "api error A: b"),
            ("Failed to create file system for \"x:\": y", "Failed to create file system for \"x:\": y"),
            ("unknown flag: --x", "unknown flag: --x"),
        ] {
            assert_eq!(without_repetition(complaint, "lsjson"), said);
        }
    }
}
