//! The last step of the job: retention, or the reason why nothing is deleted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::inventory::Inventory;
use crate::backup::catalog::{CLOCK_OR_ZONE, Class, Hold, Why};
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::backup::retention::{Decision, Policy, Removal, Spared, plan};
use crate::backup::verdict::Verdict;
use crate::config::StoreConfig;
use crate::exit::{Exit, Failure};
use crate::report::JobReport;
use crate::report::command_line::command_line;
use crate::report::job::{HeldBackup, Stage};
use crate::store::{self, Store};
use crate::system::patience::Patience;

/// At most so many records are removed because their backups are gone.
const ORPHANS: usize = 100;

/// The backup of this run.
pub struct Own<'a> {
    pub name: &'a BackupName,
    pub record: &'a Record,
    pub clock: Option<&'a str>,
}

/// The end of a job whose backup is stored: retention, and what earlier runs have left is removed, also under a hold.
pub async fn conclude(
    store: &Store,
    patience: &Patience,
    own: Own<'_>,
    policy: &Policy,
    (sweep_after, now): (Duration, DateTime<Utc>),
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let inventory = Inventory::read_patiently(store, patience).await.map_err(incomplete)?;
    if inventory.catalog.find(own.name).is_none() {
        return Err(not_listed(store, own.name).await);
    }
    let exit = retain(store, patience, &inventory, Some(own), policy, now, report).await;
    report.stage = stage_after(&exit);
    remove_orphans(store, &inventory, now).await;
    store.sweep(sweep_after, now).await;
    exit
}

/// How far a job has come when retention has ended.
pub fn stage_after(retention: &Result<Exit, Failure>) -> Stage {
    match retention {
        Ok(exit) => Stage::Done(*exit),
        Err(failure) => Stage::Failed(failure.exit, failure.one_line()),
    }
}

/// The listing may lag, or the backup may be at another target, as that of the record that `prune --after` was given.
async fn not_listed(store: &Store, name: &BackupName) -> Failure {
    let target = &store.config().target;
    match store.orphans(&[name.leaf()]).await {
        Ok(absent) if !absent.is_empty() => {
            Failure::message(Exit::Store, format!("{name} is not at {target}; nothing was pruned"))
        }
        Ok(_) => Failure::message(Exit::Retention, format!("{target} does not list {name} yet; nothing was pruned")),
        Err(error) => incomplete(error),
    }
}

/// Applies retention, unless something has to be decided by a person first. `own` is the backup of this run, if it has
/// made one.
pub async fn retain(
    store: &Store,
    patience: &Patience,
    inventory: &Inventory,
    own: Option<Own<'_>>,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    report.foreign = inventory.untouched();
    if let Some(exit) = held(store.config(), inventory, own.as_ref(), policy, now, report) {
        return Ok(exit);
    }
    if let Some(Verdict::Degraded { why }) = own.as_ref().and_then(|own| own.record.verdict.as_ref()) {
        report.hold_back(format!("the backup is degraded ({why})"));
        return Ok(Exit::Degraded);
    }
    let spared = Spared { own: own.as_ref().map(|own| own.name), unconfirmed: is_witnessed(inventory, own.as_ref()) };
    let begun = Instant::now();
    let plan = plan(&inventory.catalog.entries, spared, policy, now);
    tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "planned retention");
    for kept in plan.keep.iter().filter(|v| v.is_from_the_future()) {
        tracing::warn!(name = %kept.name, "dated in the future, and kept; {CLOCK_OR_ZONE}");
    }
    report.plan(&plan);
    if plan.remove.is_empty() || report.dry_run {
        return Ok(Exit::Ok);
    }
    let removal = remove(store, patience, &plan.remove, policy, report).await?;
    report.deleted(&removal.removed, &removal.failed);
    remove_records(store, inventory, &removal.removed).await;
    if removal.failed.is_empty() { Ok(Exit::Ok) } else { Err(not_deleted(&removal)) }
}

async fn remove(
    store: &Store,
    patience: &Patience,
    decisions: &[Decision],
    policy: &Policy,
    report: &mut JobReport,
) -> Result<Removal, Failure> {
    report.begin_deleting();
    // What a first try has deleted is deleted: the second finds it gone.
    let once = async || {
        let deletion = store.remove(decisions, policy.max_age.as_ref()).await;
        report.said_deleted(&deletion.leaves);
        store.look_after(deletion, decisions).await
    };
    let removal = patience.wait_out("deleting backups", store::Error::is_away, once).await;
    removal.map_err(|error| {
        let Failure { exit, error } = incomplete(error);
        Failure { exit, error: error.context(report.known_of_deletion()) }
    })
}

/// The exit if something holds retention back.
fn held(
    store: &StoreConfig,
    inventory: &Inventory,
    own: Option<&Own<'_>>,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Option<Exit> {
    let mut holds = inventory.catalog.holds(now);
    hold_for_own(&mut holds, inventory, own);
    // Without a limit there is nothing to hold back, but `latest` does not give this run's backup, which has to be said.
    if !policy.has_limit() {
        holds.retain(|hold| own.is_some_and(|own| *own.name == hold.name) && matches!(hold.why, Why::Suspicious(_)));
    }
    let clock = own.and_then(|own| own.clock).filter(|_| policy.has_limit());
    // By a wrong clock, good backups are from the future. Nobody should dismiss them for that.
    if clock.is_some() {
        holds.retain(|hold| !matches!(hold.why, Why::Future(_) | Why::NamedInFuture(_)));
    }
    let why = match (clock, holds.first()) {
        (Some(clock), Some(first)) => format!("{clock}; {}", describe(first, holds.len())),
        (Some(clock), None) => clock.to_owned(),
        (None, Some(first)) => describe(first, holds.len()),
        (None, None) => return None,
    };
    report.hold_back(why);
    report.holds = holds.iter().map(|hold| held_backup(hold, store)).collect();
    for HeldBackup { name, accept, dismiss, .. } in &report.holds {
        tracing::warn!("if {name} is the cluster now: {accept}; if it is not: {dismiss}");
    }
    Some(Exit::Retention)
}

