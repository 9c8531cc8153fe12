//! Reading stored backups: what is known of one, and its bytes as a stream.

use std::collections::BTreeMap;
use std::io::PipeReader;

use super::{Error, Object, QUESTION_LIMIT, Store, call};
use crate::backup::name::BackupName;
use crate::logging::progress::Metered;
use crate::rclone::{self, Call};

/// What the crypt remote says of bytes that its password does not fit, altered ones included.
const UNDECRYPTABLE: [&str; 3] =
    ["failed to authenticate decrypted block", "too short to be encrypted", "bad magic string"];

/// What the store knows of one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its size; `None` where the backend cannot tell.
    pub bytes: Option<u64>,
    /// What was noted when it was stored, where the backend keeps metadata.
    pub noted: Noted,
}

/// What an object's metadata tell of the backup; any of it may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: Option<String>,
    /// The store's revision.
    pub revision: Option<u64>,
    /// Live keys.
    pub keys: Option<u64>,
    /// Version of the member that gave it.
    pub etcd_version: Option<String>,
    /// Whether it was only the best that could be had.
    pub degraded: Option<bool>,
}

impl Noted {
    /// Reads an object's metadata. Some stores capitalise keys or write `_` for `-`.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Self {
        let get = |wanted: &str| {
            let found = metadata.iter().find(|(key, _)| key.to_lowercase().replace('_', "-") == wanted);
            found.map(|(_, value)| value.clone())
        };
        let number = |key| get(key).and_then(|text| text.parse().ok());
        let sha256 = get("sha256");
        // A good backup carries no such mark, and neither does an object that others put there.
        let degraded = get("degraded").map(|text| text == "true").or(sha256.is_some().then_some(false));
        Self { revision: number("revision"), keys: number("keys"), etcd_version: get("etcd-version"), sha256, degraded }
    }
}

/// A stored backup's bytes on their way.
pub type BackupStream = Metered<PipeReader>;

/// A stored backup, as a listing tells of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: BackupName,
    /// What the store knows of it.
    pub known: Known,
}

/// How much a listing asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Names and sizes, which every store has in its listing.
    Sizes,
    /// What was noted too: on S3 and its like a question for each object, as for rclone's own listing with times.
    Notes,
}

impl Store {
    /// Lists the backups with what is known of each, in no order; and how many other files there are.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn entries(&self, detail: Detail) -> Result<(Vec<Entry>, usize), Error> {
        let (more, limit): (&[&str], _) = match detail {
            Detail::Notes if self.features.has("ReadMetadata") => (&["--metadata"], None),
            Detail::Notes | Detail::Sizes => (&[], Some(QUESTION_LIMIT)),
        };
        let objects = self.objects(more, limit).await?;
        let all = objects.len();
        let entry = |o: Object| {
            BackupName::parse(&self.config.naming.prefix, &o.name).map(|name| Entry { name, known: known(&o) })
        };
        let ours: Vec<_> = objects.into_iter().filter_map(entry).collect();
        let foreign = all - ours.len();
        Ok((ours, foreign))
    }

    /// Asks for a backup's size and metadata.
    ///
    /// # Errors
    /// Whatever rclone says; [`Error::Gone`].
    pub async fn look(&self, name: &BackupName) -> Result<Known, Error> {
        let more: &[&str] = if self.features.has("ReadMetadata") { &["--metadata"] } else { &[] };
        let object = self.stat(name, more).await?.ok_or_else(|| Error::Gone(self.place(name)))?;
        Ok(known(&object))
    }

    /// Gives a backup's bytes to `take`, on a thread of its own. What it makes of them counts only if rclone ends well, so
    /// it goes on to the end of the stream; an error stops the reading.
    ///
    /// # Errors
    /// Whatever rclone says; [`Error::Undecryptable`]. The inner error is `take`'s own.
    pub async fn read<T, E>(
        &self,
        name: &BackupName,
        known: &Known,
        doing: &'static str,
        take: impl FnOnce(&mut BackupStream) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let place = self.place(name);
        let args = ["--retries=3", "--low-level-retries=3", "--contimeout=10s", "--timeout=60s", "--", &place];
        let total = known.bytes.unwrap_or_default();
        let count = move |stdout| {
            let mut stream = Metered::new(doing, stdout, total);
            take(&mut stream).map(|taken| (taken, stream.done()))
        };
        match self.rclone.stream(Call { limit: None, ..call("cat", &place, &args) }, count).await? {
            Ok(((taken, _), Ok(()))) => Ok(Ok(taken)),
            Ok(((_, done), Err(error))) => Err(unreadable(place, done, error)),
            Err(own) => Ok(Err(own)),
        }
    }

    pub(super) fn place(&self, name: &BackupName) -> String {
        self.config.target.join(&name.to_string())
    }
}

fn known(object: &Object) -> Known {
    Known { bytes: u64::try_from(object.size).ok(), noted: Noted::from_metadata(&object.metadata) }
}

fn unreadable(place: String, read: u64, error: rclone::Error) -> Error {
    let text = error.to_string();
    if UNDECRYPTABLE.iter().any(|words| text.contains(words)) {
        return Error::Undecryptable { place, read, source: error };
    }
    Error::Rclone(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_in_any_spelling() {
        let read = |pairs: &[(&str, &str)]| {
            Noted::from_metadata(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let all = [("SHA256", "ab"), ("Revision", "7"), ("keys", "2"), ("etcd_version", "3.5.1")];
        let noted = Noted {
            sha256: Some("ab".into()),
            revision: Some(7),
            keys: Some(2),
            etcd_version: Some("3.5.1".into()),
            degraded: Some(false),
        };
        assert_eq!(read(&all), noted);
        assert_eq!(read(&[("degraded", "true")]).degraded, Some(true));
        assert_eq!(read(&[("mtime", "2026"), ("revision", "x")]), Noted::default());
    }
}
