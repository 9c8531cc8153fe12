//! Keeps keys and snapshots out of core files, ours and those of the programs that we start.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core files off, for children too.
pub fn no_core_files() {
    // The limit is inherited. The second call also covers a `core_pattern` that pipes into a program, which does not heed
    // the limit.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A kernel that refuses is no reason to go without a backup.
    if let Err(error) = limited.and(hidden) {
        tracing::warn!(%error, "cannot turn core files off");
    }
}
