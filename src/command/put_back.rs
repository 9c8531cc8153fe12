//! `put-back`: writes deleted keys of a backup into the running cluster again.

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
    Action, LiveKey, Outcome, PlannedKey, Totals, decide, note, refusal, sort_by_creation,
};
use crate::report::{Answer, JobReport};
use crate::snapshot::{self, Db, KeyState, SortedKeys, find, members};
use crate::system::blocking::blocking;

pub async fn put_back(config: PutBackConfig, answer: &mut Answer) -> Result<(), Failure> {
    let backup = OpenBackup::open(config.backup).await?;
    let args = &config.keys;
    let at = backup.revision(args.revision)?;
    let states = select(args, &backup, at).await?;
    // The report of refused members is the job's; this command has an answer instead.
    let member = healthy_member(job::choose(&config.etcd, &mut JobReport::default()).await?, args.write)?;
    let mut writer = Writer::connect(&member, &config.etcd).await?;
    refuse_other_cluster(&backup, &mut writer, &member).await?;

    let planned = plan(states, args.overwrite, &backup.db, &mut writer).await?;
    refuse_named_keys(args, &planned)?;
    let (done, error) = if args.write {
        write(planned, &backup.db, &mut writer).await
    } else {
        (planned.into_iter().map(|planned| (planned, Outcome::AsPlanned)).collect(), None)
    };
    *answer = document(args, &backup, at, &member, &done, error.as_ref());
    error.map_or(Ok(()), Err)
}

/// The keys to put back, in the order in which they are written.
async fn select(args: &KeysToPutBack, backup: &OpenBackup, at: u64) -> Result<Vec<KeyState>, Failure> {
    let label = &backup.proved.label;
    let db = Arc::clone(&backup.db);
    let (keys, prefix) = (args.keys.clone(), args.prefix.clone());
    let searched = (keys.clone(), prefix.clone());
    let mut states = blocking(move || match searched {
        (_, Some(prefix)) => SortedKeys::new(&db, &prefix, at).collect::<Result<Vec<_>, _>>(),
        (keys, None) => find(&db, &keys, at),
    })
    .await?;
    if let Some(prefix) = prefix.filter(|_| states.is_empty()) {
        return Err(Failure::settings(format!(
            "{label} has no key that begins with {} at revision {at}",
            printable(&prefix)
        )));
    }
    let missing: Vec<_> = keys.iter().filter(|key| states.iter().all(|state| state.key != **key)).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().map(|key| printable(key)).collect();
        return Err(Failure::settings(format!("{label} does not have, at revision {at}: {}", missing.join(", "))));
    }
    sort_by_creation(&mut states);
    Ok(states)
}

/// The best member of a cluster that has a quorum and no CORRUPT alarm, and, for writing, no NOSPACE alarm.
fn healthy_member(choice: Choice, writing: bool) -> Result<Member, Failure> {
    let no_member = |why: String| Err(Failure::message(Exit::NoMember, why));
    if let Some(why) = choice.degraded {
        return no_member(format!("cannot put keys back into a cluster that is not healthy: {why}"));
    }
    let Some(member) = choice.members.into_iter().next() else { return no_member("no member can be used".into()) };
    if writing && member.no_space {
        return no_member("the cluster accepts no writes (NOSPACE); compact, defragment and disarm it first".into());
    }
    Ok(member)
}

/// Refuses a backup of another cluster, known by the UID of the namespace kube-system. A restore keeps that, but gives
/// the cluster and its members new ids.
async fn refuse_other_cluster(backup: &OpenBackup, writer: &mut Writer, member: &Member) -> Result<(), Failure> {
    let (db, at) = (Arc::clone(&backup.db), backup.proved.proof.contents.revision);
    let (namespaces, recorded) = blocking(move || {
        let states = find(&db, &KUBE_SYSTEM_KEYS.map(<[u8]>::to_vec), at)?;
        let values = states.iter().map(|state| state.value(&db).map(|value| (state.key.clone(), value)));
        Ok::<_, snapshot::Error>((values.collect::<Result<Vec<_>, _>>()?, members(&db)?))
    })
    .await?;
    let uid = |value: &[u8]| StoredValue::parse(value).object().map(|object| object.uid.clone());
    for (key, value) in namespaces {
        let live = writer.get(&key).await?;
        if let (Some(ours), Some(theirs)) = (uid(&value), live.and_then(|live| uid(&live.value))) {
            if ours == theirs {
                return Ok(());
            }
            let label = &backup.proved.label;
            return Err(Failure::settings(format!(
                "{label} is a backup of another cluster: its namespace kube-system has the UID {ours}, that of {} has {theirs}",
                member.endpoint
            )));
        }
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

/// A prefix may cover keys that are never put back, but to name one is a mistake, and then nothing is written.
fn refuse_named_keys(args: &KeysToPutBack, planned: &[PlannedKey]) -> Result<(), Failure> {
    let named = planned.iter().filter(|_| !args.keys.is_empty());
    let refusals = named.filter_map(|planned| match planned.action {
        Action::Refuse(why) => Some(format!("{}: {why}", printable(&planned.state.key))),
        _ => None,
    });
    let refusals: Vec<_> = refusals.collect();
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::settings(format!("never put back: {}", refusals.join("; "))))
}

/// Values are read one at a time, here and again before they are written, because all of them may not fit into memory.
async fn read(state: KeyState, db: &Arc<Db>) -> Result<(KeyState, Vec<u8>), Failure> {
    let db = Arc::clone(db);
    Ok(blocking(move || state.value(&db).map(|value| (state, value))).await?)
}

/// Writes key by key until one fails. One transaction for all would give them one revision, which no two objects of
/// Kubernetes share.
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
                    let why = failure.words();
                    failed = Some(Failure { exit: failure.exit, error: failure.error.context("putting keys back") });
                    Outcome::Unknown(why)
                }
            },
        };
        // A key that somebody else has created is there now, as was wanted. One that was to be replaced was not
        // replaced.
        overtaken |= outcome == Outcome::Overtaken && matches!(planned.action, Action::Replace { .. });
        tracing::debug!("{}", planned.text(&outcome));
        done.push((planned, outcome));
    }
    let changed = "keys were changed after they were read, and left alone; run it again";
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

