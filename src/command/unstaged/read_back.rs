//! What there was no memory for while a snapshot passed is proved by reading it back: before it gets its name, or where it has
//! that already, before it gets its record.

use std::fmt::{self, Display};

use super::Lost;
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::command::keep::{Keeper, NoRecord};
use crate::command::opening::{Opening, prove_stored};
use crate::etcd::SnapshotError;
use crate::kubernetes::KUBE_SYSTEM_KEYS;
use crate::snapshot::{self, Proof, Prover};
use crate::store::{Ours, ReadError, StoredBackup};

/// What was sent, and the revision that it must have at least.
pub struct Rest<'a> {
    pub name: &'a BackupName,
    pub bytes: u64,
    pub floor: u64,
}

impl Rest<'_> {
    /// Proves what lies at `part` until it gets its name.
    pub async fn prove_part(&self, keeper: &Keeper<'_>, prover: Prover, part: &str) -> Result<Proof, Lost> {
        match self.read(keeper, prover, part).await {
            Ok(proof) => Ok(proof),
            Err(Read(ReadError::Store(error))) => Err(Lost::ForGood(error.into())),
            Err(Read(ReadError::Reader(error))) if is_bad(&error) => Err(SnapshotError::File(error).into()),
            Err(Read(ReadError::Reader(error))) => Err(Lost::ForGood(error.into())),
        }
    }

    async fn read(&self, keeper: &Keeper<'_>, prover: Prover, object: &str) -> Result<Proof, Read> {
        let Self { name, bytes, floor } = *self;
        let store = keeper.store;
        let opening = Opening::new(&StoredBackup { name: name.clone(), bytes: Some(bytes) }, Some(bytes));
        tracing::info!(%name, "reading the backup back, to prove what there was no memory for");
        let mut begun = Some(prover);
        let once = async || {
            // Of one that was not read to its end, the proof begins anew.
            let anew = || Prover::new(&opening.label, &KUBE_SYSTEM_KEYS);
            let prover = begun.take().unwrap_or_else(anew);
            let read = async |take| store.read_path(object.to_owned(), Some(bytes), "proof", take).await;
            prove_stored(&opening, prover, floor, read).await.map(|(proof, _)| proof).map_err(Read)
        };
        keeper.patience.wait_out(&format!("proving {name}"), Read::is_away, once).await
    }
}

/// What stands under its name already, and is confirmed.
pub struct Stored<'a> {
    pub rest: Rest<'a>,
    pub evidence: Evidence,
    pub ours: Ours,
}

impl Stored<'_> {
    /// If it is bad it is taken away, or where it may be another run's, its record says so.
    pub async fn prove(&self, keeper: &Keeper<'_>, prover: Prover) -> Result<Proof, Lost> {
        let object = keeper.store.object_path(self.rest.name);
        match self.rest.read(keeper, prover, &object).await {
            Ok(proof) => Ok(proof),
            Err(Read(ReadError::Store(error))) => Err(Lost::ForGood(error.into())),
            Err(Read(ReadError::Reader(error))) if is_bad(&error) => {
                let error = SnapshotError::File(error);
                let left = self.leave(keeper, &error).await;
                tracing::warn!("{} was stored before it proved bad, and {left}", self.rest.name);
                Err(error.into())
            }
            Err(Read(ReadError::Reader(error))) => Err(Lost::ForGood(error.into())),
        }
    }

    async fn leave(&self, keeper: &Keeper<'_>, why: &SnapshotError) -> String {
        let name = self.rest.name;
        let left = match keeper.store.take_back(name, self.ours).await {
            Ok(true) => return "was removed".to_owned(),
            Ok(false) => "is left there, as it may be another run's".to_owned(),
            Err(error) => format!("cannot be removed ({error})"),
        };
        match keeper.record_damaged(name, self.evidence, why.one_line()).await {
            Ok(()) => format!("{left}; its record says that it is damaged"),
            Err(NoRecord::Taken(_)) => format!("{left}; its record is another run's"),
            Err(NoRecord::Failed(error)) => format!("{left}; it has no record, so it never counts: {error}"),
        }
    }
}

/// Another failure is not the snapshot's.
const fn is_bad(error: &snapshot::Error) -> bool {
    matches!(error, snapshot::Error::Damaged { .. })
}

/// Why what was sent was not proved.
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
