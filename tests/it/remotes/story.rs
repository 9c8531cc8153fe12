//! The same few nights at every store, plain and encrypted: stored, confirmed, listed, proved, held, let go, deleted, and
//! brought back as a running etcd.

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::{Value, json};

use super::rows::{ROWS, Taken};
use crate::support::{etcd::Cluster, output::Report, remote::Remote, run::Run};

const ONE: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const TWO: &str = "22222222-aaaa-4bbb-8ccc-000000000002";

/// A command that knows the store and the prefix.
fn at(remote: &Remote, args: &[&str]) -> Run {
    Run::new().args(args).store(remote).env("BACKUP_PREFIX", "prod-eu-")
}

/// `prune` with limits that leave one backup.
fn prune(remote: &Remote) -> Run {
    at(remote, &["prune"]).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
}

/// With a limit that is not reached.
fn night(cluster: &Cluster, remote: &Remote) -> Run {
    at(remote, &["run"]).etcd(cluster).env("RETENTION_COUNT", "5")
}

/// A night whose backup is good and confirmed in this way; answers its name.
fn good_night(cluster: &Cluster, remote: &Remote, evidence: &str) -> String {
    let output = night(cluster, remote).exits(0);
    let report = output.report();
    assert_eq!((&report.value("verdict")["is"], report.text("confirmed")), (&json!("good"), evidence), "{output}");
    assert!(!output.stderr.contains("WARN"), "{output}");
    report.text("name").to_owned()
}

/// Names and classes, the newest first.
fn listed(remote: &Remote) -> Vec<(String, String)> {
    let report = at(remote, &["list"]).success();
    let word = |line: &Value| line["doubt"].as_str().or(line["class"].as_str()).unwrap().to_owned();
    let line = |line: &Value| (line["name"].as_str().unwrap().to_owned(), word(line));
    report.value("backups").as_array().unwrap().iter().map(line).collect()
}

fn names<'a>(report: &'a Report, of: &str) -> Vec<&'a str> {
    report
        .value(of)
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["name"].as_str().unwrap_or_else(|| line.as_str().unwrap()))
        .collect()
}

/// The cluster's own member with the restored data in place of its own.
fn comes_back(cluster: &mut Cluster, remote: &Remote, name: &str) {
    let before = cluster.every_key(0);
    assert!(before.len() > 2);
    cluster.kill(0);
    fs::remove_dir_all(cluster.data_dir(0)).unwrap();
    restore(remote, name, &cluster.data_dir(0)).success();
    cluster.restart(0);
    assert_eq!(cluster.every_key(0), before);
}

fn restore(remote: &Remote, name: &str, data: &Path) -> Run {
    at(remote, &["restore", name, "--etcd-file=", "--data-dir"]).arg(data)
}

/// Whether the store refuses a name that is taken, if it is asked to. Then nothing is replaced.
fn refuses_a_taken_name(remote: &Remote) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let object = format!("{}/probe", remote.target());
    let put = |text: &str| {
        let file = folder.path().join("probe");
        fs::write(&file, text).unwrap();
        let header = ["--header-upload", "If-None-Match: *"];
        let args = [&["copyto", "--ignore-times", file.to_str().unwrap(), &object], &header[..]].concat();
        remote.rclone_with(remote.config(), &args)
    };
    let first = put("one");
    assert!(first.status.success(), "{first:?}");
    let second = put("two");
    let refused = !second.status.success();
    assert_eq!(refused, String::from_utf8_lossy(&second.stderr).contains("PreconditionFailed"), "{second:?}");
    assert_eq!(remote.read("probe"), if refused { "one" } else { "two" }.as_bytes());
    remote.delete("probe");
    refused
}

#[rstest]
#[case::aws(0)]
#[case::aws_by_role(1)]
#[case::minio(2)]
#[case::ceph(3)]
#[case::seaweedfs(4)]
#[case::oci_s3(5)]
#[case::naver(6)]
#[case::google(7)]
#[case::azure(8)]
#[case::sftp(9)]
#[case::webdav(10)]
#[case::disk(11)]
#[case::path(12)]
#[ignore = "slow: make test-all"]
fn a_few_nights(#[case] row: usize, #[values(false, true)] encrypted: bool) {
    needs!("etcd", "etcdctl", "etcdutl", "rclone", "weed");
    needs_clouds!();
    let row = &ROWS[row];
    let remote = if encrypted { row.encrypted() } else { (row.remote)() };
    let evidence = if encrypted { "read-back" } else { row.evidence };
    if !(encrypted && row.taken == Taken::TheSystem) {
        assert_eq!(refuses_a_taken_name(&remote), row.taken == Taken::TheStore, "{}", row.name);
    }

    let (mut prod, other) = (Cluster::kubernetes(ONE), Cluster::kubernetes(TWO));
    let first = good_night(&prod, &remote, evidence);
    assert_eq!(listed(&remote), [(first.clone(), "good".to_owned())]);

    let report = night(&other, &remote).exits(3).report();
    let stray = report.text("name").to_owned();
    assert_eq!(report.value("verdict")["reasons"], json!(["another-cluster"]));
    let second = night(&prod, &remote).exits(3).report().text("name").to_owned();
    let held = prune(&remote).exits(3).report();
    assert_eq!((names(&held, "holds"), names(&held, "removed")), (vec![stray.as_str()], vec![]));
    assert_eq!(remote.names(), [first.as_str(), &stray, &second]);

    at(&remote, &["dismiss", &stray, "--by", "alice"]).success();
    let classes = [(&second, "good"), (&stray, "dismissed"), (&first, "good")];
    assert_eq!(listed(&remote), classes.map(|(name, class)| (name.clone(), class.to_owned())));
    let pruned = prune(&remote).success();
    assert_eq!(remote.names(), [second.as_str()], "{pruned:?}");
    assert_eq!(remote.records().len(), 2, "{:?}", remote.records());
    let proved = at(&remote, &["verify", "--deep"]).success();
    assert_eq!(names(&proved, "backups"), [second.as_str()]);
    comes_back(&mut prod, &remote, &second);
}
