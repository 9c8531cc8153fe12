//! Keeps keys and snapshots out of core files, ours and rclone's.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core files from here on, inherited by children. A system that refuses is no reason to go without a backup.
pub fn no_core_files() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(hidden) {
        tracing::warn!(%error, "cannot turn core files off");
    }
}
