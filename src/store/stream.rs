//! Takes a backup of which nobody has a file, as its bytes come. Until the last ones have come nothing stands under its name.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use super::local::LocalPart;
use super::upload::{NO_NEW_BUCKET, ONLY_IF_ABSENT, Ours};
use super::{Content, Error, RETRY, Store};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::rclone::backend::Backend;
use crate::rclone::{Call, RunningCall};
use crate::system::blocking::{CutShort, blocking};
use crate::system::process::Stdin;

// A test tells so of each: what_is_killed_while_it_streams_leaves_no_backup, and that of clouds.
/// rclone's kinds of stores where an object that is sent with its size is there when all of it has arrived, and not before. Not
/// Google's: there the end of the input ends the object, whatever its size was to be.
const WHOLE: [&str; 2] = ["s3", "azureblob"];
/// Kinds that give what they are given to one other remote, as one object.
const TRANSPARENT: [&str; 2] = ["crypt", "alias"];
/// How long rclone may take to end once it does not read any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How a stream gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Here, by a rename.
    Local,
    /// From the beginning: the store shows it when it is whole.
    Whole,
    /// By a move at the remote.
    Part,
}

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

impl Store {
    /// Fails if this store, or this rclone, takes only what is a file.
    pub fn check_streaming(&self) -> Result<(), Error> {
        self.way().map(drop)
    }

    fn way(&self) -> Result<Way, Error> {
        if self.local_directory().is_some() {
            return Ok(Way::Local);
        }
        if self.is_bucket_based() && is_whole(&self.rclone.chain(&self.config.target)) {
            if !self.rclone.checks_streams() {
                let (target, version) = (self.config.target.to_string(), self.rclone.version().to_owned());
                return Err(Error::NeedsNewerRclone { target, version });
            }
            return Ok(Way::Whole);
        }
        if self.uploads_a_part() { Ok(Way::Part) } else { Err(Error::NeedsStaging(self.config.target.to_string())) }
    }

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
                    Ok::<_, Error>((part, file))
                };
                let (part, file) = blocking(create).await?;
                (Sending::Local(part), Outlet::File(file))
            }
            Way::Whole => {
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
        // Without the size, rclone takes the end of its input for the end of the object, and that comes also when this
        // process is killed.
        let size = format!("--size={bytes}");
        let args = [&NO_NEW_BUCKET[..], more, &[&size, "--", path]].concat();
        let defaults = [&RETRY[..], &self.faster_stream_flags()].concat();
        Ok(self.rclone.feed(&Call { defaults: &defaults, ..Call::new("rcat", path, &args) })?)
    }

    /// Gives the backup its name, once the outlet has all its bytes and is dropped, and confirms it.
    pub async fn complete(&self, upload: Upload, content: &Content) -> Result<(Evidence, Ours), Error> {
        let Upload { name, sending } = upload;
        let leaf = name.leaf();
        let uploaded = match sending {
            Sending::Local(part) => blocking(move || part.publish(&leaf)).await.map(|()| Ours::Renamed),
            Sending::Whole { rclone, conditional } => {
                let ours = if conditional { Ours::Conditional } else { Ours::Unknown };
                rclone.finish().await.map(|()| ours).map_err(Error::from)
            }
            Sending::Part { rclone, part } => {
                let moved = async {
                    rclone.finish().await?;
                    self.await_turn(&leaf).await?;
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
        let ended = tokio::time::timeout(LAST_WORDS, rclone.finish()).await;
        if let Some(part) = part {
            self.remove_part(&part).await;
        }
        match ended {
            Ok(Err(error)) => Error::from(error).may("store new objects there"),
            Ok(Ok(())) | Err(_) => Error::Local { doing: "send all of", path: path.into(), cause },
        }
    }

    /// Ends an upload whose bytes are not good, or do not come any more.
    pub async fn abandon(&self, upload: Upload) {
        let part = if let Sending::Part { part, .. } = &upload.sending { Some(part.clone()) } else { None };
        // rclone is given time to abort what it has begun.
        let ended = blocking(move || {
            drop(upload);
            Ok::<_, CutShort>(())
        });
        if let Err(error) = ended.await {
            tracing::debug!("ending an upload: {error}");
        }
        if let Some(part) = part {
            self.remove_part(&part).await;
        }
    }
}

/// `chain` is the target's remote, and behind it those that it wraps.
pub(super) fn is_whole(chain: &[Backend]) -> bool {
    let Some((last, around)) = chain.split_last() else { return false };
    WHOLE.contains(&last.kind.as_str()) && around.iter().all(|remote| TRANSPARENT.contains(&remote.kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_stores_take_a_stream_under_its_name() {
        for (kinds, whole) in [
            (&["s3"][..], true),
            (&["crypt", "s3"], true),
            (&["alias", "crypt", "alias", "azureblob"], true),
            (&["google cloud storage"], false),
            (&["b2"], false),
            (&["crypt", "sftp"], false),
            (&["union", "s3", "s3"], false),
            (&["chunker", "s3"], false),
            (&["crypt"], false),
            (&[], false),
        ] {
            let remote = |kind: &&str| Backend { kind: (*kind).to_owned(), ..Backend::default() };
            let chain: Vec<_> = kinds.iter().map(remote).collect();
            assert_eq!(is_whole(&chain), whole, "{kinds:?}");
        }
    }
}
