//! SIGTERM and SIGINT.

use std::fmt;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// Installed signal handlers. The first process of a container (pid 1) needs them: there the kernel ignores a signal that has
/// no handler.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[derive(Clone, Copy, Debug)]
pub enum Interruption {
    Sigterm,
    Sigint,
}

impl Signals {
    /// Installs the handlers; needs a runtime.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal.
    pub async fn first(&mut self) -> Interruption {
        tokio::select! {
            _ = self.terminate.recv() => Interruption::Sigterm,
            _ = self.interrupt.recv() => Interruption::Sigint,
        }
    }
}

impl Interruption {
    pub const fn exit(self) -> Exit {
        match self {
            Self::Sigterm => Exit::Terminated,
            Self::Sigint => Exit::Interrupted,
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sigterm => "SIGTERM",
            Self::Sigint => "SIGINT",
        })
    }
}
