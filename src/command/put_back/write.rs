//! Writes the planned keys.

use std::sync::Arc;

use super::value;
use crate::etcd::Writer;
use crate::exit::{Exit, Failure};
use crate::inspect::line::printable;
use crate::recovery::put_back::{Action, LiveObject, Outcome, PlannedKey};
use crate::snapshot::Db;

/// Writes key by key until one fails.
pub async fn write(
    planned: Vec<PlannedKey>,
    db: &Arc<Db>,
    writer: &mut Writer,
) -> (Vec<(PlannedKey, Outcome)>, Option<Failure>) {
    let mut done = Vec::with_capacity(planned.len());
    let mut failed: Option<Failure> = None;
    let mut overtaken = false;
    for planned in planned {
        let outcome = match (&failed, planned.action.is_change()) {
            (_, false) => Outcome::AsPlanned,
            (Some(_), true) => Outcome::NotAttempted,
            // A transaction for each: in Kubernetes no two objects are written at one revision.
            (None, true) => match write_one(&planned, db, writer).await {
                Ok(outcome) => outcome,
                Err(failure) => {
                    let why = failure.one_line();
                    failed = Some(Failure { exit: failure.exit, error: failure.error.context("putting keys back") });
                    Outcome::Unknown(why)
                }
            },
        };
        if outcome == Outcome::Overtaken && planned.is_replaced_namespace() {
            // All that is put into it now may be deleted again, and a PersistentVolumeClaim takes its volume with it.
            failed = Some(Failure::message(Exit::Unexpected, namespace_changed(&planned)));
        }
        // If another client has created a key, it is there, as was wanted. But one that was to be replaced still has
        // another value.
        overtaken |= outcome == Outcome::Overtaken && matches!(planned.action, Action::Replace { .. });
        tracing::debug!("{}", planned.text(&outcome));
        done.push((planned, outcome));
    }
    let changed = "some keys were changed after they were read, and were left alone; run the command again";
    let error = failed.or_else(|| overtaken.then(|| Failure::message(Exit::Unexpected, changed)));
    (done, error)
}

fn namespace_changed(planned: &PlannedKey) -> String {
    let key = printable(&planned.candidate.state.key);
    let name = key.rsplit('/').next().unwrap_or_default();
    let was = if planned.cancels_deletion() { "was being deleted when it was read, and " } else { "" };
    format!("the namespace {name} {was}was changed after it was read: nothing was put into it; run the command again")
}

async fn write_one(planned: &PlannedKey, db: &Arc<Db>, writer: &mut Writer) -> Result<Outcome, Failure> {
    let state = &planned.candidate.state;
    let value = value(state, db).await?;
    let key = printable(&state.key);
    let outcome = match planned.action {
        Action::Replace { mod_revision } => {
            let mod_revision = read_again(planned, mod_revision, writer).await?;
            writer.replace(&state.key, value, mod_revision).await?.map(Outcome::Replaced)
        }
        Action::Create => writer.create(&state.key, value).await?.map(Outcome::Created),
        Action::Leave(_) | Action::Refuse(_) => return Ok(Outcome::AsPlanned),
    };
    if outcome.is_some() {
        tracing::info!("put back {key}");
    } else {
        tracing::warn!("left alone {key}: somebody else wrote it meanwhile");
    }
    Ok(outcome.unwrap_or(Outcome::Overtaken))
}

/// The revision at which a namespace may be replaced, if its deletion is to be cancelled. Its controller writes it at every
/// sync, so that the one in the plan may be old already.
async fn read_again(planned: &PlannedKey, mod_revision: i64, writer: &mut Writer) -> Result<i64, Failure> {
    if !planned.cancels_deletion() {
        return Ok(mod_revision);
    }
    // Only as long as it is that namespace, and still being deleted. What others made of it is theirs.
    let now = writer.get(&planned.candidate.state.key).await?;
    let same = now.filter(|now| now.lease == 0 && planned.live == Some(LiveObject::of(&now.value)));
    Ok(same.map_or(mod_revision, |now| now.mod_revision))
}
