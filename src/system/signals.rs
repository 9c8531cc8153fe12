//! The signals that end a run: SIGHUP, SIGINT, SIGQUIT and SIGTERM.

use std::future::poll_fn;
use std::task::Poll;
use std::{fmt, fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// Installed signal handlers. The first process of a container (pid 1) needs them: there the kernel ignores a signal that has
/// no handler. Elsewhere a signal without one ends the process at once, and what it has begun stays.
pub struct Signals(Vec<(Interruption, Signal)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The terminal was closed, or the connection to it.
    Sighup,
    Sigint,
    /// Ctrl-\ on a terminal.
    Sigquit,
    Sigterm,
}

impl Signals {
    /// Installs the handlers; needs a runtime.
    pub fn new() -> io::Result<Self> {
        // Without it nothing is known to be ignored.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let heeded = heeded(ignored(&status)).into_iter();
        heeded.map(|which| Ok((which, signal(which.kind())?))).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the first signal.
    pub async fn first(&mut self) -> Interruption {
        poll_fn(|context| {
            let came =
                self.0.iter_mut().find_map(|(which, signal)| signal.poll_recv(context).is_ready().then_some(*which));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The signals to handle, by those that were ignored at the start. `nohup` ignores SIGHUP for what it starts, and a shell
/// SIGQUIT for what it starts in the background: a handler would end what is meant to go on. Whoever sends the others means
/// it.
fn heeded(ignored: u64) -> Vec<Interruption> {
    use Interruption::{Sighup, Sigint, Sigquit, Sigterm};
    let is_ignored = |which: Interruption| ignored >> (which.kind().as_raw_value() - 1) & 1 == 1;
    let all = [Sighup, Sigint, Sigquit, Sigterm].into_iter();
    all.filter(|which| matches!(which, Sigint | Sigterm) || !is_ignored(*which)).collect()
}

/// The ignored signals in a process's `status` file (see `proc_pid_status(5)`); the lowest bit is that of signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

impl Interruption {
    fn kind(self) -> SignalKind {
        match self {
            Self::Sighup => SignalKind::hangup(),
            Self::Sigint => SignalKind::interrupt(),
            Self::Sigquit => SignalKind::quit(),
            Self::Sigterm => SignalKind::terminate(),
        }
    }

    pub const fn exit(self) -> Exit {
        match self {
            Self::Sighup => Exit::HungUp,
            Self::Sigint => Exit::Interrupted,
            Self::Sigquit => Exit::Quit,
            Self::Sigterm => Exit::Terminated,
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sighup => "SIGHUP",
            Self::Sigint => "SIGINT",
            Self::Sigquit => "SIGQUIT",
            Self::Sigterm => "SIGTERM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_at_the_start_stays_so() {
        use Interruption::{Sighup, Sigint, Sigquit, Sigterm};
        let of = |mask: &str| heeded(ignored(&format!("SigBlk:\t0000000000000007\nSigIgn:\t{mask}\nSigCgt:\t00\n")));
        assert_eq!(of("0000000000001000"), [Sighup, Sigint, Sigquit, Sigterm]);
        assert_eq!(of("0000000000001001"), [Sigint, Sigquit, Sigterm]);
        assert_eq!(of("0000000000001006"), [Sighup, Sigint, Sigterm]);
        assert_eq!(heeded(ignored("")), [Sighup, Sigint, Sigquit, Sigterm]);
    }
}
