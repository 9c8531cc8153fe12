//! `snapshot`: the first step of the job alone. It leaves one proved file and a record of it in the staging folder.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::job;
use crate::backup::name::BackupName;
use crate::backup::record::{Handover, Remembered};
use crate::cli::SnapshotArgs;
use crate::config::{Job, Naming, work_dir};
use crate::exit::{Exit, Failure};
use crate::report::{Report, since};
use crate::snapshot::Workspace;
use crate::system::fs::rename_noreplace;

/// Takes and proves a snapshot, and moves it to its final name. Without a target, or with the staging folder as the
/// target, it is then where backups are stored; else the folder is only its way to `store`.
pub async fn snapshot(
    args: &SnapshotArgs,
    job: &Job,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let folder = work_dir(&args.work);
    let naming = job.naming(&args.place)?;
    let target = job.target(&args.place)?;
    let in_place = target.is_none_or(|target| Path::new(&target.to_string()) == folder);
    let etcd = job.etcd(&args.etcd, now)?;
    let workspace = Workspace::create(&folder)?;
    let before = supersede(&folder, &naming, in_place)?;

    let begun = Instant::now();
    let choice = job::choose(&etcd, report).await?;
    report.seconds.survey = Some(since(begun));
    let begun = Instant::now();
    let backup = job::snapshot(choice, &etcd, &workspace, now, report).await?;
    let name = settle(&backup.file, &folder, &naming, now).map_err(|e| {
        Failure::new(Exit::Disk, anyhow::anyhow!("cannot move the proved snapshot into {}: {e}", folder.display()))
    })?;
    report.seconds.snapshot = Some(since(begun));
    report.backup = Some(backup.record.clone());
    let file = name.to_string();
    let stored = in_place.then(|| file.clone());
    if in_place {
        report.target = Some(folder.display().to_string());
        report.name = Some(file.clone());
    }
    Handover { file: file.into(), record: backup.record, stored, before }.write(&folder)?;
    Ok(Exit::Ok)
}

/// Takes its word from an earlier record, so that nothing is pruned on its strength when this run fails. A staged file
/// that was never stored goes with it; a stored one stays.
fn supersede(folder: &Path, naming: &Naming, in_place: bool) -> Result<Remembered, Failure> {
    let path = folder.join(Handover::FILE);
    if !path.exists() {
        return Ok(Remembered::default());
    }
    let Ok(earlier) = Handover::read(&path) else {
        tracing::warn!("{} is no record of this program; it will be replaced", path.display());
        return Ok(Remembered::default());
    };
    let before = Remembered::from_record(&earlier.record);
    let ours = earlier.file.to_str().and_then(|file| BackupName::parse_path(&naming.prefix, file)).is_some();
    if ours && !in_place && earlier.stored.is_none() {
        // Not there is as good as gone.
        let _ = fs::remove_file(folder.join(&earlier.file));
    }
    Handover { stored: None, ..earlier }.write(folder)?;
    Ok(before)
}

/// Gives the file its final name, which nothing else has, and lets the pod's group read it.
fn settle(file: &Path, folder: &Path, naming: &Naming, now: DateTime<Utc>) -> io::Result<BackupName> {
    fs::create_dir_all(folder.join(naming.prefix.folder()))?;
    fs::set_permissions(file, Permissions::from_mode(0o640))?;
    loop {
        let name = BackupName::free(&naming.prefix, now, naming.zone, |name| folder.join(name.to_string()).exists());
        let place = folder.join(name.to_string());
        match rename_noreplace(file, &place) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| name),
        }
    }
}
