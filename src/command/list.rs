//! `list`: the stored backups, newest first.

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

use crate::config::ListConfig;
use crate::exit::Failure;
use crate::report::Answer;
use crate::report::list::{Listed, ListedBackup};
use crate::store::{Store, StoredBackup};

pub async fn list(config: ListConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let store = Store::open(config.store).await?;
    let listing = store.list().await?;
    let config = store.config();
    let zone = config.naming.zone;
    let listed = Listed {
        target: config.target.to_string(),
        prefix: config.naming.prefix.to_string(),
        backups: listing.backups.iter().map(|backup| line(backup, zone, now)).collect(),
        foreign: listing.foreign,
    };
    *answer = Answer::Document { text: listed.text(), json: serde_json::json!(listed) };
    Ok(())
}

fn line(backup: &StoredBackup, zone: Tz, now: DateTime<Utc>) -> ListedBackup {
    let taken_at = backup.name.taken_at(zone);
    ListedBackup {
        name: backup.name.to_string(),
        taken_at: taken_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        age_seconds: (now - taken_at).num_seconds(),
        bytes: backup.bytes,
        sha256: None,
        revision: None,
        keys: None,
        etcd_version: None,
        degraded: None,
    }
}
