//! One call of rclone: its command line, its input and output, and how it ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::dump::Dump;
use super::log::ErrorOutput;
use super::{Error, Rclone, log};
use crate::system::process::{BadExit, Child, Ended, Program, Stdin};

/// How many bytes an answer may have that is kept in memory, of which the container has 256 MiB. A listing of 200,000 backups
/// has 60 MB.
const LONGEST_ANSWER: usize = 64 << 20;
/// What to do if it has more.
const TOO_LONG: &str = "give each cluster a backup-prefix of its own, and remove with rclone what is no backup there";

/// What rclone is started for. Its arguments are the subcommand, the defaults, the user's flags, our own ones and `args`, and the
/// last one of a repeated flag counts.
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
    pub input: Option<File>,
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
    /// Runs one call to its end and returns its stdout. Dropping the future ends rclone.
    pub async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.run_to_end(&call).await?.0)
    }

    /// As [`Self::call`], for a subcommand that prints JSON.
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
        let child = match &call.input {
            None => program.start(reader),
            Some(file) => file.try_clone().and_then(|file| program.with_stdin(file, reader)),
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
    /// Waits for its end. What was read is complete, or what was written has arrived, only if this succeeds.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.stdin = None;
        outcome(&self.program, &self.subcommand, &self.path, self.child.wait().await).map(drop)
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
