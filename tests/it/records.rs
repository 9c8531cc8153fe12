//! The folder of the records: what a first run finds and writes, what is lost or damaged there, and what a person says.

use std::{path::Path, process::Command};

use chrono::{DateTime, Duration, Utc};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    LONG_AGO, SOON,
    etcd::Cluster,
    kubernetes::save,
    output::{Output, Report},
    remote::Remote,
    run::Run,
    sample,
};

const ONE: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const TWO: &str = "22222222-aaaa-4bbb-8ccc-000000000002";

/// Backups of the shell packages, the newest first.
const SHELL: [&str; 4] =
    ["p-202601040000.etcdb", "p-202601030000.etcdb", "p-202601020000.etcdb", "p-202601010000.etcdb"];

fn at(run: Run) -> Run {
    run.env("BACKUP_PREFIX", "p-")
}

fn job(cluster: &Cluster, remote: &Remote) -> Run {
    at(Run::job(cluster, remote))
}

/// A job with limits that leave one backup.
fn limited(cluster: &Cluster, remote: &Remote) -> Run {
    job(cluster, remote).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
}

fn on(remote: &Remote, args: &[&str]) -> Run {
    at(Run::new().args(args).store(remote))
}

fn ruling(remote: &Remote, word: &str, name: &str) -> Run {
    on(remote, &[word, name, "--by", "alice"])
}

/// The name of a backup that is taken at this time, in UTC.
fn name_at(at: DateTime<Utc>) -> String {
    format!("p-{}.etcdb", at.format("%Y%m%d%H%M"))
}

/// The class, or the doubt, of each backup.
fn classes(remote: &Remote) -> Vec<(String, String)> {
    let report = on(remote, &["list"]).success();
    let class = |line: &Value| {
        let word = line["doubt"].as_str().or(line["class"].as_str()).unwrap();
        (line["name"].as_str().unwrap().to_owned(), word.to_owned())
    };
    report.value("backups").as_array().unwrap().iter().map(class).collect()
}

fn class(remote: &Remote, name: &str) -> String {
    classes(remote).into_iter().find(|(listed, _)| listed == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn record(remote: &Remote, name: &str) -> Value {
    remote.record(&format!("{name}.json"))
}

fn reasons(report: &Report) -> &Value {
    &report.value("verdict")["reasons"]
}

fn held_by(report: &Report) -> Vec<&str> {
    let holds = report.value("holds").as_array().unwrap();
    holds.iter().map(|hold| hold["name"].as_str().unwrap()).collect()
}

fn latest(remote: &Remote) -> (String, Output) {
    let output = on(remote, &["verify"]).exits(0);
    (output.report().value("backups")[0]["name"].as_str().unwrap().to_owned(), output)
}

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
    blind(&["restore", &name, "--name=m0", "--initial-cluster=m0=http://127.0.0.1:2380", "--data-dir"])
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
fn two_first_runs_at_once_agree() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    remote.put_aged(SHELL[0], &save(&cluster), LONG_AGO);
    // One cluster's state in three files of different bytes.
    let (second, third) = (Cluster::kubernetes(ONE), Cluster::kubernetes(ONE));
    let jobs = [&cluster, &second, &third].map(|cluster| job(cluster, &remote).spawn());
    let mut names = jobs.map(|job| job.wait(SOON * 2).report().text("name").to_owned()).to_vec();
    names.push(SHELL[0].to_owned());
    names.sort();
    assert_eq!(remote.names(), names);
    assert!(classes(&remote).iter().all(|(_, class)| class == "good"), "{:?}", classes(&remote));
    assert_eq!(remote.record("p-.since.json")["names"], json!([SHELL[0]]));
}

/// Runs that send the same bytes may find each other's backup where theirs was to be.
#[test]
fn runs_of_the_same_bytes_at_once_doubt_none_of_them() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let jobs = [(); 4].map(|()| {
        std::thread::sleep(std::time::Duration::from_millis(350));
        job(&cluster, &remote).spawn()
    });
    for job in jobs {
        let output = job.wait(SOON * 2);
        output.assert().code(0);
    }
    assert!(classes(&remote).iter().all(|(_, class)| class == "good"), "{:?}", classes(&remote));
}

