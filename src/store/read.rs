//! Streams the bytes of a stored backup.

use std::io::{self, PipeReader, Read};

use super::error::{Error, ReadError};
use super::{RETRY, Store, StoredBackup};
use crate::logging::progress::Metered;
use crate::rclone::{self, Call};
use crate::system::blocking::{CutShort, blocking};

/// What rclone's crypt backend says when it cannot decrypt the content (`backend/crypt/cipher.go`).
const UNDECRYPTABLE: [&str; 3] =
    ["failed to authenticate decrypted block", "too short to be encrypted", "bad magic string"];

/// Without this flag, `rclone cat` of one object lists its whole directory. That takes long where there are many, and a
/// listing that is stale does not show the object.
pub(super) const ONE_OBJECT: &str = "--no-traverse";

/// Remembers whether it was read to its end.
pub struct BackupStream {
    bytes: Metered<PipeReader>,
    at_end: bool,
}

impl Read for BackupStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.at_end |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

impl Store {
    /// Gives a backup's bytes to `take`, on a thread of its own. `doing` names the transfer in the log. To stop early, `take`
    /// returns an error before the end of the stream.
    pub async fn read<T, E>(
        &self,
        backup: &StoredBackup,
        doing: &'static str,
        take: impl FnOnce(&mut BackupStream) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ReadError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.read_path(self.object_path(&backup.name), backup.bytes, doing, take).await
    }

    /// The same of an object that is no backup yet.
    pub async fn read_path<T, E>(
        &self,
        object: String,
        bytes: Option<u64>,
        doing: &'static str,
        take: impl FnOnce(&mut BackupStream) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ReadError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        // rclone's default is to wait five minutes for the next byte.
        let defaults = [&RETRY[..], &["--timeout=60s"]].concat();
        let args = [ONE_OBJECT, "--", &object];
        let call = Call { defaults: &defaults, ..Call::new("cat", &object, &args) };
        let total = bytes.unwrap_or_default();
        let (rclone, stdout) = self.rclone.stream(&call).map_err(Error::from)?;
        let reading = blocking(move || {
            let mut stream = BackupStream { bytes: Metered::new(doing, stdout, total), at_end: false };
            let taken = take(&mut stream);
            Ok::<_, CutShort>((taken, stream.bytes.done(), stream.at_end))
        });
        let (taken, read, at_end) = reading.await.map_err(Error::from)?;
        // To `take`, a transfer that breaks off is the end of the stream, and an incomplete backup a damaged one. So after
        // the end, rclone's failure is the one to report. Before the end `take` failed for a reason of its own, such as a full
        // disk, and dropping `rclone` ends the transfer.
        if at_end || taken.is_ok() {
            rclone.finish().await.map_err(|error| unreadable(object, read, error))?;
        }
        taken.map_err(ReadError::Reader)
    }
}

fn unreadable(object: String, read: u64, cause: rclone::Error) -> Error {
    let text = cause.to_string();
    if UNDECRYPTABLE.iter().any(|words| text.contains(words)) {
        return Error::Undecryptable { object, read, cause: Box::new(cause) };
    }
    Error::Rclone(cause)
}
