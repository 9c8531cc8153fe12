//! The steps of the job, which hand over one value: a proved [`Backup`].

use std::path::PathBuf;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use crate::config;
use crate::etcd::{self, Survey};
use crate::exit::{Exit, Failure};
use crate::member::{self, Choice, Member, NoMember, Refusal};
use crate::name::BackupName;
use crate::progress::Meter;
use crate::record::{Record, Remembered};
use crate::report::Report;
use crate::retention::{Policy, plan};
use crate::snapshot::{Snapshot, Workspace};
use crate::store::{Listing, Store};

/// A proved snapshot and where it is.
pub struct Backup {
    /// What it is.
    pub record: Record,
    /// Its file.
    pub file: PathBuf,
}

/// Asks the members and ranks them.
pub async fn choose(etcd: &config::Etcd, report: &mut Report) -> Result<Choice, Failure> {
    let seeds = match &etcd.seeds {
        Ok(seeds) => seeds,
        Err(why) => return Err(Failure::new(Exit::NoMember, anyhow::anyhow!("found no etcd member: {why}"))),
    };
    tracing::info!(source = %seeds.source, "looking for members at {}", list(&seeds.endpoints));
    let survey = etcd::survey(&seeds.endpoints, etcd).await;
    if survey.members.iter().any(|m| m.no_space) {
        tracing::warn!("NOSPACE alarm: the cluster accepts no writes; compact, defragment and disarm it");
    }
    report.refuse(&survey.refused);
    let seen: Vec<Member> = survey.members.clone();
    match member::rank(survey.members.clone(), etcd.strict) {
        Ok(choice) => {
            report.refuse(&choice.refused);
            log_verdicts(&seen, &survey.refused, &choice);
            Ok(choice)
        }
        Err(error) => {
            if let NoMember::None(refused) = &error {
                report.refuse(refused);
            }
            Err(no_member(error, &survey, &seeds.source))
        }
    }
}

fn no_member(error: NoMember, survey: &Survey, source: &str) -> Failure {
    match error {
        NoMember::Mixed(_) => Failure::new(Exit::Settings, error),
        NoMember::Strict(_) => Failure::new(Exit::NoMember, error),
        NoMember::None(learners) => {
            let reasons: Vec<_> =
                survey.refused.iter().chain(&learners).map(|r| format!("{}: {}", r.endpoint, r.reason)).collect();
            let exit = survey.exit.filter(|_| learners.is_empty()).unwrap_or(Exit::NoMember);
            Failure::new(exit, anyhow::anyhow!("no member of {source} can be used: {}", reasons.join("; ")))
        }
    }
}

fn log_verdicts(seen: &[Member], silent: &[Refusal], choice: &Choice) {
    for m in seen {
        let place = choice.members.iter().position(|c| c.id == m.id);
        let verdict = match place {
            Some(0) => "chosen".to_owned(),
            Some(n) => format!("spare {n}"),
            None => "refused".to_owned(),
        };
        let reason = choice.refused.iter().find(|r| r.endpoint == m.endpoint).map_or("", |r| r.reason.as_str());
        tracing::info!(
            version = m.version, role = %m.role, size = %ByteSize(m.db_size), applied = m.applied_index,
            round_trip = ?m.round_trip, verdict, reason, "member {}", m.endpoint
        );
    }
    for refusal in silent {
        tracing::warn!(verdict = "refused", reason = refusal.reason, "member {}", refusal.endpoint);
    }
    if let Some(why) = &choice.degraded {
        tracing::warn!("degraded: {why}; taking the best backup that can be had");
    }
}

