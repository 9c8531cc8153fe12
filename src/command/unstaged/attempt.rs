//! One try: a new snapshot of one member, streamed to a free name, confirmed, and given its record.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::read_back::{Rest, Stored};
use super::{Lost, Tries, lost};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::command::keep::{Keeper, Kept, NoRecord};
use crate::command::take::{cannot_restore, facts};
use crate::config::EtcdConfig;
use crate::etcd::{SnapshotError, Stream};
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::logging::progress::Meter;
use crate::member::Member;
use crate::report::JobReport;
use crate::report::job::Stage;
use crate::snapshot::{self, Finished, Passed, Piped, Proof, Prover};
use crate::store::{self, Content, Ours, Outlet, Sent, Upload};

/// Where it takes the snapshot, and when the run began.
pub struct Attempt<'a> {
    pub member: &'a Member,
    pub etcd: &'a EtcdConfig,
    pub degraded: Option<&'a str>,
    pub now: DateTime<Utc>,
}

/// What the store is given.
struct Going<'a> {
    keeper: &'a Keeper<'a>,
    name: &'a BackupName,
    /// Whether the store was asked to refuse the name if it is taken.
    conditional: bool,
}

impl Attempt<'_> {
    pub async fn keep(&self, keeper: &Keeper<'_>, tries: &mut Tries, report: &mut JobReport) -> Result<Kept, Lost> {
        report.stage = Stage::NotStored;
        // A store that is away is waited for here, and not with a snapshot half way there.
        let inventory = keeper.look(report).await.map_err(Lost::ForGood)?;
        let naming = &keeper.store.config().naming;
        let taken = [&inventory.taken[..], &tries.taken].concat();
        let name = BackupName::free(&naming.prefix, self.now, naming.zone, &taken);
        let before = tries.before.get_or_insert(inventory);
        let (proof, evidence) = self.stream(keeper, &name, tries.conditional, report).await?;
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

    /// Streams the snapshot to its name, proves all of it, and confirms it there.
    async fn stream(
        &self,
        keeper: &Keeper<'_>,
        name: &BackupName,
        conditional: bool,
        report: &mut JobReport,
    ) -> Result<(Proof, Evidence), Lost> {
        let store = keeper.store;
        let stream = Stream::open(self.member, self.etcd, self.degraded.is_some()).await?;
        let (floor, bytes) = (stream.floor(), stream.bytes()?);
        tracing::info!(%name, target = %store.config().target, bytes, "storing the snapshot of {} as it comes", self.member.endpoint);
        let begun = store.begin(name, bytes, conditional).await;
        let (upload, outlet) = begun.map_err(|error| lost(error, name, false))?;
        let going = Going { keeper, name, conditional: upload.is_conditional() };
        let (upload, passed) = going.receive(stream, bytes, upload, outlet).await?;
        let Passed { file, finished, digest, out, last } = passed;
        // From here on it may get there, whatever becomes of this run.
        report.stage = Stage::Sending(name.to_string());
        let sent = store.send_last(upload, out, last).await.map_err(|error| going.lost(error))?;
        let content = Content { hash: file, digest };
        match (finished, sent.unnamed()) {
            (Finished::Proved(proof), _) => Ok((proof, going.confirmed(sent, &content).await?.0)),
            (Finished::More(prover), Some(part)) => {
                match (Rest { name, bytes, floor }).prove_part(keeper, prover, &part).await {
                    Ok(proof) => Ok((proof, going.confirmed(sent, &content).await?.0)),
                    Err(lost) => {
                        store.discard(sent).await;
                        Err(lost)
                    }
                }
            }
            (Finished::More(prover), None) => {
                let (evidence, ours) = going.confirmed(sent, &content).await?;
                let stored = Stored { rest: Rest { name, bytes, floor }, evidence, ours };
                Ok((stored.prove(keeper, prover).await?, evidence))
            }
        }
    }
}

impl Going<'_> {
    /// Everything but the last bytes.
    async fn receive(
        &self,
        stream: Stream,
        bytes: u64,
        upload: Upload,
        outlet: Outlet,
    ) -> Result<(Upload, Passed<Outlet>), Lost> {
        let store = self.keeper.store;
        let label = PathBuf::from(self.name.to_string());
        let prover = Prover::new(&label, &KUBE_SYSTEM_KEYS);
        let piped = Piped::new(&label, outlet, bytes, prover, store.digest_kind(bytes));
        let mut meter = Meter::new("snapshot to the store");
        match stream.receive(piped, |done, total| meter.show(done, total)).await {
            Ok(passed) => Ok((upload, passed)),
            Err(SnapshotError::File(snapshot::Error::Io { source, .. })) => {
                Err(self.lost(store.broken(upload, source).await))
            }
            Err(error) => {
                store.abandon(upload).await;
                Err(error.into())
            }
        }
    }

    async fn confirmed(&self, sent: Sent, content: &Content) -> Result<(Evidence, Ours), Lost> {
        let (keeper, name) = (self.keeper, self.name);
        match keeper.store.name(sent, content).await {
            Ok(confirmed) => Ok(confirmed),
            Err(error) if error.is_away() => {
                tracing::warn!("whether {name} has arrived is not known: {error}");
                let arrived = keeper.has_arrived(name, content).await.map_err(Lost::ForGood)?;
                Ok((arrived.ok_or_else(|| self.lost(error))?, Ours::Unknown))
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    fn lost(&self, error: store::Error) -> Lost {
        lost(error, self.name, self.conditional)
    }
}
