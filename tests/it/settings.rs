//! Settings: where they come from, and what is refused before anything happens.

use std::fs;

use rstest::rstest;

use crate::support::{etcd::Cluster, proxy::Proxy, remote::Remote, run::Run};

/// Exit 2 with these words, and neither etcd nor rclone nor the target has noticed.
fn refused(change: impl FnOnce(Run) -> Run, words: &[&str]) {
    let etcd = Proxy::silent();
    let folder = tempfile::tempdir().unwrap();
    let (target, started) = (folder.path().join("target"), folder.path().join("started"));
    let run = Run::new()
        .arg("run")
        .env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", etcd.port()))
        .env("TARGET", &target)
        .rclone_is(&format!("#!/bin/sh\ntouch {}\n", started.display()));
    change(run).exits(2).says(words);
    assert_eq!(etcd.accepted(), 0, "etcd was dialled");
    assert!(!started.exists(), "rclone was started");
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
        "1_0d",
        "59m",
        "3599s",
        "0.5h",
        "101y",
        "1h-2h",
        ".d"
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
#[case(" ", "is empty")]
#[case("./backups", "no colon")]
#[case("-x:bucket", "does not begin with the name of a remote")]
#[case(":", "no colon")]
#[case("minio:a/./b", "`.`")]
#[case("minio:a ", "blank")]
#[case(" minio:a", "does not begin with the name of a remote")]
#[case("minio: a", "blank")]
#[case("minio :a", "does not allow")]
#[case("/mnt/x ", "blank")]
#[case("a$b:x", "does not allow")]
#[case("minio:a\\b", "backslash")]
#[case("minio,global.dry_run=true:a", "rclone's own flags")]
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
    for inline in [
        "minio,access_key_id=hunter2hunter2:bucket",
        ":sftp,host=h,pass='hunter2hunter2':dir",
        ":webdav,url='https://me:hunter2hunter2@dav.example/':dir",
        ":http,url='https://h.example/?sig=hunter2hunter2':dir",
    ] {
        refused(|run| run.arg("--target").arg(inline).secret("hunter2hunter2"), &["target: `…` carries credentials"]);
    }
    for inline in [":sftp,ssh=\"sshpass -p hunter2hunter2 ssh\":dir", "sftp,ssh='sshpass -p hunter2hunter2 ssh':dir"] {
        refused(
            |run| run.arg("--target").arg(inline).secret("hunter2hunter2"),
            &["target: `…` ", "runs a command (`ssh`)"],
        );
    }
    for flags in [
        "--http-proxy http://me:hunter2hunter2@proxy.example",
        "--s3-endpoint=http://me:hunter2hunter2@s3.example",
        "--sftp-ssh 'sshpass -p hunter2hunter2 ssh'",
        "--s3-secret-access-key=hunter2hunter2",
        "--s3-secret-access-key hunter2hunter2",
        "--sftp-pass hunter2hunter2",
        "--header 'Authorization: Bearer hunter2hunter2'",
        "--header-upload=Cookie:hunter2hunter2",
    ] {
        refused(|run| run.env("RCLONE_FLAGS", flags).secret("hunter2hunter2"), &["into rclone.conf"]);
        refused(|run| run.arg("--rclone-flags").arg(flags).secret("hunter2hunter2"), &["into rclone.conf"]);
        refused(|run| run.config_dir(&[("rclone-flags", flags)]).secret("hunter2hunter2"), &["into rclone.conf"]);
    }
}

#[rstest]
fn flags_that_decide_for_us_are_refused(
    #[values(
        "--dry-run",
        "-n",
        "--interactive",
        "--include *.x",
        "--exclude-from=f",
        "--filter '- *'",
        "--files-from f",
        "--max-age 1d",
        "--min-size 1",
        "--delete-excluded",
        "--max-delete 1",
        "--backup-dir x:",
        "--suffix .old",
        "--config /x",
        "--password-command x",
        "--immutable",
        "--s3-versions",
        "--log-file x",
        "--progress",
        "--rc",
        "--open 'quote"
    )]
    flags: &str,
) {
    // A value that may be a secret is not repeated, but its flag is.
    let name = flags.split(['=', ' ']).next().unwrap();
    refused(|run| run.env("RCLONE_FLAGS", flags), &["rclone-flags: `", name]);
}

