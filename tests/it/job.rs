//! The whole job, from a real cluster into real stores.

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
    let report = Run::job(&cluster, remote).success();
    println!("{report:?}");
    assert_eq!(report.text("outcome"), "ok");
    assert_eq!(report.number("keys"), 50);
    assert_eq!(remote.names(), [report.text("name")]);
}
