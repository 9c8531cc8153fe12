//! `list`: what is stored, and nothing else.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    etcd::Cluster,
    http_proxy::{Action, HttpProxy},
    remote::Remote,
    run::Run,
};

fn list(remote: &Remote) -> Run {
    Run::new().arg("list").store(remote).env("BACKUP_PREFIX", "p-")
}

fn names(report: &Value) -> Vec<&str> {
    report.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap()).collect()
}

#[test]
fn a_stored_backup_in_every_column() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let cluster = Cluster::single();
    cluster.put_many(7, "/registry/pods/", 100);
    let job = Run::job(&cluster, &remote).env("BACKUP_PREFIX", "p-").success();
    remote.put("p-202001020304.etcdb", b"by others, without a record");
    remote.put("p-notes.etcdb", b"foreign");
    remote.put("below/p-202001020305.etcdb", b"in another folder");

    let report = list(&remote).success();
    assert_eq!(report.keys(), ["backups", "foreign", "prefix", "target"]);
    assert_eq!((report.text("target"), report.text("prefix")), (remote.target(), "p-"));
    assert_eq!(report.number("foreign"), 1);
    let backups = report.value("backups");
    assert_eq!(names(backups), [job.text("name"), "p-202001020304.etcdb"]);

    let (ours, others) = (&backups[0], &backups[1]);
    let fields: Vec<_> = ours.as_object().unwrap().keys().collect();
    let documented =
        "age_seconds bytes class degraded doubt etcd_version keys name revision sha256 stored_bytes taken_at why";
    assert_eq!(fields, documented.split(' ').collect::<Vec<_>>());
    for field in ["bytes", "sha256", "revision", "keys", "etcd_version"] {
        assert_eq!(&ours[field], job.value(field), "{field}");
    }
    assert_eq!((&ours["degraded"], &ours["class"]), (&json!(false), &json!("good")));
    assert_eq!((&ours["doubt"], &ours["why"]), (&Value::Null, &Value::Null));
    let age = ours["age_seconds"].as_i64().unwrap();
    assert!((0..180).contains(&age), "{age}");
    assert_eq!(others["taken_at"], "2020-01-02T03:04:00Z");
    assert_eq!((&others["bytes"], &others["stored_bytes"]), (&27.into(), &27.into()));
    assert_eq!(others["class"], "unconfirmed");
    assert_eq!(others["why"], "it has no record, so it was never confirmed");
    for field in ["sha256", "revision", "keys", "etcd_version", "degraded", "doubt"] {
        assert_eq!(others[field], Value::Null, "{field}");
    }

    let text = list(&remote).env("OUTPUT", "text").exits(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns(lines[0]), ["NAME", "AGE", "SIZE", "REVISION", "KEYS", "ETCD", "CLASS"]);
    let version = job.text("etcd_version");
    assert!(lines[1].contains(" s ago ") || lines[1].contains(" min ago "), "{text}");
    assert!(columns(lines[1]).ends_with(&["7".into(), version.into(), "good".into()]), "{text}");
    assert!(columns(lines[2]).ends_with(&[
        "27".into(),
        "B".into(),
        "–".into(),
        "–".into(),
        "–".into(),
        "unconfirmed".into()
    ]));
    assert_eq!(lines[3], format!("2 backups in {}, and 1 other file", remote.target()));

    let quick = list(&remote).arg("--quick").success();
    assert_eq!(names(quick.value("backups")), names(backups));
    for unknown in ["revision", "class", "doubt", "why"] {
        assert_eq!(quick.value("backups")[0][unknown], Value::Null, "{unknown}");
    }
    assert_eq!(quick.value("backups")[0]["bytes"], ours["bytes"]);
}

