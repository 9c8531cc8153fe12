//! Writes the planned keys.

use std::sync::Arc;

use super::in_flight::UnderWay;
use super::value;
use crate::etcd::Writer;
use crate::exit::{Exit, Failure};
use crate::inspect::line::printable;
use crate::recovery::put_back::{Account, Action, LiveObject, Outcome, PlannedKey};
use crate::snapshot::Db;

/// Writes key by key until one fails. The account is right at every moment, but for the key that is under way.
pub async fn write(
    account: &mut Account,
    db: &Arc<Db>,
    writer: &mut Writer,
    under_way: &mut UnderWay,
) -> Result<(), Failure> {
    let mut overtaken = false;
    for (place, (planned, outcome)) in account.keys.iter_mut().enumerate() {
        if !planned.action.is_change() {
            continue;
        }
        // A transaction for each: in Kubernetes no two objects are written at one revision.
        let (is, error) = write_one(place, planned, db, writer, under_way).await?;
        *outcome = is;
        tracing::debug!("{}", planned.text(outcome));
        if let Some(error) = error {
            let Failure { exit, error } = Failure::from(error);
            return Err(Failure { exit, error: error.context("putting keys back") });
        }
        if *outcome == Outcome::Overtaken && planned.is_replaced_namespace() {
            // All that is put into it now may be deleted again, and a PersistentVolumeClaim takes its volume with it.
            return Err(Failure::message(Exit::Unexpected, namespace_changed(planned)));
        }
        // If another client has created a key, it is there, as was wanted. But one that was to be replaced still has
        // another value.
        overtaken |= *outcome == Outcome::Overtaken && matches!(planned.action, Action::Replace { .. });
    }
    let changed = "some keys were changed after they were read, and were left alone; run the command again";
    if overtaken { Err(Failure::message(Exit::Unexpected, changed)) } else { Ok(()) }
}

fn namespace_changed(planned: &PlannedKey) -> String {
    let key = printable(&planned.candidate.state.key);
    let name = key.rsplit('/').next().unwrap_or_default();
    let was = if planned.cancels_deletion() { "was being deleted when it was read, and " } else { "" };
    format!("the namespace {name} {was}was changed after it was read: nothing was put into it; run the command again")
}

async fn write_one(
    place: usize,
    planned: &PlannedKey,
    db: &Arc<Db>,
    writer: &mut Writer,
    under_way: &mut UnderWay,
) -> Result<(Outcome, Option<crate::etcd::Error>), Failure> {
    let state = &planned.candidate.state;
    let value = value(state, db).await?;
    let action = match planned.action {
        Action::Replace { mod_revision } => {
            Action::Replace { mod_revision: read_again(planned, mod_revision, writer).await? }
        }
        action => action,
    };
    Ok(under_way.write(place, state.key.clone(), value, action, writer).await)
}

/// The revision at which a namespace may be replaced, if its deletion is to be cancelled. Its controller writes it at every
/// sync, so that the one in the plan may be old already.
async fn read_again(planned: &PlannedKey, mod_revision: i64, writer: &mut Writer) -> Result<i64, Failure> {
    if !planned.cancels_deletion() {
        return Ok(mod_revision);
    }
    // Only as long as it is that namespace, and still being deleted. What others made of it is theirs.
    let now = writer.get(&planned.candidate.state.key).await?;
    let same = now.filter(|now| now.lease == 0 && planned.live.as_deref() == Some(&LiveObject::of(&now.value)));
    Ok(same.map_or(mod_revision, |now| now.mod_revision))
}
