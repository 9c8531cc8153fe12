//! Work that blocks, on a thread of its own. The runtime has one thread, which has to stay free for signals and deadlines.

use std::io;

use crate::exit::{Exit, Failure};

/// The thread did not finish its work: it panicked, or the runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("a background task was cut short: {0}")]
pub struct CutShort(#[from] tokio::task::JoinError);

impl From<CutShort> for Failure {
    fn from(error: CutShort) -> Self {
        Self::new(Exit::Unexpected, error)
    }
}

impl From<CutShort> for io::Error {
    fn from(error: CutShort) -> Self {
        Self::other(error)
    }
}

/// Runs `work` on a thread of its own, which goes on when the future is dropped.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<CutShort> + Send + 'static,
{
    meanwhile(work).await
}

/// As [`blocking`], but the work begins at once, before the future is awaited.
pub fn meanwhile<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> impl Future<Output = Result<T, E>>
where
    T: Send + 'static,
    E: From<CutShort> + Send + 'static,
{
    let thread = tokio::task::spawn_blocking(work);
    async { thread.await.map_err(CutShort)? }
}
