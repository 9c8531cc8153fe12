//! Reads what is stored: the listing of the backups' directory, and single objects.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Error, FAIL_FAST, QUERY_LIMIT, Store};
use crate::backup::metadata::Metadata;
use crate::backup::name::BackupName;
use crate::rclone::Call;

/// One object of `rclone lsjson`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoteObject {
    pub name: String,
    /// -1 where the backend cannot tell.
    pub size: i64,
    #[serde(default)]
    pub hashes: BTreeMap<String, String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct StoredBackup {
    pub name: BackupName,
    /// `None` where the backend cannot tell.
    pub bytes: Option<u64>,
    /// Empty where the backend keeps none, or where they were not asked for.
    pub metadata: Metadata,
}

#[derive(Debug, Default)]
pub struct Listing {
    /// The newest first.
    pub backups: Vec<StoredBackup>,
    /// The number of files whose names are not those of backups.
    pub foreign: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Names and sizes, which every remote has in its listing.
    Sizes,
    /// The metadata too, which on S3 and its like take one request for each object.
    Metadata,
}

impl StoredBackup {
    pub(super) fn new(name: BackupName, object: &RemoteObject) -> Self {
        let metadata = Metadata::from_pairs(&object.metadata);
        Self { name, bytes: u64::try_from(object.size).ok(), metadata }
    }
}

impl Listing {
    pub fn names(&self) -> impl Iterator<Item = &BackupName> {
        self.backups.iter().map(|backup| &backup.name)
    }

    pub fn contains(&self, name: &BackupName) -> bool {
        self.names().any(|listed| listed == name)
    }
}

impl Store {
    /// Lists the backups' directory and nothing below it. A missing directory is an empty one, a missing bucket an error.
    pub async fn list(&self, detail: Detail) -> Result<Listing, Error> {
        // One request for each of thousands of objects may take longer than any other query.
        let (more, limit): (&[&str], _) = match detail {
            Detail::Metadata if self.features.has("ReadMetadata") => (&["--metadata"], None),
            Detail::Metadata | Detail::Sizes => (&[], Some(QUERY_LIMIT)),
        };
        let objects = self.objects(more, limit).await?;
        let naming = &self.config.naming;
        let backup = |object: &RemoteObject| {
            BackupName::parse(&naming.prefix, &object.name).map(|name| StoredBackup::new(name, object))
        };
        let mut backups: Vec<_> = objects.iter().filter_map(backup).collect();
        backups.sort_by_cached_key(|backup| Reverse(backup.name.age_key(naming.zone)));
        Ok(Listing { foreign: objects.len() - backups.len(), backups })
    }

    pub async fn stat(&self, name: &BackupName) -> Result<StoredBackup, Error> {
        let metadata: &[&str] = if self.features.has("ReadMetadata") { &["--metadata"] } else { &[] };
        let object = self.object(name, &FAIL_FAST, metadata, Some(QUERY_LIMIT)).await?;
        let object = object.ok_or_else(|| Error::Gone(self.object_path(name)))?;
        Ok(StoredBackup::new(name.clone(), &object))
    }

    /// Every file in the backups' directory; none if the directory is missing.
    pub(super) async fn objects(&self, more: &[&str], limit: Option<Duration>) -> Result<Vec<RemoteObject>, Error> {
        let directory = self.directory();
        // The type and the time are in the object's headers, for which rclone would ask S3 about one object after another.
        let mut args = vec!["--files-only", "--no-mimetype", "--no-modtime"];
        args.extend(more);
        args.extend(["--", &directory]);
        let call = Call { defaults: &FAIL_FAST, limit, ..Call::new("lsjson", &directory, &args) };
        match self.rclone.listing::<Vec<RemoteObject>>(call).await {
            // A bucket has no directories of its own: a listing below one that is there is empty and no error.
            Err(e) if e.is_directory_not_found() && self.is_bucket_based() => Err(Error::NoBucket(directory)),
            Err(e) if e.is_directory_not_found() => Ok(Vec::new()),
            Err(e) => Err(Error::of(e, "list that directory")),
            // A crypt remote leaves out the names that its password does not decrypt. If that passed for an empty
            // directory, the next backup would be encrypted with another password than the others.
            Ok((objects, names @ 1..)) if objects.is_empty() => Err(Error::UndecryptableNames { directory, names }),
            Ok((objects, _)) => Ok(objects),
        }
    }

    pub(super) async fn object(
        &self,
        name: &BackupName,
        defaults: &[&str],
        more: &[&str],
        limit: Option<Duration>,
    ) -> Result<Option<RemoteObject>, Error> {
        let path = self.object_path(name);
        // Without `--files-only`, rclone shows a directory where S3 has nothing.
        let mut args = vec!["--stat", "--files-only", "--no-mimetype"];
        args.extend(more);
        args.extend(["--", &path]);
        let call = Call { defaults, limit, ..Call::new("lsjson", &path, &args) };
        match self.rclone.json::<Option<RemoteObject>>(call).await {
            Err(e) if e.is_directory_not_found() => Ok(None),
            other => other.map_err(|e| Error::of(e, "read there")),
        }
    }
}
