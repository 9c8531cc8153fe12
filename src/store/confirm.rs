//! Confirms that a stored backup is what was sent: by a hash that the store computed, or by reading it back.

use std::fs::File;
use std::io;
use std::path::Path;

use super::error::{Doubt, Left};
use super::{Error, RETRY, ReadError, Store, StoredBackup, hash};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::snapshot::FileHash;
use crate::system::blocking::blocking;

impl Store {
    /// Compares a stored backup with `content`, and changes nothing whatever comes of it.
    pub async fn confirm(&self, name: &BackupName, content: &FileHash) -> Result<Evidence, Error> {
        self.compare(name, content, None).await.map_err(|doubt| {
            let left = if matches!(doubt, Doubt::Absent) { Left::Nothing } else { Left::There };
            Error::NotConfirmed { name: name.to_string(), doubt, left }
        })
    }

    /// `file` has the content, for a hash that is not known of it yet.
    pub(super) async fn compare(
        &self,
        name: &BackupName,
        content: &FileHash,
        file: Option<&Path>,
    ) -> Result<Evidence, Doubt> {
        // Without the file, its SHA-256 is the only hash that is known.
        let kind = self.witness(content.bytes).filter(|kind| *kind == "sha256" || file.is_some());
        let mut args = vec!["--no-modtime"];
        args.extend(kind.iter().flat_map(|kind| ["--hash", "--hash-type", kind]));
        // No limit, because a backend such as `local` reads the whole file to hash it.
        let object = self.object(&self.object_path(name), &RETRY, &args, None).await.map_err(Doubt::unread)?;
        let object = object.ok_or(Doubt::Absent)?;
        let stored = StoredBackup::new(name.clone(), &object);
        if let Some(bytes) = stored.bytes.filter(|bytes| *bytes != content.bytes) {
            return Err(Doubt::Differs(format!("it has {bytes} bytes, {} were sent", content.bytes)));
        }
        let theirs = kind.and_then(|kind| object.hashes.get(kind)).filter(|hash| !hash.is_empty());
        let evidence = match (kind, theirs) {
            (Some(kind), Some(theirs)) => {
                let ours = hash_of(file, kind, content).await.map_err(Doubt::unread)?;
                // A hash that differs may be another's word, such as metadata. The content decides.
                if ours.eq_ignore_ascii_case(theirs) {
                    evidence(kind)
                } else {
                    self.read_back(&stored, content).await?
                }
            }
            _ => self.read_back(&stored, content).await?,
        };
        tracing::info!(%name, bytes = content.bytes, compared = %evidence, "confirmed at the remote");
        Ok(evidence)
    }

    async fn read_back(&self, stored: &StoredBackup, content: &FileHash) -> Result<Evidence, Doubt> {
        let read = self.read(stored, "reading back", hash::of_all).await.map_err(|error| match error {
            ReadError::Store(error) => Doubt::unread(error),
            ReadError::Reader(error) => Doubt::unread(reading("the stored backup", error)),
        })?;
        // The size is that of the listing, so bytes are missing only because they did not arrive.
        if read.bytes != content.bytes {
            let why = format!("{} of {} bytes arrived", read.bytes, content.bytes);
            return Err(Doubt::unread(reading("the stored backup", io::Error::other(why))));
        }
        if !read.sha256.eq_ignore_ascii_case(&content.sha256) {
            return Err(Doubt::Differs("its content, read back, differs from what was sent".into()));
        }
        Ok(Evidence::ReadBack)
    }
}

/// `kind` is one that [`Store::witness`] names.
fn evidence(kind: &str) -> Evidence {
    match kind {
        "md5" => Evidence::StoreMd5,
        "sha1" => Evidence::StoreSha1,
        _ => Evidence::StoreSha256,
    }
}

async fn hash_of(file: Option<&Path>, kind: &'static str, content: &FileHash) -> Result<String, Error> {
    // That of the bytes that were proved is known, so the file is read again only for another kind.
    let (Some(file), "md5" | "sha1") = (file, kind) else { return Ok(content.sha256.clone()) };
    let path = file.to_owned();
    let hash = blocking(move || hash::of(kind, &mut File::open(path)?)).await;
    hash.map_err(|error| reading(&file.display().to_string(), error))
}

fn reading(what: &str, cause: io::Error) -> Error {
    Error::Local { doing: "read", path: what.into(), cause }
}
