//! `put-back`: writes deleted keys of a backup into the running cluster again.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::OpenBackup;
use super::members;
use crate::config::{KeysToPutBack, PutBackConfig};
use crate::etcd::{CurrentKey, Writer};
use crate::exit::{Exit, Failure};
use crate::inspect::identity::{Found, find_kube_system};
use crate::inspect::line::printable;
use crate::kubernetes::StoredValue;
use crate::member::Member;
use crate::recovery::put_back::{
    Action, Ending, LiveKey, Outcome, PlannedKey, decide, healthy_member, note, refusal, refusals, sort_by_creation,
};
use crate::report::Answer;
use crate::snapshot::{self, Db, KeyState, SortedKeys, find};
use crate::system::blocking::blocking;

pub async fn put_back(config: PutBackConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let backup = OpenBackup::open(config.backup, now).await?;
    let args = &config.keys;
    let revision = backup.revision(args.revision)?;
    let states = select(args, &backup, revision).await?;
    // Refused members are in the log; the answer of this command is about keys.
    let choice = members::choose(&config.etcd, |_| {}).await?;
    let member = healthy_member(choice, args.write).map_err(|why| Failure::message(Exit::NoMember, why))?;
    let mut writer = Writer::connect(&member, &config.etcd).await?;
    refuse_other_cluster(&backup, &mut writer, &member).await?;

    let planned = plan(states, args.overwrite, &backup.db, &mut writer).await?;
    // A prefix may well cover keys that are never put back. To name one is a mistake, and then nothing is written.
    if let Some(refusals) = refusals(&planned).filter(|_| !args.keys.is_empty()) {
        return Err(Failure::settings(format!("never put back: {refusals}")));
    }
    let (done, error) = if args.write {
        write(planned, &backup.db, &mut writer).await
    } else {
        (planned.into_iter().map(|planned| (planned, Outcome::AsPlanned)).collect(), None)
    };
    let ending = Ending {
        backup: &backup.proved.label,
        revision,
        member: &member,
        written: args.write,
        done: &done,
        error: error.as_ref().map(Failure::one_line),
    };
    *answer = Answer::Document { text: ending.text(), json: ending.json() };
    error.map_or(Ok(()), Err)
}

/// The keys to put back, in the order in which they are written.
async fn select(args: &KeysToPutBack, backup: &OpenBackup, revision: u64) -> Result<Vec<KeyState>, Failure> {
    let label = &backup.proved.label;
    let db = Arc::clone(&backup.db);
    let (keys, prefix) = (args.keys.clone(), args.prefix.clone());
    let searched = (keys.clone(), prefix.clone());
    let mut states = blocking(move || match searched {
        (_, Some(prefix)) => SortedKeys::new(&db, &prefix, revision).collect::<Result<Vec<_>, _>>(),
        (keys, None) => find(&db, &keys, revision),
    })
    .await?;
    if let Some(prefix) = prefix.filter(|_| states.is_empty()) {
        return Err(Failure::settings(format!(
            "{label} has no key that begins with {} at revision {revision}",
            printable(&prefix)
        )));
    }
    let missing: Vec<_> = keys.iter().filter(|key| states.iter().all(|state| state.key != **key)).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(|key| printable(key)).collect();
        return Err(Failure::settings(format!(
            "{label} does not have, at revision {revision}: {}",
            missing.join(", ")
        )));
    }
    sort_by_creation(&mut states);
    Ok(states)
}

async fn refuse_other_cluster(backup: &OpenBackup, writer: &mut Writer, member: &Member) -> Result<(), Failure> {
    let db = Arc::clone(&backup.db);
    // A cluster is known by the UID of its namespace kube-system. A restore keeps that, but gives the cluster and its
    // members new ids.
    let read = move || Ok::<_, snapshot::Error>((find_kube_system(&db)?, snapshot::members(&db)?));
    let (namespaces, recorded) = blocking(read).await?;
    for Found { key, uid } in namespaces {
        let Some(live) = writer.get(key).await? else { continue };
        let live = StoredValue::parse(&live.value);
        let (Some(ours), Some(theirs)) = (uid, live.uid()) else { continue };
        if ours == theirs {
            return Ok(());
        }
        let label = &backup.proved.label;
        return Err(Failure::settings(format!(
            "{label} is a backup of another cluster: its namespace kube-system has the UID {ours}, that of {} has {theirs}",
            member.endpoint
        )));
    }
    // In an etcd without Kubernetes, or with an encrypted namespace, only the members' ids give a hint.
    if recorded.iter().all(|recorded| recorded.id != member.id) {
        tracing::warn!(
            "the backup does not record the member {}; make sure that it is the same cluster",
            member.endpoint
        );
    }
    Ok(())
}

async fn plan(
    states: Vec<KeyState>,
    overwrite: bool,
    db: &Arc<Db>,
    writer: &mut Writer,
) -> Result<Vec<PlannedKey>, Failure> {
    let mut planned = Vec::with_capacity(states.len());
    for state in states {
        let (state, value) = read(state, db).await?;
        let content = StoredValue::parse(&value);
        let action = if let Some(why) = refusal(&state, content.object()) {
            Action::Refuse(why)
        } else {
            let live = writer.get(&state.key).await?;
            let compared = |live: CurrentKey| LiveKey {
                mod_revision: live.mod_revision,
                lease: live.lease,
                has_same_value: live.value == value,
            };
            decide(live.map(compared), overwrite)
        };
        let note = note(&content).filter(|_| action.is_change());
        planned.push(PlannedKey { state, action, note });
    }
    Ok(planned)
}

/// One value at a time, and again before it is written, because all of them may not fit into memory.
async fn read(state: KeyState, db: &Arc<Db>) -> Result<(KeyState, Vec<u8>), Failure> {
    let db = Arc::clone(db);
    Ok(blocking(move || state.value(&db).map(|value| (state, value))).await?)
}

/// Writes key by key until one fails.
async fn write(
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
    let (state, value) = read(planned.state.clone(), db).await?;
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
