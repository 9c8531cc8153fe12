//! The only user of duct: starts a program and does not let it outlive its owner. What is started and what its words
//! mean is decided by the module of each program.

#![expect(clippy::disallowed_methods, reason = "this module starts the programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use duct::{Expression, Handle};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// What a child that was told to end may take; rclone aborts its uploads in that time.
const GRACE: Duration = Duration::from_secs(7);
/// What one that was killed may take until the kernel has taken it down.
const LAST_GRACE: Duration = Duration::from_secs(1);

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
            .unchecked()
            .before_spawn(|command| {
                // A group of its own: an interrupt from the keyboard reaches it through us, in our order, and helpers
                // that it started, such as ssh, end with it.
                command.process_group(0);
                Ok(())
            });
        let expression = stdout(&expression);
        let handle = expression.start()?;
        // It holds the pipes' writing ends, and their readers wait for the last of those to close.
        drop(expression);
        let listener = thread::spawn(move || listen(reader));
        Ok(Child { handle: Arc::new(handle), listener: Some(listener) })
    }
}

impl<H: Send + 'static> Child<H> {
    /// Waits for its end. When the future is dropped, the program is told to end, and is killed if it does not.
    pub async fn wait(mut self) -> Ended<H> {
        let (handle, listener) = (Arc::clone(&self.handle), self.listener.take());
        let ended = tokio::task::spawn_blocking(move || {
            let output = handle.wait().cloned();
            (output, listener.and_then(|l| l.join().ok()))
        });
        match ended.await {
            Ok((Ok(output), heard)) => Ended { stdout: output.stdout, heard, status: Ok(output.status) },
            Ok((Err(error), heard)) => Ended { stdout: Vec::new(), heard, status: Err(error.to_string()) },
            Err(error) => Ended { stdout: Vec::new(), heard: None, status: Err(error.to_string()) },
        }
    }
}

impl<H> Child<H> {
    fn signal(&self, signal: Signal) {
        for pid in self.handle.pids() {
            let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match kill_process_group(group, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => tracing::debug!(%error, ?signal, "signalling a child"),
            }
        }
    }

    fn has_ended(&self, within: Duration) -> bool {
        matches!(self.handle.wait_timeout(within), Ok(Some(_)))
    }
}

impl<H> Drop for Child<H> {
    /// SIGTERM lets a program put its things in order; SIGKILL is for one that does not listen.
    fn drop(&mut self) {
        if self.has_ended(Duration::ZERO) {
            return;
        }
        self.signal(Signal::TERM);
        if !self.has_ended(GRACE) {
            tracing::warn!("a child did not end within {} s of being told to; killing it", GRACE.as_secs());
            self.signal(Signal::KILL);
            self.has_ended(LAST_GRACE);
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
