//! Confirms that a stored backup is what was sent: by a hash that the store computed, or by reading it back.

use std::fs::File;
use std::io;
use std::path::Path;

use super::error::{Doubt, Left};
use super::evidence::Testimony;
use super::list::RemoteObject;
use super::{Error, RETRY, ReadError, Store, StoredBackup, hash};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::snapshot::{Digested, Digesting, FileHash};
use crate::system::blocking::blocking;

/// What is sent, and is to be stored.
#[derive(Clone, Debug)]
pub struct Content {
    pub hash: FileHash,
    /// Of the kind that [`Store::digest_kind`] names, if it was computed from the bytes that were proved.
    pub digest: Option<Digested>,
}

impl From<FileHash> for Content {
    fn from(hash: FileHash) -> Self {
        Self { hash, digest: None }
    }
}

impl Content {
    /// What the store's word has to be; `None` if that has to be computed.
    fn known(&self, testimony: Testimony) -> Option<&str> {
        let Some(kind) = testimony.digest_kind() else { return Some(&self.hash.sha256) };
        self.digest.as_ref().filter(|digest| digest.kind == kind).map(|digest| digest.text.as_str())
    }

    /// The same, from `file` if need be; `None` if that is not the content any more.
    async fn expected(&self, testimony: Testimony, file: Option<&Path>) -> Result<Option<String>, Error> {
        if let Some(known) = self.known(testimony) {
            return Ok(Some(known.to_owned()));
        }
        let (Some(file), kind) = (file, testimony.digest_kind()) else { return Ok(None) };
        let path = file.to_owned();
        let read = move || {
            let mut bytes = Digesting::new(File::open(path)?, kind);
            Ok((hash::of_all(&mut bytes)?, bytes.digested()))
        };
        let (hash, digest) = blocking(read).await.map_err(|error| reading(&file.display().to_string(), error))?;
        // Of a file that was altered since, the store would only confirm what it is now.
        Ok(digest.filter(|_| hash == self.hash).map(|digest| digest.text))
    }
}

impl Store {
    /// Compares a stored backup with `content`, and changes nothing whatever comes of it.
    pub async fn confirm(&self, name: &BackupName, content: &Content) -> Result<Evidence, Error> {
        self.compare(name, content, None).await.map_err(|doubt| {
            let left = if matches!(doubt, Doubt::Absent) { Left::Nothing } else { Left::There };
            Error::NotConfirmed { name: name.to_string(), doubt, left }
        })
    }

    /// `file` has the content, for a digest that is not known of it yet.
    pub(super) async fn compare(
        &self,
        name: &BackupName,
        content: &Content,
        file: Option<&Path>,
    ) -> Result<Evidence, Doubt> {
        let can_compare = |testimony: &Testimony| file.is_some() || content.known(*testimony).is_some();
        let testimony = self.testimony(content.hash.bytes).filter(can_compare);
        let (object, theirs) = self.ask(&self.object_path(name), testimony).await.map_err(Doubt::unread)?;
        let object = object.ok_or(Doubt::Absent)?;
        let stored = StoredBackup::new(name.clone(), &object);
        let sent = content.hash.bytes;
        if let Some(bytes) = stored.bytes.filter(|bytes| *bytes != sent) {
            return Err(Doubt::Differs(format!("it has {bytes} bytes, {sent} were sent")));
        }
        let mut evidence = None;
        if let (Some(testimony), Some(theirs)) = (testimony, theirs) {
            let ours = content.expected(testimony, file).await.map_err(Doubt::unread)?;
            evidence = ours.filter(|ours| ours.eq_ignore_ascii_case(&theirs)).map(|_| testimony.evidence());
        }
        // A hash that differs may be another's word, such as metadata. The content decides.
        let evidence = if let Some(evidence) = evidence { evidence } else { self.read_back(&stored, content).await? };
        tracing::info!(%name, bytes = sent, compared = %evidence, "confirmed at the remote");
        Ok(evidence)
    }

    /// The object as it is stored, with the store's word on it if it gives that.
    async fn ask(
        &self,
        path: &str,
        testimony: Option<Testimony>,
    ) -> Result<(Option<RemoteObject>, Option<String>), Error> {
        // No limit, because a backend such as `local` reads the whole file to hash it.
        if let Some(Testimony::OfParts(_)) = testimony {
            if let Ok(answer) = self.object_and_etag(path).await {
                return Ok(answer);
            }
            // Asking for more than the object must not be what fails a backup. Without the word, it is read back.
            tracing::debug!("asking for the ETag failed, so it is asked without");
        }
        self.object_and_hash(path, &RETRY, &["--no-modtime"], testimony.and_then(Testimony::hash), None).await
    }

    async fn read_back(&self, stored: &StoredBackup, content: &Content) -> Result<Evidence, Doubt> {
        let read = self.read(stored, "reading back", hash::of_all).await.map_err(|error| match error {
            ReadError::Store(error) => Doubt::unread(error),
            ReadError::Reader(error) => Doubt::unread(reading("the stored backup", error)),
        })?;
        // The size is that of the listing, so bytes are missing only because they did not arrive.
        if read.bytes != content.hash.bytes {
            let why = format!("{} of {} bytes arrived", read.bytes, content.hash.bytes);
            return Err(Doubt::unread(reading("the stored backup", io::Error::other(why))));
        }
        if !read.sha256.eq_ignore_ascii_case(&content.hash.sha256) {
            return Err(Doubt::Differs("its content, read back, differs from what was sent".into()));
        }
        Ok(Evidence::ReadBack)
    }
}

fn reading(what: &str, cause: io::Error) -> Error {
    Error::Local { doing: "read", path: what.into(), cause }
}
