//! Streams one member's snapshot to whatever takes it.

use std::io::Write;
use std::time::Duration;

use etcd_client::{Client, SnapshotResponse, SnapshotStreaming};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Error, connect, limited, linearizable_read, revision};
use crate::config;
use crate::exit::Exit;
use crate::member::Member;
use crate::snapshot::{self, Passed, Piped, with_trailer};
use crate::system::blocking::{blocking, meanwhile};

/// In bytes: more than a cluster writes while its members are asked and tried.
const GROWTH: u64 = 4 << 30;
/// How many messages may wait for the thread that takes them. etcd sends 32 KiB in each.
const AHEAD: usize = 16;
/// How long these may take after the member has failed.
const LAST_BYTES: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Member(#[from] Error),
    /// The file does not prove good, or the local disk failed.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    #[error("the member sends nothing at all")]
    Nothing,
    #[error("the member sends empty messages with {remaining} bytes still to come; it cannot read its own database")]
    Empty { remaining: u64 },
    #[error("the member announces {announced} bytes, but the database that it told of had {db_size}")]
    Absurd { announced: u64, db_size: u64 },
    #[error("no bytes from the member for {} s, after {received} bytes", idle.as_secs())]
    Idle { idle: Duration, received: u64 },
}

impl SnapshotError {
    /// The error and its causes in one line.
    pub fn one_line(&self) -> String {
        anyhow::Chain::new(self).map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// The exit that this leads to when no member does better.
    pub fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Member(Error::Denied { .. }) => Exit::Denied,
            // Not `NoMember`: the member had answered the survey.
            Self::Member(_) | Self::Nothing | Self::Empty { .. } | Self::Absurd { .. } | Self::Idle { .. } => {
                Exit::Proof
            }
        }
    }
}

/// A member that has begun to send its snapshot.
pub struct Stream {
    // Without it the connection's pings end, and a member that froze would not be noticed by them.
    _client: Client,
    messages: SnapshotStreaming,
    first: Option<SnapshotResponse>,
    /// The size of the database, by the first message.
    announced: u64,
    /// What the member's status said of it.
    db_size: u64,
    floor: u64,
    idle: Duration,
    last_bytes: Instant,
}

/// What takes a snapshot's bytes.
pub trait Sink: Send + 'static {
    type Proved: Send + 'static;

    /// Is told the bytes of the database before there are any. The trailer comes on top.
    fn expect_database(&mut self, db_bytes: u64) -> Result<(), snapshot::Error>;

    /// Takes the next bytes, split anywhere.
    fn push(&mut self, blob: &[u8]) -> Result<(), snapshot::Error>;

    /// Proves what it was given, which must have at least the revision `floor`.
    fn finish(self, floor: u64) -> Result<Self::Proved, snapshot::Error>;
}

impl<W: Write + Send + 'static> Sink for Piped<W> {
    type Proved = Passed<W>;

    /// It knows them already.
    fn expect_database(&mut self, _: u64) -> Result<(), snapshot::Error> {
        Ok(())
    }

    fn push(&mut self, blob: &[u8]) -> Result<(), snapshot::Error> {
        self.push(blob)
    }

    fn finish(self, floor: u64) -> Result<Passed<W>, snapshot::Error> {
        self.finish(floor)
    }
}

impl Stream {
    /// Asks for the snapshot, and waits for its first message. Its revision must be at least what the cluster had reached
    /// just before, or in a degraded cluster what this member had.
    pub async fn open(member: &Member, config: &config::EtcdConfig, degraded: bool) -> Result<Self, SnapshotError> {
        let mut client = connect(&member.endpoint, config).await?;
        // A member that is cut off from its cluster serves a snapshot as if nothing were wrong, and the messages have no
        // revision, so the file's own is compared. A degraded cluster may answer no linearizable read.
        let floor = if degraded { member.revision } else { revision(linearizable_read(&mut client).await?.header()) };
        let mut messages = limited("snapshot", client.snapshot()).await?;
        let (idle, last_bytes) = (config.idle_timeout, Instant::now());
        let first = next(&mut messages, idle, last_bytes, 0).await?.ok_or(SnapshotError::Nothing)?;
        let announced = first.remaining_bytes().saturating_add(len(&first));
        Ok(Self {
            _client: client,
            messages,
            first: Some(first),
            announced,
            db_size: member.db_size,
            floor,
            idle,
            last_bytes,
        })
    }