/// Takes a snapshot from the best member that gives one which proves good.
pub async fn snapshot(
    choice: Choice,
    etcd: &config::Etcd,
    workspace: &Workspace,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Backup, Failure> {
    let mut exits = Vec::new();
    for (n, member) in choice.members.iter().enumerate() {
        let part = workspace.part(&format!("snapshot-{n}"))?;
        let mut meter = Meter::new("snapshot");
        let degraded = choice.degraded.is_some();
        let taken = etcd::snapshot(member, etcd, degraded, part, |done, total| meter.show(done, total)).await;
        match taken {
            Ok(snapshot) => return Ok(backup(snapshot, member, choice.degraded.clone(), now)),
            Err(error) => {
                let exit = error.exit();
                let reason = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(member = %member.endpoint, "snapshot failed: {reason}");
                if exit == Exit::Disk {
                    return Err(Failure::new(exit, anyhow::anyhow!("snapshot of {}: {reason}", member.endpoint)));
                }
                report.refuse(&[Refusal { endpoint: member.endpoint.clone(), reason: format!("snapshot: {reason}") }]);
                exits.push((exit, format!("{}: {reason}", member.endpoint)));
            }
        }
    }
    let denied = exits.iter().all(|(exit, _)| *exit == Exit::Denied);
    let reasons: Vec<_> = exits.into_iter().map(|(_, reason)| reason).collect();
    let exit = if denied { Exit::Denied } else { Exit::Proof };
    Err(Failure::new(exit, anyhow::anyhow!("no member gave a good snapshot: {}", reasons.join("; "))))
}

fn backup(snapshot: Snapshot, member: &Member, degraded: Option<String>, taken_at: DateTime<Utc>) -> Backup {
    let facts = snapshot.proof.facts;
    let record = Record {
        taken_at,
        bytes: snapshot.proof.digest.bytes,
        sha256: snapshot.proof.digest.sha256,
        revision: facts.revision,
        keys: facts.live_keys,
        etcd_version: member.version.clone(),
        member: member.endpoint.to_string(),
        member_id: format!("{:x}", member.id),
        cluster_id: format!("{:x}", member.cluster_id),
        degraded,
    };
    tracing::info!(
        bytes = record.bytes,
        sha256 = record.sha256,
        revision = record.revision,
        keys = record.keys,
        etcdutl_hash = format!("{:x}", facts.hash),
        storage_version = facts.storage_version,
        "proved the snapshot of {}",
        member.endpoint
    );
    Backup { record, file: snapshot.path }
}

/// What the newest backup before this one was of. Not knowing is no reason to go without a backup, but one to prune nothing.
pub async fn newest(store: &Store, listing: &Listing) -> Result<Remembered, String> {
    let zone = store.config().zone;
    match listing.ours.iter().max_by_key(|name| name.taken_at(zone)) {
        Some(name) => store.remembered(name).await.map_err(|e| format!("cannot read the metadata of {name}: {e}")),
        None => Ok(Remembered::default()),
    }
}

/// Uploads under the first free name, and confirms.
pub async fn store(store: &Store, backup: &Backup, listing: &Listing) -> Result<BackupName, Failure> {
    let config = store.config();
    let taken = |name: &BackupName| listing.ours.contains(name);
    let name = BackupName::free(&config.prefix, backup.record.taken_at, config.zone, taken);
    tracing::info!(%name, target = %config.target, "storing");
    store.put(&backup.file, &name, &backup.record).await?;
    Ok(name)
}

/// Applies retention after a backup that is stored and confirmed, unless the backup is suspicious.
pub async fn prune(
    store: &Store,
    record: &Record,
    before: Result<Remembered, String>,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Exit, Failure> {
    if let Some(why) = before.map_or_else(Some, |before| record.suspicion(&before)) {
        tracing::warn!("retention is held back: {why}");
        report.held_back = Some(why);
        return Ok(if record.degraded.is_some() { Exit::Degraded } else { Exit::Retention });
    }
    retain(store, policy, now, report).await
}

/// Plans and deletes.
pub async fn retain(store: &Store, policy: &Policy, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    // A failure from here on does not touch the backup, which is stored.
    let incomplete = |error: Failure| {
        Failure::new(Exit::Retention, error.error.context("the backup is safe, retention is not done"))
    };
    let listing = store.list().await.map_err(|e| incomplete(e.into()))?;
    let plan = plan(listing.ours, policy, now, store.config().zone);
    for kept in plan.keep.iter().filter(|v| v.is_from_the_future()) {
        tracing::warn!(name = %kept.name, "dated in the future, kept; somebody's clock is wrong");
    }
    report.foreign = listing.foreign;
    report.plan(&plan);
    if plan.remove.is_empty() || report.dry_run {
        return Ok(Exit::Ok);
    }
    report.removed.clear();
    let removal = store.remove(&plan.remove, policy.max_age.as_ref()).await.map_err(|e| incomplete(e.into()))?;
    let mut planned = Report::new("");
    planned.plan(&plan);
    report.removed =
        planned.removed.into_iter().filter(|j| removal.removed.iter().any(|n| n.to_string() == j.name)).collect();
    report.failed = removal.failed.iter().map(ToString::to_string).collect();
    if removal.failed.is_empty() {
        return Ok(Exit::Ok);
    }
    let why =
        removal.complaint.unwrap_or_else(|| "rclone found them younger than the age limit by its own clock".into());
    Err(Failure::new(Exit::Retention, anyhow::anyhow!("could not delete {}: {why}", report.failed.join(", "))))
}

fn list(endpoints: &[member::Endpoint]) -> String {
    endpoints.iter().map(member::Endpoint::as_str).collect::<Vec<_>>().join(", ")
}