#[test]
fn prefixes_that_share_a_folder_know_nothing_of_each_other() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let (one, two) = (Cluster::kubernetes(ONE), Cluster::kubernetes(TWO));
    let with = |run: Run, prefix: &str| run.env("BACKUP_PREFIX", prefix);
    let night = |cluster: &Cluster, prefix: &str| with(limited(cluster, &remote), prefix).success();
    for _ in 0..2 {
        for (cluster, prefix) in [(&one, ""), (&two, "p-"), (&one, "p")] {
            night(cluster, prefix);
        }
    }
    let stray = with(limited(&one, &remote), "p-").exits(3).report();
    let file = format!(".etcd-backup/{}.json", stray.text("name"));
    remote.delete(&file);
    remote.put(&file, b"{");
    assert_eq!(with(limited(&two, &remote), "p-").exits(0).report().list("failed").len(), 0);
    night(&one, "");
    night(&one, "p");
    for (prefix, count) in [("", 1), ("p", 1), ("p-", 1)] {
        let report = with(Run::new().arg("list").store(&remote), prefix).success();
        let classes: Vec<_> = report.value("backups").as_array().unwrap().iter().map(|b| &b["class"]).collect();
        assert_eq!(classes, vec!["good"; count], "{prefix:?}");
    }
    let since: Vec<_> = remote.records().into_iter().filter(|file| file.ends_with("since.json")).collect();
    assert_eq!(since, [".since.json", "p-.since.json", "p.since.json"]);
}

#[test]
fn a_future_date_holds_until_somebody_decides() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let content = save(&cluster);
    let good = job(&cluster, &remote).success().text("name").to_owned();
    let [future, further] = [30, 60].map(|days| {
        let name = job(&cluster, &remote).success().text("name").to_owned();
        let file = format!(".etcd-backup/{name}.json");
        let mut line = remote.record(&format!("{name}.json"));
        let at = Utc::now() + Duration::days(days);
        let later = name_at(at);
        line["name"] = json!(later);
        line["taken_at"] = json!(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        remote.put(&later, &content);
        remote.put(&format!(".etcd-backup/{later}.json"), format!("{line}\n").as_bytes());
        remote.delete(&name);
        remote.delete(&file);
        later
    });
    let (found, output) = latest(&remote);
    assert_eq!(found, good);
    output.says(&["a newer backup is dated in the future", &future, &further]);
    on(&remote, &["verify", &future]).exits(5);
    let report = limited(&cluster, &remote).exits(3).report();
    assert_eq!(held_by(&report), [further.as_str(), future.as_str()]);
    assert_eq!(report.value("verdict"), &json!({ "is": "good" }));
    assert!(report.text("held_back").contains("dated in the future"), "{report:?}");
    let prune = || on(&remote, &["prune"]).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1");
    prune().exits(3);
    ruling(&remote, "accept", &future).success();
    assert_eq!(held_by(&prune().exits(3).report()), [further.as_str()]);
    ruling(&remote, "dismiss", &further).success();
    prune().success();
    // Accepted or not, they are not the newest, and stay until their day.
    assert_eq!(latest(&remote).0, report.text("name"));
    let mut expected = vec![report.text("name").to_owned(), future, further];
    expected.sort();
    assert_eq!(remote.names(), expected);
}

#[test]
fn clocks_may_differ_a_little_and_shell_names_may_be_of_the_future() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let soon = name_at(Utc::now() + Duration::minutes(5));
    remote.put(&soon, &save(&cluster));
    let report = job(&cluster, &remote).env("RETENTION", "10d").success();
    assert_eq!(record(&remote, report.text("name"))["compared"]["with"], json!(soon));
    // The clock of a first run that is a day late: all before is of the future, tells what the cluster was, and holds.
    let remote = Remote::folder();
    let tomorrow = name_at(Utc::now() + Duration::days(1));
    remote.put(&tomorrow, &save(&cluster));
    let report = limited(&Cluster::kubernetes(TWO), &remote).exits(3).report();
    assert_eq!(reasons(&report), &json!(["another-cluster"]));
    assert_eq!(held_by(&report), [tomorrow.as_str(), report.text("name")]);
}

#[test]
fn in_another_zone_the_records_tell_the_order() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let tokyo = job(&cluster, &remote).env("TZ", "Asia/Tokyo").success().text("name").to_owned();
    let report = job(&cluster, &remote).env("RETENTION", "10d").success();
    let utc = report.text("name").to_owned();
    assert!(utc < tokyo, "by its name it is older: {utc} {tokyo}");
    assert_eq!(record(&remote, &utc)["compared"]["with"], json!(tokyo));
    assert_eq!(latest(&remote).0, utc);
    let report = on(&remote, &["prune"]).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1").success();
    assert_eq!(report.value("removed")[0]["name"], json!(tokyo));
}

