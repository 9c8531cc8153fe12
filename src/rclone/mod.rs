//! Starts rclone with a cleaned environment, ends it when we end, and tells how it went.

#![expect(clippy::disallowed_methods, reason = "this module owns rclone's environment")]

mod environment;
mod error;
mod log;
mod private_config;
mod redact;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::config;
use crate::system::process::{self, Child, Ended, Program};
use error::OLDEST;
use log::ErrorOutput;
use private_config::PrivateConfig;
use redact::Redactor;

pub use error::Error;

/// rclone, found and of a known version.
#[derive(Debug)]
pub struct Rclone {
    program: PathBuf,
    config: Option<PrivateConfig>,
    flags: Vec<String>,
    environment: BTreeMap<String, String>,
    redactor: Arc<Redactor>,
    mark: String,
}

/// One call: the subcommand, what it works on (for errors), and its arguments.
pub struct Call<'a> {
    /// The subcommand, such as `lsjson`.
    pub verb: &'a str,
    /// What an error is to name.
    pub on: &'a str,
    /// Everything behind the subcommand.
    pub args: &'a [&'a str],
    /// For its standard input.
    pub stdin: Vec<u8>,
    /// The longest that it may take; the command's own deadline holds besides.
    pub limit: Option<Duration>,
}

impl Rclone {
    /// Finds the program, and learns which secrets to keep out of its words.
    ///
    /// # Errors
    /// A program that is missing, cannot be started or is too old.
    pub async fn find(store: &config::StoreConfig) -> Result<Self, Error> {
        let program =
            which::which("rclone").map_err(|_| Error::Missing { path: std::env::var("PATH").unwrap_or_default() })?;
        let mut environment = environment::cleaned(std::env::vars_os());
        environment.insert("LC_ALL".into(), "C".into());
        let text = match &store.rclone_config {
            Some(file) => read_lossy(file),
            None => environment::own_configs(&program, &environment).iter().map(|file| read_lossy(file)).collect(),
        };
        let redactor = Arc::new(Redactor::new(&text, environment::secrets(&environment)));
        let flags = store.rclone_flags.0.clone();
        let config = match &store.rclone_config {
            None => None,
            Some(file) => {
                Some(PrivateConfig::new(file).map_err(|source| Error::Config { file: file.clone(), source })?)
            }
        };
        let rclone = Self { program, config, flags, environment, redactor, mark: mark() };
        rclone.check_version().await?;
        Ok(rclone)
    }

