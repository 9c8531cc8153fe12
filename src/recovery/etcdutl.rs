//! The only user of etcdutl, which builds a member's data directory from a snapshot.

#![expect(clippy::disallowed_methods, reason = "this module owns etcdutl's environment")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::system::lines::{LONGEST, Line, lines};
use crate::system::process::{BadExit, Program};

/// All that etcdutl inherits. The other variables may hold passwords, and its settings are in its flags.
const ENVIRONMENT: [&str; 3] = ["PATH", "HOME", "TMPDIR"];
/// In bytes. It prints its version and its help.
const LONGEST_ANSWER: usize = 1 << 20;

/// What the Go runtime calls the faults of a disk (`syscall/zerrors_linux_*.go`).
const DISK: [&str; 5] =
    ["no space left on device", "disk quota exceeded", "file too large", "input/output error", "read-only file system"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot find etcdutl in PATH ({path}); it comes with etcd 3.5 and newer: install that of your cluster's version, \
         or `etcd-backup fetch` the backup and restore it on a machine that has etcdutl"
    )]
    Missing { path: String },
    #[error("cannot start {}: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("etcdutl {verb}: {exit}")]
    Failed { verb: &'static str, exit: BadExit },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Missing { .. } | Error::Start { .. } => Exit::Settings,
            Error::Failed { exit, .. } if DISK.iter().any(|words| exit.complaint.contains(words)) => Exit::Disk,
            Error::Failed { .. } => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

#[derive(Debug)]
pub struct Etcdutl {
    program: PathBuf,
    /// Such as `3.5.16`.
    pub version: String,
    /// Whether it can raise the revision of what it restores (`--bump-revision`, `--mark-compacted`).
    pub can_bump: bool,
}

/// The restored member's identity, as etcdutl's flags take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub peer_urls: String,
    pub cluster: String,
    pub token: String,
}

impl Etcdutl {
    /// Finds the program in `PATH` and asks what it can do.
    pub async fn find() -> Result<Self, Error> {
        let missing = |_| Error::Missing { path: std::env::var("PATH").unwrap_or_default() };
        let program = which::which("etcdutl").map_err(missing)?;
        let mut found = Self { program, version: String::new(), can_bump: false };
        let version = found.call("version", vec!["version".into()]).await?;
        let version = version.lines().next().and_then(|line| line.rsplit_once(' '));
        found.version = version.map(|(_, version)| version.to_owned()).unwrap_or_default();
        let help =
            found.call("snapshot restore --help", ["snapshot", "restore", "--help"].map(Into::into).into()).await?;
        // Patch releases of one minor version differ in this, so the version would not tell.
        found.can_bump = help.contains("--bump-revision") && help.contains("--mark-compacted");
        tracing::debug!(program = %found.program.display(), version = found.version, found.can_bump, "etcdutl");
        Ok(found)
    }

    /// Why this etcdutl may not restore a backup of the storage version, such as `3.6`; `None` if it is new enough.
    pub fn too_old_for(&self, storage_version: &str) -> Option<String> {
        let is_older = minor(&self.version)? < minor(storage_version)?;
        is_older.then(|| {
            format!(
                "etcdutl {}, which is here, is older than the backup's storage version {storage_version} and may not \
                 restore it: use an image that was built with ETCD_VERSION=v{storage_version}.x, that of the cluster",
                self.version
            )
        })
    }

    /// Builds the data directory `into`, which must not exist yet, and with `wal_dir` the log there. `bump` is added to the
    /// revision, and all older ones are marked as compacted, so that every watcher starts anew. When the future is dropped,
    /// the program is stopped, but what it has written stays.
    pub async fn restore(
        &self,
        file: &Path,
        into: &Path,
        wal_dir: Option<&Path>,
        identity: &Identity,
        bump: Option<NonZeroU64>,
    ) -> Result<(), Error> {
        let flag = |flag: &str, value: &str| OsString::from(format!("--{flag}={value}"));
        let mut args: Vec<OsString> = vec!["snapshot".into(), "restore".into(), file.into(), "--data-dir".into()];
        args.push(into.into());
        if let Some(wal_dir) = wal_dir {
            args.extend(["--wal-dir".into(), wal_dir.into()]);
        }
        args.push(flag("name", &identity.name));
        args.push(flag("initial-cluster", &identity.cluster));
        args.push(flag("initial-cluster-token", &identity.token));
        args.push(flag("initial-advertise-peer-urls", &identity.peer_urls));
        if let Some(bump) = bump {
            args.push(flag("bump-revision", &bump.to_string()));
            // etcdutl refuses the one without the other.
            args.push("--mark-compacted".into());
        }
        self.call("snapshot restore", args).await?;
        Ok(())
    }

