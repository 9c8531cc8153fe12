//! Streams one member's snapshot into a part file.

use std::time::Duration;

use etcd_client::{SnapshotResponse, SnapshotStreaming};

use super::{Error, connect, limited, linearizable_read, revision};
use crate::config;
use crate::exit::Exit;
use crate::member::Member;
use crate::snapshot::{self, PartFile, Snapshot};
use crate::system::blocking::blocking;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Member(#[from] Error),
    /// The file does not prove good, or the local disk failed.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    #[error("the member sends empty messages with {remaining} bytes still to come; it cannot read its own database")]
    Empty { remaining: u64 },
    #[error("no bytes from the member for {} s, after {received} bytes", idle.as_secs())]
    Idle { idle: Duration, received: u64 },
}

impl SnapshotError {
    /// The exit that this leads to when no member does better.
    pub fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Member(Error::Denied { .. }) => Exit::Denied,
            // Not `NoMember`: the member had answered the survey.
            Self::Member(_) | Self::Empty { .. } | Self::Idle { .. } => Exit::Proof,
        }
    }
}

/// Streams a snapshot of `member` into `part`, and proves it. Its revision must be at least what the cluster had
/// reached just before, or in a degraded cluster what this member had. `progress` gets the bytes received, and the
/// total.
pub async fn snapshot(
    member: &Member,
    config: &config::EtcdConfig,
    degraded: bool,
    mut part: PartFile,
    progress: impl FnMut(u64, u64),
) -> Result<Snapshot, SnapshotError> {
    let mut client = connect(&member.endpoint, config).await?;
    // A member that is cut off from its cluster serves a snapshot as if nothing were wrong, and the messages have no
    // revision, so the file's own is compared. A degraded cluster may answer no linearizable read.
    let floor = if degraded { member.revision } else { revision(linearizable_read(&mut client).await?.header()) };
    let stream = limited("snapshot", client.snapshot()).await?;
    receive(stream, config.idle_timeout, &mut part, progress).await?;
    Ok(blocking(move || part.finish(floor)).await?)
}

async fn receive(
    mut stream: SnapshotStreaming,
    idle: Duration,
    part: &mut PartFile,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), SnapshotError> {
    let mut total = None;
    loop {
        let received = part.written();
        let message = match tokio::time::timeout(idle, stream.message()).await {
            Err(_) => return Err(SnapshotError::Idle { idle, received }),
            Ok(message) => message.map_err(|e| Error::new("snapshot", &e))?,
        };
        // Not at `remaining_bytes` 0: the digest follows the bytes that it counts.
        let Some(message) = message else { return Ok(()) };
        let total = match total {
            Some(total) => total,
            None => *total.insert(announced_size(&message, part)?),
        };
        // etcd sends empty messages for ever when it cannot read its own database, so the idle timeout never fires.
        if message.blob().is_empty() && message.remaining_bytes() > 0 {
            return Err(SnapshotError::Empty { remaining: message.remaining_bytes() });
        }
        part.push(message.blob())?;
        progress(part.written(), total);
    }
}

/// The size of the database, for which the disk has room.
fn announced_size(first: &SnapshotResponse, part: &mut PartFile) -> Result<u64, SnapshotError> {
    let blob = u64::try_from(first.blob().len()).unwrap_or(u64::MAX);
    let total = first.remaining_bytes().saturating_add(blob);
    part.expect_database(total)?;
    Ok(total)
}
