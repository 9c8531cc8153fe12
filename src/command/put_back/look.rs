//! What the plan has to know: the chosen keys of the backup, and what is around them in the backup and in the cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::repeat::Repeat;
use crate::command::input::OpenBackup;
use crate::config::KeysToPutBack;
use crate::etcd::Writer;
use crate::exit::Failure;
use crate::inspect::line::printable;
use crate::inspect::objects::find_objects;
use crate::kubernetes::namespace_keys;
use crate::recovery::put_back::{
    About, Candidate, Candidates, FoundNamespace, LiveObject, PlannedKey, Scope, State, Surroundings, Warning,
    check_namespace, questions, that_counts, warnings as decide_warnings,
};
use crate::snapshot::{self, Db, find_all};
use crate::system::blocking::blocking;

/// Each takes a little more than half a KiB of memory.
const MOST_KEYS: usize = 2_000_000;

fn too_many() -> Failure {
    Failure::settings(format!(
        "more than {MOST_KEYS} keys were chosen; put them back in parts, with longer prefixes or by namespace, or restore \
         the whole cluster with `etcd-backup restore`"
    ))
}

/// The keys that were asked for, in no order.
pub async fn candidates(args: &KeysToPutBack, backup: &OpenBackup, revision: u64) -> Result<Candidates, Failure> {
    let scope = Scope {
        keys: args.keys.iter().cloned().collect(),
        prefix: args.prefix.clone(),
        namespaces: args.namespaces.clone(),
    };
    let db = Arc::clone(&backup.db);
    let candidates = blocking(move || {
        let states = find_all(&db, revision, MOST_KEYS, |key| scope.selects(key).is_some())?;
        let states = states.ok_or_else(too_many)?;
        let candidates = states.filter_map(|state| {
            let selected = scope.selects(&state.key)?;
            Some(state.value(&db).map(|value| Box::new(Candidate { about: About::of(&value), state, selected })))
        });
        Ok::<_, Failure>(candidates.collect::<Result<Vec<_>, snapshot::Error>>()?)
    });
    let candidates = candidates.await?;
    refuse_missing(args, &candidates, &backup.proved.label, revision)?;
    Ok(candidates)
}

fn refuse_missing(args: &KeysToPutBack, found: &[Box<Candidate>], label: &str, revision: u64) -> Result<(), Failure> {
    let is_found = |wanted: &dyn Fn(&[u8]) -> bool| found.iter().any(|candidate| wanted(&candidate.state.key));
    if let Some(prefix) = args.prefix.as_ref().filter(|prefix| !is_found(&|key| key.starts_with(prefix))) {
        return Err(Failure::settings(format!(
            "{label} has no key that begins with {} at revision {revision}",
            printable(prefix)
        )));
    }
    let missing: Vec<_> = args.keys.iter().filter(|wanted| !is_found(&|key| key == wanted.as_slice())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.into_iter().map(|key| printable(key)).collect();
    Err(Failure::settings(format!("{label} does not have, at revision {revision}: {}", missing.join(", "))))
}

/// Whether the namespaces that were asked for can be put back now.
pub async fn check_namespaces(
    args: &KeysToPutBack,
    candidates: &[Box<Candidate>],
    label: &str,
    repeat: &Repeat,
    writer: &mut Writer,
) -> Result<(), Failure> {
    for name in &args.namespaces {
        let mut found = Vec::new();
        for key in namespace_keys(name) {
            let stored = candidates.iter().find(|candidate| candidate.state.key == key);
            let stored = State::of(stored.map(|candidate| candidate.about.is_deleting));
            let live = State::of(get(&key, writer).await?.map(|live| live.deleting));
            found.push(FoundNamespace { key, live, stored });
        }
        if let Some(found) = that_counts(found) {
            let (keys, revision) = (vec![found.key.clone()], args.revision);
            let alone = KeysToPutBack { keys, revision, overwrite: true, ..KeysToPutBack::default() };
            check_namespace(name, &found, args.overwrite, label, &repeat.line(&alone)).map_err(Failure::settings)?;
        }
    }
    Ok(())
}

/// What is missing around the keys that are to be written.
pub async fn warnings(
    planned: &[PlannedKey],
    db: &Arc<Db>,
    revision: u64,
    writer: &mut Writer,
) -> Result<Vec<Warning>, Failure> {
    let asked = questions(planned);
    if asked.uids.is_empty() && asked.keys.is_empty() {
        return Ok(decide_warnings(planned, &Surroundings::default()));
    }
    let (db, uids, keys) = (Arc::clone(db), asked.uids, asked.keys.clone());
    let backup = blocking(move || find_objects(&db, &uids, &keys, revision)).await?;
    let mut live = HashMap::new();
    for key in asked.keys.iter().chain(backup.by_uid.values()) {
        if let Some(object) = get(key, writer).await? {
            live.insert(key.clone(), object);
        }
    }
    Ok(decide_warnings(planned, &Surroundings { backup, live }))
}

async fn get(key: &[u8], writer: &mut Writer) -> Result<Option<LiveObject>, Failure> {
    let live = writer.get(key).await?;
    Ok(live.map(|live| LiveObject::of(&live.value)))
}
