//! What holds deletion back, until when, and how a person ends it.

use super::*;

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
    // The later word counts, also within a second.
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
    // This job knows what it has stored, also where that cannot be read for a moment.
    let file = format!(".etcd-backup/{}.json", stored.text("name"));
    let whole = remote.read(&file);
    remote.put(&file, b"{");
    on(&remote, &["prune", "--after"]).arg(&handover).exits(3);
    remote.put(&file, &whole);
    ruling(&remote, "accept", stored.text("name")).success();
    prune().success();
}
