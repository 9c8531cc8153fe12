//! A look at all that stands there: the backups, and what lies in the folders beside them. The number of questions does not
//! depend on the number of backups.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::list::RemoteObject;
use super::records::RecordFiles;
use super::{Error, FAIL_FAST, Listing, RECORDS, Store};
use crate::config::StoreConfig;
use crate::rclone::{self, Call, Rclone};

/// The backups' directory, the folder of the records in it, and that of the parts in that one; and nothing of any other
/// directory: a user's `--fast-list` would list all below the target. The folders come after the directory, as a backup is
/// stored before its record.
const ALL_FOLDERS: [&str; 6] = [
    "--fast-list=false",
    "--recursive",
    "--max-depth=3",
    "--include=/*",
    "--include=/.etcd-backup/*",
    "--include=/.etcd-backup/parts/*",
];

/// Nothing that rclone would ask S3 about one object after another.
const NAMES_ALONE: [&str; 3] = ["--files-only", "--no-mimetype", "--no-modtime"];

/// All objects, with their paths, and the number of names that cannot be decrypted.
pub(super) type Answer = Result<(Vec<RemoteObject>, usize), rclone::Error>;

/// What earlier questions of this process have told.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Told>);

#[derive(Debug, Default)]
pub(super) struct Told {
    /// To the first look, if it was asked for already.
    pub ahead: Option<Answer>,
    /// The lines of the records that were read, which never change.
    pub text: Vec<u8>,
    /// The files that these lines are the content of.
    pub read: BTreeSet<String>,
    /// The parts that the latest look has found; `None` before the first one.
    pub parts: Option<Vec<String>>,
    /// Whether what earlier runs have left was looked for.
    pub is_swept: bool,
}

impl Seen {
    pub fn with(ahead: Option<Answer>) -> Self {
        Self(Mutex::new(Told { ahead, ..Told::default() }))
    }

    // Nobody waits for anything while it is held.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The backups' directory, as rclone writes it.
pub(super) fn directory_of(config: &StoreConfig) -> String {
    config.target.join(config.naming.prefix.directory())
}

/// Lists all three folders by one question.
pub(super) async fn ask(rclone: &Rclone, config: &StoreConfig) -> Answer {
    let directory = directory_of(config);
    let args = [&NAMES_ALONE[..], &ALL_FOLDERS, &["--", &directory]].concat();
    // Of a failure it is found out below in which folder it is, and that is logged.
    let (limit, quiet) = (Some(config.list_timeout), true);
    rclone.listing(Call { defaults: &FAIL_FAST, limit, quiet, ..Call::new("lsjson", &directory, &args) }).await
}

impl Store {
    /// The backups, and what their records say. Records that were read before are not read again.
    pub async fn look(&self) -> Result<(Listing, RecordFiles), Error> {
        let (stored, beside) = self.folders().await?;
        Ok((self.listing_of(&stored), self.read_records(beside).await?))
    }

    /// The files of the backups' directory, and those beside them.
    async fn folders(&self) -> Result<(Vec<RemoteObject>, Vec<RemoteObject>), Error> {
        let ahead = self.seen.told().ahead.take();
        let answer = if let Some(answer) = ahead { answer } else { ask(&self.rclone, &self.config).await };
        match answer {
            Ok((objects, 0)) => {
                let (stored, mut beside): (Vec<_>, Vec<_>) =
                    objects.into_iter().partition(|file| file.path == file.name);
                for file in &mut beside {
                    let place = file.path.strip_prefix(RECORDS).and_then(|rest| rest.strip_prefix('/'));
                    file.path = place.unwrap_or_default().to_owned();
                }
                // Some servers leave out of a listing what begins with a dot, as rclone does a link to a directory.
                if beside.is_empty() {
                    beside = self.beside().await?;
                }
                Ok((stored, beside))
            }
            Err(error) if error.is_away() => Err(self.listing_failed(error, &self.directory())),
            // Which folder it is about, and what that means, shows when each is listed alone.
            Ok(_) | Err(_) => {
                let stored = self.objects(&self.directory(), &["--no-modtime"], false).await?;
                Ok((stored, self.beside().await?))
            }
        }
    }
}