#[test]
fn the_order_is_that_of_the_names_times() {
    needs!("rclone");
    let remote = Remote::folder();
    // The newest by name is the oldest by the file's own time.
    remote.put_aged("p-299912312359.etcdb", b"future", Duration::from_hours(1000));
    for name in ["p-202601010000.etcdb", "p-20260101000030.etcdb", "p-202512312359.etcdb"] {
        remote.put(name, b"x");
    }
    let report = list(&remote).success();
    let expected = ["p-299912312359.etcdb", "p-20260101000030.etcdb", "p-202601010000.etcdb", "p-202512312359.etcdb"];
    assert_eq!(names(report.value("backups")), expected);
    assert!(report.value("backups")[0]["age_seconds"].as_i64().unwrap() < 0);
    let text = list(&remote).env("OUTPUT", "text").exits(0).stdout;
    assert!(text.lines().nth(1).unwrap().contains(" in "), "{text}");
}

#[test]
fn an_empty_folder_is_no_error_and_a_missing_bucket_is() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs();
    let report = list(&remote).success();
    assert_eq!(names(report.value("backups")), [""; 0]);
    let text = list(&remote).env("OUTPUT", "text").exits(0).stdout;
    assert_eq!(text, format!("no backups of prefix `p-` in {}\n", remote.target()));
    list(&remote).env("TARGET", "store:missing").exits(2).says(&["no bucket at store:missing"]);
}

#[rstest]
#[case::a_directory(Remote::folder)]
#[case::s3(Remote::rclone_s3)]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::webdav(Remote::webdav)]
#[case::sftp(Remote::sftp)]
#[case::crypt(|| Remote::sftp().encrypted(true))]
fn a_folder_that_is_empty_or_not_there_has_no_backups(#[case] remote: fn() -> Remote) {
    needs!("rclone", "weed");
    let remote = remote();
    for folder in ["", "/none", "/none/below"] {
        let target = format!("{}{folder}", remote.target());
        let output = list(&remote).env("TARGET", &target).env("BACKUP_PREFIX", "").env("OUTPUT", "text").exits(0);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (&*format!("no backups in {target}\n"), ""));
    }
}

#[test]
fn our_own_files_are_not_foreign() {
    needs!("rclone");
    let remote = Remote::folder();
    for own in
        [".etcd-backup.json", ".etcd-backup/p-.handover", ".etcd-backup/parts/p-202601010000.etcdb.01234567.part"]
    {
        remote.put(own, b"{}");
    }
    remote.put(".etcd-backup-x1y2z3/snapshot-0.part", b"of a run that was killed");
    remote.put("notes.txt", b"foreign");
    assert_eq!(list(&remote).success().number("foreign"), 1);
    // A backup whose prefix is like the folder's name is a backup, and the rest is counted as ever.
    remote.put(".etcd-backup-202601010000.etcdb", b"a backup");
    let report = list(&remote).env("BACKUP_PREFIX", ".etcd-backup-").success();
    assert_eq!((report.value("backups").as_array().unwrap().len(), report.number("foreign")), (1, 1));
}

#[test]
fn a_name_of_the_future_may_be_one_of_another_time_zone() {
    needs!("rclone");
    let remote = Remote::folder();
    let soon = chrono::Utc::now() + chrono::Duration::hours(2);
    remote.put(&format!("p-{}.etcdb", soon.format("%Y%m%d%H%M")), b"named in a zone to the east");
    let prune = Run::new().args(["prune", "--retention=10d"]).store(&remote).env("BACKUP_PREFIX", "p-").exits(3);
    let report = prune.says(&["is dated in the future, "]).report();
    for words in ["by its name", "a clock is or was wrong, or the time zone TZ"] {
        assert!(report.text("held_back").contains(words), "{report:?}");
    }
    let why = list(&remote).success();
    assert!(why.value("backups")[0]["why"].is_string(), "{why:?}");
}

#[test]
fn behind_crypt() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs().encrypted(true);
    remote.put("p-202601010000.etcdb", b"x");
    assert_eq!(names(list(&remote).success().value("backups")), ["p-202601010000.etcdb"]);
    // Of the encrypted name of a folder nobody knows what it is; that of a file may be a backup's.
    let wrong = remote.config_with_wrong_password();
    let root = || list(&remote).env("TARGET", "vault:");
    assert_eq!(names(root().env("RCLONE_CONFIG", &wrong).success().value("backups")), [""; 0]);
    remote.rclone(&["copyto", "vault:backups/p-202601010000.etcdb", "vault:p-202601010000.etcdb"]);
    root().success();
    root().env("RCLONE_CONFIG", &wrong).exits(9).says(&["none of the 1 names", "password is wrong"]);
}

