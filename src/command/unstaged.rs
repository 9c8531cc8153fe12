//! `staging: none`: a snapshot goes from a member through the proof to the store, and nothing of it is kept here.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::keep::{Keeper, Kept, NAMES, NoRecord};
use super::opening::{Opening, prove_stored};
use super::take::{Failed, Failures, cannot_restore, facts};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::config::EtcdConfig;
use crate::etcd::{SnapshotError, Stream};
use crate::exit::{Exit, Failure};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::logging::progress::Meter;
use crate::member::{Choice, Member};
use crate::report::JobReport;
use crate::snapshot::{self, Finished, Piped, Proof, Prover};
use crate::store::{self, Content, Ours, ReadError, StoredBackup};

/// How one try ended that stored nothing that counts.
enum Lost {
    /// The member gave no good snapshot.
    Member(SnapshotError),
    /// The store did not take all of it.
    Store(Failure),
    /// Another run has the name.
    Name(BackupName, Failure),
    /// The store knows no conditional uploads.
    Condition(Failure),
    /// Another try would end the same.
    ForGood(Failure),
}

/// What the tries so far have told.
struct Tries {
    /// Names that others have, whatever a listing says.
    taken: Vec<BackupName>,
    /// Whether the store is asked to refuse a name that is taken.
    conditional: bool,
    /// What was there before the first one, with which the backup is compared.
    before: Option<Inventory>,
}

/// Stores, confirms and records a snapshot of the best member. Each further try takes a new one, from the next member.
pub async fn keep(
    keeper: &Keeper<'_>,
    choice: Choice,
    etcd: &EtcdConfig,
    now: DateTime<Utc>,
    report: &mut JobReport,
) -> Result<Kept, Failure> {
    let Choice { members, degraded, .. } = choice;
    let mut members = VecDeque::from(members);
    let mut tries = Tries { taken: Vec::new(), conditional: true, before: None };
    let (mut failures, mut of_store) = (Failures::default(), None);
    while let Some(member) = members.pop_front() {
        let source = Source { member: &member, etcd, degraded: degraded.as_deref(), now };
        match source.keep(keeper, &mut tries, report).await {
            Ok(kept) => return Ok(kept),
            Err(Lost::Member(error)) => {
                let failed = Failed::new(&member, error);
                tracing::warn!(member = %member.endpoint, "snapshot failed: {}", failed.reason);
                report.refuse(&[failed.refusal()]);
                failures.0.push(failed);
            }
            Err(Lost::Store(failure)) => {
                let next = if members.is_empty() { "" } else { "; taking a new snapshot, from the next member" };
                tracing::warn!("{failure}{next}");
                of_store = Some(failure);
            }
            Err(Lost::Name(name, failure)) => {
                tries.taken.push(name);
                if tries.taken.len() >= usize::from(NAMES) {
                    return Err(failure);
                }
                tracing::warn!("{failure}; taking a new snapshot, for another name");
                members.push_back(member);
            }
            Err(Lost::Condition(failure)) if tries.conditional => {
                tracing::warn!(
                    "the store has no conditional uploads, so only the listing before tells that the name is free: {failure}"
                );
                tries.conditional = false;
                members.push_front(member);
            }
            Err(Lost::ForGood(failure) | Lost::Condition(failure)) => return Err(failure),
        }
    }
    Err(of_store.unwrap_or_else(|| failures.into()))
}

/// Where one try takes its snapshot.
struct Source<'a> {
    member: &'a Member,
    etcd: &'a EtcdConfig,
    degraded: Option<&'a str>,
    now: DateTime<Utc>,
}

