//! The backup that a new one is compared with. One that has no record is read back, proved, and given its record.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::facts::facts_of;
use super::input::StoredSource;
use super::inventory::Inventory;
use crate::backup::beside::{Line, record_file};
use crate::backup::catalog::{Class, Doubt, Entry};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::backup::record::{Facts, Record};
use crate::backup::verdict::{Before, Compared, Verdict, judge};
use crate::exit::{Exit, Failure};
use crate::snapshot;
use crate::store::{self, Store};
use crate::system::patience::Patience;

/// How many backups without a record are read back.
const TRIES: usize = 3;

/// The newest backup that tells what the cluster was.
enum Reference {
    Backup(BackupName, Box<Facts>),
    /// There are backups, and none of them can be compared with, for this reason.
    Unreadable(String),
    Nothing,
}

/// Compares a new backup with the newest good one of the inventory.
pub async fn compare(
    facts: &Facts,
    store: &Arc<Store>,
    patience: &Patience,
    inventory: &Inventory,
) -> Result<(Verdict, Option<Compared>), Failure> {
    let reference = if facts.degraded.is_some() {
        Reference::Nothing
    } else {
        find(store, patience, inventory, facts.taken_at).await?
    };
    let leaf = if let Reference::Backup(name, _) = &reference { name.leaf() } else { String::new() };
    let before = match &reference {
        Reference::Backup(_, facts) => Before::Backup { name: &leaf, facts },
        Reference::Unreadable(why) => Before::Unreadable(why),
        Reference::Nothing => Before::Nothing,
    };
    let undecided: Vec<_> = match &reference {
        Reference::Backup(before, _) => {
            inventory.catalog.undecided_older_states(before).map(|(name, facts)| (name.leaf(), facts)).collect()
        }
        Reference::Unreadable(_) | Reference::Nothing => Vec::new(),
    };
    let undecided = undecided.iter().map(|(leaf, facts)| (leaf.as_str(), *facts));
    let (verdict, compared) = judge(facts, before, undecided);
    match verdict.why() {
        None => tracing::info!(compared = compared.as_ref().map(|c| &c.with), "the backup is good"),
        Some(why) => tracing::warn!("the backup is not good: {why}"),
    }
    Ok((verdict, compared))
}

async fn find(
    store: &Arc<Store>,
    patience: &Patience,
    inventory: &Inventory,
    now: DateTime<Utc>,
) -> Result<Reference, Failure> {
    let counted: Vec<_> = inventory.catalog.entries.iter().filter(|entry| entry.is_current(now)).collect();
    // Where nothing counts as good, a backup that nobody has confirmed may still tell, or one that a wrong clock has dated.
    let witness = |entry: &&Entry| match entry.class {
        Class::Good | Class::Legacy | Class::Unconfirmed => true,
        Class::Doubtful(doubt) => doubt == Doubt::Unknown && entry.is_ours,
        Class::Foreign => false,
    };
    let candidates =
        if counted.is_empty() { inventory.catalog.entries.iter().filter(witness).collect() } else { counted };
    let mut failure = None;
    let mut tries = 0;
    for entry in candidates {
        if let Some(facts) = &entry.facts {
            return Ok(Reference::Backup(entry.name.clone(), facts.clone()));
        }
        tries += 1;
        if tries > TRIES {
            break;
        }
        tracing::info!(name = %entry.name, "reading back a backup without a record, to compare the new one with it");
        let read = || read_back(store, entry);
        match patience.wait_out(&format!("reading back {}", entry.name), is_away, read).await {
            Err(failure) if is_away(&failure) => return Err(failure),
            Err(why) => {
                if is_damaged(&why) {
                    record_legacy(store, patience, entry, Err(why.one_line())).await?;
                }
                failure = Some(format!("what was before cannot be read: {why}"));
            }
            Ok(facts) => {
                record_legacy(store, patience, entry, Ok(facts.clone())).await?;
                return Ok(Reference::Backup(entry.name.clone(), Box::new(facts)));
            }
        }
    }
    Ok(failure.or_else(|| nothing_good(inventory)).map_or(Reference::Nothing, Reference::Unreadable))
}

/// Why there is nothing to compare with although there are backups.
fn nothing_good(inventory: &Inventory) -> Option<String> {
    let entries = &inventory.catalog.entries;
    // An earlier run has read it back, and found no other one either.
    let damaged = entries.iter().find(|entry| entry.class == Class::Doubtful(Doubt::Damaged));
    if let Some(why) = damaged.and_then(|entry| entry.verdict.as_ref()).and_then(Verdict::why) {
        return Some(format!("what was before cannot be read: {why}"));
    }
    // These say nothing about what follows.
    let is_beside_the_point =
        |entry: &Entry| matches!(entry.class, Class::Foreign | Class::Doubtful(Doubt::Degraded | Doubt::Dismissed));
    (!entries.iter().all(is_beside_the_point)).then(|| "none of the backups before it counts as good".to_owned())
}

/// Whether the backup itself is bad, whoever reads it. What was only too much for this program must not have a record that
/// says so for ever.
fn is_damaged(failure: &Failure) -> bool {
    let is_unproved = matches!(failure.error.downcast_ref(), Some(snapshot::Error::Unproved { .. }));
    failure.exit == Exit::Proof && !is_unproved
}

fn is_away(failure: &Failure) -> bool {
    failure.error.downcast_ref().is_some_and(store::Error::is_away)
}

/// Gives a legacy backup, which is never compressed, its record, even if it did not prove good, for the reason in the error.
async fn record_legacy(
    store: &Store,
    patience: &Patience,
    entry: &Entry,
    proved: Result<Facts, String>,
) -> Result<(), Failure> {
    if entry.class != Class::Legacy {
        return Ok(());
    }
    let (facts, verdict, confirmed) = match proved {
        Ok(facts) => (Some(facts), Verdict::Good, Some(Evidence::ReadBack)),
        Err(why) => (None, Verdict::Damaged { why }, None),
    };
    let record = Record { verdict: Some(verdict), confirmed, facts, ..Record::new(&entry.name) };
    let (file, line) = (record_file(&entry.name), Line::Backup(record).encode());
    let create = || store.create_record(&file, &line);
    match patience.wait_out(&format!("writing {file}"), store::Error::is_away, create).await {
        // Another run has done the same.
        Ok(_) | Err(store::Error::Taken(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The facts of a stored backup, which is read back and proved.
pub async fn read_back(store: &Arc<Store>, entry: &Entry) -> Result<Facts, Failure> {
    let proof = StoredSource::of(store, entry.clone()).prove().await?;
    let facts = facts_of(&proof, entry.taken_at);
    if facts.keys == 0 {
        return Err(Failure::message(Exit::Proof, format!("{} holds no keys", entry.name)));
    }
    Ok(facts)
}
