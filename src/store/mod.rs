//! The remote, as the place of the backups: list, put, confirm, read, remove. Everything goes through rclone.

mod confirm;
mod error;
mod evidence;
mod faster;
mod gather;
mod hash;
mod limits;
mod list;
mod local;
mod look;
mod put;
mod read;
mod records;
mod remove;
mod stream;
mod sweep;
mod turn;
mod upload;
mod way;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::backup::beside;
use crate::backup::name::BackupName;
use crate::config;
use crate::config::target::Target;
use crate::rclone::{Asked, Call, Rclone};

use faster::Pieces;
use look::Seen;

pub use confirm::Content;
pub use error::{Error, ReadError};
pub use limits::fits_everywhere;
pub use list::{Listing, StoredBackup};
pub use read::BackupStream;
pub use stream::{Outlet, Sent, Upload};
pub use upload::Ours;

/// The folder of the records, in the backups' directory.
const RECORDS: &str = beside::FOLDER;
/// The end of its files' names.
const RECORD: &str = ".json";
/// The folder of the unfinished uploads, in the backups' directory.
const PARTS: &str = ".etcd-backup/parts";

/// How long a query other than a listing may take. rclone's own flags bound each connection, but not the whole call.
const QUERY_LIMIT: Duration = Duration::from_secs(30);
/// For queries: with rclone's default retries, a remote that refuses connections fails only after eleven minutes.
const FAIL_FAST: [&str; 4] = ["--retries=1", "--low-level-retries=2", "--contimeout=10s", "--timeout=20s"];
/// For transfers. The second try is for what is not an outage, such as a hash that differs. The low-level tries, which repeat
/// one part of an upload and not the whole, bridge half a minute on S3. Whoever stores waits out longer outages.
const RETRY: [&str; 3] = ["--retries=2", "--low-level-retries=5", "--contimeout=10s"];

/// The output of `rclone backend features`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Features {
    #[serde(default)]
    root: String,
    /// What the backend calls itself, such as `Encrypted drive 'vault:'`.
    #[serde(default)]
    string: String,
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

/// The target: one directory of one remote.
#[derive(Debug)]
pub struct Store {
    rclone: Rclone,
    config: config::StoreConfig,
    features: Features,
    seen: Seen,
    pieces: Pieces,
}

/// What is done with a store that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A look, which may begin at once.
    Look,
    /// Something else, and that may be not to ask the remote at all.
    Other,
}

impl Store {
    pub async fn open(config: config::StoreConfig, next: Next) -> Result<Self, Error> {
        Self::open_with(Rclone::find(&config).await?, config, next).await
    }

    async fn open_with(rclone: Rclone, config: config::StoreConfig, next: Next) -> Result<Self, Error> {
        let asked = rclone.check_sections(&config.target)?;
        let features = ask_features(&rclone, &config.target);
        // Of a whole remote its features decide whether it may be a target.
        let (features, ahead) = if (next, asked) == (Next::Look, Asked::AtOnce) && !config.target.is_whole_remote() {
            let (features, answer) = tokio::try_join!(features, async { Ok(look::ask(&rclone, &config).await) })?;
            (features, Some(answer))
        } else {
            (features.await?, None)
        };
        // Directly below such a remote, the first part of a backup's name would be the bucket. A remote with a root, such as
        // an alias, names its bucket itself.
        let names_no_bucket =
            features.has("BucketBased") && features.has("BucketBasedRootOK") && features.root.is_empty();
        if names_no_bucket && config.target.is_whole_remote() {
            return Err(Error::WholeRemote(config.target.root().to_owned()));
        }
        Ok(Self { rclone, config, features, seen: Seen::with(ahead), pieces: Pieces::default() })
    }

    pub const fn config(&self) -> &config::StoreConfig {
        &self.config
    }

    fn is_bucket_based(&self) -> bool {
        self.features.has("BucketBased")
    }

    /// Whether names and contents are encrypted on their way. Of its names nothing is known in the store below.
    fn is_crypt(&self) -> bool {
        self.features.string.starts_with("Encrypted drive")
    }

    /// The directory that the backups are in, as rclone writes it.
    fn directory(&self) -> String {
        look::directory_of(&self.config)
    }

    /// The same as a path of this machine, if the target is one.
    pub fn local_directory(&self) -> Option<PathBuf> {
        (self.config.target.root() == "/").then(|| PathBuf::from(self.directory()))
    }

    /// `place` is a path below the backups' directory, such as a backup's leaf or `.etcd-backup/parts`.
    fn path_of(&self, place: &str) -> String {
        let directory = self.config.naming.prefix.directory();
        let slash = if directory.is_empty() { "" } else { "/" };
        self.config.target.join(&format!("{directory}{slash}{place}"))
    }

    /// Where a backup is, as rclone writes it.
    pub fn object_path(&self, name: &BackupName) -> String {
        self.config.target.join(&name.to_string())
    }
}

async fn ask_features(rclone: &Rclone, target: &Target) -> Result<Features, Error> {
    let args = ["features", "--", target.root()];
    let call = Call { defaults: &["--contimeout=10s"], ..Call::new("backend", target.root(), &args) };
    Ok(rclone.json(Call { limit: Some(QUERY_LIMIT), ..call }).await?)
}
