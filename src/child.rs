//! The only user of duct: starts a program and does not let it outlive its owner. What is started and what its words
//! mean is decided by the module of each program.

#![expect(clippy::disallowed_methods, reason = "this module starts the programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use duct::unix::HandleExt;
use duct::{Expression, Handle};

/// What a child that was told to end may take; rclone aborts its uploads in that time.
const GRACE: Duration = Duration::from_secs(7);
const SIGTERM: i32 = 15;

/// A program to start, with nothing in its environment but what is here.
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Its arguments; other processes can read them.
    pub args: Vec<OsString>,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// For its standard input.
    pub stdin: Vec<u8>,
}

/// A running program that does not outlive this value; `H` is what a listener made of its stderr.
pub struct Child<H> {
    handle: Arc<Handle>,
    listener: Option<JoinHandle<H>>,
}

/// A program that has ended.
pub struct Ended<H> {
    /// Its stdout, unless that was streamed.
    pub stdout: Vec<u8>,
    /// What its listener made of its stderr; `None` if that thread failed.
    pub heard: Option<H>,
    /// How it ended; the system's word when that could not be learnt.
    pub status: Result<ExitStatus, String>,
}

impl Program {
    /// Starts it; its stdout is kept for [`Ended::stdout`].
    ///
    /// # Errors
    /// The system's word.
    pub fn start<H: Send + 'static>(
        &self,
        listen: impl FnOnce(PipeReader) -> H + Send + 'static,
    ) -> io::Result<Child<H>> {
        self.launch(Expression::stdout_capture, listen)
    }

    /// Starts it; its stdout is the reader's, which meets the end when the program does.
    ///
    /// # Errors
    /// The system's word.
    pub fn stream<H: Send + 'static>(
        &self,
        listen: impl FnOnce(PipeReader) -> H + Send + 'static,
    ) -> io::Result<(Child<H>, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let child = self.launch(|expression| expression.stdout_file(writer), listen)?;
        Ok((child, reader))
    }

    fn launch<H: Send + 'static>(
        &self,
        stdout: impl FnOnce(&Expression) -> Expression,
        listen: impl FnOnce(PipeReader) -> H + Send + 'static,
    ) -> io::Result<Child<H>> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        let expression = duct::cmd(&self.path, &self.args)
            .full_env(&self.environment)
            .stdin_bytes(self.stdin.clone())
            .stderr_file(writer)
            .unchecked();
        let expression = stdout(&expression);
        let handle = expression.start()?;
        // It holds the pipes' writing ends, and their readers wait for the last of those to close.
        drop(expression);
        let listener = thread::spawn(move || listen(reader));
        Ok(Child { handle: Arc::new(handle), listener: Some(listener) })
    }
}

impl<H> Child<H> {
    /// Waits for its end. When the future is dropped, the program is told to end, and is killed if it does not.
    pub async fn wait(mut self) -> Ended<H> {
        let handle = Arc::clone(&self.handle);
        let ended = tokio::task::spawn_blocking(move || handle.wait().cloned()).await;
        let heard = self.listener.take().and_then(|l| l.join().ok());
        match ended {
            Ok(Ok(output)) => Ended { stdout: output.stdout, heard, status: Ok(output.status) },
            Ok(Err(error)) => Ended { stdout: Vec::new(), heard, status: Err(error.to_string()) },
            Err(error) => Ended { stdout: Vec::new(), heard, status: Err(error.to_string()) },
        }
    }
}

impl<H> Drop for Child<H> {
    /// SIGTERM lets a program put its things in order; SIGKILL is for one that does not listen.
    fn drop(&mut self) {
        if matches!(self.handle.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.handle.send_signal(SIGTERM) {
            tracing::debug!(%error, "telling a child to end");
        }
        if !matches!(self.handle.wait_timeout(GRACE), Ok(Some(_))) {
            tracing::warn!("a child did not end within {} s of being told to; killing it", GRACE.as_secs());
            if let Err(error) = self.handle.kill() {
                tracing::debug!(%error, "killing a child");
            }
        }
    }
}

/// How a program ended, in words: `exit code 1` or `killed by signal 9`.
pub fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
