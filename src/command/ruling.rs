//! What `accept` and `dismiss` share: the decision is written beside the backup, and what still holds retention back is
//! printed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::inventory::Inventory;
use super::retain::held_backup;
use crate::backup::beside::{Line, Note, Ruling, ruling_file};
use crate::backup::catalog::Entry;
use crate::backup::name::BackupName;
use crate::backup::record::{Facts, to_the_second};
use crate::exit::{Exit, Failure};
use crate::report::Answer;
use crate::report::ruling::Ruled;
use crate::store::{self, Store};

/// How many seconds are tried: the name of the file that is written has its second in it.
const TRIES: i64 = 3;

/// The backup of exactly this name.
pub fn find<'a>(inventory: &'a Inventory, name: &BackupName, store: &Store) -> Result<&'a Entry, Failure> {
    inventory.catalog.find(name).ok_or_else(|| {
        let target = &store.config().target;
        Failure::settings(format!("there is no backup {name} at {target}; `etcd-backup list` shows what is there"))
    })
}

pub struct Decided<'a> {
    pub ruling: Ruling,
    pub name: &'a BackupName,
    pub by: &'a str,
    /// The file names of the backups that it is about.
    pub covers: Vec<String>,
    /// What the backup was found to be, if it has no record that can be read.
    pub facts: Option<Facts>,
}

/// Writes the decision, dated later than every earlier one about the same backups: the latest counts, and clocks differ.
pub async fn write(
    store: &Store,
    inventory: &Inventory,
    decided: &Decided<'_>,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let Decided { ruling, name, by, covers, facts } = decided;
    let earlier = covers.iter().filter_map(|leaf| inventory.beside.rulings.get(leaf)).map(|latest| latest.at).max();
    let after = earlier.map_or(now, |at| now.max(at + TimeDelta::seconds(1)));
    let mut last = None;
    for try_number in 0..TRIES {
        let at = to_the_second(after) + TimeDelta::seconds(try_number);
        let note = Note { covers: covers.clone(), facts: facts.clone(), ..Note::new(name, at, by) };
        let line = match ruling {
            Ruling::Accepted => Line::Accepted(note),
            Ruling::Dismissed => Line::Dismissed(note),
        };
        match store.create_record(&ruling_file(name, at, *ruling), &line.encode()).await {
            Ok(_) => return Ok(()),
            // Somebody else decides in the same second.
            Err(error @ store::Error::Taken(_)) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(last.map_or_else(|| Failure::message(Exit::Unexpected, "no decision was written"), Failure::from))
}

/// What was decided, and what holds retention back now. `covers` is empty if nothing had to be written.
pub async fn answer(
    store: &Store,
    ruling: Ruling,
    name: &BackupName,
    by: &str,
    covers: &[String],
    now: DateTime<Utc>,
) -> Result<Answer, Failure> {
    let inventory = Inventory::read(store).await?;
    let holds = inventory.catalog.holds(now);
    let holds = holds.iter().map(|hold| held_backup(hold, store.config())).collect();
    let ruled =
        Ruled { name: name.to_string(), ruling: ruling.word(), by: by.to_owned(), covers: covers.to_vec(), holds };
    Ok(Answer::Document { text: ruled.text(), json: serde_json::json!(ruled) })
}
