//! When nothing is put back.

use super::*;
use crate::support::kubernetes::{kube_system, pod};

#[test]
fn usage_that_is_unclear_is_refused() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    put(&cluster, &[kube_system(UID)]);
    let (_folder, backup) = backup_of(&cluster);
    let refuse = |args: &[&str], words: &[&str]| put_back(&cluster, &backup, args).arg("--yes").exits(2).says(words);
    refuse(&[], &["required"]);
    refuse(&["--namespace=/registry/namespaces/shop"], &["namespace: `/registry/namespaces/shop`", "not its key"]);
    refuse(&["--prefix="], &["every key"]);
    refuse(&["--prefix=/nothing"], &["no key that begins with /nothing"]);
    refuse(&["/registry/namespaces/kube-system", "/a", "/b"], &["does not have", "/a, /b"]);
    put_back(&cluster, &backup.with_extension("bad"), &["/a"]).exits(2);
}

#[test]
fn a_backup_of_another_cluster_is_refused() {
    needs!("etcd", "etcdctl");
    let (one, other) = (Cluster::single(), Cluster::single());
    put(&one, &[kube_system(UID), pod("default", "web-0000", b"")]);
    let (_folder, backup) = backup_of(&one);
    let theirs = "99999999-aaaa-4bbb-8ccc-222222222222";
    put(&other, &[kube_system(theirs)]);
    let run = || put_back(&other, &backup, &[&name(0), "--yes"]);
    run().exits(2).says(&["another cluster", UID, theirs]);
    assert_eq!(other.keys_at("/registry/pods", 0), []);
    // Of the same Kubernetes cluster, on members that are new: it was restored.
    put(&other, &[kube_system(UID)]);
    let output = run().exits(0);
    assert!(!output.stderr.contains("make sure"), "{output}");
    // Not known: a warning.
    delete(&other, &["/registry/namespaces/kube-system", &name(0)]);
    run().exits(0).says(&["make sure that it is the same cluster"]);
}

#[test]
fn an_ill_cluster_is_not_written_to() {
    needs!("etcd", "etcdctl");
    let mut cluster = Cluster::start(3);
    put(&cluster, &[pod("default", "web-0000", b"")]);
    let (_folder, backup) = backup_of(&cluster);
    delete(&cluster, &[&name(0)]);
    let run = |cluster: &Cluster| put_back(cluster, &backup, &[&name(0), "--yes"]);
    // One of three may be missing.
    cluster.kill(2);
    run(&cluster).success();
    delete(&cluster, &[&name(0)]);
    cluster.kill(1);
    run(&cluster).exits(4).says(&["not healthy", "no quorum"]);
    cluster.kill(0);
    run(&cluster).exits(4);

    let full = Cluster::with(1).plain().quota(2 << 20).start();
    full.fill();
    let output = put_back(&full, &backup, &[&name(0), "--yes"]).exits(4).says(&["NOSPACE"]);
    assert!(output.stderr.contains("accepts no writes"), "{output}");
    put_back(&full, &backup, &[&name(0)]).success();

    let corrupt = Cluster::single();
    corrupt.raise_corrupt(0);
    put_back(&corrupt, &backup, &[&name(0), "--yes"]).exits(4).says(&["not healthy", "CORRUPT"]);
}
