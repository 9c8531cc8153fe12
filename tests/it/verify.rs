//! `verify`: a bad backup is found at once, and named.

use std::fs;

use serde_json::Value;

use crate::support::{etcd::Cluster, remote::Remote, run::Run, sample};

const A: &str = "p-202601010000.etcdb";
const B: &str = "p-202601020000.etcdb";
const C: &str = "p-202601030000.etcdb";

fn verify(remote: &Remote, args: &[&str]) -> Run {
    Run::new().arg("verify").args(args).store(remote).env("BACKUP_PREFIX", "p-")
}

/// Folders that are not there: whoever stages something fails. What says where is accepted, even if it is no path at all.
fn without_disk(run: Run) -> Run {
    run.args(["--work-dir", "/nonexistent"]).env("WORK_DIR", "").env("TMPDIR", "/nonexistent")
}

fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let lines = report.as_array().unwrap();
    lines.iter().map(|line| (line["name"].as_str().unwrap(), line["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_good_one_in_passing_and_in_depth() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let cluster = Cluster::single();
    cluster.put_many(50, "/registry/pods/", 1000);
    let job = Run::job(&cluster, &remote).env("BACKUP_PREFIX", "p-").success();
    let report = without_disk(verify(&remote, &[])).success();
    assert_eq!(report.keys(), ["backups", "bad", "good", "unread"]);
    let line = &report.value("backups")[0];
    let documented = "bytes deep error keys name revision sha256 sha256_noted verdict";
    assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), documented.split(' ').collect::<Vec<_>>());
    assert_eq!((&line["name"], &line["verdict"]), (job.value("name"), &"good".into()));
    assert_eq!((&line["sha256"], &line["sha256_noted"]), (job.value("sha256"), &true.into()));
    assert_eq!((&line["deep"], &line["revision"]), (&false.into(), &Value::Null));

    let deep = without_disk(verify(&remote, &["--latest", "--deep"])).success();
    let line = &deep.value("backups")[0];
    assert_eq!((&line["revision"], &line["keys"]), (job.value("revision"), job.value("keys")));
    let text = verify(&remote, &["--deep"]).env("OUTPUT", "text").exits(0).stdout;
    assert!(text.starts_with(&format!("good       {}\n", job.text("name"))), "{text}");
    assert!(text.contains("the same as when it was stored") && text.contains("every page: revision"), "{text}");
}

#[test]
fn each_kind_of_damage_is_found_without_a_disk() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let good = sample::snapshot();
    let remote = Remote::seaweedfs();
    let trailer_cut = &good[..good.len() - 32];
    for (bytes, why) in [
        (&*sample::damaged(), "sha-256 at its end does not match"),
        (&good[..good.len() / 2], "cannot be whole pages"),
        (trailer_cut, "cannot be whole pages"),
        (&good[..20 * 512 + 32], "sha-256 at its end does not match"),
        (b"<html>403</html>", "cannot be whole pages"),
        (b"", "it is empty"),
    ] {
        remote.put(A, bytes);
        without_disk(verify(&remote, &[A])).exits(5).says(&[A, why]);
        without_disk(verify(&remote, &[A, "--deep"])).exits(5).says(&[A, why]);
    }
}

#[test]
fn pages_that_only_the_walk_finds_wrong() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put(A, &sample::wiped());
    let passing = verify(&remote, &[]).env("OUTPUT", "text").exits(0).stdout;
    assert!(passing.contains("--deep also walks every page"), "{passing}");
    without_disk(verify(&remote, &["--deep"])).exits(5).says(&[A, "is not a valid snapshot: page "]);
}

#[test]
fn another_whole_snapshot_in_its_place_is_found() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let cluster = Cluster::single();
    cluster.put_many(1, "/registry/pods/", 10);
    let job = Run::job(&cluster, &remote).env("BACKUP_PREFIX", "p-").success();
    // The bytes of another good snapshot beside the record of this one.
    remote.put(job.text("name"), sample::snapshot());
    verify(&remote, &[]).exits(5).says(&[job.text("name"), "is not what was stored"]);
    verify(&remote, &["--deep"]).exits(5).says(&[job.text("name"), "is not what was stored"]);
}

