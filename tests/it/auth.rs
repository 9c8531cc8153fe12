//! etcd's own users.

use crate::support::{etcd::Cluster, remote::Remote, run::Run, tls::Leaf};

const PASSWORD: &str = "correct-horse-battery";

/// Turns etcd's authentication on, with the user `root` and a user `reader` that may read every key.
fn secure(cluster: &Cluster) {
    let ctl = |args: &[&str]| cluster.etcdctl(args);
    ctl(&["user", "add", &format!("root:{PASSWORD}")]);
    ctl(&["user", "grant-role", "root", "root"]);
    ctl(&["role", "add", "reader"]);
    ctl(&["role", "grant-permission", "reader", "--prefix=true", "read", ""]);
    ctl(&["user", "add", &format!("reader:{PASSWORD}")]);
    ctl(&["user", "grant-role", "reader", "reader"]);
    ctl(&["auth", "enable"]);
}

#[test]
fn a_user_with_the_role_root_is_needed() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::with(3).plain().start();
    cluster.put_many(5, "/a/", 10);
    secure(&cluster);
    let remote = Remote::folder();
    // One seed: the member list wants the user too.
    let run = || Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", cluster.endpoint(1)).secret(PASSWORD);
    let output = run().env("ETCDCTL_USER", "root").env("ETCDCTL_PASSWORD", PASSWORD).exits(0);
    assert_eq!(output.report().number("keys"), 5);
    assert_eq!(output.stderr.matches("verdict=").count(), 3, "{output}");
    run().env("ETCDCTL_USER", format!("root:{PASSWORD}")).exits(0);
    let stored = remote.names().len();

    let wrong = "wrong-horse-battery";
    let user = |user: &str, password: &str| {
        let run = run().env("ETCDCTL_USER", user).env("ETCDCTL_PASSWORD", password).secret(wrong);
        run.exits(9).says(&[&cluster.endpoint(1), "ETCDCTL_USER"])
    };
    user("root", wrong).says(&["authentication failed", "ETCDCTL_PASSWORD"]);
    user("nobody", PASSWORD).says(&["authentication failed"]);
    user("reader", PASSWORD).says(&["permission denied", "role `root`"]);
    run().exits(9).says(&["user name is empty", "ETCDCTL_USER"]);
    run().env("ETCDCTL_USER", "root").exits(2).says(&["ETCDCTL_USER", "no password", "ETCDCTL_PASSWORD"]);
    assert_eq!(remote.names().len(), stored);
}

#[test]
fn a_key_that_etcd_refuses_to_write_is_not_written() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::with(1).plain().start();
    cluster.put_many(3, "/a/", 10);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("db");
    cluster.etcdctl(&["snapshot", "save", backup.to_str().unwrap()]);
    cluster.etcdctl(&["del", "--prefix", "/"]);
    secure(&cluster);
    let run = Run::new().etcd(&cluster).args(["put-back", backup.to_str().unwrap(), "--prefix=/a/", "--yes"]);
    let run = run.env("ETCDCTL_USER", "reader").env("ETCDCTL_PASSWORD", PASSWORD);
    let output = run.exits(9).says(&["permission denied", "0 created", "3 NOT WRITTEN"]);
    assert!(!output.stdout.contains("UNKNOWN"), "{output}");
}

#[test]
fn a_certificates_common_name_is_a_user_too() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(1);
    cluster.put_many(5, "/a/", 10);
    secure(&cluster);
    let remote = Remote::folder();
    let run = |name: &str| {
        let pair = cluster.pki().issue(name, Leaf::client(name));
        Run::job(&cluster, &remote).env("ETCDCTL_CERT", pair.cert).env("ETCDCTL_KEY", pair.key)
    };
    run("root").exits(0);
    for name in ["reader", "backup"] {
        let output = run(name).exits(9).says(&["permission denied", "role `root`", &cluster.endpoint(0)]);
        assert!(!output.stderr.contains("quorum"), "a denial says nothing of the quorum\n{output}");
    }
}