#[test]
fn usage_that_is_wrong_is_two() {
    refused(|run| run.arg("--nonsense"), &["--nonsense"]);
    refused(|run| run.args(["--target"]), &["--target"]);
    refused(|run| run.arg("surplus"), &["surplus"]);
    let output = Run::new().arg("bakcup").env("OUTPUT", "text").exits(2);
    assert_eq!(output.stdout, "", "{output}");
    let report = Run::new().arg("bakcup").exits(2).says(&["bakcup"]).report();
    assert_eq!((report.text("outcome"), report.number("exit"), report.text("command")), ("failed", 2, "run"));
    assert!(report.text("error").contains("bakcup"), "{report:?}");
    let report = Run::new().args(["list", "--output=json", "--nonsense"]).without_env("OUTPUT").exits(2).report();
    assert_eq!(report.text("command"), "list");
    refused(|run| run.args(["--output", "yaml"]), &["--output", "yaml", "text, json"]);
    refused(|run| run.env("LOG_LEVEL", "loud"), &["--log-level", "loud"]);
    refused(|run| run.env("TIMEOUT", "soon"), &["--timeout", "soon"]);
    refused(|run| run.config_dir(&[("timeout", "soon")]), &["timeout: `soon`"]);
}

#[test]
fn a_value_forges_no_line_and_is_not_repeated_by_the_megabyte() {
    let forged = "1\n2026-01-02T03:04:05.678+00:00 ERROR forged \u{1b}[31m";
    let large = "9x ".repeat(1_000_000);
    for (key, value) in [("keep-last", forged), ("target", forged), ("endpoints", forged), ("timeout", forged)]
        .into_iter()
        .chain(["keep-last", "target", "endpoints", "retention", "rclone-flags"].map(|key| (key, large.as_str())))
    {
        let output = Run::new().arg("run").env("TARGET", "/x").without_env(if key == "target" { "TARGET" } else { "" });
        let output = output.env("OUTPUT", "text").config_dir(&[(key, value)]).exits(2);
        assert!(output.stderr.lines().count() <= 2 && !output.stderr.contains('\u{1b}'), "{key}");
        assert!(output.stderr.len() + output.stdout.len() < 5_000, "{key}: {}", output.stderr.len());
        assert!(!output.stdout.contains("ERROR"), "{output}");
    }
}

