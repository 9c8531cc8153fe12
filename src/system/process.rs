//! The only user of duct: starts a program, ends it with its owner, and tells how it ended. The module of each program
//! decides what is started and what its output means.

#![expect(clippy::disallowed_methods, reason = "this module starts the programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use duct::{Expression, Handle};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::blocking::blocking;
use super::launch::{self, bound_to_us, on_lasting_thread};

/// How long a child may take to end after SIGTERM, in which rclone aborts its uploads. With the times below and in `main`, we
/// end within the ten seconds that `docker stop` waits.
const TERM_GRACE: Duration = Duration::from_secs(7);
/// How long the kernel may take to end a child after SIGKILL; one that waits for a dead disk may never end.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// The most bytes of a child's complaint that an error repeats.
const COMPLAINT_LIMIT: usize = 600;

pub struct Program {
    pub path: PathBuf,
    /// No secrets: other processes of the machine can read them.
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    pub stdin: Vec<u8>,
}

/// A running program that does not outlive this value. A thread turns its stderr into a `T`.
pub struct Child<T> {
    handle: Arc<Handle>,
    stderr_reader: Option<JoinHandle<T>>,
}

pub struct Ended<T> {
    /// Empty if it was streamed.
    stdout: Vec<u8>,
    stderr: T,
    /// An error if waiting for the program failed.
    status: io::Result<ExitStatus>,
}

/// A program that did not end with exit code 0.
#[derive(Debug, thiserror::Error)]
#[error("{complaint} ({status})")]
pub struct BadExit {
    pub complaint: String,
    /// `exit code 1` or `killed by signal 9`.
    pub status: String,
    /// `None` after a signal.
    pub code: Option<i32>,
}

impl Program {
    /// Starts it and keeps its stdout in memory. `read_stderr` runs on a thread of its own.
    pub fn start<T: Send + 'static>(
        &self,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<Child<T>> {
        self.launch(Expression::stdout_capture, read_stderr)
    }

    /// Starts it and returns its stdout, which ends when the program does.
    pub fn stream<T: Send + 'static>(
        &self,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<(Child<T>, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let child = self.launch(|expression| expression.stdout_file(writer), read_stderr)?;
        Ok((child, reader))
    }

    fn launch<T: Send + 'static>(
        &self,
        stdout: impl FnOnce(&Expression) -> Expression,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<Child<T>> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        let (program, args) = bound_to_us(&self.path, &self.args);
        let expression = duct::cmd(program, args)
            .full_env(&self.environment)
            .stdin_bytes(self.stdin.clone())
            .stderr_file(writer)
            // duct's own error prints all arguments and nothing of stderr.
            .unchecked()
            .before_spawn(|command| {
                // In a process group of its own, an interrupt from the keyboard reaches it only through us, and our signals
                // reach the helpers that it starts, such as ssh, too.
                command.process_group(0);
                Ok(())
            });
        let expression = stdout(&expression);
        // There the expression is dropped, too. It holds the writing ends of the pipes, and the readers wait until all of
        // these are closed.
        let handle = on_lasting_thread(move || expression.start())?;
        let stderr_reader = thread::spawn(move || read_stderr(reader));
        Ok(Child { handle: Arc::new(handle), stderr_reader: Some(stderr_reader) })
    }
}

impl<T: Default + Send + 'static> Child<T> {
    /// Waits for its end. Dropping the future drops the child, which ends it.
    pub async fn wait(mut self) -> Ended<T> {
        let (handle, stderr_reader) = (Arc::clone(&self.handle), self.stderr_reader.take());
        let ended = blocking(move || {
            let output = handle.wait().cloned();
            let stderr = stderr_reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
            Ok::<_, io::Error>((output, stderr))
        });
        match ended.await {
            Ok((Ok(output), stderr)) => Ended { stdout: output.stdout, stderr, status: Ok(output.status) },
            Ok((Err(error), stderr)) => Ended { stdout: Vec::new(), stderr, status: Err(error) },
            Err(error) => Ended { stdout: Vec::new(), stderr: T::default(), status: Err(error) },
        }
    }
}

