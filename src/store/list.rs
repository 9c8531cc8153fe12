//! Reads what is stored: the listing of the backups' directory, and single objects.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Error, FAIL_FAST, RETRY, Store};
use crate::backup::handover::Handover;
use crate::backup::name::BackupName;
use crate::rclone::{self, Call};

/// One object of `rclone lsjson`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoteObject {
    pub name: String,
    /// From the directory that was listed.
    pub path: String,
    /// -1 where the backend cannot tell.
    pub size: i64,
    #[serde(default)]
    pub hashes: BTreeMap<String, String>,
    /// Empty if it was not asked for.
    #[serde(default)]
    pub mod_time: String,
}

impl RemoteObject {
    /// `None` if it was not asked for, or the store keeps no time.
    pub fn modified(&self) -> Option<DateTime<Utc>> {
        self.mod_time.parse().ok()
    }
}

#[derive(Clone, Debug)]
pub struct StoredBackup {
    pub name: BackupName,
    /// `None` where the backend cannot tell.
    pub bytes: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Listing {
    /// The newest first.
    pub backups: Vec<StoredBackup>,
    /// The number of files that are neither backups nor this program's own.
    pub foreign: usize,
    /// The names that files in the directory bear, whatever their ending.
    pub borne: Vec<BackupName>,
}

impl StoredBackup {
    pub(super) fn new(name: BackupName, object: &RemoteObject) -> Self {
        Self { name, bytes: u64::try_from(object.size).ok() }
    }
}

impl Listing {
    pub fn names(&self) -> impl Iterator<Item = &BackupName> {
        self.backups.iter().map(|backup| &backup.name)
    }
}

impl Store {
    /// Lists the backups' directory and nothing below it. A missing directory is an empty one, a missing bucket an error.
    pub async fn list(&self) -> Result<Listing, Error> {
        Ok(self.listing_of(&self.objects(&self.directory(), &["--no-modtime"], false).await?))
    }

    /// `objects` are the files of the backups' directory.
    pub(super) fn listing_of(&self, objects: &[RemoteObject]) -> Listing {
        let naming = &self.config.naming;
        let begun = Instant::now();
        let (mut backups, mut borne) = (Vec::new(), Vec::new());
        for object in objects {
            let Some(name) = BackupName::parse(&naming.prefix, &object.name) else {
                borne.extend(BackupName::borne_by(&naming.prefix, &object.name));
                continue;
            };
            borne.push(name.clone());
            backups.push(StoredBackup::new(name, object));
        }
        backups.sort_by_cached_key(|backup| Reverse(backup.name.age_key(naming.zone)));
        tracing::debug!(names = objects.len(), seconds = begun.elapsed().as_secs_f64(), "read the names");
        // `snapshot` leaves one for `store`, and an earlier job may have had its work directory here.
        let own = objects.iter().filter(|object| object.name == Handover::FILE).count();
        Listing { foreign: objects.len() - backups.len() - own, backups, borne }
    }

    /// Every file in a directory; none if the directory is missing.
    pub(super) async fn objects(
        &self,
        directory: &str,
        more: &[&str],
        quiet: bool,
    ) -> Result<Vec<RemoteObject>, Error> {
        // The type and, unless the caller asks for the store's own, the time are in the object's headers, for which rclone
        // would ask S3 about one object after another.
        let args = [&["--files-only", "--no-mimetype"], more, &["--", directory]].concat();
        let limit = Some(self.config.list_timeout);
        let call = Call { defaults: &FAIL_FAST, limit, quiet, ..Call::new("lsjson", directory, &args) };
        let directory = directory.to_owned();
        match self.rclone.listing::<Vec<RemoteObject>>(call).await {
            Err(e) if e.is_directory_not_found() && !self.is_bucket_based() => Ok(Vec::new()),
            Err(e) => Err(self.listing_failed(e, &directory)),
            // A crypt remote leaves out the names that its password does not decrypt. If that passed for an empty
            // directory, the next backup would be encrypted with another password than the others.
            Ok((objects, names @ 1..)) if objects.is_empty() => Err(Error::UndecryptableNames { directory, names }),
            Ok((objects, _)) => Ok(objects),
        }
    }

    /// What the failure of a listing means for whoever set the target.
    pub(super) fn listing_failed(&self, error: rclone::Error, directory: &str) -> Error {
        match error {
            // A bucket has no directories of its own: a listing below one that is there is empty and no error.
            e if e.is_directory_not_found() && self.is_bucket_based() => Error::NoBucket(directory.to_owned()),
            e @ rclone::Error::TimedOut { .. } => Error::SlowListing(Box::new(e)),
            e => Error::of(e, "list that directory"),
        }
    }

    pub(super) async fn object(
        &self,
        path: &str,
        defaults: &[&str],
        more: &[&str],
        limit: Option<Duration>,
    ) -> Result<Option<RemoteObject>, Error> {
        let args = object_args(more, path);
        let call = Call { defaults, limit, ..Call::new("lsjson", path, &args) };
        found(self.rclone.json(call).await)
    }

    /// An object, and the hash of it that the remote has, of the kind that is asked for by rclone's name.
    pub(super) async fn object_and_hash(
        &self,
        path: &str,
        defaults: &[&str],
        more: &[&str],
        kind: Option<&str>,
        limit: Option<Duration>,
    ) -> Result<(Option<RemoteObject>, Option<String>), Error> {
        let hash = kind.map(|kind| ["--hash", "--hash-type", kind]);
        let more = [more, hash.as_ref().map_or(&[][..], |hash| hash)].concat();
        let mut object = self.object(path, defaults, &more, limit).await?;
        let hash = object.as_mut().zip(kind).and_then(|(object, kind)| object.hashes.remove(kind));
        Ok((object, hash.filter(|hash| !hash.is_empty())))
    }

    /// An object of S3, with its `ETag` if that was seen. rclone shows it only among the headers of the store's answers.
    pub(super) async fn object_and_etag(&self, path: &str) -> Result<(Option<RemoteObject>, Option<String>), Error> {
        let args = object_args(&["--no-modtime"], path);
        let call = Call { defaults: &RETRY, quiet: true, ..Call::new("lsjson", path, &args) };
        let (object, etag) = self.rclone.json_and_etag(call).await.map_or_else(|e| (Err(e), None), |(o, e)| (Ok(o), e));
        Ok((found(object)?, etag))
    }
}

fn object_args<'a>(more: &[&'a str], path: &'a str) -> Vec<&'a str> {
    // Without `--files-only`, rclone shows a directory where S3 has nothing.
    [&["--stat", "--files-only", "--no-mimetype"], more, &["--", path]].concat()
}

fn found(object: Result<Option<RemoteObject>, rclone::Error>) -> Result<Option<RemoteObject>, Error> {
    match object {
        Err(e) if e.is_directory_not_found() => Ok(None),
        other => other.map_err(|e| Error::of(e, "read there")),
    }
}
