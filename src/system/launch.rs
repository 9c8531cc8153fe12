//! Programs that end when this process ends, however it ends. What is started is not the program but this binary once more,
//! which asks the kernel for a signal at its parent's end and then becomes the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The binary that runs, even if another one has its path by now.
const OURSELVES: &str = "/proc/self/exe";
/// The first argument of a binary that is to become a program; it is followed by the parent's process id, the program and
/// the program's arguments. It is no flag of the command line.
const BECOME: &str = "--become-child-of";
/// What shells end with when there is no such program.
const NOT_STARTED: u8 = 127;
/// SIGTERM would let rclone abort its uploads, but nobody would be left to end a program that hangs in that, is stopped, or
/// ignores it. Open uploads are swept by a later run.
const AT_PARENTS_END: Signal = Signal::KILL;

static IS_FOUND: LazyLock<bool> = LazyLock::new(|| {
    let found = File::open(OURSELVES);
    if let Err(error) = &found {
        tracing::debug!("{OURSELVES}: {error}; programs that are started do not end with this one if it is killed");
    }
    found.is_ok()
});

type Start = Box<dyn FnOnce() + Send>;

/// The kernel sends the signal when the thread ends that started the program, so one thread starts all of them, and lives as
/// long as the process.
static STARTER: LazyLock<mpsc::Sender<Start>> = LazyLock::new(|| {
    let (starts, inbox) = mpsc::channel::<Start>();
    let run = move || inbox.into_iter().for_each(|start| start());
    // Without the thread its channel is closed, and the first start fails.
    let _ = thread::Builder::new().name("starter".into()).spawn(run);
    starts
});

/// What is to be started for `program` to run with `args`.
pub fn bound_to_us<'a>(program: &'a Path, args: &[OsString]) -> (&'a OsStr, Vec<OsString>) {
    // The binary of the unit tests has another `main`. Without `/proc` a program that may outlive us is better than none.
    if cfg!(test) || !*IS_FOUND {
        return (program.as_os_str(), args.to_owned());
    }
    let mut all: Vec<OsString> = vec![BECOME.into(), std::process::id().to_string().into(), program.into()];
    all.extend_from_slice(args);
    (OsStr::new(OURSELVES), all)
}

/// Calls `start` on the thread whose programs live as long as this process.
pub fn on_lasting_thread<T: Send + 'static>(start: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (answer, started) = mpsc::channel();
    let ended = || io::Error::other("the thread that starts programs has ended");
    // The receiver waits for every answer.
    let start = Box::new(move || drop(answer.send(start())));
    STARTER.send(start).map_err(|_| ended())?;
    started.recv().map_err(|_| ended())?
}

/// Becomes the program that the arguments name, if they are those of [`bound_to_us`]; returns only if they are not, or if it
/// fails.
pub fn become_child(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != BECOME {
        return None;
    }
    let parent = args.next()?.to_str()?.parse().ok().and_then(Pid::from_raw)?;
    let program = args.next()?;
    // It is refused for no signal that exists. The program is better started without it than not.
    let _ = set_parent_process_death_signal(Some(AT_PARENTS_END));
    // The parent may have ended before the call above. It is not seen from a pid namespace that it has made for its children.
    if getppid().is_some_and(|now| now != parent) {
        return Some(NOT_STARTED.into());
    }
    let error = exec(Path::new(&program), args);
    // If it cannot be written, there is nobody to tell.
    let _ = writeln!(io::stderr(), "Error: {}{error}", cannot_start(Path::new(&program)));
    Some(NOT_STARTED.into())
}

fn exec(program: &Path, args: impl Iterator<Item = OsString>) -> io::Error {
    // The C library gives to a shell what the kernel cannot run. The kernel itself says what else is wrong with the file.
    if let (Ok(head), Ok(own)) = (head(program), head(Path::new(OURSELVES)))
        && !is_of_this_machine(&head, &own)
        && let Err(error) = try_to_start(program)
    {
        return error;
    }
    #[expect(clippy::disallowed_methods, reason = "the process itself becomes the program, and starts nothing")]
    Command::new(program).args(args).exec()
}

