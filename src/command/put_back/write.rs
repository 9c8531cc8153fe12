//! Writes the planned keys.

use std::sync::Arc;

use super::value;
use crate::etcd::Writer;
use crate::exit::{Exit, Failure};
use crate::inspect::line::printable;
use crate::recovery::put_back::{Action, Outcome, PlannedKey};
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

async fn write_one(planned: &PlannedKey, db: &Arc<Db>, writer: &mut Writer) -> Result<Outcome, Failure> {
    let state = &planned.candidate.state;
    let value = value(state, db).await?;
    let key = printable(&state.key);
    let outcome = match planned.action {
        Action::Replace { mod_revision } => {
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
