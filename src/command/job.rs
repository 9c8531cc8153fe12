//! The steps of the job, which hand over one value: a proved [`Backup`].

use std::path::PathBuf;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use crate::backup::metadata::Metadata;
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::backup::retention::{Policy, plan};
use crate::config;
use crate::etcd::{self, Survey};
use crate::exit::{Exit, Failure};
use crate::logging::progress::Meter;
use crate::member::{self, Choice, Member, NoMember, Refusal};
use crate::report::JobReport;
use crate::snapshot::{Snapshot, Workspace};
use crate::store::{self, Detail, Listing, Store};

/// How often another name is tried when one was taken meanwhile.
const NAMES: u8 = 5;

/// A proved snapshot and where it is.
pub struct Backup {
    /// What it is.
    pub record: Record,
    /// Its file.
    pub file: PathBuf,
}

/// Asks the members and ranks them.
pub async fn choose(etcd: &config::EtcdConfig, report: &mut JobReport) -> Result<Choice, Failure> {
    let seeds = match &etcd.seeds {
        Ok(seeds) => seeds,
        Err(why) => return Err(Failure::new(Exit::NoMember, anyhow::anyhow!("found no etcd member: {why}"))),
    };
    tracing::info!(source = %seeds.source, "looking for members at {}", list(&seeds.endpoints));
    let mut survey = etcd::survey(&seeds.endpoints, etcd).await;
    if survey.lacks_quorum() {
        tracing::warn!("no quorum; asking once more, because a leader may just be being elected");
        survey = etcd::survey(&seeds.endpoints, etcd).await;
    }
    if survey.members.iter().any(|m| m.no_space) {
        tracing::warn!("NOSPACE alarm: the cluster accepts no writes; compact, defragment and disarm it");
    }
    report.refuse(&survey.refused);
    let ranked = member::rank(survey.members.clone(), etcd.strict);
    let unfit = match &ranked {
        Ok(Choice { refused, .. }) | Err(NoMember::None(refused)) => refused.as_slice(),
        Err(NoMember::Mixed(_) | NoMember::Strict(_)) => &[],
    };
    report.refuse(unfit);
    let best = ranked.as_ref().map_or(&[][..], |choice| &choice.members);
    log_verdicts(&survey, best, unfit);
    if let Ok(Choice { degraded: Some(why), .. }) = &ranked {
        tracing::warn!("degraded: {why}; taking the best backup that can be had");
    }
    ranked.map_err(|error| no_member(error, &survey, &seeds.source))
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

/// One line for each member.
fn log_verdicts(survey: &Survey, best: &[Member], unfit: &[Refusal]) {
    let newest = survey.members.iter().map(|m| m.applied_index).max().unwrap_or_default();
    for m in &survey.members {
        let verdict = match best.iter().position(|b| b.id == m.id) {
            Some(0) => "chosen".to_owned(),
            Some(n) => format!("spare {n}"),
            None => "refused".to_owned(),
        };
        let refused = unfit.iter().find(|r| r.endpoint == m.endpoint).map(|r| r.reason.clone());
        let behind = newest.saturating_sub(m.applied_index);
        let reason = refused.unwrap_or_else(|| format!("{}, {behind} entries behind the newest", m.role));
        tracing::info!(
            version = m.version, role = %m.role, size = %ByteSize(m.db_size), applied = m.applied_index,
            round_trip_ms = m.round_trip.as_millis(), verdict, reason, "member {}", m.endpoint
        );
    }
    for refusal in &survey.refused {
        tracing::warn!(verdict = "refused", reason = refusal.reason, "member {}", refusal.endpoint);
    }
}

/// Takes a snapshot from the best member that gives one which proves good.
pub async fn snapshot(
    choice: Choice,
    etcd: &config::EtcdConfig,
    workspace: &Workspace,
    now: DateTime<Utc>,
    report: &mut JobReport,
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
        total_keys = facts.total_keys,
        last_key_revision = facts.last_key_revision,
        etcdutl_hash = format!("{:x}", facts.hash),
        storage_version = facts.storage_version,
        "proved the snapshot of {}",
        member.endpoint
    );
    Backup { record, file: snapshot.path }
}

