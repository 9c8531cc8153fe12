//! `put-back`: writes deleted keys of a backup into the running cluster again.

mod in_flight;
mod look;
mod repeat;
mod write;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::OpenBackup;
use super::members;
use crate::config::PutBackConfig;
use crate::etcd::{CurrentKey, Writer};
use crate::exit::{Exit, Failure};
use crate::inspect::identity::{Found, find_kube_system};
use crate::kubernetes::StoredValue;
use crate::member::Member;
use crate::recovery::put_back::{
    Account, Action, Candidate, Candidates, LiveKey, LiveObject, Outcome, PlannedKey, decide, healthy_member, in_order,
    leave_out, note, refusal, refusals,
};
use crate::snapshot::{self, Db, KeyState};
use crate::system::blocking::blocking;
use repeat::Repeat;

pub use in_flight::Unfinished;

pub async fn put_back(config: PutBackConfig, now: DateTime<Utc>, unfinished: &mut Unfinished) -> Result<(), Failure> {
    let PutBackConfig { backup, etcd, keys: args, typed } = config;
    let store = repeat::store(&backup.input);
    let backup = OpenBackup::open(backup, now).await?;
    let repeat = Repeat::new(&backup.proved.label, store, typed);
    let revision = backup.revision(args.revision)?;
    let (candidates, left_out) = leave_out(look::candidates(&args, &backup, revision).await?);
    let candidates = in_order(candidates);
    // Refused members are in the log; the answer of this command is about keys.
    let choice = members::choose(&etcd, |_| {}).await?;
    let member = healthy_member(choice, args.write).map_err(|why| Failure::message(Exit::NoMember, why))?;
    let mut writer = Writer::connect(&member, &etcd).await?;
    refuse_other_cluster(&backup, &mut writer, &member).await?;
    look::check_namespaces(&args, &candidates, &backup.proved.label, &repeat, &mut writer).await?;

    let planned = plan(candidates, args.overwrite, &backup.db, &mut writer).await?;
    if let Some(refusals) = refusals(&planned) {
        return Err(Failure::settings(format!("never put back: {refusals}")));
    }
    let warnings = look::warnings(&planned, &backup.db, revision, &mut writer).await?;
    let Unfinished { account, under_way } = unfinished;
    let account = account.insert(Account {
        backup: backup.proved.label.clone(),
        revision,
        cluster_id: member.cluster_id,
        member: member.endpoint,
        writes: false,
        keys: planned.into_iter().map(|planned| (planned, Outcome::AsPlanned)).collect(),
        left_out,
        warnings,
        carry_out: repeat.line(&args),
        error: None,
    });
    if !args.write {
        return Ok(());
    }
    account.begin();
    for warning in &account.warnings {
        tracing::warn!("{}", warning.text);
    }
    write::write(account, &backup.db, &mut writer, under_way).await?;
    tracing::info!("{}", account.totals());
    Ok(())
}

async fn refuse_other_cluster(backup: &OpenBackup, writer: &mut Writer, member: &Member) -> Result<(), Failure> {
    let db = Arc::clone(&backup.db);
    // A cluster is known by the UID of its namespace kube-system. A restore keeps that, but gives the cluster and its
    // members new ids.
    let recorded = blocking(move || snapshot::members(&db)).await?;
    for Found { key, uid } in find_kube_system(&backup.proved.proof.newest) {
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
    candidates: Candidates,
    overwrite: bool,
    db: &Arc<Db>,
    writer: &mut Writer,
) -> Result<Vec<PlannedKey>, Failure> {
    let mut planned = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        planned.push(if let Some(made_anew) = refusal(&candidate.state, &candidate.about) {
            PlannedKey { action: Action::Refuse(made_anew.why()), live: None, note: None, candidate }
        } else {
            let live = writer.get(&candidate.state.key).await?;
            plan_one(candidate, live, overwrite, db).await?
        });
    }
    Ok(planned)
}

async fn plan_one(
    candidate: Box<Candidate>,
    live: Option<CurrentKey>,
    overwrite: bool,
    db: &Arc<Db>,
) -> Result<PlannedKey, Failure> {
    let object = live.as_ref().map(|live| Box::new(LiveObject::of(&live.value)));
    let live = match live {
        Some(CurrentKey { mod_revision, lease, value: theirs }) => {
            let ours = value(&candidate.state, db).await?;
            Some(LiveKey { mod_revision, lease, has_same_value: theirs == ours })
        }
        None => None,
    };
    let action = decide(&candidate, live, overwrite);
    let note = note(&candidate.about).filter(|_| action.is_change());
    Ok(PlannedKey { candidate, action, live: object, note })
}

/// One value at a time, and again before it is written, because all of them may not fit into memory.
async fn value(state: &KeyState, db: &Arc<Db>) -> Result<Vec<u8>, Failure> {
    let (state, db) = (state.clone(), Arc::clone(db));
    Ok(blocking(move || state.value(&db)).await?)
}
