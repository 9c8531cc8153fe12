//! What a first run finds and writes, also when it is killed half-way.

use super::*;

/// A bucket full of the shell packages' backups: all count, and the newest tells what the cluster was.
fn first_run(remote: &Remote) {
    let cluster = Cluster::kubernetes(ONE);
    let old = save(&cluster);
    for name in SHELL {
        remote.put_aged(name, &old, LONG_AGO);
    }
    cluster.put_many(1, "/new/", 10);
    let report = job(&cluster, remote).success();
    let own = report.text("name");
    let mut names = SHELL.to_vec();
    names.sort_unstable();
    assert_eq!(remote.record("p-.since.json")["names"], json!(names));
    assert_eq!(record(remote, own)["compared"], json!({ "with": SHELL[0], "by": "kube-system-uid" }));
    let newest = record(remote, SHELL[0]);
    assert_eq!((&newest["verdict"], &newest["confirmed"]), (&json!({ "is": "good" }), &json!("read-back")));
    assert_eq!(
        (&newest["taken_at"], &newest["sha256"]),
        (&json!("2026-01-04T00:00:00Z"), &json!(crate::support::sha256(&old)))
    );
    let [_, legacy @ ..] = SHELL;
    let expected = [(own, "good"), (SHELL[0], "good")].into_iter().chain(legacy.map(|name| (name, "legacy")));
    let expected: Vec<_> = expected.map(|(name, class)| (name.to_owned(), class.to_owned())).collect();
    assert_eq!(classes(remote), expected);

    // Another cluster is known by the records alone.
    let other = Cluster::kubernetes(TWO);
    let report = limited(&other, remote).exits(3).report();
    assert_eq!(reasons(&report), &json!(["another-cluster"]));
    ruling(remote, "dismiss", report.text("name")).success();
    // They go like any others, and so do their records.
    let report = limited(&cluster, remote).success();
    assert_eq!(remote.names(), [report.text("name")]);
    assert_eq!(remote.records(), ["p-.since.json".to_owned(), format!("{}.json", report.text("name"))]);
}

#[test]
fn a_first_run_knows_the_shells_backups() {
    needs!("etcd", "etcdctl", "rclone");
    first_run(&Remote::folder());
}

#[rstest]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::webdav(Remote::webdav)]
#[case::sftp(Remote::sftp)]
#[case::crypt(|| Remote::seaweedfs().encrypted(true))]
#[ignore = "slow: make test-all"]
fn a_first_run_on_other_stores(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    first_run(&remote());
}

#[test]
fn another_cluster_is_noticed_on_the_first_night() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put_aged(SHELL[0], &save(&Cluster::kubernetes(ONE)), LONG_AGO);
    let report = limited(&Cluster::kubernetes(TWO), &remote).exits(3).report();
    assert_eq!(reasons(&report), &json!(["another-cluster"]));
    assert_eq!(remote.names().len(), 2);
}

#[test]
fn a_damaged_backup_is_passed_over_for_the_one_before() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    remote.put_aged(SHELL[0], &sample::damaged(), LONG_AGO);
    remote.put_aged(SHELL[1], &save(&cluster), LONG_AGO);
    remote.put_aged(SHELL[2], b"never read", LONG_AGO);
    let report = job(&cluster, &remote).env("RETENTION", "10d").env("KEEP_LAST", "2").success();
    assert_eq!(record(&remote, report.text("name"))["compared"]["with"], SHELL[1]);
    // It fills no place, so a good one stays in its stead.
    assert_eq!(remote.names(), [SHELL[1], report.text("name")]);
}

#[test]
fn what_was_before_cannot_be_read() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    for name in SHELL {
        remote.put_aged(name, &sample::damaged(), LONG_AGO);
    }
    let output = limited(&cluster, &remote).exits(3);
    let report = output.report();
    assert_eq!(reasons(&report), &json!(["unreadable-before"]));
    assert!(report.text("held_back").contains("what was before cannot be read"), "{report:?}");
    let (first, kinds) = (report.text("name").to_owned(), classes(&remote));
    let kinds: Vec<_> = kinds.iter().map(|(_, class)| class.as_str()).collect();
    assert_eq!(kinds, ["suspicious", "damaged", "damaged", "damaged", "legacy"], "three are tried, and no more");

    // It stays so, also when none is left to try.
    for _ in 0..2 {
        let report = limited(&cluster, &remote).exits(3).report();
        assert_eq!(reasons(&report), &json!(["unreadable-before"]));
    }
    assert_eq!(remote.names().len(), 7);
    let covers = ruling(&remote, "accept", &first).success();
    assert_eq!(covers.value("covers").as_array().unwrap().len(), 3);
    let report = limited(&cluster, &remote).success();
    assert_eq!(remote.names(), [report.text("name")]);
}

