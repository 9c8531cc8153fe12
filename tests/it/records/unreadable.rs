//! Records that are lost, cut, sealed, or may not be read.

use super::*;

#[test]
fn a_lost_folder_makes_all_of_them_legacy_and_the_cluster_is_still_known() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let first = job(&cluster, &remote).success().text("name").to_owned();
    remote.rclone(&["purge", &format!("{}/.etcd-backup", remote.target())]);
    assert_eq!(class(&remote, &first), "legacy");
    let report = limited(&Cluster::kubernetes(TWO), &remote).exits(3).report();
    assert_eq!(reasons(&report), &json!(["another-cluster"]));
    assert_eq!(record(&remote, &first)["confirmed"], "read-back");
    assert_eq!(remote.record("p-.since.json")["names"], json!([first]));
}

#[test]
fn where_only_since_is_lost_the_oldest_record_is_the_border() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    remote.put_aged(SHELL[3], &save(&cluster), LONG_AGO);
    let own = job(&cluster, &remote).success().text("name").to_owned();
    remote.put_aged(SHELL[0], &save(&cluster), LONG_AGO);
    remote.delete(".etcd-backup/p-.since.json");
    remote.delete(&format!(".etcd-backup/{}.json", SHELL[3]));
    on(&remote, &["list"]).exits(0).says(&["were there first", "is gone"]);
    let older = name_at(Utc::now() + Duration::minutes(2));
    remote.put(&older, b"x");
    let classes: Vec<_> = classes(&remote).into_iter().map(|(_, class)| class).collect();
    assert_eq!(classes, ["unconfirmed", "good", "legacy", "legacy"]);
    let report = job(&cluster, &remote).success();
    assert_eq!(record(&remote, report.text("name"))["compared"]["with"], json!(own));
}

/// The record of a backup is there, and cannot be read.
fn unreadable_record(remote: &Remote, spoil: fn(&Remote, &str)) {
    let cluster = Cluster::kubernetes(ONE);
    let first = job(&cluster, remote).success().text("name").to_owned();
    let first = remote.backdate(&first, 2);
    let second = job(&cluster, remote).success().text("name").to_owned();
    let second = remote.backdate(&second, 1);
    spoil(remote, &format!(".etcd-backup/{second}.json"));
    assert_eq!(class(remote, &second), "unknown");
    let (found, output) = latest(remote);
    assert_eq!(found, first);
    output.says(&[&format!("a file that says what {second} is worth cannot be read"), "a newer backup is unknown"]);
    on(remote, &["verify", &second]).exits(0);
    // It may be the one that says that something is wrong.
    let prune = || on(remote, &["prune"]).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1");
    let report = prune().exits(3).report();
    assert_eq!(held_by(&report), [second.as_str()]);
    // A younger good one ends that.
    let report = limited(&cluster, remote).success();
    assert_eq!(record(remote, report.text("name"))["compared"]["with"], json!(first));
    assert_eq!(remote.names(), [report.text("name")], "it went as a doubtful one, older than the one that stays");
}

#[test]
fn a_record_that_was_cut_off_holds_and_does_not_spoil_the_next() {
    needs!("etcd", "etcdctl", "rclone");
    unreadable_record(&Remote::folder(), |remote, file| {
        let text = remote.read(file);
        remote.delete(file);
        remote.put(file, &text[..text.len() / 2]);
    });
}

#[test]
fn a_record_that_cannot_be_decrypted_holds() {
    needs!("etcd", "etcdctl", "rclone");
    unreadable_record(&Remote::folder().encrypted(true), |remote, file| {
        let name = remote.raw_name(file);
        remote.flip_raw(&name, 60..61);
    });
}

#[test]
fn a_record_of_a_later_version_is_not_guessed_at() {
    needs!("etcd", "etcdctl", "rclone");
    unreadable_record(&Remote::folder(), |remote, file| {
        let text = String::from_utf8(remote.read(file)).unwrap();
        remote.delete(file);
        remote.put(file, text.replace("\"schema\":1", "\"schema\":2").as_bytes());
    });
}

