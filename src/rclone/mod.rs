//! The only user of rclone: its command line, its environment, its log and its errors.

#![expect(clippy::disallowed_methods, reason = "this module owns rclone's environment")]

mod away;
pub mod backend;
mod classify;
mod config_files;
mod dump;
mod environment;
mod error;
mod log;
mod private_config;
mod redact;
mod reveal;
mod seal;
mod sections;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::config;
use crate::system::blocking::blocking;
use crate::system::process::{BadExit, Child, Ended, Program, Stdin};
use config_files::Opened;
use dump::Dump;
use error::OLDEST;
use log::ErrorOutput;
use private_config::PrivateConfig;
use redact::Redactor;
use sections::Sections;

pub use error::Error;
pub use private_config::lost_token;
pub use sections::Asked;

/// Before 1.74 the headers were not sent, and before 1.75.1 an upload in parts was finished with whatever had come.
const FIRST_TO_CHECK_STREAMS: [u64; 3] = [1, 75, 1];
/// How long an answer may take that needs no remote.
const PROMPT: Duration = Duration::from_secs(20);
/// The same at our own end, which may be one that a signal asked for.
const PROMPT_AT_END: Duration = Duration::from_secs(2);
/// How many bytes an answer may have that is kept in memory, of which the container has 256 MiB. A listing of 200,000 backups
/// has 60 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// What to do if it has more.
const TOO_LONG: &str = "give each cluster a backup-prefix of its own, and remove with rclone what is no backup there";

/// The program, found and new enough, with what every call of it is given.
#[derive(Debug)]
pub struct Rclone {
    program: PathBuf,
    version: String,
    config: Option<PrivateConfig>,
    user_flags: Vec<String>,
    environment: BTreeMap<String, String>,
    redactor: Arc<Redactor>,
    /// What the configuration has; `None` if that is not needed, or cannot be read.
    sections: Option<Sections>,
    mark: String,
}

pub struct Call<'a> {
    /// Such as `lsjson`.
    pub subcommand: &'a str,
    /// The remote, directory or object that it is about, for error messages.
    pub path: &'a str,
    /// Flags that the user's own override. Only those belong here that change no content and no name.
    pub defaults: &'a [&'a str],
    /// Everything after the user's flags, which these override.
    pub args: &'a [&'a str],
    pub stdin: Vec<u8>,
    /// A file that is its stdin instead.
    pub input: Option<&'a Path>,
    /// How long it may take. Without a limit only the deadline of the whole command ends it.
    pub limit: Option<Duration>,
    /// Whether a failure is of no interest to a user. Then nothing of it is logged above the debug level.
    pub quiet: bool,
    /// Whether rclone shows the headers of requests and answers. Then nothing of its log at the debug level is.
    pub dumps_headers: bool,
}

impl<'a> Call<'a> {
    /// A call without defaults, without input and without a limit.
    pub const fn new(subcommand: &'a str, path: &'a str, args: &'a [&'a str]) -> Self {
        let stdin = Vec::new();
        let (input, limit) = (None, None);
        Self { subcommand, path, defaults: &[], args, stdin, input, limit, quiet: false, dumps_headers: false }
    }
}

/// A call whose stdout is being read, or whose stdin is being written. Dropping it ends rclone.
pub struct RunningCall {
    child: Child<ErrorOutput>,
    // Below the child, so that rclone is ended before its stdin is: the end of stdin would be that of the object.
    stdin: Option<Stdin>,
    program: PathBuf,
    subcommand: String,
    path: String,
}

impl Rclone {
    pub async fn find(store: &config::StoreConfig) -> Result<Self, Error> {
        let program =
            which::which("rclone").map_err(|_| Error::Missing { path: std::env::var("PATH").unwrap_or_default() })?;
        Self::at(program, store).await
    }

    pub async fn at(program: PathBuf, store: &config::StoreConfig) -> Result<Self, Error> {
        let (mut environment, dropped) = environment::cleaned(std::env::vars_os());
        tracing::debug!("rclone is not given these variables: {}", dropped.join(", ").escape_debug());
        // Failures are told apart by English words, but helpers such as ssh would translate their messages.
        environment.insert("LC_ALL".into(), "C".into());
        let (named, own) = (store.rclone_config.clone(), environment::own_configs(&program, &environment));
        let opened = blocking(move || config_files::open(named, own, environment)).await?;
        let Opened { text: config_text, config, environment } = opened;
        let redactor = Arc::new(Redactor::new(&config_text, &environment));
        let user_flags = store.rclone_flags.0.clone();
        let sections = None;
        let (version, mark) = (String::new(), new_mark());
        let mut rclone = Self { program, version, config, user_flags, environment, redactor, sections, mark };
        // Neither touches a remote. If both fail, the version is the reason.
        let (version, sections) = tokio::join!(rclone.check_version(), rclone.read_sections(&store.target));
        rclone.version = version?;
        rclone.sections = sections?;
        if let Some(sections) = &rclone.sections {
            // What an encrypted configuration has in it only rclone can tell.
            rclone.redactor = Arc::new(Redactor::new(&config_text, &rclone.environment).and_sections(sections));
        }
        Ok(rclone)
    }

