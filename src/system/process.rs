//! The only user of duct: starts a program, ends it with its owner, and tells how it ended. The module of each program
//! decides what is started and what its output means.

#![expect(clippy::disallowed_methods, reason = "this module starts the programs")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytesize::ByteSize;
use duct::{Expression, Handle};
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::blocking::blocking;
use super::launch::{self, bound_to_us, on_lasting_thread};

/// How long a child may take to end after SIGTERM, in which rclone aborts its uploads. With the times below and in `main`, we
/// end within the ten seconds that `docker stop` waits.
const TERM_GRACE: Duration = Duration::from_secs(7);
/// How long the kernel may take to end a child after SIGKILL; one that waits for a dead disk may never end.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// The most bytes of a child's complaint that an error repeats.
const COMPLAINT_LIMIT: usize = 600;
/// Bytes that a pipe to a child may hold: what Linux allows without a privilege (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;
/// How a program ended that printed too much.
const ENDED_BY_US: &str = "ended by us";

pub struct Program {
    pub path: PathBuf,
    /// No secrets: other processes of the machine can read them.
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    pub stdin: Vec<u8>,
    /// How many bytes of stdout are kept in memory; with more, the program is ended.
    pub stdout_limit: usize,
}

/// A running program that does not outlive this value. A thread turns its stderr into a `T`.
pub struct Child<T> {
    handle: Arc<Handle>,
    /// `None` if it is streamed.
    stdout_reader: Option<JoinHandle<Captured>>,
    stderr_reader: Option<JoinHandle<T>>,
}

/// What a program has printed, or that it printed more than so many bytes.
type Captured = Result<Vec<u8>, TooMuch>;

#[derive(Clone, Copy, Debug)]
struct TooMuch {
    limit: usize,
}

/// A running program's stdin, which ends when the last clone of this is dropped.
#[derive(Clone)]
pub struct Stdin(Arc<PipeWriter>);

impl Stdin {
    /// Writes so few bytes that the pipe takes all of them at once, or none: at most 4096. Until it has room for them, a future
    /// that is dropped has written nothing.
    pub async fn write_at_once(self, bytes: &[u8]) -> io::Result<()> {
        // Nobody else writes any more whom it would surprise that writing does not block now.
        let mut pipe = pipe::Sender::from_owned_fd(self.0.try_clone()?.into())?;
        pipe.write_all(bytes).await
    }
}

impl Write for Stdin {
    /// Blocks until the program reads, and fails with [`io::ErrorKind::BrokenPipe`] once it does not read any more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct Ended<T> {
    /// Empty if it was streamed.
    stdout: Captured,
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
        self.stream(read_stderr).map(|started| self.captured(started))
    }

    /// Starts it and returns its stdout, which ends when the program does.
    pub fn stream<T: Send + 'static>(
        &self,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<(Child<T>, PipeReader)> {
        self.spawn(|command| command.stdin_bytes(self.stdin.clone()), read_stderr)
    }

    /// As [`Self::start`], with a stdin that is written while it runs.
    pub fn feed<T: Send + 'static>(
        &self,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<(Child<T>, Stdin)> {
        let (stdin, writer) = io::pipe()?;
        // Otherwise the two wait for each other after every 64 KiB. Where the system allows no more, they do.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        Ok((self.with_stdin(stdin, read_stderr)?, Stdin(Arc::new(writer))))
    }

    /// As [`Self::start`], with a stdin that is read from a file or a pipe.
    pub fn with_stdin<T: Send + 'static>(
        &self,
        stdin: impl IntoRawFd,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<Child<T>> {
        self.spawn(|command| command.stdin_file(stdin), read_stderr).map(|started| self.captured(started))
    }

    /// Keeps its stdout in memory.
    fn captured<T>(&self, (mut child, stdout): (Child<T>, PipeReader)) -> Child<T> {
        let limit = self.stdout_limit;
        child.stdout_reader = Some(thread::spawn(move || capture(stdout, limit)));
        child
    }

    fn spawn<T: Send + 'static>(
        &self,
        with_stdin: impl FnOnce(Expression) -> Expression,
        read_stderr: impl FnOnce(PipeReader) -> T + Send + 'static,
    ) -> io::Result<(Child<T>, PipeReader)> {
        let (stdout, stdout_writer) = io::pipe()?;
        let (stderr, stderr_writer) = io::pipe()?;
        let (program, args) = bound_to_us(&self.path, &self.args);
        let expression = with_stdin(duct::cmd(program, args).full_env(&self.environment))
            .stdout_file(stdout_writer)
            .stderr_file(stderr_writer)
            // duct's own error prints all arguments and nothing of stderr.
            .unchecked()
            .before_spawn(|command| {
                // In a process group of its own, an interrupt from the keyboard reaches it only through us, and our signals
                // reach the helpers that it starts, such as ssh, too.
                command.process_group(0);
                Ok(())
            });
        // There the expression is dropped, too. It holds the program's ends of the pipes, and who has the other ones waits
        // until all of these are closed.
        let handle = on_lasting_thread(move || expression.start())?;
        let stderr_reader = Some(thread::spawn(move || read_stderr(stderr)));
        Ok((Child { handle: Arc::new(handle), stdout_reader: None, stderr_reader }, stdout))
    }
}