#[test]
fn all_goes_on_after_a_bad_one() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put(A, sample::snapshot());
    remote.put(B, &sample::damaged());
    remote.put(C, sample::snapshot());
    let output = without_disk(verify(&remote, &["--all"])).exits(5).says(&["1 of 3", B]);
    let report = output.report();
    assert_eq!(verdicts(report.value("backups")), [(C, "good"), (B, "bad"), (A, "good")]);
    assert_eq!((report.number("good"), report.number("bad"), report.number("unread")), (2, 1, 0));
    let text = verify(&remote, &["--all", "--deep"]).env("OUTPUT", "text").exits(5).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("VERDICT") && lines[1].starts_with("good") && lines[3].starts_with("good"), "{text}");
    assert!(lines[2].starts_with("BAD") && lines[2].contains(B) && lines[2].contains("sha-256"), "{text}");

    remote.put(B, sample::snapshot());
    assert_eq!(verify(&remote, &["--all"]).success().number("good"), 3);
    let empty = Remote::folder();
    verify(&empty, &["--all"]).exits(2).says(&["no backups"]);
}

#[test]
fn a_local_file() {
    needs!("etcd", "etcdctl", "rclone");
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    fs::write(&good, sample::snapshot()).unwrap();
    fs::write(&bad, sample::damaged()).unwrap();
    let run = |path: &std::path::Path| Run::new().arg("verify").arg(path);
    run(&good).success();
    assert_eq!(run(&good).arg("--deep").success().value("backups")[0]["keys"], sample::KEYS);
    run(&bad).exits(5).says(&["bad is not a valid snapshot"]);
    run(&bad).arg("--deep").exits(5).says(&["bad is not a valid snapshot"]);
    run(folder.path()).exits(2).says(&["not a regular file"]);
}

#[test]
fn behind_crypt() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs().encrypted(true);
    remote.put(A, sample::snapshot());
    without_disk(verify(&remote, &[])).success();
    verify(&remote, &["--deep"]).success();
    let wrong = remote.config_with_wrong_password();
    // Nobody but the right password finds even the folder.
    verify(&remote, &[]).env("RCLONE_CONFIG", &wrong).exits(2).says(&["there are no backups"]);

    let [name] = &remote.raw_names()[..] else { panic!("one object") };
    let mut raw = remote.read_raw(name);
    let middle = raw.len() / 2;
    raw[middle] ^= 1;
    remote.put_raw(name, &raw);
    without_disk(verify(&remote, &[])).exits(5).says(&[A, "cannot be decrypted after byte", "it is damaged there"]);
    verify(&remote, &["--deep"]).exits(5).says(&[A, "cannot be decrypted after byte"]);
}

#[test]
fn a_wrong_crypt_password_is_not_called_damage() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder().encrypted(false);
    remote.put(A, sample::snapshot());
    remote.put(B, sample::snapshot());
    let wrong = remote.config_with_wrong_password();
    let said = ["cannot be decrypted at its very beginning", "password is wrong, or the object is damaged"];
    verify(&remote, &[]).env("RCLONE_CONFIG", &wrong).exits(9).says(&said);
    let all = verify(&remote, &["--all"]).env("RCLONE_CONFIG", &wrong).exits(9);
    assert_eq!(all.report().number("unread"), 2);
    // With the right password, the same words of one object of several mean damage.
    let name = remote.raw_names().into_iter().find(|name| name.contains(A)).unwrap();
    let mut raw = remote.read_raw(&name);
    raw[100] ^= 1;
    remote.put_raw(&name, &raw);
    let report = verify(&remote, &["--all"]).exits(5).report();
    assert_eq!(verdicts(report.value("backups")), [(B, "good"), (A, "bad")]);
}
