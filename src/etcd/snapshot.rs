//! Streams one member's snapshot into a part file.

use std::time::Duration;

use etcd_client::{SnapshotResponse, SnapshotStreaming};
use tokio::time::Instant;

use super::{Error, connect, limited, linearizable_read, revision};
use crate::config;
use crate::exit::Exit;
use crate::member::Member;
use crate::snapshot::{self, PartFile, Snapshot};
use crate::system::blocking::blocking;

/// In bytes: more than a cluster writes while its members are asked and tried.
const GROWTH: u64 = 4 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Member(#[from] Error),
    /// The file does not prove good, or the local disk failed.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    #[error("the member sends empty messages with {remaining} bytes still to come; it cannot read its own database")]
    Empty { remaining: u64 },
    #[error("the member announces {announced} bytes, but the database that it told of had {db_size}")]
    Absurd { announced: u64, db_size: u64 },
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
            Self::Member(_) | Self::Empty { .. } | Self::Absurd { .. } | Self::Idle { .. } => Exit::Proof,
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
    receive(stream, member.db_size, config.idle_timeout, &mut part, progress).await?;
    Ok(blocking(move || part.finish(floor)).await?)
}

async fn receive(
    mut stream: SnapshotStreaming,
    db_size: u64,
    idle: Duration,
    part: &mut PartFile,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), SnapshotError> {
    let mut total = None;
    let mut last_bytes = Instant::now();
    loop {
        let received = part.written();
        let message = match tokio::time::timeout_at(last_bytes + idle, stream.message()).await {
            Err(_) => return Err(SnapshotError::Idle { idle, received }),
            Ok(message) => message.map_err(|e| Error::new("snapshot", &e))?,
        };
        // Not at `remaining_bytes` 0: the digest follows the bytes that it counts.
        let Some(message) = message else { return Ok(()) };
        let total = match total {
            Some(total) => total,
            None => *total.insert(announced_size(&message, db_size, part)?),
        };
        if message.blob().is_empty() {
            // etcd sends these for ever when it cannot read its own database.
            if message.remaining_bytes() > 0 {
                return Err(SnapshotError::Empty { remaining: message.remaining_bytes() });
            }
            // One of them may come before the digest, but messages are no progress: only bytes are. Asked here, because
            // a timeout never fires while the next message is always there.
            if last_bytes.elapsed() >= idle {
                return Err(SnapshotError::Idle { idle, received });
            }
            continue;
        }
        part.push(message.blob())?;
        last_bytes = Instant::now();
        progress(part.written(), total);
    }
}

/// The size of the database, for which the disk has room. `db_size` is what the member's status said.
fn announced_size(first: &SnapshotResponse, db_size: u64, part: &mut PartFile) -> Result<u64, SnapshotError> {
    let blob = u64::try_from(first.blob().len()).unwrap_or(u64::MAX);
    let announced = first.remaining_bytes().saturating_add(blob);
    match part.expect_database(announced) {
        Err(snapshot::Error::NoSpace { .. }) if is_absurd(announced, db_size) => {
            Err(SnapshotError::Absurd { announced, db_size })
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(announced),
    }
}

/// Whether a database cannot have grown so much since the member told its size. Then it is not the disk that is wrong.
const fn is_absurd(announced: u64, db_size: u64) -> bool {
    announced > db_size.saturating_mul(2).saturating_add(GROWTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_grows_only_so_fast() {
        assert!(!is_absurd(8 << 30, 8 << 30) && !is_absurd(12 << 30, 8 << 30));
        // A member that does not tell its size is believed a little.
        assert!(!is_absurd(1 << 30, 0) && is_absurd(5 << 30, 0));
        assert!(is_absurd(1 << 63, 8 << 30) && is_absurd(u64::MAX, 8 << 30) && !is_absurd(u64::MAX, u64::MAX));
    }
}