/// A first run is killed before its Nth call of rclone, and the next one has to do; false if there were fewer calls.
fn killed(remote: &Remote, call: usize) -> bool {
    let cluster = Cluster::kubernetes(ONE);
    let old = save(&cluster);
    for name in &SHELL[..2] {
        remote.put_aged(name, &old, LONG_AGO);
    }
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let calls = calls.display();
    let script = format!(
        "#!/bin/sh\necho x >>{calls}\nif [ $(wc -l <{calls}) -ge {call} ]; then kill -9 $PPID; sleep 1; exit 1; fi\nexec REAL \"$@\"\n"
    );
    limited(&cluster, remote).rclone_is(&script).spawn().await_any_end(SOON);
    let was_killed = std::fs::read_to_string(folder.path().join("calls")).unwrap().lines().count() >= call;
    if !was_killed {
        return false;
    }

    let standing = remote.names();
    let unconfirmed: Vec<_> = classes(remote).into_iter().filter(|(_, class)| class == "unconfirmed").collect();
    assert!(standing.len() - unconfirmed.len() >= 1, "{call}: {standing:?}");
    let output = limited(&cluster, remote).exits(0);
    let report = output.report();
    assert_eq!(report.value("verdict"), &json!({ "is": "good" }), "{call}: {output}");
    assert!(!standing.contains(&report.text("name").to_owned()), "{call}: a name is never given twice");
    let compared = &record(remote, report.text("name"))["compared"]["with"];
    assert!(compared.as_str().is_some_and(|with| unconfirmed.iter().all(|(name, _)| name != with)), "{call}: {output}");
    // The unconfirmed one is younger than the good one that stays at most by a second; then it stays, too.
    assert!(remote.names().contains(&report.text("name").to_owned()), "{call}");
    assert_eq!(class(remote, report.text("name")), "good");
    assert!(!classes(remote).iter().any(|(_, class)| class == "legacy"), "{call}: {output}");
    true
}

#[rstest]
#[case::folder(Remote::folder, 8)]
#[case::s3(Remote::rclone_s3, 8)]
#[case::webdav(Remote::webdav, 12)]
#[ignore = "slow: make test-all"]
fn a_first_run_killed_at_any_call_costs_nothing(#[case] remote: fn() -> Remote, #[case] at_least: usize) {
    needs!("etcd", "etcdctl", "rclone");
    let calls = (1..60).take_while(|call| killed(&remote(), *call)).count();
    assert!(calls >= at_least, "{calls}");
}

#[test]
fn killed_before_its_record_it_is_unconfirmed() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    // rclone hashes the finished upload to confirm it.
    let script = "#!/bin/sh\ncase \"$*\" in *--hash-type*) kill -9 $PPID; sleep 1; exit 1;; esac\nexec REAL \"$@\"\n";
    job(&cluster, &remote).rclone_is(script).spawn().await_any_end(SOON);
    let [unconfirmed] = &remote.names()[..] else { panic!("{:?}", remote.names()) };
    assert_eq!(remote.records(), ["p-.since.json"]);
    assert_eq!(class(&remote, unconfirmed), "unconfirmed");
    on(&remote, &["verify"]).exits(2).says(&["none of the 1 backups counts as good", "unconfirmed", "full name"]);
    on(&remote, &["verify", unconfirmed]).exits(0).says(&["unconfirmed"]);
    // It is all that tells what the cluster was, so it is compared with, and stays.
    let report = job(&cluster, &remote).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1").success();
    assert_eq!(record(&remote, report.text("name"))["compared"]["with"], json!(unconfirmed));
    assert_eq!(remote.names(), [unconfirmed.as_str(), report.text("name")]);
    assert_eq!(class(&remote, unconfirmed), "unconfirmed");
}

#[test]
fn a_damaged_upload_without_a_record_is_not_latest_and_displaces_nothing() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let good = job(&cluster, &remote).success().text("name").to_owned();
    let good = remote.backdate(&good, 20);
    let damaged = name_at(Utc::now() - Duration::days(1));
    remote.put(&damaged, &sample::damaged());
    let (found, output) = latest(&remote);
    assert_eq!(found, good);
    output.says(&["a newer backup is unconfirmed", &damaged, "full name"]);
    let fetched = tempfile::tempdir().unwrap();
    let file = fetched.path().join("file");
    on(&remote, &["fetch", "latest"]).arg(&file).success();
    assert_eq!(std::fs::read(&file).unwrap(), remote.read(&good));
    on(&remote, &["verify", &damaged]).exits(5).says(&[&damaged]);

    // One good one is kept always, whatever its age, and the damaged one is not it.
    let prune = on(&remote, &["prune"]).env("RETENTION", "10d").env("KEEP_LAST", "1");
    assert_eq!(prune.success().value("removed"), &json!([]));
    assert_eq!(remote.names(), [good, damaged]);
}
