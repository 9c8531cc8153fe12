//! Retention on real stores: what goes, and all that must stay.

use std::time::Duration;

use rstest::rstest;
use serde_json::Value;

use crate::support::{LONG_AGO, etcd::Cluster, kubernetes::save, remote::Remote, run::Run};

const DAY: Duration = Duration::from_hours(24);

fn names(list: &Value) -> Vec<&str> {
    let mut names: Vec<_> = list.as_array().unwrap().iter().map(|j| j["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Everything that looks like ours and is not stays, on a store of the given kind.
#[rstest]
#[case::s3(Remote::rclone_s3)]
#[case::folder(Remote::folder)]
fn only_exact_names_in_exactly_one_place_go(#[case] remote: fn() -> Remote) {
    needs!("etcd", "rclone");
    let remote = remote();
    let ours = ["prod-202001010000.etcdb", "prod-20200101000000.etcdb"];
    let others = [
        "prod-eu-202001010000.etcdb",
        "prod-notes.etcdb",
        "prod-202001010000.etcdb.bak",
        "prod-202001010000.etcdb.zst",
        "prod-209913451260.etcdb",
        "prod-202002300000.etcdb",
        "PROD-202001010000.etcdb",
        "202001010000.etcdb",
        "xprod-202001010000.etcdb",
        "sub/prod-202001010000.etcdb",
        "readme.txt",
    ];
    let cluster = Cluster::small();
    let content = save(&cluster);
    for name in ours.iter().chain(&others) {
        remote.put_aged(name, &content, LONG_AGO);
    }
    let run = Run::job(&cluster, &remote).env("BACKUP_PREFIX", "prod-").env("RETENTION", "10d").env("KEEP_LAST", "1");
    let report = run.success();
    assert_eq!(names(report.value("removed")), ours);
    assert_eq!(report.number("foreign"), 10, "the one in a subfolder is not even listed");
    let left = remote.names();
    for name in others {
        assert!(left.iter().any(|l| l == name), "{name} is gone");
    }
    assert_eq!(left.len(), others.len() + 1);
}

#[rstest]
fn a_prefix_is_taken_literally(
    #[values("p[1]-", "pr[ae]d-", "a*b-", "{x,y}-", "q?-", "semi;colon-", "{{", "**", "", "a b-", "#x-", "dir/p-")]
    prefix: &str,
) {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let slash = if folder.is_empty() { "" } else { "/" };
    let lookalikes =
        ["p1-", "pred-", "axb-", "x-", "qz-", "other-"].map(|p| format!("{folder}{slash}{p}202001010000.etcdb"));
    for name in &lookalikes {
        remote.put_aged(name, b"x", LONG_AGO);
    }
    let own = format!("{prefix}202001010000.etcdb");
    remote.put_aged(&own, b"x", LONG_AGO);
    let prune = |extra: &str, value: &str| {
        Run::new().arg("prune").store(&remote).env("BACKUP_PREFIX", prefix).env("KEEP_LAST", "1").env(extra, value)
    };
    // Alone it is the newest, and stays.
    assert!(names(prune("RETENTION", "10d").success().value("removed")).is_empty());
    let newer = format!("{prefix}202001020000.etcdb");
    remote.put_aged(&newer, b"x", LONG_AGO);
    assert_eq!(names(prune("RETENTION", "10d").success().value("removed")), [own.as_str()]);
    let newest = format!("{prefix}202001030000.etcdb");
    remote.put_aged(&newest, b"x", LONG_AGO);
    assert_eq!(names(prune("RETENTION_COUNT", "1").success().value("removed")), [newer.as_str()]);
    let mut expected: Vec<_> = lookalikes.into_iter().chain([newest]).collect();
    expected.sort();
    assert_eq!(remote.names(), expected);
}

#[test]
fn the_newest_stay_whatever_their_age() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::small();
    let content = save(&cluster);
    for day in 1..=6 {
        remote.put_aged(&format!("2020010{day}0000.etcdb"), &content, LONG_AGO);
    }
    // The new one counts as one of the newest.
    let report = Run::job(&cluster, &remote).env("RETENTION", "1d").success();
    assert_eq!(report.value("removed").as_array().unwrap().len(), 4);
    assert_eq!(remote.names()[..2], ["202001050000.etcdb", "202001060000.etcdb"]);
}

#[test]
fn a_run_never_deletes_the_backup_that_it_has_made() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    // Most of these share a minute, whose name without seconds becomes free again when its backup is deleted.
    for _ in 0..4 {
        let run = Run::job(&cluster, &remote).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1");
        let report = run.success();
        assert_eq!(remote.names(), [report.text("name")], "{report:?}");
    }
}

#[test]
fn a_dry_run_says_why_and_deletes_nothing() {
    needs!("rclone");
    let remote = Remote::folder();
    for day in 1..=3 {
        remote.put_aged(&format!("p-2020010{day}0000.etcdb"), b"x", LONG_AGO);
    }
    let prune = || {
        let run = Run::new().args(["prune", "--dry-run"]).store(&remote).env("BACKUP_PREFIX", "p-");
        run.env("RETENTION", "10d").env("RETENTION_COUNT", "2").env("KEEP_LAST", "1")
    };
    let report = prune().success();
    assert!(names(report.value("removed")).is_empty());
    assert_eq!(names(report.value("planned")), ["p-202001010000.etcdb", "p-202001020000.etcdb"]);
    assert_eq!(report.value("planned")[1]["reasons"], serde_json::json!(["expired", "beyond-count"]));
    assert_eq!(report.value("planned")[0]["reasons"], serde_json::json!(["expired"]));
    assert_eq!(report.value("kept")[0]["reasons"], serde_json::json!(["newest", "within-count"]));
    let text = prune().env("OUTPUT", "text").exits(0).stdout;
    assert!(
        text.contains("would go   p-202001010000.etcdb (older than the age limit, beyond the count limit)"),
        "{text}"
    );
    assert_eq!(remote.names().len(), 3);
}

#[test]
fn rclones_clock_is_a_second_guard() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    remote.put_aged("202001010000.etcdb", b"x", DAY);
    remote.put_aged("202001020000.etcdb", b"x", LONG_AGO);
    remote.put_aged("202001030000.etcdb", b"x", LONG_AGO);
    let output = Run::new().arg("prune").store(&remote).env("RETENTION", "10d").env("KEEP_LAST", "1").exits(3);
    let report = output.report();
    assert_eq!(report.list("failed"), ["202001010000.etcdb"]);
    assert_eq!(names(report.value("removed")), ["202001020000.etcdb"]);
    assert!(
        report.text("error").contains("by the store's own times they are younger than the age limit"),
        "{report:?}"
    );
    assert_eq!(remote.names(), ["202001010000.etcdb", "202001030000.etcdb"]);
}