/// Starts the program and ends it at once. The kernel may run a file of another machine by an emulator (`binfmt_misc`), and
/// this way alone there is no shell that would take what it refuses.
#[expect(clippy::disallowed_methods, reason = "it is only tried, and ended before the real one is started")]
fn try_to_start(program: &Path) -> io::Result<()> {
    let nothing = || Stdio::null();
    let mut child = Command::new(program).stdin(nothing()).stdout(nothing()).stderr(nothing()).spawn()?;
    child.kill()?;
    child.wait().map(drop)
}

/// The file's first bytes, up to and with the machine in an ELF header.
fn head(file: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(file)?.take(20).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether the file is a script or an ELF file of the same machine as `own`. One with narrower words may be of an older one
/// that the machine runs, too.
fn is_of_this_machine(head: &[u8], own: &[u8]) -> bool {
    let same = |range: Range<usize>| head.get(range.clone()).is_some_and(|part| own.get(range) == Some(part));
    head.starts_with(b"#!") || (same(0..4) && head.len() == own.len() && (!same(4..5) || same(18..20)))
}

/// Why the program was never started, by what it seems to have ended with.
pub fn never_started(program: &Path, code: Option<i32>, complaint: &str) -> Option<io::Error> {
    let reason = complaint.strip_prefix(&cannot_start(program)).filter(|_| code == Some(NOT_STARTED.into()))?;
    Some(io::Error::other(reason.to_owned()))
}

fn cannot_start(program: &Path) -> String {
    format!("cannot start {}: ", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<OsString> {
        args.iter().map(Into::into).collect()
    }

    #[test]
    fn other_arguments_are_left_to_the_command_line() {
        for args in [
            &["etcd-backup"][..],
            &["etcd-backup", "run", BECOME, "1", "true"],
            &["etcd-backup", BECOME],
            &["etcd-backup", BECOME, "me", "true"],
            &["etcd-backup", BECOME, "0", "true"],
            &["etcd-backup", BECOME, "1"],
        ] {
            assert_eq!(become_child(words(args)), None, "{args:?}");
        }
    }

    #[test]
    fn only_our_own_words_are_a_program_that_never_started() {
        let never = |code, complaint| never_started(Path::new("/bin/x"), code, complaint).map(|why| why.to_string());
        assert_eq!(never(Some(127), "cannot start /bin/x: no").as_deref(), Some("no"));
        assert_eq!(never(Some(1), "cannot start /bin/x: no"), None);
        assert_eq!(never(Some(127), "command not found"), None);
    }

    #[test]
    fn a_file_of_another_machine_is_no_program() {
        let own = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        let with = |at: usize, byte: u8| own.iter().enumerate().map(|(i, b)| if i == at { byte } else { *b }).collect();
        let is = |head: Vec<u8>| is_of_this_machine(&head, &own);
        assert!(is(own.to_vec()) && is(b"#!/bin/sh".to_vec()));
        // Another type of file, and narrower words.
        assert!(is(with(16, 2)) && is(with(4, 1)));
        assert!(!is(with(18, 0xb7)) && !is(own[..19].to_vec()) && !is(b"echo".to_vec()) && !is(Vec::new()));
    }

    #[test]
    fn the_kernel_says_what_it_cannot_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        for content in ["\u{7f}ELF of elsewhere", "touch \"$0.ran\"\n"] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let error = try_to_start(&path).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOEXEC.raw_os_error()), "{content}: {error}");
        }
        assert!(!folder.path().join("program.ran").exists());
        try_to_start(&std::env::current_exe().unwrap()).unwrap();
    }

    #[test]
    fn one_thread_starts_everything_and_outlives_the_callers() {
        let id = || on_lasting_thread(|| Ok(thread::current().id())).unwrap();
        let first = thread::spawn(id).join().unwrap();
        assert_eq!(thread::spawn(id).join().unwrap(), first);
        let error = on_lasting_thread(|| Err::<(), _>(io::Error::other("why"))).unwrap_err();
        assert_eq!(error.to_string(), "why");
    }
}
