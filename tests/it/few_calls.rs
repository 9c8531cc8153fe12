//! How many processes of rclone a command starts, and how much memory it takes where thousands of backups are.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::json;

use crate::support::{etcd::Cluster, eventually, output::Report, processes::peak_rss, remote::Remote, run::Run};

/// What rclone is started for, in order, while a command runs.
struct Calls {
    folder: tempfile::TempDir,
}

impl Calls {
    fn of(run: Run) -> (Run, Self) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("#!/bin/sh\necho \"$1\" >>'{}/calls'\nexec REAL \"$@\"\n", folder.path().display());
        (run.rclone_is(&script), Self { folder })
    }

    fn made(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap();
        calls.lines().map(str::to_owned).collect()
    }
}

/// One more night, with what rclone was started for.
fn night(cluster: &Cluster, remote: &Remote, config: &Path) -> (Report, Vec<String>) {
    let run = Run::job(cluster, remote).env("RCLONE_CONFIG", config);
    let (run, calls) = Calls::of(run.env("RETENTION_COUNT", "2").env("KEEP_LAST", "1"));
    (run.success(), calls.made())
}

fn seaweedfs_by_its_name(remote: &Remote) -> PathBuf {
    remote.config_with("provider = Other", "provider = SeaweedFS")
}

fn as_it_is(remote: &Remote) -> PathBuf {
    remote.config().to_owned()
}

/// Each of these takes about 60 ms of a processor, whatever it is for.
#[rstest]
#[case::s3(Remote::seaweedfs, seaweedfs_by_its_name, &[
    // The first look, the sweep, the look before the upload, the upload, its hash, the record and its hash.
    "backend", "cat", "config", "lsjson", "version", "backend", "lsjson", "copyto", "lsjson", "copyto", "lsjson",
    // The look before anything is deleted, and the one after.
    "lsjson", "delete", "lsjson", "delete",
])]
#[case::folder(Remote::folder, as_it_is, &[
    "backend", "cat", "lsjson", "version", "lsjson", "copyto", "lsjson", "lsjson", "delete", "lsjson", "delete",
])]
#[case::sftp(Remote::sftp, as_it_is, &[
    "backend", "cat", "config", "lsjson", "version", "lsjson", "copyto", "lsjson", "moveto", "lsjson", "copyto", "moveto",
    // Another run may have replaced the record by then.
    "lsjson", "lsjson", "cat", "delete", "lsjson", "delete",
])]
fn a_night_asks_only_what_it_has_to(
    #[case] remote: fn() -> Remote,
    #[case] config: fn(&Remote) -> PathBuf,
    #[case] expected: &[&str],
) {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::small(), remote());
    let config = config(&remote);
    for _ in 0..2 {
        night(&cluster, &remote, &config);
    }
    let (report, mut calls) = night(&cluster, &remote, &config);
    assert_eq!(report.value("removed").as_array().unwrap().len(), 1, "{report:?}");
    // Those of the first look begin side by side.
    let first = expected.iter().position(|call| *call == "version").unwrap() + 1;
    calls[..first].sort_unstable();
    assert_eq!(calls, expected, "{} processes", calls.len());
}

/// So many backups with their records, in a folder of this machine.
fn backups(folder: &Path, count: u32) {
    fs::create_dir(folder.join(".etcd-backup")).unwrap();
    let start = chrono::NaiveDate::from_ymd_opt(2025, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    for n in 0..count {
        let at = start + chrono::Duration::minutes(n.into());
        let name = at.format("p-%Y%m%d%H%M.etcdb").to_string();
        let record = json!({
            "schema": 1, "of": "backup", "name": name, "prefix": "p-", "taken_at": at.and_utc(), "bytes": 1,
            "sha256": format!("{n:064x}"), "revision": n, "keys": 1207, "hash": "67ddb7f1", "storage_version": "3.5",
            "kube_system": { "uid": "5f1c2d3e-0000-4000-8000-123456789abc" }, "member": "https://10.0.0.1:2379",
            "member_id": "9237aa", "cluster_id": "eead00", "etcd_version": "3.5.16", "degraded": null,
            "verdict": { "is": "good" }, "compared": null, "confirmed": "read-back", "tool": "0.1.0",
        });
        fs::write(folder.join(&name), "x").unwrap();
        fs::write(folder.join(format!(".etcd-backup/{name}.json")), format!("{record}\n")).unwrap();
    }
}

/// With 10,000 backups: the seconds, the processes, and the peak of our own memory in KiB.
fn listed(remote: &Remote) -> (Duration, Vec<String>, u64) {
    let (run, calls) = Calls::of(Run::new().arg("list").store(remote).env("BACKUP_PREFIX", "p-"));
    let begun = Instant::now();
    let job = run.spawn();
    let mut peak = 0;
    eventually(Duration::from_mins(9), "the end", || {
        let now = peak_rss(job.id());
        peak = now.unwrap_or_default().max(peak);
        now.is_none().then_some(())
    });
    let took = begun.elapsed();
    let report = job.wait(Duration::from_mins(10)).report();
    let listed = report.value("backups").as_array().unwrap();
    assert_eq!(listed.iter().filter(|backup| backup["class"] == "good").count(), 10_000);
    (took, calls.made(), peak)
}

#[rstest]
#[case::folder(Remote::folder, 8)]
#[case::s3(Remote::seaweedfs, 50)]
#[ignore = "slow: make test-all"]
fn ten_thousand_backups_are_listed_in_little_memory(#[case] remote: fn() -> Remote, #[case] at_most: usize) {
    needs!("rclone", "weed");
    let (remote, local) = (remote(), tempfile::tempdir().unwrap());
    backups(local.path(), 10_000);
    remote.rclone(&["copy", "--transfers=64", "--no-traverse", local.path().to_str().unwrap(), remote.target()]);
    let (took, calls, peak) = listed(&remote);
    println!("10000 backups: {took:?}, {} processes, {peak} KiB", calls.len());
    assert!(calls.len() <= at_most, "{calls:?}");
    assert!((1_000..64 << 10).contains(&peak), "{peak} KiB");
}