#[test]
fn a_key_that_may_not_delete_is_named_and_the_backup_is_safe() {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let cluster = Cluster::small();
    let content = save(&cluster);
    for day in 1..=2 {
        remote.put_aged(&format!("2020010{day}0000.etcdb"), &content, LONG_AGO);
    }
    let config = remote.config_that_may(&["s3:GetObject", "s3:PutObject", "s3:ListBucket"]);
    let limited = |run: Run| run.env("RCLONE_CONFIG", &config).env("RETENTION", "10d").env("KEEP_LAST", "1");
    let output = limited(Run::job(&cluster, &remote)).exits(3);
    let report = output.report();
    assert_eq!(report.text("outcome"), "retention-incomplete");
    assert_eq!(report.list("failed"), ["202001020000.etcdb", "202001010000.etcdb"]);
    assert_eq!(report.value("removed").as_array().unwrap().len(), 0);
    let error = report.text("error");
    for words in ["202001010000.etcdb", "202001020000.etcdb", "may delete there", "the backup is safe"] {
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
    assert_eq!(remote.names().len(), 3, "the new one is stored");
    let text = limited(Run::new().arg("prune").store(&remote)).env("OUTPUT", "text").exits(3).stdout;
    assert!(text.contains("NOT gone   202001010000.etcdb"), "{text}");
}

#[test]
fn a_bucket_with_versions_and_locks_is_pruned() {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    remote.keep_versions();
    let cluster = Cluster::small();
    remote.put_aged("202001010000.etcdb", &save(&cluster), LONG_AGO);
    let report = Run::job(&cluster, &remote).env("RETENTION", "10d").env("KEEP_LAST", "1").success();
    assert_eq!(names(report.value("removed")), ["202001010000.etcdb"]);
    assert_eq!(remote.names(), [report.text("name")]);
    let versions = remote.rclone(&["lsf", "--files-only", "--s3-versions", remote.target()]);
    let versions = String::from_utf8(versions.stdout).unwrap();
    assert_eq!(versions.lines().count(), 2, "the old version is the user's to expire: {versions}");
    assert!(versions.contains("202001010000-v"), "{versions}");
}

#[test]
fn what_cannot_be_deleted_is_named_and_the_backup_is_safe() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    remote.put_aged("202001010000.etcdb", &save(&cluster), LONG_AGO);
    let locked = format!("{}/202001010000.etcdb", remote.target());
    // Root may delete from any folder, so the file itself is made undeletable: something is mounted on it.
    let mount = |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).status().unwrap().success();
    assert!(mount(&["mount", "--bind", &locked, &locked]));
    let output = Run::job(&cluster, &remote).env("RETENTION", "10d").env("KEEP_LAST", "1").exits(3);
    assert!(mount(&["umount", &locked]));
    let report = output.report();
    assert_eq!(report.list("failed"), ["202001010000.etcdb"]);
    assert!(report.text("error").contains("the backup is safe"), "{report:?}");
    assert_eq!(remote.names().len(), 2);
}

