//! The store: what of it is found wrong before the snapshot, under which name a backup is stored, and by what it is
//! confirmed.

use std::{fs, time::Duration};

use crate::support::{
    SOON,
    etcd::Cluster,
    http_proxy::{Action, HttpProxy},
    output::Output,
    proxy::Proxy,
    remote::Remote,
    run::{Job, Run},
    sample, sha256, tools,
};

/// A cluster that tells how much it has sent, with a database that would be noticed.
struct MeteredCluster(Cluster);

impl MeteredCluster {
    const SIZE: u64 = 2 << 20;

    fn start() -> Self {
        let cluster = Cluster::with(1).plain().proxied().start();
        cluster.put_many(20, "/a/", 100 << 10);
        Self(cluster)
    }

    /// A remote that is wrong fails within seconds, and no snapshot was begun.
    fn fails_before_the_snapshot(&self, run: Run, code: i32, words: &[&str]) -> Output {
        let before = self.0.proxy(0).passed();
        let output = run.etcd(&self.0).limit(SOON).exits(code);
        let sent = self.0.proxy(0).passed() - before;
        assert!(sent < Self::SIZE / 4, "etcd sent {sent} bytes\n{output}");
        output.says(words)
    }
}

#[test]
fn a_wrong_remote_is_found_before_the_snapshot() {
    needs!("etcd", "rclone", "weed");
    let etcd = MeteredCluster::start();
    let remote = Remote::seaweedfs();
    let job = || Run::new().arg("run").store(&remote);
    let secret = remote.secret().unwrap();
    let wrong = "wrongwrongwrongwrong";
    let run = job().env("RCLONE_CONFIG", remote.config_with(secret, wrong)).secret(wrong);
    etcd.fails_before_the_snapshot(run, 9, &["SignatureDoesNotMatch", "check the credentials"]);
    let text = fs::read_to_string(remote.config()).unwrap();
    let id = text.lines().find(|line| line.starts_with("access_key_id")).unwrap();
    let run = job().env("RCLONE_CONFIG", remote.config_with(id, "access_key_id = nobodynobody"));
    etcd.fails_before_the_snapshot(run, 9, &["InvalidAccessKeyId"]);
    let run = job().env("TARGET", "nosuch:bucket");
    etcd.fails_before_the_snapshot(run, 2, &["there is no section [nosuch]", "which has [store]"]);
    let (name, _) = remote.target().split_once(':').unwrap();
    let run = job().env("TARGET", format!("{name}:"));
    etcd.fails_before_the_snapshot(run, 2, &["names a whole remote", "bucket/path"]);
    let missing = format!("{name}:no-such-bucket/dir");
    etcd.fails_before_the_snapshot(job().env("TARGET", &missing), 2, &["there is no bucket at", "no-such-bucket"]);
    let there = remote.rclone_with(remote.config(), &["lsf", &missing]);
    assert!(!there.status.success(), "the bucket was made");
    // A folder that is not there yet is an empty one.
    let inside = format!("{}/new/folder", remote.target());
    job().etcd(&etcd.0).env("TARGET", &inside).success();
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn a_store_that_refuses_is_six() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let run = Run::new().arg("run").store(&remote).env("RCLONE_CONFIG", remote.config_by(1)).env("RETRY_FOR", "0s");
    MeteredCluster::start().fails_before_the_snapshot(run, 6, &["connection refused"]);
}

#[test]
#[ignore = "slow: make test-all"]
fn a_store_that_never_answers_is_six_within_a_minute() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::rclone_s3();
    let silent = Proxy::silent();
    let run =
        || Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(silent.port())).env("RETRY_FOR", "0s");
    run().limit(Duration::from_mins(1)).exits(6).says(&["no answer within 30 s"]);
    // Or at the deadline, if that is sooner.
    run().env("TIMEOUT", "3s").limit(Duration::from_secs(15)).exits(7).says(&["the deadline of 3s passed"]);
}

#[test]
fn a_clock_that_is_wrong_is_said() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let hooked = HttpProxy::to(remote.port(), |_| Action::Refuse(403, "RequestTimeTooSkewed"));
    let run = Run::new().arg("run").store(&remote).env("RCLONE_CONFIG", remote.config_by(hooked.port()));
    MeteredCluster::start().fails_before_the_snapshot(run, 9, &["this machine's clock differs from the store's"]);
}

