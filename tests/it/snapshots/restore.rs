//! `fetch`, `restore` and its plan, of the snapshot in `tests/fixtures`, whose content is the same in every run.

use std::{fs, path::Path};

use super::{assert_golden, assert_report};
use crate::support::{kubeadm, remote::Remote, run::Run};

const NAME: &str = "p-202001010000.etcdb";

fn remote_with_fixture() -> Remote {
    let remote = Remote::rclone_s3();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/etcd-3.5.1.etcdb");
    remote.put(NAME, &fs::read(fixture).unwrap());
    remote
}

fn reading(remote: &Remote, args: &[&str]) -> Run {
    Run::new().args(args).store(remote).env("BACKUP_PREFIX", "p-")
}

#[test]
fn a_backup_becomes_a_file_and_a_data_directory() {
    needs!("etcdutl", "rclone");
    let (remote, folder) = (remote_with_fixture(), tempfile::tempdir().unwrap());
    let file = folder.path().join("snapshot.db");
    assert_report("fetch", &reading(&remote, &["fetch", NAME]).arg(&file).exits(0));
    let data = folder.path().join("data");
    // Whether the revision can be raised depends on etcdutl.
    let restore = reading(&remote, &["restore", NAME, "--bump-revision=0", "--etcd-file=", "--data-dir"]).arg(&data);
    assert_report("restore", &restore.exits(0));
}

#[test]
fn a_plan_for_static_pods() {
    needs!("rclone");
    let remote = remote_with_fixture();
    let plan = || {
        let plan =
            ["restore", NAME, "--plan", "--member=m1=https://10.0.0.1:2380", "--member=m2=https://10.0.0.2:2380"];
        reading(&remote, &plan).args(["--etcd=stacked", "--etcd-file="])
    };
    assert_report("restore-plan", &plan().exits(0));
    assert_golden("plan", "stacked", &plan().env("OUTPUT", "text").exits(0).stdout);
}

#[test]
fn a_plan_for_systemd() {
    needs!("rclone");
    let (remote, folder) = (remote_with_fixture(), tempfile::tempdir().unwrap());
    let configuration = folder.path().join("config.yaml");
    let endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379"].map(str::to_owned);
    fs::write(&configuration, kubeadm::external(&endpoints)).unwrap();
    let members = ["--member=m1=https://10.0.0.1:2380", "--member=m2=https://10.0.0.2:2380"];
    let plan = reading(&remote, &["restore", NAME, "--plan", "--bump-revision=1000", "--output=text"]).args(members);
    let plan = plan.args(["--etcd-file=", "--wal-dir=/var/lib/etcd-wal", "--kubeadm-config"]).arg(&configuration);
    assert_golden("plan", "external", &plan.exits(0).stdout);
}
