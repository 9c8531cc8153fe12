//! Takes a backup of which nobody has a file, as its bytes come. Until the last ones have come nothing stands under its name.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use super::local::LocalPart;
use super::upload::{NO_NEW_BUCKET, ONLY_IF_ABSENT, Ours};
use super::way::Way;
use super::{Content, Error, RETRY, Store};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::rclone::{Call, RunningCall};
use crate::system::blocking::{CutShort, blocking};
use crate::system::process::Stdin;

const STORE_THERE: &str = "store new objects there";
/// How long rclone may take to end once it does not read any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// An upload whose bytes are still coming. Dropping it ends the upload, and leaves nothing under the backup's name.
pub struct Upload {
    name: BackupName,
    sending: Sending,
}

enum Sending {
    Local(LocalPart),
    Whole { rclone: RunningCall, conditional: bool },
    Part { rclone: RunningCall, part: String },
}

/// Where the bytes go.
pub enum Outlet {
    File(File),
    Rclone(Stdin),
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Rclone(stdin) => stdin.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Rclone(stdin) => stdin.flush(),
        }
    }
}

/// An upload of which all bytes were sent.
pub struct Sent {
    name: BackupName,
    place: Place,
}

enum Place {
    Local(LocalPart),
    /// Under its name, or not there at all: how rclone ended.
    Named(Result<Ours, Error>),
    Part(String),
}

/// Without the size, rclone takes the end of its input for the end of the object, and that comes also when this process is
/// killed.
pub(super) fn size_flag(bytes: u64) -> String {
    format!("--size={bytes}")
}

impl Upload {
    /// Whether the store is asked to refuse a name that is taken.
    pub const fn is_conditional(&self) -> bool {
        matches!(self.sending, Sending::Whole { conditional: true, .. })
    }
}

impl Sent {
    /// Where the bytes are, if that is not yet under their name.
    pub fn unnamed(&self) -> Option<String> {
        match &self.place {
            Place::Local(part) => Some(part.path.to_string_lossy().into_owned()),
            Place::Named(_) => None,
            Place::Part(part) => Some(part.clone()),
        }
    }
}

impl Store {
    /// Begins to store a backup of so many bytes. The name has to be free by a look directly before. `conditional` asks the
    /// store to refuse it if it is not, which [`Error::is_of_condition`] tells that it cannot.
    pub async fn begin(&self, name: &BackupName, bytes: u64, conditional: bool) -> Result<(Upload, Outlet), Error> {
        let leaf = name.leaf();
        let (sending, outlet) = match self.way()? {
            Way::Local => {
                let directory = self.local_directory().unwrap_or_default();
                let part = self.part_name(&leaf);
                let create = move || {
                    let part = LocalPart::new(&directory, &part)?;
                    let file = part.create()?;
                    part.check_room(&file, bytes)?;
                    Ok::<_, Error>((part, file))
                };
                let (part, file) = blocking(create).await?;
                (Sending::Local(part), Outlet::File(file))
            }
            Way::Whole { conditions } => {
                let conditional = conditional && conditions;
                // Noted, in case that it fails.
                self.goes_in_one_piece(bytes);
                let condition = if conditional { &ONLY_IF_ABSENT[..] } else { &[] };
                let (rclone, stdin) = self.rcat(&self.object_path(name), bytes, condition)?;
                (Sending::Whole { rclone, conditional }, Outlet::Rclone(stdin))
            }
            Way::Part => {
                let part = self.part_path(&leaf);
                let (rclone, stdin) = self.rcat(&part, bytes, &[])?;
                (Sending::Part { rclone, part }, Outlet::Rclone(stdin))
            }
        };
        Ok((Upload { name: name.clone(), sending }, outlet))
    }

    fn rcat(&self, path: &str, bytes: u64, more: &[&str]) -> Result<(RunningCall, Stdin), Error> {
        let size = size_flag(bytes);
        let args = [&NO_NEW_BUCKET[..], more, &[&size, "--", path]].concat();
        let defaults = self.stream_defaults();
        Ok(self.rclone.feed(&Call { defaults: &defaults, ..Call::new("rcat", path, &args) })?)
    }

