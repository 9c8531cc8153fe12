//! `put-back`: deleted keys, from a backup into the running cluster.

use std::sync::Arc;

use serde_json::json;

use super::input::OpenBackup;
use super::job;
use crate::config::{KeysToPutBack, PutBackConfig};
use crate::etcd::{CurrentKey, Writer};
use crate::exit::{Exit, Failure};
use crate::inspect::line::printable;
use crate::kubernetes::{KUBE_SYSTEM_KEYS, StoredValue};
use crate::member::{Choice, Member};
use crate::recovery::put_back::{
    Action, LiveKey, Outcome, PlannedKey, Totals, decide, in_order_of_creation, note, refusal,
};
use crate::report::{Answer, JobReport};
use crate::snapshot::{Db, KeyState, SortedKeys, find, members};
use crate::system::blocking::blocking;

pub async fn put_back(config: PutBackConfig, answer: &mut Answer) -> Result<(), Failure> {
    let backup = OpenBackup::open(config.backup).await?;
    let args = &config.keys;
    let at = backup.revision(args.revision)?;
    let items = select(args, &backup, at).await?;
    let member = healthy(job::choose(&config.etcd, &mut JobReport::default()).await?, args.write)?;
    let mut writer = Writer::connect(&member, &config.etcd).await.map_err(|e| Failure::new(e.exit(), e))?;
    check_identity(&backup, &mut writer, &member).await?;

    let planned = plan(items, args.overwrite, &backup.db, &mut writer).await?;
    refuse_what_was_named(args, &planned)?;
    let (done, error) = if args.write {
        write(planned, &backup.db, &mut writer).await
    } else {
        (planned.into_iter().map(|planned| (planned, Outcome::AsPlanned)).collect(), None)
    };
    *answer = document(args, &backup, at, &member, &done, error.as_ref());
    error.map_or(Ok(()), Err)
}

fn refused(why: String) -> Failure {
    Failure::settings(why)
}

/// The keys that were asked for, in the order in which they are to be written.
async fn select(args: &KeysToPutBack, backup: &OpenBackup, at: u64) -> Result<Vec<KeyState>, Failure> {
    let label = &backup.proved.label;
    let db = Arc::clone(&backup.db);
    let (keys, prefix) = (args.keys.clone(), args.prefix.clone());
    let wanted = (keys.clone(), prefix.clone());
    let mut items = blocking(move || match wanted {
        (_, Some(prefix)) => SortedKeys::new(&db, &prefix, at).collect::<Result<Vec<_>, _>>(),
        (keys, None) => find(&db, &keys, at),
    })
    .await?;
    if let Some(prefix) = prefix.filter(|_| items.is_empty()) {
        return Err(refused(format!("{label} has no key that begins with {} at revision {at}", printable(&prefix))));
    }
    let missing: Vec<_> = keys.iter().filter(|key| items.iter().all(|item| item.key != **key)).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(|key| printable(key)).collect();
        return Err(refused(format!("{label} does not have, at revision {at}: {}", missing.join(", "))));
    }
    in_order_of_creation(&mut items);
    Ok(items)
}

/// The member to write through: only of a cluster that has a quorum and is not corrupt.
fn healthy(choice: Choice, writing: bool) -> Result<Member, Failure> {
    let no_member = |why: String| Err(Failure::new(Exit::NoMember, anyhow::anyhow!(why)));
    if let Some(why) = choice.degraded {
        return no_member(format!("nothing is put back into a cluster that is not healthy: {why}"));
    }
    let Some(member) = choice.members.into_iter().next() else { return no_member("no member can be used".into()) };
    if writing && member.no_space {
        return no_member("the cluster accepts no writes (NOSPACE); compact, defragment and disarm it first".into());
    }
    Ok(member)
}

/// Refuses a backup of another cluster, as far as that can be told.
async fn check_identity(backup: &OpenBackup, writer: &mut Writer, member: &Member) -> Result<(), Failure> {
    let (db, at) = (Arc::clone(&backup.db), backup.proved.proof.contents.revision);
    let (ours, recorded) = blocking(move || {
        let items = find(&db, &KUBE_SYSTEM_KEYS.map(<[u8]>::to_vec), at)?;
        let values = items.iter().map(|item| Ok::<_, crate::snapshot::Error>((item.key.clone(), item.value(&db)?)));
        Ok::<_, crate::snapshot::Error>((values.collect::<Result<Vec<_>, _>>()?, members(&db)?))
    })
    .await?;
    let uid = |value: &[u8]| StoredValue::parse(value).object().map(|object| object.uid.clone());
    for (key, value) in ours {
        let live = writer.get(&key).await.map_err(|e| Failure::new(e.exit(), e))?;
        if let (Some(ours), Some(theirs)) = (uid(&value), live.and_then(|live| uid(&live.value))) {
            if ours == theirs {
                return Ok(());
            }
            let label = &backup.proved.label;
            return Err(refused(format!(
                "{label} is of another cluster: its namespace kube-system is {ours}, that of {} is {theirs}",
                member.endpoint
            )));
        }
    }
    if recorded.iter().all(|recorded| recorded.id != member.id) {
        tracing::warn!(
            "{} is none of the members that the backup records; make sure that it is the same cluster",
            member.endpoint
        );
    }
    Ok(())
}

