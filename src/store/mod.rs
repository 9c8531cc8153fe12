//! The remote in our words: list, put, confirm, read, remove. Everything goes through rclone.

mod error;
pub mod hash;
mod put;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::backup::name::BackupName;
use crate::backup::record::Remembered;
use crate::backup::retention::{Age, Decision};
use crate::config;
use crate::config::target::Target;
use crate::rclone::{Call, Rclone};

pub use error::Error;
pub use read::{BackupStream, Detail, Entry, Known};

/// A remote that has not answered a question within this is out of order.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// Small questions are not repeated for minutes: a wrong remote is to fail within seconds.
const FAIL_FAST: [&str; 4] = ["--retries=1", "--low-level-retries=2", "--contimeout=10s", "--timeout=20s"];
/// What the remote can do, as `rclone backend features` prints it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Features {
    #[serde(default)]
    root: String,
    #[serde(default)]
    hashes: Option<Vec<String>>,
    #[serde(default, rename = "Features")]
    flags: BTreeMap<String, bool>,
}

impl Features {
    fn has(&self, feature: &str) -> bool {
        self.flags.get(feature).copied().unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    name: String,
    size: i64,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// What is in the backups' folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Names that this program wrote.
    pub ours: Vec<BackupName>,
    /// How many other files there are.
    pub foreign: usize,
}

/// What became of a removal.
#[derive(Debug, Default)]
pub struct Removal {
    /// Gone.
    pub removed: Vec<BackupName>,
    /// Still there.
    pub failed: Vec<BackupName>,
    /// rclone's words, if it had any.
    pub complaint: Option<String>,
}

/// One place of one remote.
#[derive(Debug)]
pub struct Store {
    rclone: Rclone,
    config: config::StoreConfig,
    features: Features,
}

impl Store {
    /// Finds rclone and asks it what the remote can do.
    ///
    /// # Errors
    /// rclone that is missing or too old, a remote that is unknown, a target that names no bucket.
    pub async fn open(config: config::StoreConfig) -> Result<Self, Error> {
        let rclone = Rclone::find(&config).await?;
        let features = ask_features(&rclone, &config.target).await?;
        let bucketless = features.has("BucketBased") && features.has("BucketBasedRootOK") && features.root.is_empty();
        if bucketless && config.target.is_whole_remote() {
            return Err(Error::WholeRemote(config.target.root().to_owned()));
        }
        Ok(Self { rclone, config, features })
    }

    /// The settings that it was opened with.
    pub const fn config(&self) -> &config::StoreConfig {
        &self.config
    }

    /// Lists the backups' folder and nothing below it. A missing folder is an empty one, a missing bucket an error.
    ///
    /// # Errors
    /// Whatever rclone says; [`Error::Locked`].
    pub async fn list(&self) -> Result<Listing, Error> {
        let objects = self.objects(&[], Some(QUESTION_LIMIT)).await?;
        let names = objects.iter().map(|o| BackupName::parse(&self.config.naming.prefix, &o.name));
        let ours: Vec<_> = names.flatten().collect();
        Ok(Listing { foreign: objects.len() - ours.len(), ours })
    }

    async fn objects(&self, more: &[&str], limit: Option<Duration>) -> Result<Vec<Object>, Error> {
        let folder = self.folder();
        let mut args = vec!["--files-only", "--no-mimetype", "--no-modtime"];
        args.extend(more);
        args.extend(FAIL_FAST);
        args.extend(["--", &folder]);
        let listed = self.rclone.listing::<Vec<Object>>(Call { limit, ..call("lsjson", &folder, &args) }).await;
        match listed {
            Err(e) if e.is_no_directory() && self.is_bucket_based() => Err(Error::NoBucket(folder)),
            Err(e) if e.is_no_directory() => Ok(Vec::new()),
            Err(e) => Err(Error::of(e, "list that folder")),
            Ok((objects, locked)) if objects.is_empty() && locked > 0 => Err(Error::Locked { place: folder, locked }),
            Ok((objects, _)) => Ok(objects),
        }
    }

