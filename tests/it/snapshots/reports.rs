//! The reports in JSON, of every command that has one.

use std::{fs, path::Path};

use super::{assert_golden, assert_report};
use crate::support::{
    LONG_AGO,
    etcd::Cluster,
    kubernetes::{Meta, Owner, WORLD, custom, namespace, object, pod, save},
    remote::Remote,
    run::Run,
    sample,
};

const OLD: &str = "p-202001010000.etcdb";
const NEWER: &str = "p-202001020000.etcdb";

fn reading(remote: &Remote, args: &[&str]) -> Run {
    Run::new().args(args).store(remote).env("BACKUP_PREFIX", "p-")
}

fn limited(run: Run) -> Run {
    run.env("BACKUP_PREFIX", "p-").env("RETENTION", "10d").env("KEEP_LAST", "1")
}

/// A remote with a backup of long ago, a file of somebody else, and nothing else.
fn remote_with_old_backup() -> Remote {
    let remote = Remote::rclone_s3();
    remote.put_aged(OLD, sample::old(), LONG_AGO);
    remote.put("p-notes.txt", b"not a backup");
    remote
}

#[test]
fn the_whole_job() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), remote_with_old_backup());
    assert_report("run", &limited(Run::job(&cluster, &remote)).exits(0));
    assert_report("list", &reading(&remote, &["list"]).exits(0));
    assert_report("list-quick", &reading(&remote, &["list", "--quick"]).exits(0));
    assert_report("verify-one", &reading(&remote, &["verify", "latest"]).exits(0));
    assert_report("verify-deep", &reading(&remote, &["verify", "--latest", "--deep"]).exits(0));
}

#[test]
fn a_job_that_fails() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    assert_report("run-failed-settings", &Run::job(&cluster, &remote).env("TARGET", "nosuch:bucket").exits(2));
    let nobody = Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1");
    assert_report("run-failed-etcd", &nobody.exits(4));
}

#[test]
fn the_job_in_three_steps() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), remote_with_old_backup());
    let staging = tempfile::tempdir().unwrap();
    let step = |name: &str| limited(Run::new().arg(name).arg("--work-dir").arg(staging.path()));
    assert_report("snapshot", &step("snapshot").etcd(&cluster).env("TARGET", "elsewhere:x").exits(0));
    assert_report("store", &step("store").store(&remote).exits(0));
    let prune = || limited(Run::new().arg("prune").store(&remote));
    let after = staging.path().join(".etcd-backup.json");
    assert_report("prune-dry-run", &prune().arg("--dry-run").exits(0));
    assert_report("prune-after", &prune().arg("--after").arg(&after).exits(0));
}

#[test]
fn retention_that_is_held_back() {
    needs!("etcd", "rclone");
    let (empty, remote) = (Cluster::single(), remote_with_old_backup());
    assert_report("run-held-back", &limited(Run::job(&empty, &remote)).exits(3));
    let remote = Remote::rclone_s3();
    // Old by its name, and too young to be deleted by the store's own clock.
    remote.put(OLD, b"old");
    remote.put_aged(NEWER, sample::old(), LONG_AGO);
    assert_report("prune-incomplete", &limited(Run::new().arg("prune").store(&remote)).exits(3));
}

#[test]
fn every_verdict() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put(OLD, sample::snapshot());
    remote.put(NEWER, &sample::damaged());
    assert_report("verify-all", &reading(&remote, &["verify", "--all"]).exits(5));
}

#[test]
fn what_a_backup_holds() {
    needs!("etcd", "etcdctl");
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (before, after) = (put("before.etcdb", &WORLD.before), put("after.etcdb", &WORLD.snapshot));
    let reading = |command: &str, path: &Path| Run::new().arg(command).arg(path);
    assert_report("inspect", &reading("inspect", &after).exits(0));
    assert_report("inspect-diff", &reading("inspect", &after).arg("--diff").arg(&before).exits(0));
    let one = "/registry/stable.example.com/crontabs/default/nightly";
    // Line for line, as values keep their bytes.
    assert_golden("reports", "get", &reading("get", &after).arg(one).exits(0).stdout);
    assert_golden("reports", "export", &reading("export", &after).args(["--prefix", one]).exits(0).stdout);
}

#[test]
fn keys_put_back() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let owner = Owner { kind: "Site", name: "main", uid: "u-site", controller: true };
    let page = Meta { owner: Some(owner), ..Meta::new("default", "page") };
    let objects = [
        namespace(&Meta::new("", "default")),
        pod("default", "web-0", b"there"),
        pod("default", "web-1", b"deleted"),
        object("events", "v1", "Event", &Meta::new("default", "web-1.1"), b""),
        custom("sites", &Meta { uid: "u-site", ..Meta::new("", "main") }),
        custom("pages", &page),
    ];
    cluster.client(0, async |client| {
        for (key, value) in &objects {
            client.put(key.as_str(), value.as_slice(), None).await.unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.etcdb");
    fs::write(&backup, save(&cluster)).unwrap();
    for (key, _) in &objects[2..] {
        cluster.etcdctl(&["del", key]);
    }
    let run = || Run::new().arg("put-back").etcd(&cluster).arg(&backup).arg("--namespace=default");
    assert_report("put-back-dry-run", &run().exits(0));
    assert_report("put-back", &run().arg("--yes").exits(0));
}
