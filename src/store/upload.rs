//! Brings a file to a name of the store that is free, whole or not at all, and takes away what is left of a failure.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::local::LocalPart;
use super::stream::size_flag;
use super::{Error, PARTS, RECORDS, RETRY, Store};
use crate::exit::Exit;
use crate::rclone::{self, Call};
use crate::snapshot::Workspace;
use crate::system::blocking::blocking;
use crate::system::fs::create_new;

/// Without these flags rclone creates a missing bucket, and an upload to a misspelt one looks like success. B2 and Swift have
/// no such flag; there only the listing before tells of a bucket that is missing.
pub(super) const NO_NEW_BUCKET: [&str; 4] =
    ["--s3-no-check-bucket", "--azureblob-no-check-container", "--gcs-no-check-bucket", "--oos-no-check-bucket"];
/// Makes an S3 store itself refuse the upload if it has an object of that name. rclone sends the header to S3 alone, and that
/// from 1.72 on.
pub(super) const ONLY_IF_ABSENT: [&str; 2] = ["--header-upload", "If-None-Match: *"];
/// Makes rclone check on every backend that the name is free before it begins, and exit with code 9 if it is not. With the
/// first flag alone it would skip the upload and report success. `--immutable` does not help: `copyto` ignores it.
const REFUSE_EXISTING: [&str; 2] = ["--ignore-existing", "--error-on-no-transfer"];
/// A part has a name that no other process uses. Beside it, rclone would make a part of its own, with a longer name.
const AS_A_PART: [&str; 1] = ["--inplace"];

/// How it is known that the object of an upload that succeeded is the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    /// The system renamed it, and replaces nothing.
    Renamed,
    /// The store was asked to refuse a name that is taken, and accepted. Not every store understands that.
    Conditional,
    /// rclone looked whether the name is free, and then wrote.
    Unknown,
}

impl Store {
    /// Stores a file at `place`, a path below the backups' directory. A name that is taken is an error for which
    /// [`Error::is_name_taken`] holds.
    ///
    /// Another run may take a name that was free in the caller's listing. That is decided as late as the backend allows: by
    /// the system or by an S3 store itself at the last moment; where a finished upload is moved to its name, by
    /// [`Store::await_turn`], for backups, and by rclone's own look directly before the move; elsewhere by rclone alone,
    /// directly before it uploads.
    pub(super) async fn upload(&self, file: &Path, place: &str) -> Result<Ours, Error> {
        if let Some(directory) = self.local_directory() {
            let part = LocalPart::new(&directory, &self.part_name(place))?;
            self.copy(file, &part.path.to_string_lossy(), &AS_A_PART).await?;
            let place = place.to_owned();
            blocking(move || part.publish(&place)).await?;
            return Ok(Ours::Renamed);
        }
        let path = self.path_of(place);
        if self.uploads_a_part() {
            self.upload_and_move(file, place, &path).await?;
            return Ok(Ours::Unknown);
        }
        match self.upload_if_absent(file, &path).await {
            Err(error) if error.is_of_condition() => {
                tracing::warn!("the store has no conditional uploads, so only rclone checks that the name is free");
                self.copy(file, &path, &REFUSE_EXISTING).await?;
                Ok(Ours::Unknown)
            }
            outcome => outcome.map(|()| Ours::Conditional),
        }
    }

