//! The bytes of a stored backup, as a stream.

use std::io::{self, PipeReader, Read};

use super::error::{Error, ReadError};
use super::{RETRY, Store, StoredBackup, call};
use crate::logging::progress::Metered;
use crate::rclone::{self, Call};
use crate::system::blocking::{CutShort, blocking};

/// How the crypt remote complains of bytes that its password does not fit, altered ones included.
const UNDECRYPTABLE: [&str; 3] =
    ["failed to authenticate decrypted block", "too short to be encrypted", "bad magic string"];

/// The bytes of a stored backup as they arrive.
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
    /// Gives a backup's bytes to `take`, on a thread of its own; `doing` names the transfer in the log. To stop early,
    /// `take` fails before the end of the stream.
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
        let object = self.object_path(&backup.name);
        let args = [&RETRY[..], &["--timeout=60s", "--", &object]].concat();
        let total = backup.bytes.unwrap_or_default();
        let (rclone, stdout) =
            self.rclone.stream(&Call { limit: None, ..call("cat", &object, &args) }).map_err(Error::from)?;
        let reading = blocking(move || {
            let mut stream = BackupStream { bytes: Metered::new(doing, stdout, total), at_end: false };
            let taken = take(&mut stream);
            Ok::<_, CutShort>((taken, stream.bytes.done(), stream.at_end))
        });
        let (taken, read, at_end) = reading.await.map_err(Error::from)?;
        // A transfer that breaks off looks to `take` like the end of the stream, and a cut backup like a damaged one. So
        // once the end was read, a failure of rclone comes first. Before that `take` failed for a reason of its own, such
        // as a full disk, and dropping `rclone` ends the transfer.
        if at_end || taken.is_ok() {
            rclone.finish().await.map_err(|error| unreadable(object, read, error))?;
        }
        taken.map_err(ReadError::Reader)
    }
}

fn unreadable(object: String, read: u64, cause: rclone::Error) -> Error {
    let text = cause.to_string();
    if UNDECRYPTABLE.iter().any(|words| text.contains(words)) {
        return Error::Undecryptable { object, read, cause };
    }
    Error::Rclone(cause)
}