#[test]
fn other_wrong_settings_are_refused() {
    refused(|run| run.without_env("TARGET"), &["target: is not set", "--target", "`target`"]);
    refused(|run| run.env("KEEP_LAST", "0"), &["keep-last"]);
    refused(|run| run.config_dir(&[("keep-last", "0")]), &["keep-last: `0`"]);
    refused(|run| run.env("RETRY_FOR", "15"), &["--retry-for"]);
    refused(|run| run.env("LIST_TIMEOUT", "0s"), &["list-timeout: `0` leaves no time"]);
    refused(|run| run.config_dir(&[("list-timeout", "15")]), &["list-timeout: `15`"]);
    refused(|run| run.config_dir(&[("retry-for", "15")]), &["retry-for: `15`"]);
    refused(|run| run.args(["--confirm", "hash"]), &["--confirm", "auto, read"]);
    refused(|run| run.config_dir(&[("confirm", "hash")]), &["confirm: `hash` is not known; allowed is auto or read"]);
    refused(
        |run| run.env("COMPRESSION", "zstd").env("STAGING", "none"),
        &["staging: `none` cannot be combined with compression"],
    );
    refused(|run| run.env("COMPRESSION", "zstd:10"), &["--compression", "zstd:N with N from 1 to 9"]);
    refused(
        |run| run.config_dir(&[("compression", "gzip")]),
        &["compression: `gzip` is no compression; allowed is none"],
    );
    refused(|run| run.env("RETENTION_COUNT", "many"), &["retention-count"]);
    refused(|run| run.env("BACKUP_PREFIX", "../x"), &["backup-prefix", "`..`"]);
    refused(|run| run.env("BACKUP_PREFIX", "/x"), &["backup-prefix", "starts with `/`"]);
    refused(|run| run.env("BACKUP_PREFIX", "x".repeat(201)), &["backup-prefix", "201 bytes"]);
    refused(|run| run.env("BACKUP_PREFIX", "a\tb"), &["backup-prefix", "control"]);
    refused(|run| run.env("BACKUP_PREFIX", "a\\b-"), &["backup-prefix", "backslash", "take for a slash"]);
    refused(|run| run.env("RCLONE_FLAGS", "--dry-run"), &["rclone-flags", "--dry-run"]);
    refused(|run| run.env("TZ", "Mars/Olympus"), &["TZ", "Mars/Olympus", "Europe/Rome"]);
    refused(|run| run.env("TIMEOUT", "0s"), &["timeout"]);
    refused(|run| run.env("RCLONE_CONFIG", "/nonexistent/rclone.conf"), &["rclone-config", "/nonexistent/rclone.conf"]);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_config_map() {
    needs!("etcd", "rclone");
    let cluster = Cluster::single();
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
    // And nothing at all is the default.
    assert!(name(run()).starts_with("20"));
    // An empty prefix in the environment is a prefix: it wins over the map.
    assert!(name(run().config_dir(&map).env("BACKUP_PREFIX", "")).starts_with("20"));
}

#[test]
fn names_are_in_the_zone_that_is_set() {
    needs!("etcd", "rclone");
    let cluster = Cluster::single();
    cluster.put_many(1, "/a/", 1);
    let remote = Remote::folder();
    for zone in ["Europe/Rome", "Asia/Kolkata", "UTC", ""] {
        let run = Run::job(&cluster, &remote).env("TZ", zone).env("BACKUP_PREFIX", zone.replace('/', "-"));
        let output = run.exits(0);
        let report = output.report();
        let taken: chrono::DateTime<chrono::Utc> = report.text("taken_at").parse().unwrap();
        let local = taken.with_timezone(&zone.parse().unwrap_or(chrono_tz::UTC));
        let name = local.format("%Y%m%d%H%M").to_string();
        assert!(report.text("name").starts_with(&format!("{}{name}", zone.replace('/', "-"))), "{zone}: {report:?}");
        let offset = local.format("%:z ").to_string();
        assert!(output.stderr.contains(&offset), "the log is in the same zone\n{output}");
    }
}

#[test]
fn a_usage_can_be_typed_as_it_is_shown() {
    for (command, uses) in [("put-back", 3), ("restore", 2), ("get", 1), ("fetch", 1), ("accept", 1), ("verify", 1)] {
        let help = Run::new().args([command, "--help"]).exits(0).stdout;
        let shown = help.split_once("Usage: ").expect("a usage").1.split_once("\n\n").expect("more help").0;
        assert_eq!(shown.lines().count(), uses, "{help}");
        for line in shown.lines() {
            // An optional one is typed, too, and nothing is chosen.
            let line = line.trim().trim_start_matches("etcd-backup ").replace(" [OPTIONS]", "").replace("...", "");
            let words = line.split(' ').map(|word| word.trim_matches(['<', '>', '[', ']']));
            let output = Run::new().args(words).env("USER", "alice").exits(2);
            assert!(!output.stderr.contains("Usage: "), "{output}");
        }
    }
}

#[test]
fn help_teaches_and_shows_no_value_of_the_environment() {
    for command in ["run", "snapshot", "store", "prune"] {
        let help = Run::new().args([command, "--help"]).env("TARGET", "minio:my-own-bucket").exits(0);
        assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("143"), "{help}");
        assert!(!help.stdout.contains("my-own-bucket"), "{help}");
        assert!(help.stdout.contains("[env: TARGET]") || !help.stdout.contains("--target"), "{help}");
    }
    let everything = [
        ("--target", "TARGET"),
        ("--retention", "RETENTION"),
        ("--retention-count", "RETENTION_COUNT"),
        ("--keep-last", "KEEP_LAST"),
        ("--backup-prefix", "BACKUP_PREFIX"),
        ("--endpoints", "ETCDCTL_ENDPOINTS"),
        ("--kubeadm-config", "KUBEADM_CONFIG"),
        ("--cacert", "ETCDCTL_CACERT"),
        ("--cert", "ETCDCTL_CERT"),
        ("--key", "ETCDCTL_KEY"),
        ("--tls-server-name", "TLS_SERVER_NAME"),
        ("--work-dir", "WORK_DIR"),
        ("--staging", "STAGING"),
        ("--rclone-config", "RCLONE_CONFIG"),
        ("--rclone-flags", "RCLONE_FLAGS"),
        ("--retry-for", "RETRY_FOR"),
        ("--list-timeout", "LIST_TIMEOUT"),
        ("--compression", "COMPRESSION"),
        ("--confirm", "CONFIRM"),
        ("--timeout", "TIMEOUT"),
        ("--idle-timeout", "IDLE_TIMEOUT"),
        ("--log-level", "LOG_LEVEL"),
        ("--log-format", "LOG_FORMAT"),
        ("--output", "OUTPUT"),
        ("--config-dir", "CONFIG_DIR"),
    ];
    let with_values = everything.iter().fold(Run::new().args(["run", "--help"]), |run, (_, name)| {
        run.env(name, format!("value-of-{name}")).secret(&format!("value-of-{name}"))
    });
    let help = with_values.env("ETCDCTL_PASSWORD", "hunter2hunter2").secret("hunter2hunter2").exits(0);
    for (flag, variable) in everything {
        let of_flag = help.stdout.split(&format!("{flag} ")).nth(1).unwrap_or_else(|| panic!("no {flag}\n{help}"));
        let end = of_flag.find("\n      --").unwrap_or(of_flag.len());
        assert!(of_flag[..end].contains(&format!("[env: {variable}]")), "{flag}\n{help}");
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

#[test]
fn a_local_file_is_read_whatever_the_time_zone() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/etcd-3.5.1.etcdb");
    // Not an IANA name, but usual on an administrator's machine. No name of a backup is read here.
    Run::new().args(["verify", file]).env("TZ", ":/etc/localtime").success();
}