    async fn upload_if_absent(&self, file: &Path, path: &str) -> Result<(), Error> {
        match self.send(file, path).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_name_taken() || error.exit() == Exit::Denied => return Err(error),
            // Also what is not implemented: that may be the stream, and not the condition.
            Err(error) => {
                tracing::warn!("{path} could not be sent in one piece, so it is sent in parts: {error}");
                self.give_up_one_piece();
            }
        }
        Ok(self.copy(file, path, &[REFUSE_EXISTING, ONLY_IF_ABSENT].concat()).await?)
    }

    /// Sends a file as a stream, so that rclone computes no MD5 of it, if it is large. What is smaller `copyto` sends in one
    /// piece, too, and repeats it if need be.
    async fn send(&self, file: &Path, path: &str) -> Result<bool, Error> {
        let (name, from) = (file.to_owned(), file.to_owned());
        let open = move || {
            let file = File::open(name)?;
            let bytes = file.metadata()?.len();
            Ok::<_, io::Error>((file, bytes))
        };
        let (input, bytes) = blocking(open).await.map_err(|cause| Error::Local { doing: "read", path: from, cause })?;
        if !self.goes_in_one_piece(bytes) {
            return Ok(false);
        }
        // As `copyto` does: not every store knows the condition.
        self.check_free(path).await?;
        let size = size_flag(bytes);
        let args = [&NO_NEW_BUCKET[..], &ONLY_IF_ABSENT, &[&size, "--", path]].concat();
        let defaults = self.stream_defaults();
        let call = Call { defaults: &defaults, input: Some(input), ..Call::new("rcat", path, &args) };
        Ok(self.rclone.call(call).await.map(|_| true)?)
    }

    /// Fails with [`Error::Taken`] if an object is there.
    pub(super) async fn check_free(&self, path: &str) -> Result<(), Error> {
        match self.object(path, &RETRY, &["--no-modtime"], None).await? {
            None => Ok(()),
            Some(_) => Err(Error::Taken(path.to_owned())),
        }
    }

    // A bucket shows an object only when it is complete. A file elsewhere is visible while it grows, and of two uploads the
    // second replaces the first. So it is uploaded under a name that no other process uses, and then moved.
    async fn upload_and_move(&self, file: &Path, place: &str, path: &str) -> Result<(), Error> {
        let part = self.part_path(place);
        let moved = async {
            self.copy(file, &part, &AS_A_PART).await?;
            // Of records, what is read afterwards decides: several runs may write the same one, and what a killed run left on
            // the way to it must not keep it from being written.
            if !is_record(place) {
                self.await_turn(place, None).await?;
            }
            self.move_part(&part, path).await
        };
        let outcome = moved.await;
        if outcome.is_err() {
            self.remove_part(&part).await;
        }
        outcome
    }

    /// Gives a finished part its own path, where nothing may be.
    pub(super) async fn move_part(&self, part: &str, path: &str) -> Result<(), Error> {
        let args = [&REFUSE_EXISTING[..], &["--", part, path]].concat();
        Ok(self.rclone.call(Call { defaults: &RETRY, ..Call::new("moveto", path, &args) }).await.map(drop)?)
    }

    pub(super) async fn remove_part(&self, part: &str) {
        if let Err(error) = self.delete_file(part).await {
            tracing::warn!("cannot remove what is left of the failed upload, {part}: {error}; a later run removes it");
        }
    }

    pub(super) fn uploads_a_part(&self) -> bool {
        !self.is_bucket_based() && self.features.has("Move")
    }

    /// The name that a file has while it is uploaded to `place`.
    pub(super) fn part_name(&self, place: &str) -> String {
        let leaf = place.rsplit_once('/').map_or(place, |(_, leaf)| leaf);
        format!("{leaf}.{}.part", self.rclone.mark())
    }

    pub(super) fn part_path(&self, place: &str) -> String {
        self.path_of(&format!("{PARTS}/{}", self.part_name(place)))
    }

    async fn copy(&self, file: &Path, path: &str, more: &[&str]) -> Result<(), rclone::Error> {
        let source = file.to_string_lossy();
        let args = [&NO_NEW_BUCKET[..], more, &["--", &source, path]].concat();
        let defaults = [&RETRY[..], &self.faster_flags()].concat();
        self.rclone.call(Call { defaults: &defaults, ..Call::new("copyto", path, &args) }).await.map(drop)
    }

    /// Deletes one file by its full path; one that is not there is no error.
    pub(super) async fn delete_file(&self, path: &str) -> Result<(), Error> {
        if self.local_directory().is_some() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::Local { doing: "delete", path: path.into(), cause: error })
                }
                _ => Ok(()),
            };
        }
        let args = ["--", path];
        let call = Call { defaults: &RETRY, quiet: true, ..Call::new("deletefile", path, &args) };
        match self.rclone.call(call).await {
            Err(error) if error.is_file_not_found() || error.is_directory_not_found() => Ok(()),
            outcome => outcome.map(drop).map_err(|error| Error::of(error, "delete there")),
        }
    }

    /// Whether the object at `place` can be nobody else's, after an upload that succeeded.
    pub(super) async fn is_provably_ours(&self, ours: Ours, place: &str) -> bool {
        match ours {
            Ours::Renamed => true,
            Ours::Unknown => false,
            Ours::Conditional => self.keeps_its_condition(place).await.unwrap_or_default(),
        }
    }

    /// Whether the store refuses a second conditional upload of one name, whole or in parts. A store that does not know the
    /// condition may have replaced another run's object by ours, or ours by another's.
    async fn keeps_its_condition(&self, place: &str) -> Result<bool, Error> {
        let probe = self.part_path(place);
        let staged = staged(b"whether an object of this name is replaced\n")?;
        let whole: &[&str] = &[];
        let put = |size: &'static [&'static str]| {
            let (rclone, probe, source) = (&self.rclone, &probe, staged.path.to_string_lossy().into_owned());
            async move {
                let flags = [&NO_NEW_BUCKET[..], &ONLY_IF_ABSENT, &["--ignore-times"], size].concat();
                let args = [&flags[..], &["--", &source, probe]].concat();
                let call = Call { defaults: &RETRY, quiet: true, ..Call::new("copyto", probe, &args) };
                rclone.call(call).await
            }
        };
        let refused = |outcome: Result<_, rclone::Error>| outcome.is_err_and(|error| error.is_name_taken());
        let keeps =
            put(whole).await.is_ok() && refused(put(whole).await) && refused(put(&["--s3-upload-cutoff=0"]).await);
        self.delete_file(&probe).await?;
        Ok(keeps)
    }
}

fn is_record(place: &str) -> bool {
    place.strip_prefix(RECORDS).is_some_and(|rest| rest.starts_with('/'))
}

/// A file for rclone to send. It goes with its directory, which a later run sweeps if this one is killed.
pub struct Staged {
    _directory: Workspace,
    pub path: PathBuf,
}

pub fn staged(text: &[u8]) -> Result<Staged, Error> {
    let write = || {
        let directory = Workspace::temporary()?;
        let path = directory.path().join("staged");
        create_new(&path)?.write_all(text)?;
        Ok(Staged { _directory: directory, path })
    };
    write().map_err(|cause| Error::Local { doing: "write a file in", path: std::env::temp_dir(), cause })
}
