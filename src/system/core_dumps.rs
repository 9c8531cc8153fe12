//! Keeps keys and snapshots out of core files, ours and those of our child processes.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub fn no_core_files() {
    // Child processes inherit the limit. It does not hold for a `core_pattern` that pipes into a program, such as
    // systemd-coredump, which the second call stops for this process.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Not worth an error: a backup with core files on is better than none.
    if let Err(error) = limited.and(hidden) {
        tracing::warn!(%error, "cannot turn core files off");
    }
}
