//! The second step of the job: the backup is judged, stored under a free name, confirmed, and gets its record.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::compare::compare;
use super::inventory::Inventory;
use super::take::Backup;
use crate::backup::beside::{Line, Note, Ruling, Since, record_file, ruling_file, since_file};
use crate::backup::catalog::{CLOCKS_DIFFER, Entry};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::backup::record::{Compressed, Facts, Record, to_the_second};
use crate::backup::verdict::{Compared, Verdict};
use crate::exit::{Exit, Failure};
use crate::report::JobReport;
use crate::store::{self, Content, Store};
use crate::system::patience::Patience;

/// How many names are tried, in case other runs take them first.
pub const NAMES: u8 = 5;

/// What a run knows when it stores its backup.
pub struct Keeper<'a> {
    pub store: &'a Arc<Store>,
    pub patience: &'a Patience,
    /// When the run began, by the clock and by a timer.
    pub began: (DateTime<Utc>, Instant),
    /// Whether the snapshot is in the target's own directory, so that it is moved and not uploaded.
    pub in_place: bool,
}

/// What the tries so far have told about names.
#[derive(Default)]
struct Tries {
    /// The name of the last one, which may have arrived although its answer did not.
    last: Option<BackupName>,
    /// Names that others have, whatever a listing says: it may come from a cache, or leave out what is not a file.
    taken: Vec<BackupName>,
}

/// A backup that has its record.
pub struct Kept {
    pub name: BackupName,
    pub record: Record,
    /// By how much this machine's clock and the store's differ, if that is more than clocks usually do.
    pub clock: Option<String>,
}

/// What a backup is worth by the one before it.
pub struct Judged {
    verdict: Verdict,
    compared: Option<Compared>,
}

/// Why a stored backup has no record.
pub enum NoRecord {
    /// Another run has written one of this name.
    Taken(store::Error),
    Failed(store::Error),
}