/// Reads to the end, or until it is too much. Then nobody reads the pipe any more.
fn capture(stdout: PipeReader, limit: usize) -> Captured {
    let mut kept = Vec::new();
    // What cannot be read any more is no output; the program's own end says what is wrong.
    let _ = stdout.take(limit.saturating_add(1).try_into().unwrap_or(u64::MAX)).read_to_end(&mut kept);
    if kept.len() > limit { Err(TooMuch { limit }) } else { Ok(kept) }
}

impl<T: Default + Send + 'static> Child<T> {
    /// Waits for its end. Dropping the future drops the child, which ends it.
    pub async fn wait(mut self) -> Ended<T> {
        let stdout_reader = self.stdout_reader.take();
        let read = blocking(move || Ok::<_, io::Error>(stdout_reader.and_then(|reader| reader.join().ok())));
        let stdout = match read.await {
            Ok(stdout) => stdout.unwrap_or_else(|| Ok(Vec::new())),
            Err(error) => return Ended { stdout: Ok(Vec::new()), stderr: T::default(), status: Err(error) },
        };
        // It need not heed that nobody reads, so it is ended now, as this value is dropped.
        if stdout.is_err() {
            return Ended { stdout, stderr: T::default(), status: Err(io::ErrorKind::FileTooLarge.into()) };
        }
        let (handle, stderr_reader) = (Arc::clone(&self.handle), self.stderr_reader.take());
        let ended = blocking(move || {
            let status = handle.wait().map(|output| output.status);
            let stderr = stderr_reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
            Ok::<_, io::Error>((status, stderr))
        });
        match ended.await {
            Ok((status, stderr)) => Ended { stdout, stderr, status },
            Err(error) => Ended { stdout, stderr: T::default(), status: Err(error) },
        }
    }
}