/// One after another, these answers would take fifteen seconds.
#[test]
fn records_are_read_at_once_where_each_takes_its_time() {
    needs!("rclone");
    let (remote, folder) = (Remote::rclone_s3(), tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join(".etcd-backup")).unwrap();
    let name = |n: u32| format!("p-2026010203{:02}{:02}.etcdb", n / 60, n % 60);
    for n in 0..300 {
        fs::write(folder.path().join(name(n)), "x").unwrap();
        let record = serde_json::json!({
            "schema": 1, "of": "backup", "name": name(n), "prefix": "p-", "verdict": { "is": "good" },
            "compared": null, "confirmed": "read-back", "tool": "0.1.0",
        });
        fs::write(folder.path().join(format!(".etcd-backup/{}.json", name(n))), format!("{record}\n")).unwrap();
    }
    remote.rclone(&["copy", "--transfers=16", folder.path().to_str().unwrap(), remote.target()]);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let proxy = HttpProxy::to(remote.port(), move |request| {
        if request.is_list() || !request.path.contains(".json") {
            return Action::Forward;
        }
        counted.fetch_add(1, SeqCst);
        Action::Delay(Duration::from_millis(50))
    });
    let run = Run::new().arg("list").store(&remote).env("BACKUP_PREFIX", "p-");
    let output = run.env("RCLONE_CONFIG", remote.config_by(proxy.port())).exits(0);
    println!("{} requests in {:?}", asked.load(SeqCst), output.took);
    assert_eq!(asked.load(SeqCst), 300, "each record is asked for once");
    let report = output.report();
    let listed = report.value("backups").as_array().unwrap();
    assert_eq!(listed.iter().filter(|backup| backup["class"] == "good").count(), 300, "{output}");
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
}

/// In the packages, the temporary directory is a small one in memory.
#[rstest]
#[case::in_batches(2048)]
#[case::one_after_another(256)]
#[ignore = "slow: make test-all"]
fn many_records_are_read_with_little_room(#[case] kib: u32) {
    needs!("rclone", "unshare");
    let remote = Remote::sftp();
    fs::create_dir_all(remote.on_disk(".etcd-backup")).unwrap();
    let note = |n: u32, more: &str| {
        let name = format!("p-2020010{}{:02}{:02}.etcdb", n / 360 + 1, n / 60 % 6, n % 60);
        let note = json!({
            "schema": 1, "of": "dismissed", "name": name, "prefix": "p-", "at": "2026-01-01T00:00:00Z", "by": more,
            "covers": [name],
        });
        fs::write(remote.on_disk(&name), "x").unwrap();
        let file = format!(".etcd-backup/{name}.20260101T000000Z.dismissed.json");
        fs::write(remote.on_disk(&file), note.to_string() + "\n").unwrap();
    };
    (0..600).for_each(|n| note(n, "tester"));
    note(600, &"x".repeat(2 << 20));
    let script = format!(
        r#"mount -t tmpfs -o size={kib}k tmpfs "$TMPDIR" || exit 99; "$@"; code=$?; ls -A "$TMPDIR"; exit $code"#
    );
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let argv = [&["unshare"], user, &["--mount", "sh", "-c", &script, "sh"]].concat();
    let output = list(&remote).through(argv).exits(0);
    assert!(output.stderr.contains("dismissed.json is not read: it has 2097"), "{output}");
    let report = output.report();
    let why: Vec<_> = report.value("backups").as_array().unwrap().iter().map(|backup| &backup["why"]).collect();
    assert_eq!((why.len(), why[0]), (601, &json!("its record cannot be read")));
    assert!(why[1..].iter().all(|why| *why == "it was dismissed"), "{why:?}");
}
