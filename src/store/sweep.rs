//! Removes what runs that were killed have left: parts of uploads, and uploads that an S3 store has not finished. Only what
//! this program wrote for this very prefix, and only when it is old.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Error, FAIL_FAST, PARTS, QUERY_LIMIT, RECORDS, Store};
use crate::backup::beside::is_of_prefix;
use crate::backup::name::{BackupName, Prefix};
use crate::rclone::Call;

/// One of `rclone backend list-multipart-uploads`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OpenUpload {
    key: String,
    initiated: DateTime<Utc>,
}

impl Store {
    /// What may not or cannot be removed stays for a later run, and is no error.
    pub async fn sweep(&self, older_than: Duration, now: DateTime<Utc>) {
        let Some(before) = chrono::Duration::from_std(older_than).ok().and_then(|age| now.checked_sub_signed(age))
        else {
            return;
        };
        // Nothing gets old while a run lasts.
        if self.seen.told().is_swept {
            return;
        }
        let swept = if self.uploads_a_part() {
            self.sweep_parts(&self.path_of(PARTS), before).await
        } else if self.is_crypt() {
            Ok(())
        } else {
            self.sweep_uploads(before, older_than).await
        };
        match swept {
            Ok(()) => self.seen.told().is_swept = true,
            Err(error) => tracing::debug!("looking for what uploads have left that did not finish: {error}"),
        }
    }

    async fn sweep_parts(&self, folder: &str, before: DateTime<Utc>) -> Result<(), Error> {
        let only_parts = ["--include=/*.part", "--use-server-modtime"];
        let prefix = &self.config.naming.prefix;
        // The latest look has their names, and not their times.
        if self.seen.told().parts.as_ref().is_some_and(|parts| !parts.iter().any(|part| is_part(prefix, part))) {
            return Ok(());
        }
        let found = self.objects(folder, &only_parts, true).await?;
        let is_old = |modified: Option<DateTime<Utc>>| modified.is_some_and(|modified| modified < before);
        let old = found.into_iter().filter(|object| is_part(prefix, &object.name) && is_old(object.modified()));
        let old: Vec<String> = old.map(|object| object.name).collect();
        if old.is_empty() {
            return Ok(());
        }
        tracing::info!(parts = ?old, folder, "removing the parts of uploads that earlier runs did not finish");
        if let Some(complaint) = self.delete(folder, &["--files-from-raw=-"], old, true).await.complaint {
            tracing::debug!("removing old parts of uploads: {complaint}");
        }
        Ok(())
    }

    async fn sweep_uploads(&self, before: DateTime<Utc>, older_than: Duration) -> Result<(), Error> {
        let (quiet, limit) = (true, Some(QUERY_LIMIT));
        let leaf = self.config.naming.prefix.leaf();
        let keys = self.bucket_and_key_of(leaf).1;
        // The path is a bare prefix of the keys, so this lists others' uploads, too, and those of records.
        let open = match self.open_uploads(&self.directory()).await {
            Ok(open) => open,
            // The key may be allowed to list this prefix alone, or there are too many of others.
            Err(error) => {
                tracing::debug!("listing all unfinished uploads: {error}");
                let mut open = self.open_uploads(&self.path_of(leaf)).await?;
                open.extend(self.open_uploads(&self.path_of(RECORDS)).await?);
                open
            }
        };
        let directory = keys.strip_suffix(self.config.naming.prefix.leaf()).unwrap_or(&keys);
        let prefix = &self.config.naming.prefix;
        for place in old_uploads(prefix, directory, &open, before, self.is_known_to_compress()) {
            let path = self.path_of(start_of(&place));
            let max_age = format!("max-age={}s", older_than.as_secs());
            let args = ["cleanup", "-o", &max_age, "--", &path];
            let call = Call { defaults: &FAIL_FAST, limit, quiet, ..Call::new("backend", &path, &args) };
            match self.rclone.call(call).await {
                Ok(_) => tracing::info!(place, "aborted an upload that an earlier run did not finish"),
                Err(error) => tracing::debug!("aborting an old upload: {error}"),
            }
        }
        Ok(())
    }

    /// Whether runs are known to store compressed backups here. Otherwise an upload of one is somebody's, by hand.
    fn is_known_to_compress(&self) -> bool {
        let naming = &self.config.naming;
        let is_compressed =
            |file: &String| BackupName::borne_by(&naming.prefix, file).is_some_and(|name| name.compression().is_some());
        naming.compression.is_some() || self.seen.told().read.iter().any(is_compressed)
    }

    /// Those of this bucket whose keys begin with that of `path`.
    async fn open_uploads(&self, path: &str) -> Result<Vec<OpenUpload>, Error> {
        let bucket = self.bucket_and_key_of("").0;
        let args = ["list-multipart-uploads", "--", path];
        let limit = Some(QUERY_LIMIT);
        let call = Call { defaults: &FAIL_FAST, limit, quiet: true, ..Call::new("backend", path, &args) };
        let listed: BTreeMap<String, Option<Vec<OpenUpload>>> = self.rclone.json(call).await?;
        Ok(listed.into_iter().filter(|(name, _)| *name == bucket).filter_map(|(_, of)| of).flatten().collect())
    }

    /// The bucket, and the key in it, of `place` below the backups' directory.
    fn bucket_and_key_of(&self, place: &str) -> (String, String) {
        let path = self.path_of(place);
        let path = path.strip_prefix(self.config.target.root()).unwrap_or(&path);
        let slash = if self.features.root.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{path}", self.features.root);
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        (bucket.to_owned(), key.to_owned())
    }
}

/// What `cleanup` is given: it aborts every upload whose key begins so. The whole key would not do, as rclone refuses one that
/// is an object's, and another run may have stored its backup under this name since.
fn start_of(key: &str) -> &str {
    let mut start = key.chars();
    start.next_back();
    start.as_str()
}

/// The places, below the backups' directory, of the uploads that may be aborted. `directory` is that of the backups in the
/// bucket, with a slash at its end. `compressed` is whether those of compressed backups are ours.
fn old_uploads(
    prefix: &Prefix,
    directory: &str,
    open: &[OpenUpload],
    before: DateTime<Utc>,
    compressed: bool,
) -> Vec<String> {
    let place = |upload: &OpenUpload| {
        let place = upload.key.strip_prefix(directory)?;
        let ours = match place.strip_prefix(RECORDS).and_then(|rest| rest.strip_prefix('/')) {
            Some(leaf) => is_of_prefix(prefix, leaf),
            None => BackupName::parse(prefix, place).is_some_and(|name| compressed || name.compression().is_none()),
        };
        let start = start_of(&upload.key);
        let alone = !open.iter().any(|other| other.key != upload.key && other.key.starts_with(start));
        // All uploads of one key go together.
        let old = open.iter().filter(|other| other.key == upload.key).all(|other| other.initiated < before);
        (ours && alone && old).then(|| place.to_owned())
    };
    let mut places: Vec<_> = open.iter().filter_map(place).collect();
    places.sort();
    places.dedup();
    places
}

/// Whether this program writes exactly this name for an unfinished upload of a backup or a record of this prefix.
fn is_part(prefix: &Prefix, name: &str) -> bool {
    let Some((of, mark)) = name.strip_suffix(".part").and_then(|rest| rest.rsplit_once('.')) else { return false };
    let is_mark = mark.len() == 8 && mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_mark && (BackupName::parse(prefix, of).is_some() || is_of_prefix(prefix, of))
}
