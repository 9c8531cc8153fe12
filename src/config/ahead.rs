//! Settings of a later step that an earlier one can see, in the settings directory or the environment. An overlay may give
//! the later step other ones, so a mistake in them is worth a warning, and no more.

use std::fmt::Display;
use std::str::FromStr;

use super::rclone_flags::RcloneFlags;
use super::settings_dir::{SettingsDir, shown};
use super::target::Target;
use super::{Confirm, Settings, env};
use crate::backup::retention::Age;
use crate::cli::values::{Count, Span};

/// The steps of the job that come later, as they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    Store,
    PruneAfter,
}

/// A setting with its variable.
type Setting = (&'static str, &'static str, fn(&SettingsDir, &str, &str) -> Result<(), String>);

/// What `store` uses and `snapshot` does not.
const OF_STORE: [Setting; 5] = [
    ("target", "TARGET", checked::<Target>),
    ("rclone-flags", "RCLONE_FLAGS", checked::<RcloneFlags>),
    ("retry-for", "RETRY_FOR", checked::<Span>),
    ("confirm", "CONFIRM", checked::<Confirm>),
    ("list-timeout", "LIST_TIMEOUT", checked::<humantime::Duration>),
];
/// What `prune --after` uses and no step before it does.
const OF_PRUNE: [Setting; 3] = [
    ("retention", "RETENTION", checked::<Age>),
    ("retention-count", "RETENTION_COUNT", checked::<Count>),
    ("keep-last", "KEEP_LAST", checked::<Count>),
];
/// What `store` uses, too, and `snapshot` does not where there is no `store`.
const OF_PRUNE_IN_PLACE: [Setting; 2] = [OF_STORE[1], OF_STORE[2]];

fn checked<T: FromStr<Err: Display>>(dir: &SettingsDir, key: &str, variable: &str) -> Result<(), String> {
    // Also an empty one, as clap has it.
    let Ok(text) = env::var(variable) else { return dir.or::<T>(None, key).map(drop) };
    text.parse::<T>().map(drop).map_err(|why| format!("{key}: `{}` {why} (from {variable})", shown(key, &text)))
}

impl Settings {
    /// Warns in `snapshot`.
    pub(super) fn warn_after_snapshot(&self, in_place: bool) {
        if in_place {
            self.warn(&OF_PRUNE_IN_PLACE, "snapshot", Later::PruneAfter);
        } else {
            self.warn(&OF_STORE, "snapshot", Later::Store);
        }
        self.warn(&OF_PRUNE, "snapshot", Later::PruneAfter);
    }

    /// Warns in `store`.
    pub(super) fn warn_after_store(&self) {
        self.warn(&OF_PRUNE, "store", Later::PruneAfter);
    }

    fn warn(&self, settings: &[Setting], here: &str, later: Later) {
        for (key, variable, check) in settings {
            if let Err(why) = check(&self.dir, key, variable) {
                tracing::warn!("{why}; `{here}` does not use it, but `{later}` will refuse it, unless it has its own");
            }
        }
    }
}

impl Display for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::PruneAfter => "prune --after",
        })
    }
}
