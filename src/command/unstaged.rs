//! `staging: none`: a snapshot goes from a member through the proof to the store, and nothing of it is kept here.

mod attempt;
mod read_back;

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use self::attempt::Attempt;
use super::inventory::Inventory;
use super::keep::{Keeper, Kept, NAMES};
use super::take::{Failed, Failures};
use crate::backup::name::BackupName;
use crate::config::EtcdConfig;
use crate::etcd::SnapshotError;
use crate::exit::{Exit, Failure};
use crate::member::Choice;
use crate::report::JobReport;
use crate::store;

/// How one try ended that stored nothing that counts.
enum Lost {
    /// The member gave no good snapshot.
    Member(SnapshotError),
    /// The store did not take all of it.
    Store(Failure),
    /// Another run has the name.
    Name(BackupName, Failure),
    /// The store knows no conditional uploads.
    Condition(Failure),
    /// Another try would end the same.
    ForGood(Failure),
}

/// Of a failure after which there is nothing left to try.
const NO_MORE: &str = "without staging each member is tried once, whatever retry-for says";

/// What the tries so far have told.
struct Tries {
    /// Names that others have, whatever a listing says.
    taken: Vec<BackupName>,
    /// Whether the store is asked to refuse a name that is taken.
    conditional: bool,
    /// What was there before the first one, with which the backup is compared.
    before: Option<Inventory>,
}

/// Stores, confirms and records a snapshot of the best member. Each further try takes a new one, from the next member.
pub async fn keep(
    keeper: &Keeper<'_>,
    choice: Choice,
    etcd: &EtcdConfig,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Kept, Failure> {
    let Choice { members, degraded, .. } = choice;
    let mut members = VecDeque::from(members);
    let mut tries = Tries { taken: Vec::new(), conditional: true, before: None };
    let (mut failures, mut of_store) = (Failures::default(), None);
    while let Some(member) = members.pop_front() {
        let attempt = Attempt { member: &member, etcd, degraded: degraded.as_deref(), now };
        match attempt.keep(keeper, &mut tries, report).await {
            Ok(kept) => return Ok(kept),
            Err(Lost::Member(error)) => {
                let failed = Failed::new(&member, &error);
                tracing::warn!(member = %member.endpoint, "snapshot failed: {}", failed.reason);
                report.refuse(&[failed.refusal()]);
                failures.0.push(failed);
            }
            // Also what is not implemented: that may be the stream, and not the condition.
            Err(Lost::Store(failure) | Lost::Condition(failure)) if keeper.store.give_up_one_piece() => {
                tracing::warn!("{failure}; taking a new snapshot, to send it in parts");
                members.push_front(member);
                of_store = Some(failure);
            }
            Err(Lost::Store(failure)) => {
                let next = if members.is_empty() { NO_MORE } else { "taking a new snapshot, from the next member" };
                tracing::warn!("{failure}; {next}");
                of_store = Some(failure);
            }
            Err(Lost::Name(name, failure)) => {
                tries.taken.push(name);
                if tries.taken.len() >= usize::from(NAMES) {
                    return Err(failure);
                }
                tracing::warn!("{failure}; taking a new snapshot, for another name");
                members.push_back(member);
            }
            Err(Lost::Condition(failure)) if tries.conditional => {
                tracing::warn!(
                    "the store has no conditional uploads, so only the listing before tells that the name is free: {failure}"
                );
                tries.conditional = false;
                members.push_front(member);
            }
            Err(Lost::ForGood(failure) | Lost::Condition(failure)) => return Err(failure),
        }
    }
    Err(of_store.unwrap_or_else(|| failures.into()))
}

impl From<SnapshotError> for Lost {
    fn from(error: SnapshotError) -> Self {
        Self::Member(error)
    }
}

/// `conditional` is whether the store was asked to refuse the name: another refusal of what it does not know is an ordinary one.
fn lost(error: store::Error, name: &BackupName, conditional: bool) -> Lost {
    let (is_taken, is_of_condition) = (error.is_name_taken(), conditional && error.is_of_condition());
    // What arrived, and is not what was sent, is no outage.
    let may_mend = error.exit() == Exit::Store && !matches!(error, store::Error::NotConfirmed { .. });
    let failure = Failure::from(error);
    match () {
        () if is_taken => Lost::Name(name.clone(), failure),
        () if is_of_condition => Lost::Condition(failure),
        () if may_mend => Lost::Store(failure),
        () => Lost::ForGood(failure),
    }
}
