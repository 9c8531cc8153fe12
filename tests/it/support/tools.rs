//! Where the real programs are: an override in the environment, `make tools`, or the PATH.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Ends the test early where a program is missing: a laptop says why, CI fails.
macro_rules! needs {
    ($($program:literal),+ $(,)?) => {
        if !$crate::support::tools::present(&[$($program),+]) {
            return;
        }
    };
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin")
}

/// `etcd` is looked for as `$ETCD`, then among the unpacked tools, then on the PATH.
fn find(program: &str) -> Option<PathBuf> {
    if let Some(path) = env::var_os(program.to_uppercase()) {
        return Some(path.into());
    }
    let unpacked = folder().join(program);
    if unpacked.exists() {
        return Some(unpacked);
    }
    which::which(program).ok()
}

pub fn present(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|p| find(p).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("{missing:?} not found; `make tools` unpacks them"))
}

/// A reason not to run a test is an answer on a laptop and a failure where `CI` is set.
pub fn skip(reason: &str) -> bool {
    assert!(env::var_os("CI").is_none(), "no test may skip itself in CI: {reason}");
    eprintln!("skipped: {reason}");
    false
}

/// The program's path, for tests that said `needs!`.
pub fn tool(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("{program} is missing: did the test say needs!?"))
}

/// A command that inherits nothing but a PATH: no variable of the machine can change what it does.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().env("PATH", path());
    command
}

/// The PATH that the children see, the rclone and etcdutl that were chosen first.
pub fn path() -> OsString {
    let chosen = ["RCLONE", "ETCDUTL"].into_iter().filter_map(env::var_os);
    let chosen = chosen.filter_map(|program| Some(Path::new(&program).parent()?.to_owned()));
    let machine = env::var_os("PATH").unwrap_or_default();
    let folders = chosen.chain([folder()]).chain(env::split_paths(&machine));
    env::join_paths(folders).expect("a PATH without colons in its folders")
}