async fn plan(
    items: Vec<KeyState>,
    overwrite: bool,
    db: &Arc<Db>,
    writer: &mut Writer,
) -> Result<Vec<PlannedKey>, Failure> {
    let mut planned = Vec::with_capacity(items.len());
    for item in items {
        let (item, value) = read(item, db).await?;
        let content = StoredValue::parse(&value);
        let action = if let Some(why) = refusal(&item, content.object()) {
            Action::Refuse(why)
        } else {
            let live = writer.get(&item.key).await.map_err(|e| Failure::new(e.exit(), e))?;
            let seen = |live: CurrentKey| LiveKey {
                mod_revision: live.mod_revision,
                lease: live.lease,
                same: live.value == value,
            };
            decide(live.map(seen), overwrite)
        };
        let note = note(&content).filter(|_| action.is_change());
        planned.push(PlannedKey { item, action, note });
    }
    Ok(planned)
}

/// Below a prefix there may be keys that are not brought back; to name one is a mistake, and nothing is written.
fn refuse_what_was_named(args: &KeysToPutBack, planned: &[PlannedKey]) -> Result<(), Failure> {
    let named = planned.iter().filter(|_| !args.keys.is_empty());
    let refusals = named.filter_map(|planned| match planned.action {
        Action::Refuse(why) => Some(format!("{}: {why}", printable(&planned.item.key))),
        _ => None,
    });
    let refusals: Vec<_> = refusals.collect();
    if refusals.is_empty() { Ok(()) } else { Err(refused(format!("not to be brought back: {}", refusals.join("; ")))) }
}

async fn read(item: KeyState, db: &Arc<Db>) -> Result<(KeyState, Vec<u8>), Failure> {
    let db = Arc::clone(db);
    Ok(blocking(move || item.value(&db).map(|value| (item, value))).await?)
}

/// Writes key by key: each has a revision of its own, as every object of Kubernetes has, so that nobody who watches
/// them misses one. The first failure is the last attempt.
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
            (None, true) => match write_one(&planned, db, writer).await {
                Ok(outcome) => outcome,
                Err(failure) => {
                    let why = format!("{:#}", failure.error);
                    failed = Some(Failure { exit: failure.exit, error: failure.error.context("putting keys back") });
                    Outcome::Unknown(why)
                }
            },
        };
        overtaken |= outcome == Outcome::Overtaken && matches!(planned.action, Action::Replace { .. });
        tracing::debug!("{}", planned.text(&outcome));
        done.push((planned, outcome));
    }
    let changed = || anyhow::anyhow!("keys were changed after they were read, and left alone; run it again");
    let error = failed.or_else(|| overtaken.then(|| Failure::new(Exit::Unexpected, changed())));
    (done, error)
}

async fn write_one(planned: &PlannedKey, db: &Arc<Db>, writer: &mut Writer) -> Result<Outcome, Failure> {
    let (item, value) = read(planned.item.clone(), db).await?;
    let key = printable(&item.key);
    let failed = |e: crate::etcd::Error| Failure::new(e.exit(), e);
    let outcome = match planned.action {
        Action::Replace { mod_revision } => {
            writer.replace(&item.key, value, mod_revision).await.map_err(failed)?.map(Outcome::Replaced)
        }
        _ => writer.create(&item.key, value).await.map_err(failed)?.map(Outcome::Created),
    };
    if outcome.is_some() {
        tracing::info!("put back {key}");
    } else {
        tracing::warn!("left alone {key}: it was written by somebody else meanwhile");
    }
    Ok(outcome.unwrap_or(Outcome::Overtaken))
}

fn document(
    args: &KeysToPutBack,
    backup: &OpenBackup,
    at: u64,
    member: &Member,
    done: &[(PlannedKey, Outcome)],
    error: Option<&Failure>,
) -> Answer {
    let (label, counts) = (&backup.proved.label, Totals::of(done));
    let mut text = format!("from {label} (revision {at}) through {}:\n", member.endpoint);
    for (planned, outcome) in done {
        text.push_str(&planned.text(outcome));
        text.push('\n');
    }
    let end = match (args.write, counts.create + counts.replace) {
        (true, _) => format!("{counts}\n"),
        (false, 0) => format!("{counts}: there is nothing to do\n"),
        (false, _) => format!("{counts} if you add --yes; nothing was written\n"),
    };
    text.push_str(&end);
    let json = json!({
        "backup": label,
        "revision": at,
        "cluster_id": format!("{:x}", member.cluster_id),
        "member": member.endpoint.to_string(),
        "written": args.write,
        "counts": counts,
        "keys": done.iter().map(|(planned, outcome)| planned.json(outcome)).collect::<Vec<_>>(),
        "error": error.map(|failure| format!("{:#}", failure.error)),
    });
    Answer::Document { text, json }
}