    /// The revision that the snapshot must have at least.
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes of the whole snapshot, trailer included.
    pub fn bytes(&self) -> Result<u64, SnapshotError> {
        let (announced, db_size) = (self.announced, self.db_size);
        if is_absurd(announced, db_size) {
            return Err(SnapshotError::Absurd { announced, db_size });
        }
        Ok(with_trailer(announced))
    }

    /// Gives the bytes to `sink` on a thread of its own, so that neither a disk nor a store holds up the runtime's, and
    /// proves them there. `progress` gets the bytes received, and the total.
    pub async fn receive<S: Sink>(
        mut self,
        mut sink: S,
        progress: impl FnMut(u64, u64),
    ) -> Result<S::Proved, SnapshotError> {
        // Room may be asked for on a disk that hangs.
        let (announced, db_size) = (self.announced, self.db_size);
        let expecting = blocking(move || sink.expect_database(announced).map(|()| sink));
        let sink = expecting.await.map_err(|error| match error {
            snapshot::Error::NoSpace { .. } if is_absurd(announced, db_size) => {
                SnapshotError::Absurd { announced, db_size }
            }
            error => error.into(),
        })?;
        let (blobs, inbox) = mpsc::channel(AHEAD);
        let taking = meanwhile(move || take(sink, inbox));
        let given = self.give(&blobs, progress).await;
        drop(blobs);
        if let Err(error) = given {
            // Its file takes room that the next member's may need, so it is removed first, unless the disk or the store hangs.
            let removing = async { taking.await.map(drop) };
            return match tokio::time::timeout(LAST_BYTES, removing).await {
                // What takes the bytes has failed before the member.
                Ok(Err(why)) => Err(why.into()),
                Ok(Ok(())) | Err(_) => Err(error),
            };
        }
        let sink = taking.await?;
        let floor = self.floor;
        Ok(blocking(move || sink.finish(floor)).await?)
    }

    async fn give(
        &mut self,
        blobs: &mpsc::Sender<SnapshotResponse>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        let mut received = 0;
        let mut next_message = self.first.take();
        // Not until `remaining_bytes` 0: the digest follows the bytes that it counts.
        while let Some(message) = next_message {
            if message.blob().is_empty() {
                // etcd sends these for ever when it cannot read its own database.
                if message.remaining_bytes() > 0 {
                    return Err(SnapshotError::Empty { remaining: message.remaining_bytes() });
                }
                // One of them may come before the digest, but messages are no progress: only bytes are. Asked here, because
                // a timeout never fires while the next message is always there.
                if self.last_bytes.elapsed() >= self.idle {
                    return Err(SnapshotError::Idle { idle: self.idle, received });
                }
            } else {
                received += len(&message);
                if blobs.send(message).await.is_err() {
                    return Ok(());
                }
                // After the wait for whoever takes them, which is not the member's.
                self.last_bytes = Instant::now();
                progress(received, self.announced);
            }
            next_message = next(&mut self.messages, self.idle, self.last_bytes, received).await?;
        }
        Ok(())
    }
}

/// Takes all that comes, until nothing more does.
fn take<S: Sink>(mut sink: S, mut inbox: mpsc::Receiver<SnapshotResponse>) -> Result<S, snapshot::Error> {
    while let Some(message) = inbox.blocking_recv() {
        sink.push(message.blob())?;
    }
    Ok(sink)
}

async fn next(
    messages: &mut SnapshotStreaming,
    idle: Duration,
    last_bytes: Instant,
    received: u64,
) -> Result<Option<SnapshotResponse>, SnapshotError> {
    match tokio::time::timeout_at(last_bytes + idle, messages.message()).await {
        Err(_) => Err(SnapshotError::Idle { idle, received }),
        Ok(message) => Ok(message.map_err(|e| Error::new("snapshot", &e))?),
    }
}

fn len(message: &SnapshotResponse) -> u64 {
    u64::try_from(message.blob().len()).unwrap_or(u64::MAX)
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