#[test]
fn without_a_limit_nothing_is_held_but_the_night_is_not_green() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let (one, two) = (Cluster::kubernetes(ONE), Cluster::kubernetes(TWO));
    job(&one, &remote).success();
    let report = job(&two, &remote).exits(3).report();
    let stray = report.text("name");
    assert_eq!(held_by(&report), [stray]);
    on(&remote, &["prune"]).success();
    let report = job(&one, &remote).success();
    assert!(report.value("held_back").is_null(), "{report:?}");
    on(&remote, &["prune"]).env("RETENTION", "10d").exits(3);
}

#[test]
fn a_hold_tells_the_commands_that_end_it() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    job(&Cluster::kubernetes(ONE), &remote).success();
    let output = limited(&Cluster::kubernetes(TWO), &remote).env("OUTPUT", "text").exits(3);
    let command = |start: &str| {
        let line = output.stdout.lines().find_map(|line| line.trim().strip_prefix(start));
        let line = line.unwrap_or_else(|| panic!("no {start:?}\n{output}"));
        shlex::split(line).unwrap()
    };
    let dismiss = command("if it is not: etcd-backup ");
    assert_eq!(command("if this is the cluster now: etcd-backup ")[0], "accept");
    // Ready to paste, but for who it is.
    let text = Run::new().args(&dismiss).env("USER", "bob").env("OUTPUT", "text").exits(0).stdout;
    assert_eq!(text, format!("dismissed  {} by bob\nretention  nothing holds it back\n", dismiss[1]));
    let note = remote.records().into_iter().find(|file| file.ends_with(".dismissed.json")).unwrap();
    let note = remote.record(&note);
    assert_eq!((&note["by"], &note["covers"]), (&json!("bob"), &json!([dismiss[1]])));
}

#[test]
fn who_decides_has_to_name_a_backup_that_is_there() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let only = job(&cluster, &remote).success().text("name").to_owned();
    for word in ["accept", "dismiss"] {
        ruling(&remote, word, SHELL[0]).exits(2).says(&["there is no backup", SHELL[0], "etcd-backup list"]);
    }
    ruling(&remote, "dismiss", &only).exits(2).says(&[&only, "no newer good backup"]);
    assert_eq!(ruling(&remote, "accept", &only).success().value("covers"), &json!([]), "there is nothing to decide");
    let newer = job(&cluster, &remote).success().text("name").to_owned();
    ruling(&remote, "dismiss", &newer).exits(2);
    let records = remote.records();
    let report = ruling(&remote, "dismiss", &only).success();
    assert_eq!(report.keys(), ["by", "covers", "holds", "name", "ruling"]);
    assert_eq!((report.text("ruling"), report.text("by"), report.list("covers")), ("dismissed", "alice", vec![&*only]));
    assert_eq!(remote.records().len(), records.len() + 1);
    assert_eq!(ruling(&remote, "dismiss", &only).success().value("covers"), &json!([]), "twice is once");
    assert_eq!(remote.records().len(), records.len() + 1);
    // The later word counts.
    std::thread::sleep(std::time::Duration::from_secs(1));
    ruling(&remote, "accept", &only).success();
    assert_eq!(class(&remote, &only), "good");
}

#[test]
fn the_steps_of_a_job_end_well_and_the_last_one_says_what_holds() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let staging = tempfile::tempdir().unwrap();
    let other = Cluster::kubernetes(TWO);
    job(&Cluster::kubernetes(ONE), &remote).success();
    let step = |name: &str| on(&remote, &[name, "--work-dir"]).arg(staging.path());
    let handover = staging.path().join(".etcd-backup.json");
    let prune = || on(&remote, &["prune", "--after"]).arg(&handover).env("RETENTION", "10d");
    step("snapshot").etcd(&other).success();
    let stored = step("store").success();
    assert_eq!(reasons(&stored), &json!(["another-cluster"]));
    for _ in 0..2 {
        let report = prune().exits(3).report();
        assert_eq!(held_by(&report), [stored.text("name")]);
        assert_eq!(reasons(&report), &json!(["another-cluster"]));
    }
    // Without a limit, too: what this job has stored is not what `latest` gives.
    on(&remote, &["prune", "--after"]).arg(&handover).exits(3);
    ruling(&remote, "accept", stored.text("name")).success();
    prune().success();
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