impl Keeper<'_> {
    /// Stores and confirms the backup, and writes its record.
    pub async fn keep(&self, backup: &Backup, report: &mut JobReport) -> Result<Kept, Failure> {
        let inventory = self.look(report).await?;
        let judged = self.judge(&backup.facts, &inventory, report).await?;
        let mut left = 1..=NAMES;
        let mut tries = Tries::default();
        let mut look = Some(inventory);
        loop {
            let (name, evidence) = self.upload(backup, look.take(), &mut tries).await?;
            match self.record(&name, evidence, (&backup.facts, backup.compressed.as_ref()), &judged, report).await {
                Err(NoRecord::Taken(error)) if left.next().is_some() => {
                    self.leave(&name, &backup.content(), &error).await?;
                    tries = Tries { last: None, taken: [tries.taken, vec![name]].concat() };
                }
                outcome => return outcome.map_err(|error| error.of(&name)),
            }
        }
    }

    /// What is stored, before this run stores anything.
    pub async fn look(&self, report: &mut JobReport) -> Result<Inventory, Failure> {
        let inventory = Inventory::read_patiently(self.store, self.patience).await?;
        report.foreign = inventory.untouched();
        self.note_what_was_there(&inventory).await?;
        Ok(inventory)
    }

    /// Compares the backup with what was there before it.
    pub async fn judge(&self, facts: &Facts, inventory: &Inventory, report: &mut JobReport) -> Result<Judged, Failure> {
        let (verdict, compared) = compare(facts, self.store, self.patience, inventory).await?;
        report.verdict = Some(verdict.clone());
        Ok(Judged { verdict, compared })
    }

    /// How an upload is confirmed of which it is not known whether it succeeded; `None` if it did not.
    pub async fn has_arrived(&self, name: &BackupName, content: &Content) -> Result<Option<Evidence>, Failure> {
        let inventory = Inventory::read_patiently(self.store, self.patience).await?;
        if inventory.catalog.find(name).is_none_or(|entry| entry.has_record) {
            return Ok(None);
        }
        let confirm = || self.store.confirm(name, content);
        match self.patience.wait_out(&format!("confirming {name}"), store::Error::is_away, confirm).await {
            Ok(evidence) => Ok(Some(evidence)),
            Err(error) if error.is_of_another_content() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record of a backup that is confirmed.
    pub async fn record(
        &self,
        name: &BackupName,
        evidence: Evidence,
        (facts, compressed): (&Facts, Option<&Compressed>),
        judged: &Judged,
        report: &mut JobReport,
    ) -> Result<Kept, NoRecord> {
        let record = Record {
            verdict: Some(judged.verdict.clone()),
            compared: judged.compared.clone(),
            confirmed: Some(evidence),
            facts: Some(facts.clone()),
            compressed: compressed.cloned(),
            ..Record::new(name)
        };
        let line = Line::Backup(record.clone()).encode();
        let modified = self.create(&record_file(name), &line).await?;
        report.name = Some(name.to_string());
        report.confirmed = Some(evidence);
        Ok(Kept { name: name.clone(), record, clock: self.clock_differs(modified) })
    }

    /// Writes the record of one that has proved bad since it was confirmed.
    pub async fn record_damaged(&self, name: &BackupName, evidence: Evidence, why: String) -> Result<(), NoRecord> {
        let record = Record { verdict: Some(Verdict::Damaged { why }), confirmed: Some(evidence), ..Record::new(name) };
        Ok(self.create(&record_file(name), &Line::Backup(record).encode()).await.map(drop)?)
    }

    /// Leaves a name whose record is another run's.
    pub async fn leave(&self, name: &BackupName, content: &Content, why: &store::Error) -> Result<(), Failure> {
        tracing::warn!("{why}: another run has stored a backup of this name; storing under another one");
        self.dismiss_if_replaced(content, name).await
    }

    async fn create(&self, leaf: &str, line: &[u8]) -> Result<Option<DateTime<Utc>>, store::Error> {
        let create = || self.store.create_record(leaf, line);
        let written = self.patience.wait_out(&format!("writing {leaf}"), store::Error::is_away, create).await?;
        Ok(written.modified)
    }

    /// Before the first upload: later, a backup without a record is one that was never confirmed.
    async fn note_what_was_there(&self, inventory: &Inventory) -> Result<(), Failure> {
        let Some(names) = inventory.catalog.first_names(&inventory.beside) else { return Ok(()) };
        let prefix = &self.store.config().naming.prefix;
        let at = to_the_second(self.now());
        let since = Since { prefix: prefix.leaf().to_owned(), at, names: names.into_iter().collect() };
        match self.create(&since_file(prefix), &Line::Since(since).encode()).await {
            // Another run was faster, and its word counts.
            Ok(_) | Err(store::Error::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Uploads the backup under a free name, and confirms it. `look` is what stands there, if that is known already.
    async fn upload(
        &self,
        backup: &Backup,
        mut look: Option<Inventory>,
        tries: &mut Tries,
    ) -> Result<(BackupName, Evidence), Failure> {
        let content = backup.content();
        let mut left = 1..=NAMES;
        loop {
            let once = async || self.upload_once(backup, &content, look.take(), tries).await;
            match self.patience.wait_out("storing the backup", store::Error::is_away, once).await {
                Err(error @ (store::Error::Taken(_) | store::Error::OnItsWay(_))) if left.next().is_some() => {
                    tracing::warn!("{error}; taking another name");
                    tries.taken.extend(tries.last.take());
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn upload_once(
        &self,
        backup: &Backup,
        content: &Content,
        look: Option<Inventory>,
        tries: &mut Tries,
    ) -> Result<(BackupName, Evidence), store::Error> {
        // After a failure another look, because it may have taken long, and other runs store backups, too.
        let inventory = if let Some(look) = look { look } else { Inventory::read(self.store).await? };
        if let Some(name) = tries.last.take()
            && inventory.catalog.find(&name).is_some_and(|entry| !entry.has_record)
        {
            match self.store.confirm(&name, content).await {
                Err(error) if error.is_of_another_content() => {}
                outcome => {
                    tries.last = Some(name.clone());
                    return outcome.map(|evidence| (name, evidence));
                }
            }
        }
        let naming = &self.store.config().naming;
        let taken = [&inventory.taken[..], &tries.taken].concat();
        let name = BackupName::free(&naming.prefix, backup.facts.taken_at, naming.zone, &taken);
        let name = name.compressed(backup.compression());
        tries.last = Some(name.clone());
        tracing::info!(%name, target = %self.store.config().target, "storing");
        let stored = if self.in_place {
            self.store.place(&backup.file, &name, content).await
        } else {
            self.store.put(&backup.file, &name, content).await
        };
        stored.map(|evidence| (name, evidence))
    }

    /// Some remotes look whether a name is free and then move a file there, which may replace one that came in between. If
    /// ours is what stands there now, the other run's record is about a backup that is gone.
    async fn dismiss_if_replaced(&self, content: &Content, name: &BackupName) -> Result<(), Failure> {
        match self.store.confirm(name, content).await {
            Ok(_) => {}
            // The other run's backup stands there, and its record is right.
            Err(error) if error.is_of_another_content() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Two runs can send the same bytes, and then that record is right, too.
        let inventory = Inventory::read_patiently(self.store, self.patience).await?;
        let recorded = inventory.catalog.find(name).and_then(Entry::stored_sha256);
        if recorded == Some(content.hash.sha256.as_str()) {
            return Ok(());
        }
        let at = to_the_second(self.now());
        let note = Note::new(name, at, "etcd-backup");
        let file = ruling_file(name, at, Ruling::Dismissed);
        match self.create(&file, &Line::Dismissed(note).encode()).await {
            Ok(_) | Err(store::Error::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        let (at, timer) = self.began;
        at + TimeDelta::from_std(timer.elapsed()).unwrap_or_default()
    }

    fn clock_differs(&self, modified: Option<DateTime<Utc>>) -> Option<String> {
        let (ours, theirs) = (self.now(), modified?);
        let apart = (ours - theirs).abs();
        (apart > CLOCKS_DIFFER).then(|| {
            let why = format!(
                "this machine's clock and the store's are {} minutes apart: it is {} here, and {} there",
                apart.num_minutes(),
                ours.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                theirs.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            );
            tracing::warn!("{why}");
            why
        })
    }
}

impl NoRecord {
    pub fn of(self, name: &BackupName) -> Failure {
        let failure = match self {
            Self::Taken(error) | Self::Failed(error) => Failure::from(error),
        };
        let exit = if failure.exit == Exit::Denied { Exit::Denied } else { Exit::Store };
        let error =
            failure.error.context(format!("{name} is stored, but its record cannot be written, so it does not count"));
        Failure { exit, error }
    }
}

impl From<store::Error> for NoRecord {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::Taken(_)) { Self::Taken(error) } else { Self::Failed(error) }
    }
}
