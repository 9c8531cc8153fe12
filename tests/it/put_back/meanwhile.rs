//! Others write, or the cluster goes away, while keys are put back.

use std::time::Duration;

use super::*;
use crate::support::{SOON, eventually, kubernetes::pod, output::Output, proxy::Fault, run::Job};

/// Deleted keys, and a way to the cluster that is slow enough to interfere.
fn slow() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::with(1).plain().proxied().start();
    let objects: Vec<_> = (0..60_u8).map(|i| pod("default", &format!("web-{i:04}"), &[i; 1000])).collect();
    put(&cluster, &objects);
    let (folder, backup) = backup_of(&cluster);
    let keys: Vec<_> = (0..60).map(name).collect();
    delete(&cluster, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.proxy(0).set(Fault::Throttle(30_000));
    (cluster, folder, backup)
}

fn until_it_writes(job: &Job) {
    eventually(SOON, "the first key", || job.stderr().contains("put back").then_some(()));
}

fn end(job: Job, exit: i32) -> Output {
    let output = job.wait(Duration::from_mins(1));
    output.assert().code(exit);
    output
}

#[test]
fn a_key_that_somebody_else_makes_meanwhile_is_theirs() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    let theirs = (name(59), b"theirs".to_vec());
    put(&cluster, std::slice::from_ref(&theirs));
    let report = end(job, 0).says(&["left alone", &name(59)]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!((count(&report, "create"), count(&report, "leave")), (59, 1));
    let kv = cluster.keys_at(&name(59), 0).remove(0);
    assert_eq!((kv.value, kv.version), (theirs.1, 1));
}

#[test]
fn a_key_that_changes_meanwhile_is_not_overwritten() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let old: Vec<_> = (0..60).map(|i| (name(i), b"old".to_vec())).collect();
    put(&cluster, &old);
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--overwrite", "--yes"]).spawn();
    until_it_writes(&job);
    put(&cluster, &[(name(59), b"theirs".to_vec())]);
    let report = end(job, 1).says(&["changed after they were read", "run the command again"]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!(count(&report, "replace"), 59);
    assert_eq!(cluster.keys_at(&name(59), 0)[0].value, b"theirs");
}

#[test]
fn a_cluster_that_goes_away_is_told_key_by_key_and_can_be_finished() {
    needs!("etcd", "etcdctl");
    let (mut cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    cluster.kill(0);
    let report = end(job, 4).report();
    let results = results(&report);
    let sort = |result: &str| results.values().filter(|r| *r == result).count();
    assert_eq!(sort("unknown"), 1);
    assert!(sort("created") >= 1 && sort("not-attempted") >= 1);
    assert_eq!(sort("created") + 1 + sort("not-attempted"), 60);
    assert!(report.text("error").contains("putting keys back"));

    cluster.restart(0);
    cluster.proxy(0).set(Fault::None);
    let there: Vec<_> = cluster.keys_at("/registry/", 0).into_iter().map(|kv| kv.key).collect();
    for (key, result) in &results {
        let exists = there.contains(&key.clone().into_bytes());
        assert!(result == "unknown" || exists == (result == "created"), "{key} is {result}, and {exists}");
    }
    let rest = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).success();
    assert_eq!(count(&rest, "create") + count(&rest, "leave"), 60);
    assert_eq!(cluster.keys_at("/registry/", 0).len(), 60);
}