/// Uploads under the first free name, and confirms. The folder is listed anew, because a snapshot may have taken an
/// hour; and again when another run is quicker.
pub async fn put(store: &Store, backup: &Backup) -> Result<BackupName, Failure> {
    let config = store.config();
    let mut tries = 1..=NAMES;
    loop {
        let listing = store.list(Detail::Sizes).await?;
        let taken = |name: &BackupName| listing.contains(name);
        let name = BackupName::free(&config.naming.prefix, backup.record.taken_at, config.naming.zone, taken);
        tracing::info!(%name, target = %config.target, "storing");
        match store.put(&backup.file, &name, &backup.record).await {
            Err(error @ store::Error::Taken(_)) if tries.next().is_some() => {
                tracing::warn!("{error}; taking another name");
            }
            outcome => return Ok(outcome.map(|()| name)?),
        }
    }
}

/// Applies retention after a backup that is stored and confirmed as `name`, unless the backup is suspicious. `before`
/// is what else is known of the one before it, besides its metadata at the remote.
pub async fn prune(
    store: &Store,
    (name, record): (&BackupName, &Record),
    before: Metadata,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let listing = store.list(Detail::Sizes).await.map_err(incomplete)?;
    if !listing.contains(name) {
        let error = anyhow::anyhow!("{name} is not at {}; nothing was pruned", store.config().target);
        return Err(Failure::new(Exit::Store, error));
    }
    let previous = previous(store, &listing, name).await.map(|stored| stored.or(before));
    if let Some(why) = previous.map_or_else(Some, |previous| record.suspicion(&previous)) {
        tracing::warn!("retention is held back: {why}");
        report.held_back = Some(why);
        return Ok(if record.degraded.is_some() { Exit::Degraded } else { Exit::Retention });
    }
    retain(store, listing, policy, now, report).await
}

/// The metadata of the newest backup besides `this`. An error is the reason to prune nothing; the backup itself is safe.
async fn previous(store: &Store, listing: &Listing, this: &BackupName) -> Result<Metadata, String> {
    let Some(name) = listing.names().find(|name| *name != this) else { return Ok(Metadata::default()) };
    match store.stat(name).await {
        Ok(backup) => Ok(backup.metadata),
        // Another run has pruned it meanwhile.
        Err(store::Error::Gone(_)) => Ok(Metadata::default()),
        Err(error) => Err(format!("cannot read the metadata of {name}: {error}")),
    }
}

/// A failure after the backup is stored does not touch the backup.
fn incomplete(error: store::Error) -> Failure {
    Failure::new(Exit::Retention, anyhow::Error::new(error).context("the backup is safe, retention is not done"))
}

/// Plans and deletes.
pub async fn retain(
    store: &Store,
    listing: Listing,
    policy: &Policy,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Exit, Failure> {
    let plan = plan(listing.names().cloned(), policy, now, store.config().naming.zone);
    for kept in plan.keep.iter().filter(|v| v.is_from_the_future()) {
        tracing::warn!(name = %kept.name, "dated in the future, kept; somebody's clock is wrong");
    }
    report.foreign = listing.foreign;
    report.plan(&plan);
    if plan.remove.is_empty() || report.dry_run {
        return Ok(Exit::Ok);
    }
    let removal = store.remove(&plan.remove, policy.max_age.as_ref()).await.map_err(incomplete)?;
    report.deleted(&removal.removed, &removal.failed);
    if removal.failed.is_empty() {
        return Ok(Exit::Ok);
    }
    let younger = "rclone found them younger than the age limit by its own clock";
    let why = removal.complaint.as_deref().unwrap_or(younger);
    let error = anyhow::anyhow!("could not delete {}: {why}; the backup is safe", report.failed.join(", "));
    Err(Failure::new(Exit::Retention, error))
}

fn list(endpoints: &[member::Endpoint]) -> String {
    endpoints.iter().map(member::Endpoint::as_str).collect::<Vec<_>>().join(", ")
}