    pub(super) fn stream_defaults(&self) -> Vec<&'static str> {
        [&RETRY[..], &self.faster_stream_flags()].concat()
    }

    /// Sends the last bytes, and waits until all have arrived. As long as this has not sent them the upload cannot end well, and
    /// a future that is dropped by then never sends them.
    pub async fn send_last(&self, upload: Upload, outlet: Outlet, last: Vec<u8>) -> Result<Sent, Error> {
        if let Err(error) = self.look_again(&upload).await {
            self.abandon(upload).await;
            return Err(error);
        }
        let written = match outlet {
            Outlet::File(mut file) => blocking(move || file.write_all(&last).and_then(|()| file.sync_all())).await,
            Outlet::Rclone(stdin) => stdin.write_at_once(&last).await,
        };
        if let Err(cause) = written {
            return Err(self.broken(upload, cause).await);
        }
        let Upload { name, sending } = upload;
        let place = match sending {
            Sending::Local(part) => Place::Local(part),
            Sending::Whole { rclone, conditional } => {
                let ours = if conditional { Ours::Conditional } else { Ours::Unknown };
                Place::Named(rclone.finish().await.map(|()| ours).map_err(Error::from))
            }
            Sending::Part { rclone, part } => {
                if let Err(error) = rclone.finish().await {
                    self.remove_part(&part).await;
                    return Err(Error::from(error).may(STORE_THERE));
                }
                Place::Part(part)
            }
        };
        Ok(Sent { name, place })
    }

    /// Where nobody else refuses a name that was taken while the bytes came, this does.
    async fn look_again(&self, upload: &Upload) -> Result<(), Error> {
        if !matches!(upload.sending, Sending::Whole { conditional: false, .. }) {
            return Ok(());
        }
        self.check_free(&self.object_path(&upload.name)).await
    }

    /// Gives the backup its name, if it has it not yet, and confirms it.
    pub async fn name(&self, sent: Sent, content: &Content) -> Result<(Evidence, Ours), Error> {
        let Sent { name, place } = sent;
        let leaf = name.leaf();
        let uploaded = match place {
            Place::Local(part) => blocking(move || part.publish(&leaf)).await.map(|()| Ours::Renamed),
            Place::Named(uploaded) => uploaded,
            Place::Part(part) => {
                let moved = async {
                    self.await_turn(&leaf, Some(content.hash.bytes)).await?;
                    self.move_part(&part, &self.object_path(&name)).await
                };
                let moved = moved.await;
                if moved.is_err() {
                    self.remove_part(&part).await;
                }
                moved.map(|()| Ours::Unknown)
            }
        };
        self.conclude(&name, content, None, uploaded).await
    }

    /// Takes away a confirmed backup that proved bad, if it can be nobody else's, and says whether it did.
    pub async fn take_back(&self, name: &BackupName, ours: Ours) -> Result<bool, Error> {
        if !self.is_provably_ours(ours, &name.leaf()).await {
            return Ok(false);
        }
        self.delete_file(&self.object_path(name)).await.map(|()| true)
    }

    /// Why the outlet does not take any more bytes. What has arrived is taken away.
    pub async fn broken(&self, upload: Upload, cause: io::Error) -> Error {
        let path = self.object_path(&upload.name);
        let (rclone, part) = match upload.sending {
            Sending::Local(part) => return Error::Local { doing: "write", path: part.path.clone(), cause },
            Sending::Whole { rclone, .. } => (rclone, None),
            Sending::Part { rclone, part } => (rclone, Some(part)),
        };
        let mut ending = Box::pin(rclone.finish());
        let ended = tokio::time::timeout(LAST_WORDS, &mut ending).await;
        end(ending).await;
        if let Some(part) = part {
            self.remove_part(&part).await;
        }
        match ended {
            Ok(Err(error)) => Error::from(error).may(STORE_THERE),
            Ok(Ok(())) | Err(_) => Error::Local { doing: "send all of", path: path.into(), cause },
        }
    }

    /// Ends an upload whose bytes are not good, or do not come any more.
    pub async fn abandon(&self, upload: Upload) {
        let part = if let Sending::Part { part, .. } = &upload.sending { Some(part.clone()) } else { None };
        end(upload).await;
        if let Some(part) = part {
            self.remove_part(&part).await;
        }
    }

    /// Takes away what was sent, if it has no name yet.
    pub async fn discard(&self, sent: Sent) {
        match sent.place {
            Place::Local(part) => end(part).await,
            Place::Named(_) => {}
            Place::Part(part) => self.remove_part(&part).await,
        }
    }
}

/// Drops it on a thread of its own: rclone is given time to abort what it has begun.
async fn end<T: Send + 'static>(what: T) {
    let ended = blocking(move || {
        drop(what);
        Ok::<_, CutShort>(())
    });
    if let Err(error) = ended.await {
        tracing::debug!("ending an upload: {error}");
    }
}
