//! Uploading, and confirming at the remote what arrived.

use std::path::Path;

use super::hash;
use super::{Error, Object, Store, call};
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::exit::Exit;
use crate::rclone::{self, Call};
use crate::system::blocking::blocking;

use super::read::{Known, Noted};

/// rclone would make a missing bucket; a misspelt one is then a bucket of its own, and looks like success.
const NO_NEW_BUCKET: &str = "--s3-no-check-bucket";
/// Decided by the store itself, in the moment of the upload; known to S3 alone.
const NO_OVERWRITE: [&str; 2] = ["--header-upload", "If-None-Match: *"];

/// Patient, unlike small questions: there is much to lose.
const RETRY_UPLOAD: [&str; 3] = ["--retries=3", "--low-level-retries=3", "--contimeout=10s"];
/// Honoured by every backend, but rclone looks before it begins. It says so when it found the name taken.
const SKIP_EXISTING: [&str; 2] = ["--ignore-existing", "--error-on-no-transfer"];

impl Store {
    /// Uploads `file` as `name`, which must not be there yet, and confirms what arrived.
    ///
    /// # Errors
    /// Whatever rclone says; an object that is not there or differs; [`Error::Taken`].
    pub async fn put(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        if self.stat(name, &[]).await?.is_some() {
            return Err(Error::Taken(self.place(name)));
        }
        let Err(error) = self.upload(file, name, record).await else {
            return self.confirm(file, name, record).await;
        };
        self.sweep(name).await;
        if error.exit() != Exit::Store {
            return Err(Error::of(error, "store new objects there"));
        }
        // The answer may have been lost and not the object: a repeated upload then finds its own first try in the way.
        match self.confirm(file, name, record).await {
            Ok(()) => {
                tracing::warn!("rclone failed, and yet what was sent is there and identical: {error}");
                Ok(())
            }
            Err(Error::NotConfirmed { .. }) if error.is_name_taken() => Err(Error::Taken(self.place(name))),
            Err(_) => Err(error.into()),
        }
    }

    /// An object of a bucket becomes visible when it is whole. A file elsewhere grows under its name, and a second one
    /// replaces the first without a word: there it is uploaded under a name of this process's own and then moved.
    async fn upload(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), rclone::Error> {
        let place = self.place(name);
        if self.is_moved() {
            let part = format!("{place}{}", self.rclone.mark());
            self.copy(file, &part, record, &[]).await?;
            let args = [&RETRY_UPLOAD[..], &SKIP_EXISTING, &["--", &part, &place]].concat();
            return self.rclone.call(Call { limit: None, ..call("moveto", &place, &args) }).await.map(drop);
        }
        match self.copy(file, &place, record, &NO_OVERWRITE).await {
            Err(error) if error.is_not_implemented() => {
                tracing::warn!("the store knows no conditional uploads, so only rclone looks whether the name is free");
                self.copy(file, &place, record, &[]).await
            }
            outcome => outcome,
        }
    }

    fn is_moved(&self) -> bool {
        !self.is_bucket_based() && self.features.has("Move")
    }

    async fn copy(&self, file: &Path, place: &str, record: &Record, condition: &[&str]) -> Result<(), rclone::Error> {
        let source = file.to_string_lossy();
        let metadata: Vec<String> = record.metadata().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut args = [&RETRY_UPLOAD[..], &SKIP_EXISTING, &[NO_NEW_BUCKET], condition].concat();
        if self.features.has("WriteMetadata") && self.features.has("UserMetadata") {
            args.push("--metadata");
            args.extend(metadata.iter().flat_map(|pair| ["--metadata-set", pair.as_str()]));
        }
        args.extend(["--", &source, place]);
        self.rclone.call(Call { limit: None, ..call("copyto", place, &args) }).await.map(drop)
    }

    /// Compares the stored object with the file: it is there, its size is right, and so is its hash, or else what was
    /// noted beside it, or else its content as it is read back.
    async fn confirm(&self, file: &Path, name: &BackupName, record: &Record) -> Result<(), Error> {
        let fail = |why: String| Error::NotConfirmed { name: name.to_string(), why };
        let offered = self.features.hashes.as_deref().unwrap_or_default();
        let kind = hash::KNOWN.into_iter().find(|kind| offered.iter().any(|o| o == kind));
        let mut how = RETRY_UPLOAD.to_vec();
        how.extend(self.features.has("ReadMetadata").then_some("--metadata"));
        how.extend(kind.iter().flat_map(|kind| ["--hash", "--hash-type", kind]));
        // Without a limit: some backends read the whole object to hash it.
        let object = self.ask(name, &how, None).await?.ok_or_else(|| fail("it is not there".into()))?;
        if u64::try_from(object.size) != Ok(record.bytes) {
            return Err(fail(format!("it has {} bytes, {} were sent", object.size, record.bytes)));
        }
        let hash = kind.and_then(|kind| Some((kind, object.hashes.get(kind).filter(|hash| !hash.is_empty())?)));
        let (what, ours, theirs) = match (hash, Noted::from_metadata(&object.metadata).sha256) {
            (Some((kind, theirs)), _) => {
                let ours = hash_of(file, kind, record).await.map_err(|e| fail(format!("reading it back here: {e}")))?;
                (kind, ours, theirs.clone())
            }
            (None, Some(theirs)) => ("sha256 in its metadata", record.sha256.clone(), theirs),
            (None, None) => ("content read back", record.sha256.clone(), self.read_back(name, &object).await?),
        };
        if !ours.eq_ignore_ascii_case(&theirs) {
            return Err(fail(format!("its {what} differs from what was sent")));
        }
        tracing::info!(%name, bytes = record.bytes, compared = what, "confirmed at the remote");
        Ok(())
    }

    async fn read_back(&self, name: &BackupName, object: &Object) -> Result<String, Error> {
        let known = Known { bytes: u64::try_from(object.size).ok(), noted: Noted::default() };
        let hash = self.read(name, &known, "reading back", |stream| hash::of("sha256", stream)).await?;
        hash.map_err(|e| Error::NotConfirmed { name: name.to_string(), why: format!("reading it back: {e}") })
    }

    /// Removes what a failed upload has left, even of a killed rclone: files that carry this process's own mark.
    async fn sweep(&self, name: &BackupName) {
        if !self.is_moved() {
            return;
        }
        let mark = format!("{}{}", name.leaf(), self.rclone.mark());
        let objects = self.objects(&[], None).await.unwrap_or_default();
        let left: Vec<_> = objects.into_iter().map(|o| o.name).filter(|name| name.starts_with(&mark)).collect();
        if left.is_empty() {
            return;
        }
        tracing::info!(?left, "removing what is left of the upload");
        if let Some(complaint) = self.delete(&["--files-from-raw=-"], left).await {
            tracing::warn!("removing what is left of the upload: {complaint}");
        }
    }
}

/// SHA-256 was taken of the bytes that were proved; the file is read again for another kind alone.
async fn hash_of(file: &Path, kind: &'static str, record: &Record) -> std::io::Result<String> {
    if kind == "sha256" {
        return Ok(record.sha256.clone());
    }
    let file = file.to_owned();
    blocking(move || hash::of(kind, &mut std::fs::File::open(file)?)).await
}