#[test]
fn a_backup_that_failed_prunes_nothing() {
    needs!("rclone");
    let remote = Remote::folder();
    for day in 1..=3 {
        remote.put_aged(&format!("2020010{day}0000.etcdb"), b"x", LONG_AGO);
    }
    let run = Run::new().arg("run").store(&remote).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1");
    run.env("RETENTION", "10d").env("KEEP_LAST", "1").exits(4);
    assert_eq!(remote.names().len(), 3);
}

#[test]
#[ignore = "slow: make test-all"]
fn thousands_are_listed_and_pruned_right() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs();
    let local = tempfile::tempdir().unwrap();
    let start = chrono::NaiveDate::from_ymd_opt(2015, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    let old = std::time::SystemTime::now() - LONG_AGO;
    for hour in 0..2_500 {
        let name = (start + chrono::Duration::hours(hour)).format("%Y%m%d%H%M.etcdb").to_string();
        let file = std::fs::File::create(local.path().join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    // Before, between and behind them, on whichever page.
    for foreign in ["0.txt", "201503010000.etcdb.bak", "x.txt"] {
        std::fs::write(local.path().join(foreign), "").unwrap();
    }
    let local = local.path().to_str().unwrap();
    remote.rclone(&["copy", "--transfers=64", "--s3-no-head", "--no-traverse", local, remote.target()]);
    let report = Run::new().arg("prune").store(&remote).env("RETENTION", "10d").env("KEEP_LAST", "10").success();
    assert_eq!(report.value("removed").as_array().unwrap().len(), 2_490);
    assert_eq!(report.number("foreign"), 3);
    let left = remote.names();
    assert_eq!(left.len(), 13, "{left:?}");
    assert!(left.contains(&"201504150300.etcdb".to_owned()), "the newest are kept: {left:?}");
}