    /// Ends the names of what this process alone has begun and not finished; nobody else's.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    async fn check_version(&self) -> Result<(), Error> {
        let call = Call { verb: "version", on: "", args: &[], stdin: vec![], limit: Some(Duration::from_secs(20)) };
        let text = self.call(call).await?;
        let text = String::from_utf8_lossy(&text);
        let version = text.lines().next().unwrap_or_default().trim_start_matches("rclone v").to_owned();
        let mut numbers = version.split(['.', '-']).map_while(|n| n.parse::<u64>().ok());
        let known = numbers.next().zip(numbers.next());
        tracing::debug!(program = %self.program.display(), version, "rclone");
        if known.is_some_and(|v| v < OLDEST) {
            return Err(Error::TooOld { program: self.program.clone(), version });
        }
        Ok(())
    }

    /// Runs one call to its end and returns its stdout. When the future is dropped, the child is told to end, and is
    /// killed if it does not.
    ///
    /// # Errors
    /// Everything but exit code 0.
    pub async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.finish(&call).await?.0)
    }

    async fn finish(&self, call: &Call<'_>) -> Result<(Vec<u8>, ErrorOutput), Error> {
        let child = self.start(call)?;
        let waiting = child.wait();
        let ended = match call.limit {
            None => waiting.await,
            Some(limit) => tokio::time::timeout(limit, waiting).await.map_err(|_| Error::TimedOut {
                verb: call.verb.to_owned(),
                on: call.on.to_owned(),
                limit,
            })?,
        };
        outcome(call, ended)
    }

    /// As [`Self::call`], reading its stdout as JSON.
    ///
    /// # Errors
    /// As [`Self::call`], and output that is not what was expected.
    pub async fn json<T: for<'de> Deserialize<'de>>(&self, call: Call<'_>) -> Result<T, Error> {
        Ok(self.listing(call).await?.0)
    }

    /// As [`Self::json`], and how many names were left out because a crypt remote's password does not fit them.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn listing<T: for<'de> Deserialize<'de>>(&self, call: Call<'_>) -> Result<(T, usize), Error> {
        let (stdout, heard) = self.finish(&call).await?;
        let unreadable = |source| Error::Unreadable { verb: call.verb.to_owned(), source };
        Ok((serde_json::from_slice(&stdout).map_err(unreadable)?, heard.undecryptable))
    }

    /// Runs one call while `read` takes its stdout, on a thread of its own, and answers what `read` made of it and how
    /// the call ended: what was read counts only if that was well. `read` goes on to the end of the stream, unless it
    /// fails for a reason of its own; that ends the call.
    ///
    /// # Errors
    /// A program that cannot be started.
    pub async fn stream<T, E>(
        &self,
        call: Call<'_>,
        read: impl FnOnce(PipeReader) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<(T, Result<(), Error>), E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (child, stdout) = self.program(&call).stream(self.listener(&call)).map_err(|e| self.not_started(e))?;
        let reading = tokio::task::spawn_blocking(move || read(stdout)).await;
        match reading.map_err(|e| self.not_started(io::Error::other(e)))? {
            Ok(read) => Ok(Ok((read, outcome(&call, child.wait().await).map(drop)))),
            Err(own) => Ok(Err(own)),
        }
    }

    fn start(&self, call: &Call<'_>) -> Result<Child<ErrorOutput>, Error> {
        self.program(call).start(self.listener(call)).map_err(|e| self.not_started(e))
    }

    fn listener(&self, call: &Call<'_>) -> impl FnOnce(PipeReader) -> ErrorOutput + Send + 'static {
        let (verb, redactor) = (call.verb.to_owned(), Arc::clone(&self.redactor));
        move |stderr| log::listen(stderr, &verb, &redactor)
    }

    fn not_started(&self, source: io::Error) -> Error {
        Error::Start { program: self.program.clone(), source }
    }

    fn program(&self, call: &Call<'_>) -> Program {
        Program {
            path: self.program.clone(),
            args: self.argv(call),
            environment: self.environment.clone(),
            stdin: call.stdin.clone(),
        }
    }

    /// The user's flags come first, so that ours win.
    fn argv(&self, call: &Call<'_>) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![call.verb.into()];
        argv.extend(self.flags.iter().map(OsString::from));
        argv.extend(["--use-json-log", "--log-level=INFO", "--ask-password=false"].map(OsString::from));
        if let Some(config) = &self.config {
            argv.extend(["--config".into(), config.path().into()]);
        }
        argv.extend(call.args.iter().map(OsString::from));
        argv
    }
}

/// What a call that ended well has said, on both streams.
fn outcome(call: &Call<'_>, ended: Ended<ErrorOutput>) -> Result<(Vec<u8>, ErrorOutput), Error> {
    let heard = ended.heard.unwrap_or_default();
    let (status, code) = match ended.status {
        Ok(status) if status.success() => return Ok((ended.stdout, heard)),
        Ok(status) => (process::words(status), status.code()),
        Err(error) => (error, None),
    };
    let said = if heard.complaint.is_empty() { "it gave no reason".to_owned() } else { heard.complaint };
    Err(Error::Failed { verb: call.verb.to_owned(), on: call.on.to_owned(), said, status, code })
}

fn mark() -> String {
    format!(".{:08x}.part", std::hash::RandomState::new().hash_one("") >> 32)
}

fn read_lossy(path: &Path) -> String {
    // A file that cannot be read is refused by the settings already.
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned() + "\n").unwrap_or_default()
}