/// What this run knows of its own backup counts, also where the listing or its record cannot be read for a moment.
fn hold_for_own(holds: &mut Vec<Hold>, inventory: &Inventory, own: Option<&Own<'_>>) {
    let Some(own) = own else { return };
    let Some(Verdict::Suspicious { why, .. }) = &own.record.verdict else { return };
    let is_decided = inventory.catalog.find(own.name).is_some_and(|entry| entry.ruling.is_some());
    let holds_already = holds.iter().any(|hold| hold.name == *own.name && matches!(hold.why, Why::Suspicious(_)));
    if !is_decided && !holds_already {
        holds.retain(|hold| hold.name != *own.name);
        holds.insert(0, Hold { name: own.name.clone(), why: Why::Suspicious(why.clone()) });
    }
}

fn describe(first: &Hold, count: usize) -> String {
    let more = if count > 1 { format!("; and {} more to decide about", count - 1) } else { String::new() };
    format!("{} {}{more}", first.name, first.why)
}

/// With the two commands that a person chooses from.
pub fn held_backup(hold: &Hold, store: &StoreConfig) -> HeldBackup {
    let command = |word| ruling_command(word, &hold.name, store);
    HeldBackup {
        name: hold.name.to_string(),
        why: hold.why.to_string(),
        accept: command("accept"),
        dismiss: command("dismiss"),
    }
}

fn ruling_command(word: &str, name: &BackupName, store: &StoreConfig) -> String {
    let words = [word.to_owned(), name.to_string()];
    command_line(words.into_iter().chain(store.flags()))
}

/// Whether this run compared its backup with one that nobody has confirmed, for want of a better one.
fn is_witnessed(inventory: &Inventory, own: Option<&Own<'_>>) -> bool {
    let with = own.and_then(|own| own.record.compared.as_ref()).map(|compared| &compared.with);
    let entries = &inventory.catalog.entries;
    with.is_some_and(|with| entries.iter().any(|e| e.name.leaf() == *with && e.class == Class::Unconfirmed))
}

async fn remove_records(store: &Store, inventory: &Inventory, gone: &[BackupName]) {
    let gone: BTreeSet<_> = gone.iter().map(BackupName::leaf).collect();
    let standing = inventory.catalog.names().map(BackupName::leaf).filter(|leaf| !gone.contains(leaf)).collect();
    let files = inventory.beside.files_of(&gone, &standing);
    if let Some(complaint) = store.remove_records(&files).await {
        tracing::warn!("the records of deleted backups are still there: {complaint}");
    }
}

/// Removes the records of backups that are long gone, if an exact look does not find them.
async fn remove_orphans(store: &Store, inventory: &Inventory, now: DateTime<Utc>) {
    let zone = store.config().naming.zone;
    let standing: BTreeSet<_> = inventory.catalog.names().map(BackupName::leaf).collect();
    let suspects = inventory.beside.without_backup(&standing, now - TimeDelta::days(1), zone);
    let suspects: Vec<_> = suspects.into_iter().take(ORPHANS).collect();
    if suspects.is_empty() {
        return;
    }
    match store.orphans(&suspects).await {
        Ok(gone) => {
            let files = inventory.beside.files_of(&gone.into_iter().collect(), &standing);
            let complaint = store.remove_records(&files).await;
            tracing::debug!(?files, complaint, "removed the records of backups that are gone");
        }
        Err(error) => tracing::debug!("cannot look for backups whose records are left: {error}"),
    }
}

/// A store that cannot be asked any more leaves the backup where it is. Settings stay wrong, whatever is stored.
pub fn incomplete(error: store::Error) -> Failure {
    let Failure { exit, error } = error.into();
    let exit = if exit == Exit::Settings { exit } else { Exit::Retention };
    Failure { exit, error: error.context("the backup is safe, retention is not done") }
}

fn not_deleted(removal: &Removal) -> Failure {
    let names: Vec<_> = removal.failed.iter().map(ToString::to_string).collect();
    // rclone goes by the time of the object itself, and does not report the objects that it leaves.
    let younger =
        "by the store's own times they are younger than the age limit; a clock, or the time zone TZ, may be wrong";
    let why = removal.complaint.as_deref().unwrap_or(younger);
    Failure::message(Exit::Retention, format!("could not delete {}: {why}; the backup is safe", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_deleted_is_named() {
        let name = BackupName::parse(&"p-".parse().unwrap(), "p-202601010000.etcdb").unwrap();
        let mut removal = Removal { failed: vec![name], ..Removal::default() };
        assert!(
            not_deleted(&removal)
                .one_line()
                .contains("p-202601010000.etcdb: by the store's own times they are younger")
        );
        removal.complaint = Some("AccessDenied".into());
        let failure = not_deleted(&removal);
        assert_eq!(failure.exit, Exit::Retention);
        assert!(failure.one_line().ends_with("AccessDenied; the backup is safe"));
    }
}