impl<T> Ended<T> {
    pub fn take_stdout(&mut self) -> Vec<u8> {
        self.stdout.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub const fn stderr(&mut self) -> &mut T {
        &mut self.stderr
    }

    /// stdout and stderr, if the program ended with exit code 0. `complaint` finds the last complaint in stderr.
    pub fn success(self, complaint: impl FnOnce(T) -> String) -> Result<(Vec<u8>, T), BadExit> {
        let stdout = self.stdout.map_err(|TooMuch { limit }| {
            let complaint = format!(
                "it printed more than {}, and no more is kept in memory",
                ByteSize(u64::try_from(limit).unwrap_or(u64::MAX))
            );
            BadExit::new(complaint, ENDED_BY_US.to_owned(), None)
        })?;
        let (status, code) = match self.status {
            Ok(status) if status.success() => return Ok((stdout, self.stderr)),
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

    /// Whether it was ended because it printed too much.
    pub fn is_too_much(&self) -> bool {
        self.status == ENDED_BY_US
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
        Ended { stdout: Ok(b"out".to_vec()), stderr: "err".into(), status: Ok(ExitStatus::from_raw(status)) }
    }

    #[test]
    fn only_exit_code_0_is_success() {
        assert_eq!(ended(0).success(|stderr| stderr).unwrap(), (b"out".to_vec(), "err".to_owned()));
        let bad = ended(3 << 8).success(|stderr| stderr).unwrap_err();
        assert_eq!((bad.to_string().as_str(), bad.code), ("err (exit code 3)", Some(3)));
        let killed = ended(9).success(|_| String::new()).unwrap_err();
        assert_eq!((killed.to_string().as_str(), killed.code), ("it gave no reason (killed by signal 9)", None));
    }

    fn program(path: PathBuf, args: Vec<OsString>) -> Program {
        let environment = [("PATH".to_owned(), std::env::var("PATH").unwrap())].into();
        Program { path, args, environment, stdin: Vec::new(), stdout_limit: 1 << 20 }
    }

    fn start(path: PathBuf, args: Vec<OsString>) -> Child<String> {
        program(path, args).start(|stderr| io::read_to_string(stderr).unwrap()).unwrap()
    }

    fn wait(child: Child<String>) -> Ended<String> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(child.wait())
    }

    /// `yes` ends when nobody reads it, a shell that ignores the signal does not.
    #[test]
    fn a_program_that_prints_without_end_is_ended() {
        for script in ["exec yes", "trap '' PIPE; while :; do echo endless 2>&-; done"] {
            let child = start("/bin/sh".into(), ["-c", script].map(Into::into).into());
            let handle = Arc::clone(&child.handle);
            let bad = wait(child).success(|stderr| stderr).unwrap_err();
            assert!(bad.complaint.starts_with("it printed more than 1.0 MiB"), "{bad}");
            assert!(handle.try_wait().unwrap().is_some(), "{script}");
        }
        let child = start("/bin/sh".into(), ["-c", "head -c 1048576 /dev/zero"].map(Into::into).into());
        assert_eq!(wait(child).success(|stderr| stderr).unwrap().0.len(), 1 << 20);
    }

    fn feed(script: &str) -> (Child<String>, Stdin) {
        let shell = program("/bin/sh".into(), ["-c", script].map(Into::into).into());
        shell.feed(|stderr| io::read_to_string(stderr).unwrap()).unwrap()
    }

    #[test]
    fn a_program_is_fed_until_its_last_writer_is_dropped() {
        let (child, mut writer) = feed("cat; echo end");
        let other = writer.clone();
        writer.write_all(b"one ").unwrap();
        assert!(!child.has_ended(Duration::from_millis(50)));
        writer.write_all(b"two ").unwrap();
        drop(writer);
        assert!(!child.has_ended(Duration::from_millis(50)));
        drop(other);
        assert_eq!(wait(child).success(|stderr| stderr).unwrap().0, b"one two end\n");
    }

    #[test]
    fn what_is_written_at_once_is_not_written_by_whoever_gave_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (child, mut writer) = feed("sleep 0.5; wc -c");
        // As much as fits into a pipe.
        let room = rustix::pipe::fcntl_getpipe_size(&*writer.0).unwrap();
        writer.write_all(&vec![0; room]).unwrap();
        runtime.block_on(async {
            let late = tokio::time::timeout(Duration::from_millis(100), writer.clone().write_at_once(&[0; 32])).await;
            assert!(late.is_err());
            writer.write_at_once(&[0; 7]).await.unwrap();
            let counted = child.wait().await.success(|stderr| stderr).unwrap().0;
            assert_eq!(String::from_utf8_lossy(&counted).trim(), (room + 7).to_string());
        });
    }

    #[test]
    fn a_program_that_has_ended_cannot_be_fed() {
        let (child, mut writer) = feed("exit 3");
        let error = loop {
            match writer.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(wait(child).success(|stderr| stderr).unwrap_err().code, Some(3));
    }

    /// The signal that `setpriv` asks for comes at the end of the thread that started it.
    #[test]
    fn a_program_outlives_the_thread_that_wants_it() {
        let Ok(path) = which::which("setpriv") else { return };
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let script = format!("touch {}; sleep 0.3; echo done", runs.display());
        let args = ["--pdeathsig", "KILL", "sh", "-c", &script].map(Into::into).into();
        let begin = move || {
            let child = start(path, args);
            while !runs.exists() {
                thread::sleep(Duration::from_millis(5));
            }
            child
        };
        let child = thread::spawn(begin).join().unwrap();
        let (stdout, _) = wait(child).success(|stderr| stderr).unwrap();
        assert_eq!(stdout, b"done\n");
    }

    #[test]
    fn a_long_complaint_is_cut() {
        let bad = BadExit::new("ü".repeat(COMPLAINT_LIMIT), String::new(), None);
        assert_eq!(bad.complaint, "ü".repeat(COMPLAINT_LIMIT / 2));
    }
}
