//! Uploads a backup, and confirms at the remote what arrived.

use std::fs::File;
use std::path::Path;

use super::{Error, RETRY, ReadError, Store, StoredBackup, hash};
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::exit::Exit;
use crate::rclone::{self, Call};
use crate::system::blocking::blocking;

/// Without this flag rclone creates a missing bucket, and an upload to a misspelt one looks like success.
const NO_NEW_BUCKET: &str = "--s3-no-check-bucket";
/// Makes an S3 store itself refuse the upload if it has an object of that name. Not every backend sends the header.
const ONLY_IF_ABSENT: [&str; 2] = ["--header-upload", "If-None-Match: *"];
/// Makes rclone check on every backend that the name is free before it begins, and exit with code 9 if it is not. With the
/// first flag alone it would skip the upload and report success. `--immutable` does not help: `copyto` ignores it.
const REFUSE_EXISTING: [&str; 2] = ["--ignore-existing", "--error-on-no-transfer"];

impl Store {
    /// Stores `file` as `name` and confirms it, or fails with [`Error::Taken`]. Nothing is ever overwritten.
    ///
    /// Another run may take a name that was free in the caller's listing. That is decided as late as the backend allows: by
    /// an S3 store itself at the moment of the upload; elsewhere by rclone, directly before it moves the finished upload to
    /// its name or, where the backend cannot move, directly before it uploads.
    pub async fn put(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        let Err(error) = self.upload(file, name, record).await else {
            return self.confirm(file, name, record).await;
        };
        self.remove_parts(name).await;
        if error.exit() != Exit::Store {
            return Err(Error::of(error, "store new objects there"));
        }
        // Perhaps only the answer was lost. rclone's next try then finds the name taken by its own first one.
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
        // A bucket shows an object only when it is complete. A file elsewhere is visible while it grows, and of two uploads
        // the second replaces the first. So it is uploaded under a name that no other process uses, and then moved.
        if self.uploads_a_part() {
            let part = format!("{object}{}", self.rclone.part_suffix());
            self.copy(file, &part, record, &[]).await?;
            let args = [&REFUSE_EXISTING[..], &["--", &part, &object]].concat();
            let call = Call { defaults: &RETRY, ..Call::new("moveto", &object, &args) };
            return self.rclone.call(call).await.map(drop);
        }
        match self.copy(file, &object, record, &ONLY_IF_ABSENT).await {
            Err(error) if error.is_not_implemented() => {
                tracing::warn!("the store has no conditional uploads, so only rclone checks that the name is free");
                self.copy(file, &object, record, &[]).await
            }
            outcome => outcome,
        }
    }

    fn uploads_a_part(&self) -> bool {
        !self.is_bucket_based() && self.features.has("Move")
    }

    async fn copy(&self, file: &Path, path: &str, record: &Record, more: &[&str]) -> Result<(), rclone::Error> {
        let source = file.to_string_lossy();
        let metadata = record.metadata().to_pairs();
        let metadata: Vec<String> = metadata.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = [&REFUSE_EXISTING[..], &[NO_NEW_BUCKET], more].concat();
        if self.features.has("WriteMetadata") && self.features.has("UserMetadata") {
            args.push("--metadata");
            args.extend(metadata.iter().flat_map(|pair| ["--metadata-set", pair.as_str()]));
        }
        args.extend(["--", &source, path]);
        self.rclone.call(Call { defaults: &RETRY, ..Call::new("copyto", path, &args) }).await.map(drop)
    }

    /// Compares the stored object with the file by its size and by the first of these that the remote has: a hash of the
    /// object, the SHA-256 in its metadata, its content read back.
    async fn confirm(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        let fail = |why: String| Error::NotConfirmed { name: name.to_string(), why };
        // Of a multipart upload to S3, the MD5 is one that rclone wrote into the metadata. The content of such an object is
        // checked on its way: each part carries a Content-MD5, which the store compares.
        let offered = self.features.hashes.as_deref().unwrap_or_default();
        let kind = hash::KNOWN.into_iter().find(|kind| offered.iter().any(|o| o == kind));
        let mut args = Vec::new();
        args.extend(self.features.has("ReadMetadata").then_some("--metadata"));
        args.extend(kind.iter().flat_map(|kind| ["--hash", "--hash-type", kind]));
        // No limit, because a backend such as `local` reads the whole file to hash it.
        let object = self.object(name, &RETRY, &args, None).await?.ok_or_else(|| fail("it is not there".into()))?;
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

    /// Removes what a failed upload has left.
    async fn remove_parts(&self, name: &BackupName) {
        if !self.uploads_a_part() {
            return;
        }
        let part = format!("{}{}", name.leaf(), self.rclone.part_suffix());
        let objects = self.objects(&[], None).await.unwrap_or_default();
        // Not only the exact name: rclone uploads a file under the name with a suffix of its own, which stays if it is killed.
        let parts: Vec<_> = objects.into_iter().map(|object| object.name).filter(|n| n.starts_with(&part)).collect();
        if parts.is_empty() {
            return;
        }
        tracing::info!(?parts, "removing the parts of the failed upload");
        if let Some(complaint) = self.delete(&["--files-from-raw=-"], parts).await {
            tracing::warn!("cannot remove the parts of the failed upload: {complaint}");
        }
    }
}

async fn hash_of(file: &Path, kind: &'static str, record: &Record) -> std::io::Result<String> {
    // The record has that of the bytes that were proved, so the file is read again only for another kind.
    if kind == "sha256" {
        return Ok(record.sha256.clone());
    }
    let file = file.to_owned();
    blocking(move || hash::of(kind, &mut File::open(file)?)).await
}