    /// Eight hexadecimal digits that no other process has, for the names of this one's unfinished uploads.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Its version, such as `1.75.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether `rcat --size` refuses what has another size, also in parts, and sends the headers of `--header-upload`. Of a version
    /// that cannot be read that is not known.
    pub fn checks_streams(&self) -> bool {
        numbers(&self.version).is_some_and(|version| version >= FIRST_TO_CHECK_STREAMS)
    }

    async fn check_version(&self) -> Result<String, Error> {
        let limit = Some(PROMPT);
        let text = self.call(Call { limit, ..Call::new("version", "", &[]) }).await?;
        let text = String::from_utf8_lossy(&text);
        let version = text.lines().next().unwrap_or_default().trim_start_matches("rclone v").to_owned();
        tracing::debug!(program = %self.program.display(), version, "rclone");
        // A version that cannot be read passes: refusing it would cost the backup, and a flag that it lacks fails by itself.
        if numbers(&version).is_some_and(|[major, minor, _]| (major, minor) < OLDEST) {
            return Err(Error::TooOld { program: self.program.clone(), version });
        }
        Ok(version)
    }

    /// Runs one call to its end and returns its stdout. Dropping the future ends rclone.
    pub async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.run_to_end(&call).await?.0)
    }

    pub async fn json<T: for<'de> Deserialize<'de>>(&self, call: Call<'_>) -> Result<T, Error> {
        Ok(self.listing(call).await?.0)
    }

    /// As [`Self::json`], with the number of names that a crypt remote left out because its password does not decrypt them.
    pub async fn listing<T: for<'de> Deserialize<'de>>(&self, call: Call<'_>) -> Result<(T, usize), Error> {
        self.parsed(&call).await.map(|(found, stderr)| (found, stderr.undecryptable))
    }

    /// As [`Self::json`], with the `ETag` of the one object of S3 that the call is about, if it was sent in parts.
    pub async fn json_and_etag<T>(&self, call: Call<'_>) -> Result<(T, Option<String>), Error>
    where
        T: for<'de> Deserialize<'de>,
    {
        let found = self.parsed(&Call { dumps_headers: true, ..call }).await;
        found.map(|(found, stderr)| (found, stderr.dump.and_then(Dump::etag)))
    }

    async fn parsed<T: for<'de> Deserialize<'de>>(&self, call: &Call<'_>) -> Result<(T, ErrorOutput), Error> {
        // The exit status comes first: for a missing directory, `lsjson` prints `[` and nothing else.
        let (stdout, stderr) = self.run_to_end(call).await?;
        let unreadable = |cause| Error::Unreadable { subcommand: call.subcommand.to_owned(), cause };
        Ok((serde_json::from_slice(&stdout).map_err(unreadable)?, stderr))
    }

    /// As [`Self::call`], for a call whose output is of use although it failed.
    pub async fn partial_output(&self, call: Call<'_>) -> (Vec<u8>, Result<(), Error>) {
        match self.wait(&call).await {
            Ok(mut ended) => (ended.take_stdout(), outcome(&self.program, call.subcommand, call.path, ended).map(drop)),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    /// Runs one call that deletes. Returns the objects of which rclone said that they are gone, also if it then failed.
    pub async fn delete(&self, call: Call<'_>) -> (Vec<String>, Result<(), Error>) {
        match self.wait(&call).await {
            Ok(mut ended) => {
                let deleted = std::mem::take(&mut ended.stderr().deleted);
                (deleted, outcome(&self.program, call.subcommand, call.path, ended).map(drop))
            }
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    async fn run_to_end(&self, call: &Call<'_>) -> Result<(Vec<u8>, ErrorOutput), Error> {
        outcome(&self.program, call.subcommand, call.path, self.wait(call).await?)
    }

    async fn wait(&self, call: &Call<'_>) -> Result<Ended<ErrorOutput>, Error> {
        let (program, reader) = (self.program(call), self.stderr_reader(call));
        let child = match call.input {
            None => program.start(reader),
            Some(path) => File::open(path).and_then(|file| program.with_stdin(file, reader)),
        };
        let child = child.map_err(|e| self.not_started(e))?;
        let waiting = child.wait();
        let Some(limit) = call.limit else { return Ok(waiting.await) };
        tokio::time::timeout(limit, waiting).await.map_err(|_| Error::TimedOut {
            subcommand: call.subcommand.to_owned(),
            path: call.path.to_owned(),
            limit,
        })
    }

    /// Starts one call whose stdout is read as it comes. It is complete only if [`RunningCall::finish`] succeeds.
    pub fn stream(&self, call: &Call<'_>) -> Result<(RunningCall, PipeReader), Error> {
        let (child, stdout) = self.program(call).stream(self.stderr_reader(call)).map_err(|e| self.not_started(e))?;
        Ok((self.running(call, child, None), stdout))
    }

    /// Starts one call whose stdin is written as it comes. That ends with [`RunningCall::finish`], if the writer is dropped by
    /// then.
    pub fn feed(&self, call: &Call<'_>) -> Result<(RunningCall, Stdin), Error> {
        let (child, stdin) = self.program(call).feed(self.stderr_reader(call)).map_err(|e| self.not_started(e))?;
        Ok((self.running(call, child, Some(stdin.clone())), stdin))
    }

    fn running(&self, call: &Call<'_>, child: Child<ErrorOutput>, stdin: Option<Stdin>) -> RunningCall {
        let (subcommand, path) = (call.subcommand.to_owned(), call.path.to_owned());
        RunningCall { child, stdin, program: self.program.clone(), subcommand, path }
    }

    fn stderr_reader(&self, call: &Call<'_>) -> impl FnOnce(PipeReader) -> ErrorOutput + Send + 'static {
        let (subcommand, quiet, redactor) = (call.subcommand.to_owned(), call.quiet, Arc::clone(&self.redactor));
        let relay = if call.dumps_headers { log::relay_dump } else { log::relay };
        move |stderr| relay(stderr, &subcommand, quiet, &redactor)
    }

    fn not_started(&self, cause: io::Error) -> Error {
        Error::Start { program: self.program.clone(), cause }
    }

    fn program(&self, call: &Call<'_>) -> Program {
        Program {
            path: self.program.clone(),
            args: self.argv(call),
            environment: self.environment.clone(),
            stdin: call.stdin.clone(),
            stdout_limit: LONGEST_ANSWER,
        }
    }

    fn argv(&self, call: &Call<'_>) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![call.subcommand.into()];
        // rclone takes the last one of a repeated flag.
        argv.extend(call.defaults.iter().map(OsString::from));
        argv.extend(self.user_flags.iter().map(OsString::from));
        // Without the second one, rclone would ask for the password of an encrypted configuration.
        argv.extend(["--use-json-log", "--ask-password=false"].map(OsString::from));
        // A dump sets a level of its own, and before rclone 1.66 the two were refused together.
        argv.push(if call.dumps_headers { "--dump=headers" } else { "--log-level=INFO" }.into());
        if let Some(config) = &self.config {
            argv.extend(["--config".into(), config.path().into()]);
        }
        argv.extend(call.args.iter().map(OsString::from));
        argv
    }
}

impl RunningCall {
    pub async fn finish(mut self) -> Result<(), Error> {
        self.stdin = None;
        outcome(&self.program, &self.subcommand, &self.path, self.child.wait().await).map(drop)
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        let Some(config) = self.config.as_ref().filter(|config| config.has_sealed_change()) else { return };
        if let (Some(first), Some(now)) = (&self.sections, self.sections_at_end()) {
            config.compare(first, &now);
        } else {
            tracing::debug!("rclone-config: whether a refresh token was renewed cannot be told");
        }
    }
}

fn outcome(
    program: &Path,
    subcommand: &str,
    path: &str,
    ended: Ended<ErrorOutput>,
) -> Result<(Vec<u8>, ErrorOutput), Error> {
    let failed = |mut exit: BadExit| {
        if let Some(cause) = exit.never_started(program) {
            return Error::Start { program: program.to_owned(), cause };
        }
        if exit.is_too_much() {
            exit.complaint = format!("{}; {TOO_LONG}", exit.complaint);
        }
        Error::Failed { subcommand: subcommand.to_owned(), path: path.to_owned(), exit }
    };
    let complaint = |mut stderr: ErrorOutput| {
        stderr.last_error.forget_if_in(&stderr.complaint);
        stderr.complaint
    };
    ended.success(complaint).map_err(failed)
}

/// Major, minor and patch level; one that is missing is 0.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut numbers = version.split(['.', '-']).map_while(|n| n.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)])
}

fn new_mark() -> String {
    // The keys of a new hasher are random, so two runs at once have different marks. Process ids would not do: that of the
    // first process of every container is 1.
    format!("{:08x}", std::hash::RandomState::new().hash_one("") >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, checks) in
            [("1.75.0", false), ("1.74.4", false), ("1.75.1", true), ("1.100", true), ("2.0.0-beta.1", true)]
        {
            assert_eq!(numbers(version).is_some_and(|numbers| numbers >= FIRST_TO_CHECK_STREAMS), checks, "{version}");
        }
        assert_eq!((numbers("1.63-DEV"), numbers("unknown")), (Some([1, 63, 0]), None));
    }
}