    async fn call(&self, verb: &'static str, args: Vec<OsString>) -> Result<String, Error> {
        let inherited = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let environment: BTreeMap<String, String> = ENVIRONMENT.into_iter().filter_map(inherited).collect();
        let program =
            Program { path: self.program.clone(), args, environment, stdin: Vec::new(), stdout_limit: LONGEST_ANSWER };
        let child = program.start(relay).map_err(|source| Error::Start { program: self.program.clone(), source })?;
        let ended = child.wait().await.success(|complaint| complaint);
        let failed = |exit: BadExit| match exit.never_started(&self.program) {
            Some(source) => Error::Start { program: self.program.clone(), source },
            None => Error::Failed { verb, exit },
        };
        let (stdout, _) = ended.map_err(failed)?;
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

/// Logs every line, and returns the program's own complaint, which is one line among those of its log. A panic says what was
/// done, and only the log why it failed.
fn relay(stderr: impl Read) -> String {
    let (mut complaint, mut disk) = (String::new(), None);
    for line in lines(BufReader::new(stderr)) {
        let Line::Text(line) = line else {
            tracing::debug!("etcdutl: a line of more than {LONGEST} bytes is left out");
            continue;
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        tracing::debug!("etcdutl: {line}");
        if let Some(error) = line.strip_prefix("Error:") {
            error.trim().clone_into(&mut complaint);
        } else if complaint.is_empty() && line.starts_with("panic:") {
            line.clone_into(&mut complaint);
        }
        disk = disk.or_else(|| DISK.into_iter().find(|words| line.contains(words)));
    }
    match disk {
        Some(words) if complaint.is_empty() => words.to_owned(),
        Some(words) if !complaint.contains(words) => format!("{complaint}: {words}"),
        _ => complaint,
    }
}

/// The first two numbers of a version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_every_way_in_which_etcdutl_ends() {
        let of = |stderr: &str| {
            let exit = BadExit { complaint: relay(stderr.as_bytes()), status: "exit code 2".into(), code: Some(2) };
            let failure = Failure::from(Error::Failed { verb: "snapshot restore", exit });
            (failure.exit, failure.one_line())
        };
        let log = r#"{"level":"panic","msg":"failed to commit","error":"write /d/db: no space left on device"}"#;
        for (stderr, says) in [
            ("info\nError: write /d/db: no space left on device\n".to_owned(), "restore: write /d/db: no space left"),
            (format!("{log}\npanic: failed to commit\n\ngoroutine 1\n"), "panic: failed to commit: no space left"),
            (format!("{log}\n"), "restore: no space left on device"),
            ("Error: write /d/db: disk quota exceeded".into(), "disk quota exceeded"),
            ("Error: read /d/db: input/output error".into(), "input/output error"),
        ] {
            let (exit, line) = of(&stderr);
            assert!(exit == Exit::Disk && line.contains(says), "{exit:?} {line}");
        }
        assert_eq!(of("Error: expected sha256 [1], got [2]").0, Exit::Unexpected);
    }

    #[test]
    fn an_older_minor_version_may_not_restore_what_a_newer_one_wrote() {
        let of = |version: &str| Etcdutl { program: PathBuf::new(), version: version.into(), can_bump: true };
        for (etcdutl, storage, old) in [
            ("3.5.16", "3.6", true),
            ("3.9.1", "3.10", true),
            ("3.6.0", "3.6", false),
            ("3.5.1", "3.5", false),
            ("3.6.16", "3.4", false),
            ("4.0.0", "3.6", false),
            ("unheard of", "3.6", false),
        ] {
            let why = of(etcdutl).too_old_for(storage);
            assert_eq!(why.is_some(), old, "{etcdutl} {storage}");
            assert!(why.is_none_or(|why| why.contains(etcdutl) && why.contains(&format!("ETCD_VERSION=v{storage}."))));
        }
    }
}
