//! The whole job: a real cluster, a real remote, and what lies there afterwards.

use crate::support::{etcd::Cluster, remote::Remote, run::Run};

#[test]
fn a_backup_lands_on_every_kind_of_remote() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let cluster = Cluster::start(3);
    cluster.put_many(300, "/registry/pods/", 200);
    let makers: [fn() -> Remote; 3] = [Remote::folder, Remote::rclone_s3, Remote::seaweedfs];
    for make in makers {
        let remote = make();
        let report = Run::job(&cluster, &remote).success();
        let name = report.text("name");
        assert_eq!(remote.names(), [name]);
        let stored = u64::try_from(remote.read(name).len()).unwrap();
        assert_eq!(stored, report.number("bytes"));
        assert_eq!(report.number("keys"), 300);
    }
}