fn document(
    args: &KeysToPutBack,
    backup: &OpenBackup,
    at: u64,
    member: &Member,
    done: &[(PlannedKey, Outcome)],
    error: Option<&Failure>,
) -> Answer {
    let (label, totals) = (&backup.proved.label, Totals::of(done));
    let mut text = format!("from {label} (revision {at}) through {}:\n", member.endpoint);
    for (planned, outcome) in done {
        text.push_str(&planned.text(outcome));
        text.push('\n');
    }
    let end = match (args.write, totals.create + totals.replace) {
        (true, _) => format!("{totals}\n"),
        (false, 0) => format!("{totals}: there is nothing to do\n"),
        (false, _) => format!("{totals} if you add --yes; nothing was written\n"),
    };
    text.push_str(&end);
    let json = json!({
        "backup": label,
        "revision": at,
        "cluster_id": format!("{:x}", member.cluster_id),
        "member": member.endpoint.to_string(),
        "written": args.write,
        "counts": totals,
        "keys": done.iter().map(|(planned, outcome)| planned.json(outcome)).collect::<Vec<_>>(),
        "error": error.map(Failure::words),
    });
    Answer::Document { text, json }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::member::Role;
    use crate::snapshot::Revision;

    fn member(no_space: bool) -> Member {
        Member {
            endpoint: "https://10.0.0.1:2379".parse().unwrap(),
            id: 1,
            cluster_id: 1,
            version: "3.5.16".into(),
            role: Role::Leader,
            db_size: 1,
            applied_index: 1,
            revision: 1,
            round_trip: Duration::ZERO,
            read_error: None,
            corrupt: BTreeSet::new(),
            no_space,
        }
    }

    #[test]
    fn only_a_healthy_cluster_is_written_to() {
        let choice = |members, degraded: Option<&str>| Choice {
            members,
            refused: vec![],
            degraded: degraded.map(ToOwned::to_owned),
        };
        assert!(healthy_member(choice(vec![member(false)], None), true).is_ok());
        // A plan only reads, which NOSPACE allows.
        assert!(healthy_member(choice(vec![member(true)], None), false).is_ok());
        for (choice, why) in [
            (choice(vec![member(true)], None), "NOSPACE"),
            (choice(vec![member(false)], Some("no quorum")), "not healthy: no quorum"),
            (choice(vec![], None), "no member"),
        ] {
            let failure = healthy_member(choice, true).unwrap_err();
            assert!(failure.exit == Exit::NoMember && failure.words().contains(why), "{failure:?}");
        }
    }

    #[test]
    fn a_refused_key_is_a_mistake_only_by_name() {
        let revision = Revision { main: 9, sub: 0, tombstone: false };
        let state = KeyState {
            key: b"/k".to_vec(),
            revision,
            create_revision: 1,
            mod_revision: 9,
            version: 1,
            lease: 0,
            value_bytes: 0,
            fingerprint: 0,
        };
        let planned = [PlannedKey { state, action: Action::Refuse("it is an event"), note: None }];
        let args = |keys: &[&str], prefix: Option<&str>| KeysToPutBack {
            keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            prefix: prefix.map(|prefix| prefix.as_bytes().to_vec()),
            revision: None,
            overwrite: false,
            write: true,
        };
        assert!(refuse_named_keys(&args(&[], Some("/")), &planned).is_ok());
        let failure = refuse_named_keys(&args(&["/k"], None), &planned).unwrap_err();
        assert_eq!((failure.exit, failure.words().as_str()), (Exit::Settings, "never put back: /k: it is an event"));
    }
}