    /// What the metadata of a stored backup tell; nothing where the backend keeps none.
    ///
    /// # Errors
    /// Whatever rclone says.
    pub async fn remembered(&self, name: &BackupName) -> Result<Remembered, Error> {
        if !self.features.has("ReadMetadata") {
            return Ok(Remembered::default());
        }
        let object = self.stat(name, &["--metadata"]).await?;
        Ok(object.map(|o| Remembered::from_metadata(&o.metadata)).unwrap_or_default())
    }

    /// Deletes exactly these. Those of an age limit are first asked of rclone's own clock too.
    ///
    /// # Errors
    /// A listing afterwards that failed; what could not be deleted is no error but in [`Removal::failed`].
    pub async fn remove(&self, decisions: &[Decision], max_age: Option<&Age>) -> Result<Removal, Error> {
        let (expired, beyond): (Vec<_>, Vec<_>) = decisions.iter().partition(|v| v.is_expired());
        let mut complaint = None;
        if let (false, Some(age)) = (expired.is_empty(), max_age) {
            let min_age = format!("--min-age={}s", age.seconds());
            let patterns = expired.iter().map(|v| format!("/{}", escape(&v.name.leaf())));
            complaint = self.delete(&["--include-from=-", &min_age], patterns.collect()).await.or(complaint);
        }
        if !beyond.is_empty() {
            let names = beyond.iter().map(|v| v.name.leaf());
            complaint = self.delete(&["--files-from-raw=-"], names.collect()).await.or(complaint);
        }
        let left = self.list().await?.ours;
        let (failed, removed) = decisions.iter().map(|v| v.name.clone()).partition(|name| left.contains(name));
        Ok(Removal { removed, failed, complaint })
    }

    async fn delete(&self, filter: &[&str], lines: Vec<String>) -> Option<String> {
        let folder = self.folder();
        let most = format!("--max-delete={}", lines.len());
        let mut args = vec![most.as_str(), "--retries=1", "--low-level-retries=3", "--contimeout=10s", "--timeout=60s"];
        args.extend(filter);
        args.extend(["--", &folder]);
        let stdin = (lines.join("\n") + "\n").into_bytes();
        let outcome = self.rclone.call(Call { stdin, limit: None, ..call("delete", &folder, &args) }).await;
        outcome.err().map(|e| Error::of(e, "delete there").to_string())
    }

    async fn stat(&self, name: &BackupName, more: &[&str]) -> Result<Option<Object>, Error> {
        self.ask(name, &[&FAIL_FAST, more].concat(), Some(QUESTION_LIMIT)).await
    }

    async fn ask(&self, name: &BackupName, how: &[&str], limit: Option<Duration>) -> Result<Option<Object>, Error> {
        let place = self.place(name);
        let mut args = vec!["--stat", "--files-only", "--no-mimetype"];
        args.extend(how);
        args.extend(["--", &place]);
        match self.rclone.json::<Option<Object>>(Call { limit, ..call("lsjson", &place, &args) }).await {
            Err(e) if e.is_no_directory() => Ok(None),
            other => other.map_err(|e| Error::of(e, "read there")),
        }
    }

    fn folder(&self) -> String {
        self.config.target.join(self.config.naming.prefix.folder())
    }

    fn is_bucket_based(&self) -> bool {
        self.features.has("BucketBased")
    }
}

async fn ask_features(rclone: &Rclone, target: &Target) -> Result<Features, Error> {
    let args = ["features", "--contimeout=10s", "--", target.root()];
    Ok(rclone.json(call("backend", target.root(), &args)).await?)
}

const fn call<'a>(verb: &'a str, on: &'a str, args: &'a [&'a str]) -> Call<'a> {
    Call { verb, on, args, stdin: Vec::new(), limit: Some(QUESTION_LIMIT) }
}

/// Takes the meaning from rclone's pattern characters.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ']' | '{' | '}') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_lose_their_meaning() {
        assert_eq!(escape(r"p[1]{a,b}*?\-"), r"p\[1\]\{a,b\}\*\?\\-");
    }
}
