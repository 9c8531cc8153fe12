//! Settings: where they come from, and what is refused before anything happens.

use std::fs;

use rstest::rstest;

use crate::support::{etcd::Cluster, proxy::Proxy, remote::Remote, run::Run};

/// Exit 2 with these words, and neither etcd nor the target has noticed.
fn refused(change: impl FnOnce(Run) -> Run, words: &[&str]) {
    let etcd = Proxy::silent();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let run = Run::new()
        .arg("run")
        .env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", etcd.port()))
        .env("TARGET", &target);
    change(run).exits(2).says(words);
    assert_eq!(etcd.accepted(), 0, "etcd was dialled");
    assert!(!target.exists(), "the target was made");
}

#[rstest]
fn a_dangerous_retention_is_refused(
    #[values(
        "0",
        "0s",
        "0d",
        "-1",
        "-1d",
        "off",
        "-10d",
        "10",
        "10m",
        "3m",
        "1e1",
        "",
        " ",
        "10 d",
        "10d\n",
        "10D",
        "1d12h",
        "٣d",
        "10d;rm",
        "inf",
        "NaN",
        "1e300d",
        "2026-11-10",
        "+10d",
        "1_0d"
    )]
    value: &str,
) {
    refused(|run| run.env("RETENTION", value), &["retention", "allowed is a number and one of rclone's units"]);
}

#[test]
fn a_refused_retention_says_what_was_meant() {
    for (value, hint) in [("10", "`10d`"), ("3m", "`3M`, which is months"), ("10D", "`10d`"), ("1d12h", "`36h`")] {
        refused(|run| run.arg("--retention").arg(value), &["--retention", value, hint]);
        refused(|run| run.config_dir(&[("retention", value)]), &["retention", value, hint]);
    }
}

#[rstest]
#[case("bucket/dir", "no colon")]
#[case("", "is empty")]
#[case("minio:a/../b", "`..`")]
#[case("minio:a//b", "`//`")]
#[case("/", "root of the file system")]
#[case("minio:a\nb", "control character")]
fn a_wrong_target_is_refused(#[case] target: &str, #[case] why: &str) {
    refused(|run| run.env("TARGET", target), &["target", why]);
}

#[test]
fn credentials_in_a_target_or_flag_are_refused_and_not_repeated() {
    let inline = ":s3,provider=Minio,secret_access_key=hunter2hunter2:bucket";
    refused(|run| run.env("TARGET", inline).secret("hunter2hunter2"), &["put them into rclone.conf"]);
    refused(
        |run| run.without_env("TARGET").config_dir(&[("target", inline)]).secret("hunter2hunter2"),
        &["rclone.conf"],
    );
    let flag = "--s3-secret-access-key=hunter2hunter2";
    refused(|run| run.env("RCLONE_FLAGS", flag).secret("hunter2hunter2"), &["put it into rclone.conf"]);
}

#[test]
fn other_wrong_settings_are_refused() {
    refused(|run| run.without_env("TARGET"), &["target: is not set", "--target", "`target`"]);
    refused(|run| run.env("KEEP_LAST", "0"), &["keep-last"]);
    refused(|run| run.config_dir(&[("keep-last", "0")]), &["keep-last: `0`"]);
    refused(|run| run.env("RETENTION_COUNT", "many"), &["retention-count"]);
    refused(|run| run.env("BACKUP_PREFIX", "../x"), &["backup-prefix", "`..`"]);
    refused(|run| run.env("BACKUP_PREFIX", "/x"), &["backup-prefix", "starts with `/`"]);
    refused(|run| run.env("BACKUP_PREFIX", "x".repeat(201)), &["backup-prefix", "201 bytes"]);
    refused(|run| run.env("BACKUP_PREFIX", "a\tb"), &["backup-prefix", "control"]);
    refused(|run| run.env("RCLONE_FLAGS", "--dry-run"), &["rclone-flags", "--dry-run"]);
    refused(|run| run.env("TZ", "Mars/Olympus"), &["TZ", "Mars/Olympus", "Europe/Rome"]);
    refused(|run| run.env("TIMEOUT", "0s"), &["timeout"]);
    refused(|run| run.env("RCLONE_CONFIG", "/nonexistent/rclone.conf"), &["rclone-config", "/nonexistent/rclone.conf"]);
    refused(|run| run.arg("--nonsense"), &["--nonsense"]);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_config_map() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(1).plain().start();
    let remote = Remote::folder();
    let map = [("backup-prefix", "map-"), ("target", remote.target()), ("keep-last", "7"), ("backup-prefx", "x")];
    let run = || Run::new().arg("run").etcd(&cluster).env("TARGET", remote.target());
    let name = |run: Run| run.exits(0).report().text("name").to_owned();
    cluster.put_many(1, "/a/", 1);
    let from_map = Run::new().arg("run").etcd(&cluster).config_dir(&map).exits(0);
    assert!(from_map.stderr.contains("unknown key `backup-prefx`"), "{from_map}");
    assert!(from_map.stderr.contains("the nearest known one is `backup-prefix`"), "{from_map}");
    assert!(from_map.report().text("name").starts_with("map-"));
    assert!(name(run().config_dir(&map).env("BACKUP_PREFIX", "env-")).starts_with("env-"));
    assert!(
        name(run().config_dir(&map).env("BACKUP_PREFIX", "env-").args(["--backup-prefix", "flag-"]))
            .starts_with("flag-")
    );
    // An empty prefix in the environment is a prefix: it wins over the map.
    assert!(name(run().config_dir(&map).env("BACKUP_PREFIX", "")).starts_with("20"));
}

#[test]
fn names_are_in_the_zone_that_is_set() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(1).plain().start();
    cluster.put_many(1, "/a/", 1);
    let remote = Remote::folder();
    let hour = |zone: &str| {
        let run = Run::job(&cluster, &remote).env("TZ", zone).exits(0);
        let report = run.report();
        let taken = report.text("taken_at")[11..13].parse::<u32>().unwrap();
        let named = report.text("name")[8..10].parse::<u32>().unwrap();
        (taken, named)
    };
    let (taken, named) = hour("Asia/Tokyo");
    assert_eq!((taken + 9) % 24, named);
    let (taken, named) = hour("UTC");
    assert_eq!(taken, named);
}

#[test]
fn help_teaches_and_shows_no_value_of_the_environment() {
    for command in ["run", "snapshot", "store", "prune"] {
        let help = Run::new().args([command, "--help"]).env("TARGET", "minio:my-own-bucket").exits(0);
        assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("143"), "{help}");
        assert!(!help.stdout.contains("my-own-bucket"), "{help}");
        assert!(help.stdout.contains("[env: TARGET]") || !help.stdout.contains("--target"), "{help}");
    }
    let version = Run::new().arg("-V").exits(0);
    assert_eq!(version.stdout.trim(), format!("etcd-backup {}", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let script = Run::new().args(["completions", shell]).exits(0).stdout;
        assert!(script.contains("retention-count"), "{shell}: {script}");
    }
}

#[test]
fn an_unreadable_settings_folder_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    refused(|run| run.arg("--config-dir").arg(&file), &["config-dir", file.to_str().unwrap()]);
}