impl<T> Ended<T> {
    pub fn take_stdout(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stdout)
    }

    /// stdout and stderr, if the program ended with exit code 0. `complaint` finds the last complaint in stderr.
    pub fn success(self, complaint: impl FnOnce(T) -> String) -> Result<(Vec<u8>, T), BadExit> {
        let (status, code) = match self.status {
            Ok(status) if status.success() => return Ok((self.stdout, self.stderr)),
            Ok(status) => (describe(status), status.code()),
            Err(error) => (error.to_string(), None),
        };
        Err(BadExit::new(complaint(self.stderr), status, code))
    }
}

impl BadExit {
    /// Why `program` was never started, if that is what this is about.
    pub fn never_started(&self, program: &Path) -> Option<io::Error> {
        launch::never_started(program, self.code, &self.complaint)
    }

    fn new(mut complaint: String, status: String, code: Option<i32>) -> Self {
        complaint.truncate(complaint.floor_char_boundary(COMPLAINT_LIMIT));
        if complaint.is_empty() {
            "it gave no reason".clone_into(&mut complaint);
        }
        Self { complaint, status, code }
    }
}

impl<T> Child<T> {
    fn signal(&self, signal: Signal) {
        for pid in self.handle.pids() {
            let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match kill_process_group(group, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => tracing::debug!(%error, ?signal, "sending a signal to a child process"),
            }
        }
    }

    fn has_ended(&self, within: Duration) -> bool {
        matches!(self.handle.wait_timeout(within), Ok(Some(_)))
    }
}

impl<T> Drop for Child<T> {
    // SIGTERM first, because an upload that is killed leaves its parts in the bucket. SIGKILL is for a program that ignores
    // SIGTERM or is stopped.
    fn drop(&mut self) {
        if self.has_ended(Duration::ZERO) {
            return;
        }
        self.signal(Signal::TERM);
        if !self.has_ended(TERM_GRACE) {
            tracing::warn!("a child process did not end within {} s of SIGTERM; killing it", TERM_GRACE.as_secs());
            self.signal(Signal::KILL);
            self.has_ended(KILL_GRACE);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: i32) -> Ended<String> {
        Ended { stdout: b"out".to_vec(), stderr: "err".into(), status: Ok(ExitStatus::from_raw(status)) }
    }

    #[test]
    fn only_exit_code_0_is_success() {
        assert_eq!(ended(0).success(|stderr| stderr).unwrap(), (b"out".to_vec(), "err".to_owned()));
        let bad = ended(3 << 8).success(|stderr| stderr).unwrap_err();
        assert_eq!((bad.to_string().as_str(), bad.code), ("err (exit code 3)", Some(3)));
        let killed = ended(9).success(|_| String::new()).unwrap_err();
        assert_eq!((killed.to_string().as_str(), killed.code), ("it gave no reason (killed by signal 9)", None));
    }

    /// The signal that `setpriv` asks for comes at the end of the thread that started it.
    #[test]
    fn a_program_outlives_the_thread_that_wants_it() {
        let Ok(path) = which::which("setpriv") else { return };
        let args = ["--pdeathsig", "KILL", "sh", "-c", "sleep 0.3; echo done"].map(Into::into).into();
        let environment = [("PATH".to_owned(), std::env::var("PATH").unwrap())].into();
        let program = Program { path, args, environment, stdin: Vec::new() };
        let start = move || program.start(|stderr| io::read_to_string(stderr).unwrap());
        let child = thread::spawn(start).join().unwrap().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (stdout, _) = runtime.block_on(child.wait()).success(|stderr| stderr).unwrap();
        assert_eq!(stdout, b"done\n");
    }

    #[test]
    fn a_long_complaint_is_cut() {
        let bad = BadExit::new("ü".repeat(COMPLAINT_LIMIT), String::new(), None);
        assert_eq!(bad.complaint, "ü".repeat(COMPLAINT_LIMIT / 2));
    }
}
