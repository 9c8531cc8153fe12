//! The whole job, from a real cluster into real stores: what lies there afterwards, and what is said about it.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{etcd::Cluster, remote::Remote, run::Run};

#[test]
fn to_seaweedfs() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    whole_job(&Remote::seaweedfs());
}

#[test]
fn to_rclones_own_s3() {
    needs!("etcd", "etcdctl", "rclone");
    whole_job(&Remote::rclone_s3());
}

#[test]
fn to_a_folder() {
    needs!("etcd", "etcdctl", "rclone");
    whole_job(&Remote::folder());
}

fn whole_job(remote: &Remote) {
    let cluster = Cluster::start(3);
    cluster.put_many(50, "/registry/pods/", 100);
    remote.put_aged("p-202001010000.etcdb", b"old", Duration::from_hours(24 * 2000));
    let job = || Run::job(&cluster, remote).env("BACKUP_PREFIX", "p-").env("RETENTION", "10d").env("KEEP_LAST", "1");
    let output = job().exits(0);
    let report = output.report();

    let name = report.text("name");
    assert_eq!(remote.names(), [name], "stored, and the old one is gone");
    let stored = remote.read(name);
    assert_eq!(u64::try_from(stored.len()).unwrap(), report.number("bytes"));
    let hash = Sha256::digest(&stored).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(hash, report.text("sha256"));

    assert_eq!(report.text("outcome"), "ok");
    assert_eq!(report.number("exit"), 0);
    assert_eq!(report.text("target"), remote.target());
    assert_eq!(report.number("keys"), 50);
    assert_eq!(report.text("etcd_version"), "3.5.1");
    assert_eq!(*report.value("degraded"), Value::Null);
    assert_eq!(report.value("removed")[0]["name"], "p-202001010000.etcdb");
    assert_eq!(report.value("kept")[0]["name"], name);
    for stage in ["survey", "snapshot", "store", "prune", "total"] {
        assert!(report.value("seconds")[stage].as_f64().is_some_and(|s| s > 0.0), "{stage}: {output}");
    }
    assert!(cluster.endpoints().iter().any(|endpoint| endpoint == report.text("member")), "{output}");

    let metadata = &remote.lsjson()[0]["Metadata"];
    for (key, field) in [
        ("sha256", "sha256"),
        ("etcd-version", "etcd_version"),
        ("cluster-id", "cluster_id"),
        ("member-id", "member_id"),
    ] {
        assert_eq!(metadata[key], *report.value(field), "{key}: {metadata}");
    }
    assert_eq!(metadata["revision"], report.number("revision").to_string());
    assert_eq!(metadata["keys"], "50");
    assert_eq!(metadata["tool-version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["degraded"], Value::Null);

    let text = job().env("OUTPUT", "text").env("LOG_FORMAT", "json").exits(0);
    for words in ["outcome    ok\n", "stored     p-20", "sha256     ", "50 keys", "took       "] {
        assert!(text.stdout.contains(words), "{words:?}: {text}");
    }
    for line in text.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}
