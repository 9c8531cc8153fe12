//! SIGTERM and SIGINT. As the first process of a container we would not be ended by them without a handler.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// Both handlers, in place.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Puts the handlers in place; needs a runtime.
    ///
    /// # Errors
    /// The system's word.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first of them.
    pub async fn first(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }
}