impl Source<'_> {
    async fn keep(&self, keeper: &Keeper<'_>, tries: &mut Tries, report: &mut JobReport) -> Result<Kept, Lost> {
        // A store that is away is waited for here, and not with a snapshot half way there.
        let inventory = keeper.look(report).await.map_err(Lost::ForGood)?;
        let naming = &keeper.store.config().naming;
        let taken = [&inventory.taken[..], &tries.taken].concat();
        let name = BackupName::free(&naming.prefix, self.now, naming.zone, &taken);
        let before = tries.before.get_or_insert(inventory);
        let (proof, evidence) = self.stream(keeper, &name, tries.conditional).await?;
        let facts = facts(&proof, self.member, self.degraded.map(ToOwned::to_owned), self.now);
        report.backup = Some(facts.clone());
        report.cannot_restore = cannot_restore(&facts).await;
        let judged = keeper.judge(&facts, before, report).await.map_err(Lost::ForGood)?;
        match keeper.record(&name, evidence, (&facts, None), &judged, report).await {
            Err(NoRecord::Taken(error)) => {
                keeper.leave(&name, &Content::from(proof.file), &error).await.map_err(Lost::ForGood)?;
                let failure = NoRecord::Taken(error).of(&name);
                Err(Lost::Name(name, failure))
            }
            outcome => outcome.map_err(|error| Lost::ForGood(error.of(&name))),
        }
    }

    /// Streams the snapshot to its name, and confirms it there.
    async fn stream(
        &self,
        keeper: &Keeper<'_>,
        name: &BackupName,
        conditional: bool,
    ) -> Result<(Proof, Evidence), Lost> {
        let store = keeper.store;
        let stream = Stream::open(self.member, self.etcd, self.degraded.is_some()).await?;
        let bytes = stream.bytes()?;
        tracing::info!(%name, target = %store.config().target, bytes, "storing the snapshot of {} as it comes", self.member.endpoint);
        let begun = store.begin(name, bytes, conditional).await;
        let (upload, outlet) = begun.map_err(|error| lost(error, name, conditional))?;
        let label = PathBuf::from(name.to_string());
        let prover = Prover::new(&label, &KUBE_SYSTEM_KEYS);
        let (floor, piped) = (stream.floor(), Piped::new(&label, outlet, bytes, prover, store.digest_kind(bytes)));
        let mut meter = Meter::new("snapshot to the store");
        let passed = match stream.receive(piped, |done, total| meter.show(done, total)).await {
            Ok(passed) => passed,
            Err(SnapshotError::File(snapshot::Error::Io { source, .. })) => {
                let error = store.broken(upload, source).await;
                return Err(lost(error, name, conditional));
            }
            Err(error) => {
                store.abandon(upload).await;
                return Err(error.into());
            }
        };
        drop(meter);
        let content = Content { hash: passed.file, digest: passed.digest };
        let (evidence, ours) = match store.complete(upload, &content).await {
            Ok(confirmed) => confirmed,
            Err(error) if error.is_away() => {
                tracing::warn!("whether {name} has arrived is not known: {error}");
                let arrived = keeper.has_arrived(name, &content).await.map_err(Lost::ForGood)?;
                (arrived.ok_or_else(|| lost(error, name, conditional))?, Ours::Unknown)
            }
            Err(error) => return Err(lost(error, name, conditional)),
        };
        match passed.finished {
            Finished::Proved(proof) => Ok((proof, evidence)),
            Finished::More(prover) => {
                let stored = Stored { backup: StoredBackup { name: name.clone(), bytes: Some(bytes) }, ours, floor };
                stored.prove(keeper, prover).await.map(|proof| (proof, evidence))
            }
        }
    }
}

/// A confirmed backup whose tree reaches pages for which there was no memory while it passed.
struct Stored {
    backup: StoredBackup,
    ours: Ours,
    floor: u64,
}

impl Stored {
    /// Proves it by reading it back, and takes it away if it is bad.
    async fn prove(&self, keeper: &Keeper<'_>, prover: Prover) -> Result<Proof, Lost> {
        let (store, name) = (keeper.store, &self.backup.name);
        tracing::info!(%name, "reading the backup back, to prove what there was no memory for");
        let mut begun = Some(prover);
        let read = async || {
            // Of one that was not read to its end, the proof begins anew.
            let anew = || Prover::new(Path::new(&name.to_string()), &KUBE_SYSTEM_KEYS);
            let prover = begun.take().unwrap_or_else(anew);
            let opening = Opening::new(&self.backup, self.backup.bytes);
            prove_stored(store, &self.backup, &opening, prover, self.floor).await.map_err(Read)
        };
        match keeper.patience.wait_out(&format!("proving {name}"), Read::is_away, read).await {
            Ok((proof, _)) => Ok(proof),
            Err(Read(ReadError::Store(error))) => Err(Lost::ForGood(error.into())),
            Err(Read(ReadError::Reader(error))) if !matches!(error, snapshot::Error::Damaged { .. }) => {
                Err(Lost::ForGood(error.into()))
            }
            Err(Read(ReadError::Reader(error))) => {
                let left = match store.take_back(name, self.ours).await {
                    Ok(true) => "was removed".to_owned(),
                    Ok(false) => "is left there without a record, so it never counts".to_owned(),
                    Err(error) => format!("cannot be removed, and never counts: {error}"),
                };
                tracing::warn!("{name} was stored before it proved bad, and {left}");
                Err(SnapshotError::File(error).into())
            }
        }
    }
}

/// Why a stored backup was not proved.
struct Read(ReadError<snapshot::Error>);

impl Read {
    fn is_away(&self) -> bool {
        matches!(&self.0, ReadError::Store(error) if error.is_away())
    }
}

impl Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ReadError::Store(error) => error.fmt(f),
            ReadError::Reader(error) => error.fmt(f),
        }
    }
}

impl From<SnapshotError> for Lost {
    fn from(error: SnapshotError) -> Self {
        Self::Member(error)
    }
}

fn lost(error: store::Error, name: &BackupName, conditional: bool) -> Lost {
    let (is_taken, is_of_condition) = (error.is_name_taken(), conditional && error.is_of_condition());
    // What arrived, and is not what was sent, is no outage.
    let may_mend = error.exit() == Exit::Store && !matches!(error, store::Error::NotConfirmed { .. });
    let failure = Failure::from(error);
    match () {
        () if is_taken => Lost::Name(name.clone(), failure),
        () if is_of_condition => Lost::Condition(failure),
        () if may_mend => Lost::Store(failure),
        () => Lost::ForGood(failure),
    }
}