#[test]
fn an_unreadable_record_is_replaced_by_a_persons_word_on_a_proved_backup() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    job(&cluster, &remote).success();
    let [cut, damaged] = [(); 2].map(|()| {
        let name = job(&cluster, &remote).success().text("name").to_owned();
        let file = format!(".etcd-backup/{name}.json");
        remote.delete(&file);
        remote.put(&file, b"{");
        name
    });
    remote.delete(&damaged);
    remote.put(&damaged, &sample::damaged());
    ruling(&remote, "accept", &damaged).exits(5).says(&[&damaged, "sha-256"]);
    assert_eq!(class(&remote, &damaged), "unknown");
    let report = ruling(&remote, "accept", &cut).success();
    assert_eq!(report.value("covers"), &json!([cut]));
    assert_eq!(class(&remote, &cut), "good");
    // What was found is beside it, so nothing has to be read back to compare with it.
    let note = remote.records().into_iter().find(|file| file.ends_with(".accepted.json")).unwrap();
    assert_eq!(remote.record(&note)["facts"]["kube_system"]["uid"], ONE);
    assert_eq!(report.value("holds")[0]["name"], json!(damaged));
    let report = ruling(&remote, "dismiss", &damaged).success();
    assert_eq!(report.value("holds"), &json!([]));
    let report = job(&cluster, &remote).success();
    assert_eq!(record(&remote, report.text("name"))["compared"]["with"], json!(cut));
}

#[test]
fn full_names_work_when_no_record_can_be_read() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let name = job(&cluster, &remote).success().text("name").to_owned();
    let script = "#!/bin/sh\nfor last; do :; done\ncase \"$last\" in *.etcd-backup*) echo refused >&2; exit 1;; esac\nexec REAL \"$@\"\n";
    let blind = |args: &[&str]| on(&remote, args).rclone_is(script);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    blind(&["fetch", &name]).arg(&file).exits(0).says(&["no record was read"]);
    assert_eq!(std::fs::read(&file).unwrap(), remote.read(&name));
    blind(&["verify", &name]).success();
    blind(&["inspect", &name]).success();
    blind(&["restore", &name, "--etcd-file=", "--name=m0", "--initial-cluster=m0=http://127.0.0.1:2380", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--initial-advertise-peer-urls=http://127.0.0.1:2380"])
        .exits(0);
    // What has to know the classes does not guess.
    for args in [&["verify"][..], &["list"], &["verify", &name[..14]], &["prune"]] {
        blind(args).exits(6);
    }
    assert_eq!(blind(&["list", "--quick"]).success().value("backups")[0]["name"], json!(name));
    // That is found before the snapshot.
    let output = job(&cluster, &remote).rclone_is(script).exits(6);
    assert!(output.report().value("seconds")["snapshot"].is_null(), "{output}");
    assert_eq!(remote.names(), [name]);
}

#[test]
fn a_store_that_only_appends_is_enough() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let config = remote.config_that_may(&["s3:GetObject", "s3:PutObject", "s3:ListBucket"]);
    let cluster = Cluster::kubernetes(ONE);
    let by = |run: Run| run.env("RCLONE_CONFIG", &config);
    by(job(&cluster, &remote)).success();
    by(job(&cluster, &remote)).success();
    let stray = by(job(&Cluster::kubernetes(TWO), &remote)).exits(3).report().text("name").to_owned();
    by(ruling(&remote, "dismiss", &stray)).success();
    by(job(&cluster, &remote)).success();
    let report = by(limited(&cluster, &remote)).exits(3).report();
    assert_eq!(report.value("failed").as_array().unwrap().len(), 4, "{report:?}");
    assert_eq!(remote.names().len(), 5);
}

#[test]
fn a_record_without_the_right_to_read_it_is_unknown() {
    needs!("etcd", "etcdctl", "rclone", "setpriv");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let name = job(&cluster, &remote).success().text("name").to_owned();
    let chmod = |mode: &str, path: &Path| {
        assert!(Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap().success());
    };
    chmod("a+rwX", Path::new(remote.target()).parent().unwrap());
    chmod("0000", &remote.on_disk(&format!(".etcd-backup/{name}.json")));
    let list = on(&remote, &["list"]);
    chmod("a+rwX", list.work_dir().parent().unwrap());
    // Root may read everything.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let list = if rustix::process::geteuid().is_root() { list.through(nobody) } else { list };
    assert_eq!(list.success().value("backups")[0]["doubt"], "unknown");
}
