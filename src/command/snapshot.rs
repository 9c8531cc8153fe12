//! `snapshot`: the first step of the job alone. It leaves one proved file and a record of it in the work directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::{job, members};
use crate::backup::handover::Handover;
use crate::backup::metadata::Metadata;
use crate::backup::name::BackupName;
use crate::config::{EtcdConfig, Naming, SnapshotConfig};
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::system::fs::rename_noreplace;

/// `etcd` is an error if its settings are wrong.
pub async fn snapshot(
    config: SnapshotConfig,
    etcd: Result<EtcdConfig, Failure>,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let SnapshotConfig { naming, work_dir, in_place, .. } = config;
    let workspace = Workspace::create(&work_dir)?;
    // First of all, so that a run that fails, even for its settings, leaves no record that lets `prune --after` delete
    // anything.
    // Its snapshot goes only when a new one can be taken.
    let keeps_file = in_place || etcd.is_err();
    let before = invalidate_earlier_record(&work_dir, &naming, keeps_file)?;
    let etcd = etcd?;

    let begun = Instant::now();
    let choice = members::choose(&etcd, |refused| report.job.refuse(refused)).await?;
    report.seconds.survey = Some(since(begun));
    let begun = Instant::now();
    let backup = job::snapshot(choice, &etcd, &workspace, now, &mut report.job).await?;
    let name = move_to_name(&backup.file, &work_dir, &naming, now).map_err(|e| {
        let dir = work_dir.display();
        Failure::message(Exit::Disk, format!("cannot move the proved snapshot into {dir}: {e}"))
    })?;
    report.seconds.snapshot = Some(since(begun));
    report.job.backup = Some(backup.record.clone());
    let file = name.to_string();
    let stored = in_place.then(|| file.clone());
    if in_place {
        report.job.target = Some(work_dir.display().to_string());
        report.job.name = Some(file.clone());
    }
    Handover { file: file.into(), record: backup.record, stored, before }.write(&work_dir)?;
    Ok(Exit::Ok)
}

/// Marks an earlier record as not stored, and deletes its snapshot if that never got to its remote, unless `keeps_file`.
/// Returns what the record tells of the cluster.
fn invalidate_earlier_record(work_dir: &Path, naming: &Naming, keeps_file: bool) -> Result<Metadata, Failure> {
    let path = work_dir.join(Handover::FILE);
    if !path.exists() {
        return Ok(Metadata::default());
    }
    let Ok(earlier) = Handover::read(&path) else {
        tracing::warn!("{} is not a record of this program; it will be replaced", path.display());
        return Ok(Metadata::default());
    };
    let before = earlier.record.metadata();
    // Other containers can write to the shared volume. Whatever the record names, only a backup of our prefix is deleted.
    let ours = earlier.file.to_str().and_then(|file| BackupName::parse_path(&naming.prefix, file)).is_some();
    if ours && !keeps_file && earlier.stored.is_none() {
        // If it cannot be deleted, the new snapshot gets another name.
        let _ = fs::remove_file(work_dir.join(&earlier.file));
    }
    Handover { stored: None, ..earlier }.write(work_dir)?;
    Ok(before)
}

/// Moves the file to a backup's name that nothing else has, and lets the pod's group read it.
fn move_to_name(file: &Path, work_dir: &Path, naming: &Naming, now: DateTime<Utc>) -> io::Result<BackupName> {
    fs::create_dir_all(work_dir.join(naming.prefix.directory()))?;
    // `store` is another user of the same group (fsGroup).
    fs::set_permissions(file, Permissions::from_mode(0o640))?;
    loop {
        let name = BackupName::free(&naming.prefix, now, naming.zone, &existing(work_dir, naming)?);
        match rename_noreplace(file, &work_dir.join(name.to_string())) {
            // Another run took the name after the listing.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| name),
        }
    }
}

/// The backups' names that are in use, whatever kind of file has them.
fn existing(work_dir: &Path, naming: &Naming) -> io::Result<Vec<BackupName>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(work_dir.join(naming.prefix.directory()))? {
        let leaf = entry?.file_name();
        names.extend(leaf.to_str().and_then(|leaf| BackupName::parse(&naming.prefix, leaf)));
    }
    Ok(names)
}