#[test]
fn a_key_that_may_not_write_is_nine() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::small();
    let remote = Remote::seaweedfs();
    let readonly = remote.config_that_may(&["s3:GetObject", "s3:ListBucket"]);
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", readonly);
    run.exits(9).says(&["AccessDenied", "copyto", "may store new objects there"]);
    assert!(remote.names().is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_nine() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let chattr = |flag| tools::command("chattr").args([flag, remote.target()]).status().unwrap();
    assert!(chattr("+i").success());
    let output = Run::job(&cluster, &remote).spawn().wait(SOON);
    assert!(chattr("-i").success());
    output.assert().code(9);
    output.says(&["Operation not permitted", "may store new files there"]);
}

#[test]
fn nothing_is_overwritten() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    for remote in [Remote::rclone_s3(), Remote::folder()] {
        // Whatever minute it is when the job runs, its name is taken.
        let now = chrono::Utc::now();
        let minutes = [0, 1, 2].map(|m| (now + chrono::Duration::minutes(m)).format("%Y%m%d%H%M.etcdb").to_string());
        for name in &minutes {
            remote.put(name, sample::old());
        }
        let report = Run::job(&cluster, &remote).success();
        let name = report.text("name");
        assert_eq!(name.len(), "20261121010203.etcdb".len(), "{name}");
        for name in &minutes {
            assert_eq!(remote.read(name), sample::old());
        }
        assert_eq!(sha256(&remote.read(name)), report.text("sha256"));
    }
}

#[test]
fn jobs_at_once_each_store_their_own() {
    needs!("etcd", "rclone", "weed");
    // Each has something else to store: identical backups would be one and the same.
    let clusters = [Cluster::small(), Cluster::small(), Cluster::small()];
    let remote = Remote::seaweedfs();
    let jobs: Vec<Job> = clusters.iter().map(|cluster| Run::job(cluster, &remote).spawn()).collect();
    let outputs: Vec<_> = jobs.into_iter().map(|job| job.wait(SOON)).collect();
    let mut stored: Vec<_> = outputs
        .iter()
        .map(|output| {
            // Retention is held back, with reason: the newest backup is of another cluster.
            assert!(matches!(output.status.code(), Some(0 | 3)), "{output}");
            let report = output.report();
            assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
            report.text("name").to_owned()
        })
        .collect();
    stored.sort();
    assert_eq!(remote.names(), stored, "one object each");
}

#[test]
fn a_target_may_have_spaces_and_the_prefix_folders() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let run = || {
        let run = Run::job(&cluster, &remote).env("TARGET", format!("{}/my backups", remote.target()));
        run.env("BACKUP_PREFIX", "clusters/a b/prod-")
    };
    let report = run().success();
    assert!(report.text("name").starts_with("clusters/a b/prod-20"), "{report:?}");
    assert_eq!(remote.names(), [format!("my backups/{}", report.text("name"))]);
    let second = run().success();
    assert_eq!(second.value("kept").as_array().unwrap().len(), 2, "{second:?}");
}

#[test]
fn encrypted_backups_are_read_back() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    for remote in [Remote::rclone_s3().encrypted(true), Remote::folder().encrypted(true)] {
        // Directly below the remote, where no folder's name hides the files'.
        let job = || Run::job(&cluster, &remote).env("TARGET", "vault:");
        let output = job().exits(0);
        let report = output.report();
        let read = remote.rclone(&["cat", &format!("vault:{}", report.text("name"))]).stdout;
        assert_eq!(sha256(&read), report.text("sha256"));
        let raw = remote.raw_names();
        assert!(raw.len() == 3 && !raw.iter().any(|name| name.contains("etcd")), "a name is not sealed: {raw:?}");
        output.says(&["compared=its content, read back"]);
        // A password that does not fit what is there would make the next backup unreadable with the others.
        let wrong = remote.config_with_wrong_password();
        job().env("RCLONE_CONFIG", wrong).exits(9).says(&["the crypt remote's password is wrong"]);
        assert_eq!(remote.raw_names(), raw);
    }
}

#[test]
fn without_hashes_a_backup_is_read_back() {
    needs!("etcd", "rclone");
    let remote = Remote::webdav();
    let cluster = Cluster::small();
    let job = || Run::job(&cluster, &remote);
    let output = job().exits(0);
    let report = output.report();
    let names = remote.names();
    assert!(names.contains(&report.text("name").to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains(".part")), "a part was left: {names:?}");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
    output.says(&["compared=its content, read back"]);
    // Altered in the moment between the upload and the look at it, without a change of its size.
    let spoil = "#!/bin/bash
case \"$1\" in cat) for f in DATA/*.etcdb; do printf X | dd of=$f conv=notrunc bs=1 seek=9000 2>/dev/null; done;; esac
exec REAL \"$@\"\n";
    let spoil = spoil.replace("DATA", remote.on_disk("").to_str().unwrap());
    job().rclone_is(&spoil).exits(6).says(&["its content, read back, differs from what was sent", "is left as it is"]);
}
