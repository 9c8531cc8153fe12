//! Uploads a backup, and confirms at the remote what arrived.

use std::fs::File;
use std::path::Path;

use super::list::RemoteObject;
use super::{Error, RETRY, ReadError, Store, StoredBackup, call, hash};
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::exit::Exit;
use crate::rclone::{self, Call};
use crate::system::blocking::blocking;

/// rclone would create a missing bucket; a misspelt name is then a bucket of its own, and looks like success.
const NO_NEW_BUCKET: &str = "--s3-no-check-bucket";
/// Makes an S3 store refuse the upload if it has an object of that name. Only S3 sends the header.
const ONLY_IF_ABSENT: [&str; 2] = ["--header-upload", "If-None-Match: *"];
/// Makes rclone look whether the name is free before it begins, on every backend, and exit with code 9 if it is not. The
/// first flag alone would make it skip the upload and report success.
const REFUSE_EXISTING: [&str; 2] = ["--ignore-existing", "--error-on-no-transfer"];

impl Store {
    /// Stores `file` as `name` and confirms it, or fails with [`Error::Taken`]. Nothing is ever overwritten.
    ///
    /// The caller chooses a name that was free in a listing. Whether it still is gets decided once, as late as the backend
    /// allows: by an S3 store itself at the moment of the upload; elsewhere by rclone, directly before it moves the
    /// finished upload to its name or, where the backend cannot move, directly before it uploads.
    pub async fn put(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        let Err(error) = self.upload(file, name, record).await else {
            return self.confirm(file, name, record).await;
        };
        self.remove_parts(name).await;
        if error.exit() != Exit::Store {
            return Err(Error::of(error, "store new objects there"));
        }
        // Only the answer may have been lost. rclone's next try then finds the name taken by its own first one.
        match self.confirm(file, name, record).await {
            Ok(()) => {
                tracing::warn!("rclone failed, but the object is there and identical to what was sent: {error}");
                Ok(())
            }
            Err(Error::NotConfirmed { .. }) if error.is_name_taken() => Err(Error::Taken(self.object_path(name))),
            Err(_) => Err(error.into()),
        }
    }

    async fn upload(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), rclone::Error> {
        let object = self.object_path(name);
        // An object of a bucket becomes visible when it is whole. A file elsewhere grows under its name, and of two uploads
        // the second replaces the first, so it is uploaded under a name that no other process uses, and then moved.
        if self.is_moved() {
            let part = format!("{object}{}", self.rclone.part_suffix());
            self.copy(file, &part, record, &[]).await?;
            let args = [&RETRY[..], &REFUSE_EXISTING, &["--", &part, &object]].concat();
            return self.rclone.call(Call { limit: None, ..call("moveto", &object, &args) }).await.map(drop);
        }
        match self.copy(file, &object, record, &ONLY_IF_ABSENT).await {
            Err(error) if error.is_not_implemented() => {
                tracing::warn!("the store has no conditional uploads, so only rclone checks that the name is free");
                self.copy(file, &object, record, &[]).await
            }
            outcome => outcome,
        }
    }

    fn is_moved(&self) -> bool {
        !self.is_bucket_based() && self.features.has("Move")
    }

    async fn copy(&self, file: &Path, path: &str, record: &Record, condition: &[&str]) -> Result<(), rclone::Error> {
        let source = file.to_string_lossy();
        let metadata = record.metadata().to_pairs();
        let metadata: Vec<String> = metadata.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = [&RETRY[..], &REFUSE_EXISTING, &[NO_NEW_BUCKET], condition].concat();
        if self.features.has("WriteMetadata") && self.features.has("UserMetadata") {
            args.push("--metadata");
            args.extend(metadata.iter().flat_map(|pair| ["--metadata-set", pair.as_str()]));
        }
        args.extend(["--", &source, path]);
        self.rclone.call(Call { limit: None, ..call("copyto", path, &args) }).await.map(drop)
    }

    /// Compares the stored object with the file by its size and by the best evidence that the remote has: its hash, or
    /// the SHA-256 in its metadata, or else its content, which is read back.
    async fn confirm(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        let fail = |why: String| Error::NotConfirmed { name: name.to_string(), why };
        let offered = self.features.hashes.as_deref().unwrap_or_default();
        let kind = hash::KNOWN.into_iter().find(|kind| offered.iter().any(|o| o == kind));
        let mut args = RETRY.to_vec();
        args.extend(self.features.has("ReadMetadata").then_some("--metadata"));
        args.extend(kind.iter().flat_map(|kind| ["--hash", "--hash-type", kind]));
        // No limit, because some backends read the whole object to hash it.
        let object = self.object(name, &args, None).await?.ok_or_else(|| fail("it is not there".into()))?;
        if u64::try_from(object.size) != Ok(record.bytes) {
            return Err(fail(format!("it has {} bytes, {} were sent", object.size, record.bytes)));
        }
        let hash = kind.and_then(|kind| Some((kind, object.hashes.get(kind).filter(|hash| !hash.is_empty())?)));
        let stored = StoredBackup::new(name.clone(), &object);
        let (compared, ours, theirs) = match (hash, stored.metadata.sha256.clone()) {
            (Some((kind, theirs)), _) => {
                let ours = hash_of(file, kind, record).await;
                (kind, ours.map_err(|e| fail(format!("reading {}: {e}", file.display())))?, theirs.clone())
            }
            (None, Some(theirs)) => ("sha256 in its metadata", record.sha256.clone(), theirs),
            (None, None) => ("content read back", record.sha256.clone(), self.read_back(&stored).await?),
        };
        if !ours.eq_ignore_ascii_case(&theirs) {
            return Err(fail(format!("its {compared} differs from what was sent")));
        }
        tracing::info!(%name, bytes = record.bytes, compared, "confirmed at the remote");
        Ok(())
    }

    /// The SHA-256 of a stored backup's content.
    async fn read_back(&self, backup: &StoredBackup) -> Result<String, Error> {
        let hash = self.read(backup, "reading back", |stream| hash::of("sha256", stream)).await;
        hash.map_err(|error| match error {
            ReadError::Store(error) => error,
            ReadError::Reader(e) => {
                Error::NotConfirmed { name: backup.name.to_string(), why: format!("reading it back: {e}") }
            }
        })
    }

    /// Removes what a failed upload has left, even that of a killed rclone, which adds a suffix of its own to the part's
    /// name.
    async fn remove_parts(&self, name: &BackupName) {
        if !self.is_moved() {
            return;
        }
        let part = format!("{}{}", name.leaf(), self.rclone.part_suffix());
        let objects = self.objects(&[], None).await.unwrap_or_default();
        let parts: Vec<_> =
            objects.into_iter().map(|o: RemoteObject| o.name).filter(|n| n.starts_with(&part)).collect();
        if parts.is_empty() {
            return;
        }
        tracing::info!(?parts, "removing what the failed upload left");
        if let Some(complaint) = self.delete(&["--files-from-raw=-"], parts).await {
            tracing::warn!("removing what the failed upload left: {complaint}");
        }
    }
}

async fn hash_of(file: &Path, kind: &'static str, record: &Record) -> std::io::Result<String> {
    // The SHA-256 of the bytes that were proved is known, so the file is read again only for another kind.
    if kind == "sha256" {
        return Ok(record.sha256.clone());
    }
    let file = file.to_owned();
    blocking(move || hash::of(kind, &mut File::open(file)?)).await
}
