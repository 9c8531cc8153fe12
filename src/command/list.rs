//! `list`: the stored backups, newest first.

use chrono::{DateTime, SecondsFormat, Utc};

use super::inventory::Inventory;
use crate::backup::catalog::Entry;
use crate::config::ListConfig;
use crate::exit::Failure;
use crate::report::Answer;
use crate::report::list::{Listed, ListedBackup};
use crate::store::{Next, Store};

pub async fn list(config: ListConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let ListConfig { store, quick } = config;
    let store = Store::open(store, if quick { Next::Other } else { Next::Look }).await?;
    let inventory = if quick {
        Inventory::without_records(&store.list().await?, store.config().naming.zone)
    } else {
        Inventory::read(&store).await?
    };
    let (target, prefix) = (store.config().target.to_string(), store.config().naming.prefix.to_string());
    // With all that they know beside it, which of thousands of backups is much.
    drop(store);
    let (entries, foreign) = entries(inventory);
    let listed =
        Listed { target, prefix, backups: entries.into_iter().map(|entry| line(entry, quick, now)).collect(), foreign };
    *answer = Answer::Document { text: listed.text(), json: serde_json::json!(listed) };
    Ok(())
}

fn entries(inventory: Inventory) -> (Vec<Entry>, usize) {
    (inventory.catalog.entries, inventory.foreign)
}

fn line(entry: Entry, quick: bool, now: DateTime<Utc>) -> ListedBackup {
    let why = entry.why(now);
    let facts = entry.facts;
    ListedBackup {
        name: entry.name.to_string(),
        taken_at: entry.taken_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        age_seconds: (now - entry.taken_at).num_seconds(),
        bytes: match entry.name.compression() {
            None => entry.bytes,
            Some(_) => facts.as_ref().map(|facts| facts.bytes),
        },
        stored_bytes: entry.bytes,
        sha256: facts.as_ref().map(|facts| facts.sha256.clone()),
        revision: facts.as_ref().map(|facts| facts.revision),
        keys: facts.as_ref().map(|facts| facts.keys),
        degraded: facts.as_ref().map(|facts| facts.degraded.is_some()),
        etcd_version: facts.and_then(|facts| facts.etcd_version),
        class: (!quick).then(|| entry.class.word()),
        doubt: entry.class.doubt().filter(|_| !quick),
        why: why.filter(|_| !quick),
    }
}
