//! `snapshot`: the first step of the job alone. It leaves a proved file and a record of it in the work directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::keep::{Keeper, Kept};
use super::members;
use super::open::open_patiently;
use super::take::{self, Backup};
use crate::backup::handover::Handover;
use crate::backup::name::BackupName;
use crate::backup::record::Record;
use crate::config::{EtcdConfig, InPlaceConfig, Naming, SnapshotConfig};
use crate::exit::{Exit, Failure, Purpose};
use crate::report::job::Stage;
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::store::Store;
use crate::system::blocking::blocking;
use crate::system::fs::publish_file;
use crate::system::patience::Patience;

/// `etcd` is an error if its settings are wrong.
pub async fn snapshot(
    config: SnapshotConfig,
    etcd: Result<EtcdConfig, Failure>,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let SnapshotConfig { naming, work_dir, compression, in_place } = config;
    if in_place.is_some() {
        report.set_purpose(Purpose::SnapshotInPlace);
    }
    let workspace = Workspace::create(&work_dir)?;
    let handover = if in_place.is_some() {
        Handover::path_in_place(&work_dir, &naming.prefix)
    } else {
        work_dir.join(Handover::FILE)
    };
    // First of all, so that a run that fails, even for its settings, leaves no record that lets `prune --after` delete
    // anything.
    // Its snapshot goes only when a new one can be taken.
    let keeps_file = in_place.is_some() || etcd.is_err();
    invalidate_earlier(&handover, &work_dir, &naming, keeps_file)?;
    let etcd = etcd?;
    // Whatever is wrong with the place is found before the snapshot is taken.
    let place = match in_place {
        Some(place) => Some(Place::open(place, now).await?),
        None => None,
    };

    let begun = Instant::now();
    let choice = members::choose(&etcd, |refused| report.job.refuse(refused)).await?;
    report.seconds.survey = Some(since(begun));
    let begun_snapshot = Instant::now();
    let backup = take::snapshot(choice, &etcd, &workspace, compression, now, None, &mut report.job).await?;
    report.job.taken(&backup.facts, backup.compressed.as_ref());
    // The next step may run as another user of the same group (fsGroup).
    let shared = fs::set_permissions(&backup.file, Permissions::from_mode(0o640));
    shared.map_err(|e| not_moved(&work_dir, &e))?;
    report.seconds.snapshot = Some(since(begun_snapshot));
    if let Some(place) = place {
        place.keep(&backup, (now, begun), report).await?.write(&handover)?;
        report.job.stage = Stage::Done(Exit::Ok);
        place.store.sweep(place.sweep_after, now).await;
    } else {
        let dir = work_dir.clone();
        let left = blocking(move || leave(backup, &dir, &naming)).await;
        left.map_err(|e| not_moved(&work_dir, &e))?.write(&handover)?;
    }
    Ok(Exit::Ok)
}

/// The work directory, where the backups stay.
struct Place {
    store: Arc<Store>,
    patience: Patience,
    sweep_after: Duration,
}

impl Place {
    async fn open(config: InPlaceConfig, now: DateTime<Utc>) -> Result<Self, Failure> {
        // A local directory does not come back by waiting.
        let patience = Patience::new(Duration::ZERO);
        let store = open_patiently(&config.store, &patience, now).await?;
        Ok(Self { store, patience, sweep_after: config.sweep_after })
    }

    async fn keep(
        &self,
        backup: &Backup,
        job_began: (DateTime<Utc>, Instant),
        report: &mut Report,
    ) -> Result<Handover, Failure> {
        report.job.target = Some(self.store.config().target.to_string());
        let begun = Instant::now();
        self.store.sweep(self.sweep_after, job_began.0).await;
        let keeper = Keeper { store: &self.store, patience: &self.patience, began: job_began, in_place: true };
        let Kept { name, record, clock } = keeper.keep(backup, &mut report.job).await?;
        report.seconds.store = Some(since(begun));
        Ok(Handover { file: name.to_string().into(), stored: true, record, clock })
    }
}

/// Leaves the snapshot for the step that stores it.
fn leave(backup: Backup, work_dir: &Path, naming: &Naming) -> io::Result<Handover> {
    let name = move_to_name(&backup, work_dir, naming)?;
    let record = Record { facts: Some(backup.facts), compressed: backup.compressed, ..Record::new(&name) };
    Ok(Handover { file: name.to_string().into(), stored: false, record, clock: None })
}

fn not_moved(work_dir: &Path, error: &io::Error) -> Failure {
    let dir = work_dir.display();
    Failure::message(Exit::Disk, format!("cannot move the proved snapshot into {dir}: {error}"))
}

/// Marks an earlier record as not stored, and deletes its snapshot if that never got to its remote, unless `keeps_file`.
fn invalidate_earlier(path: &Path, work_dir: &Path, naming: &Naming, keeps_file: bool) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let Ok(earlier) = Handover::read(path) else {
        tracing::warn!("{} is not a record of this program; it will be replaced", path.display());
        return Ok(());
    };
    // Other containers can write to the shared volume. Whatever the record names, only a backup of our prefix is deleted.
    let name = earlier.file.to_str().and_then(|file| BackupName::parse_path(&naming.prefix, file));
    let ours = name.is_some_and(|name| name.compression() == earlier.record.compression());
    if ours && !keeps_file && !earlier.stored {
        // If it cannot be deleted, the new snapshot gets another name.
        let _ = fs::remove_file(work_dir.join(&earlier.file));
    }
    Handover { stored: false, ..earlier }.write(path)
}

/// Moves the file to a backup's name that nothing else has.
fn move_to_name(backup: &Backup, work_dir: &Path, naming: &Naming) -> io::Result<BackupName> {
    fs::create_dir_all(work_dir.join(naming.prefix.directory()))?;
    let mut taken = taken(work_dir, naming)?;
    loop {
        let name = BackupName::free(&naming.prefix, backup.facts.taken_at, naming.zone, &taken);
        let name = name.compressed(backup.compression());
        match publish_file(&backup.file, &work_dir.join(name.to_string())) {
            // Another run took the name after the listing, or the listing did not show it. Each try takes a later one.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => taken.push(name),
            moved => return moved.map(|()| name),
        }
    }
}

/// The backups' names that are in use, whatever kind of file has them.
fn taken(work_dir: &Path, naming: &Naming) -> io::Result<Vec<BackupName>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(work_dir.join(naming.prefix.directory()))? {
        let leaf = entry?.file_name();
        names.extend(leaf.to_str().and_then(|leaf| BackupName::borne_by(&naming.prefix, leaf)));
    }
    Ok(names)
}
