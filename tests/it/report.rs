//! What is said: one report on stdout, the log on stderr, the last words, and no secret in any of them.

use serde_json::Value;

use crate::support::{etcd::Cluster, output::Output, remote::Remote, run::Run};

fn lines(output: &Output) -> Vec<Value> {
    let parsed = output.stderr.lines().map(serde_json::from_str);
    parsed.map(|line| line.unwrap_or_else(|error| panic!("{error}\n{output}"))).collect()
}

#[test]
fn logs_in_json_are_lines_of_json() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let cluster = Cluster::small();
    let output = Run::job(&cluster, &remote).args(["--log-format", "json"]).env("LOG_LEVEL", "debug").exits(0);
    let log = lines(&output);
    for line in &log {
        assert!(line["timestamp"].is_string() && line["message"].is_string(), "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    assert!(log.iter().any(|line| line["rclone"] == "copyto"), "rclone's own lines carry its name\n{output}");

    let output = Run::job(&cluster, &remote).env("LOG_FORMAT", "json").env("TARGET", "nosuch:b").exits(2);
    let errors: Vec<_> = lines(&output).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{output}");
    assert_eq!(errors[0]["message"], output.report().text("error"));
    assert_eq!(errors[0]["exit"], 2);
}

#[test]
fn levels_are_obeyed() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::small();
    let quiet = Run::job(&cluster, &remote).env("LOG_LEVEL", "error").exits(0);
    assert_eq!(quiet.stderr, "", "{quiet}");
    let failed = Run::job(&cluster, &remote).args(["--log-level", "error"]).env("TARGET", "nosuch:b").exits(2);
    assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
}

#[test]
fn a_failure_is_reported_in_both_forms() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let job = || Run::job(&cluster, &remote).env("TARGET", "nosuch:b");
    let report = job().exits(2).report();
    assert_eq!((report.text("outcome"), report.number("exit"), report.text("target")), ("failed", 2, "nosuch:b"));
    assert!(report.text("error").contains("nosuch"), "{report:?}");
    assert!(report.value("name").is_null(), "{report:?}");
    let text = job().env("OUTPUT", "text").exits(2);
    assert!(text.stdout.starts_with("command    run\noutcome    failed (exit 2: settings"), "{text}");
}

/// In a mount namespace of its own, the machine's /dev stays as it is.
pub const WITH_TERMINATION_LOG: &str = "set -e
mkdir $TMPDIR/dev
mount -t tmpfs none $TMPDIR/dev
for name in null zero full random urandom tty; do touch $TMPDIR/dev/$name; mount --bind /dev/$name $TMPDIR/dev/$name; done
touch $TMPDIR/dev/termination-log
mount --rbind $TMPDIR/dev /dev
umount -l $TMPDIR/dev && rmdir $TMPDIR/dev
set +e
\"$@\"
code=$?
cat /dev/termination-log >&2
exit $code";

#[test]
fn the_last_words_are_left_for_kubernetes() {
    needs!("etcd", "rclone", "unshare");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let job = || {
        let run = Run::job(&cluster, &remote).through(["unshare", "--mount", "sh", "-c", WITH_TERMINATION_LOG, "sh"]);
        run.env("LOG_LEVEL", "error")
    };
    let output = job().exits(0);
    let name = output.report().text("name").to_owned();
    assert_eq!(output.stderr, format!("etcd-backup run: ok (exit 0: stored, confirmed, retention done) {name}\n"));
    let output = job().env("TARGET", "nosuch:b").exits(2);
    let words = output.stderr.lines().last().unwrap_or_default();
    let report = output.report();
    assert!(words.starts_with("etcd-backup run: failed (exit 2: "), "{output}");
    assert!(words.ends_with(report.text("error")), "{output}");
    // Usage that is wrong never comes as far as a report.
    let output = job().arg("--retention=off").exits(2);
    assert_eq!(output.stderr.matches("would delete every backup").count(), 2, "{output}");
    assert!(output.stderr.contains("etcd-backup run: failed (exit 2: settings, "), "{output}");
}

#[test]
fn each_step_says_what_it_did_and_nothing_else() {
    needs!("etcd", "rclone", "unshare");
    let (cluster, remote, staging) = (Cluster::small(), Remote::folder(), tempfile::tempdir().unwrap());
    let step = |args: &[&str]| {
        let run = Run::new().through(["unshare", "--mount", "sh", "-c", WITH_TERMINATION_LOG, "sh"]);
        run.args(args).env("LOG_LEVEL", "error").env("WORK_DIR", staging.path()).env("OUTPUT", "text")
    };
    let ends = |run: Run, command: &str, done: &str| {
        let output = run.exits(0);
        assert!(output.stderr.starts_with(&format!("etcd-backup {command}: ok (exit 0: {done})")), "{output}");
        let first = format!("command    {command}\noutcome    ok (exit 0: {done})\n");
        assert!(output.stdout.starts_with(&first), "{output}");
    };
    let elsewhere = step(&["snapshot"]).etcd(&cluster).env("TARGET", "elsewhere:x");
    ends(elsewhere, "snapshot", "snapshot taken and proved; not stored yet");
    let stored = "stored and confirmed; not pruned yet";
    ends(step(&["store"]).store(&remote), "store", stored);
    let after = staging.path().join(".etcd-backup.json");
    let prune = step(&["prune", "--after"]).arg(&after).store(&remote);
    ends(prune, "prune", "the backup is stored and confirmed, retention done");
    ends(step(&["prune"]).store(&remote), "prune", "retention done");
    ends(step(&["snapshot"]).etcd(&cluster), "snapshot", stored);

    let failed = step(&["snapshot"]).etcd(&cluster).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1").exits(4);
    assert!(failed.stdout.starts_with("command    snapshot\noutcome    failed (exit 4: no usable member)"), "{failed}");
    assert!(failed.stderr.contains("etcd-backup snapshot: failed (exit 4: no usable member): "), "{failed}");
}

#[test]
fn rclones_words_are_said_once() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let said_once = |config: &std::path::Path, code: i32, words: &str| {
        let output = Run::new().arg("list").store(&remote).env("RCLONE_CONFIG", config).exits(code);
        assert_eq!(output.stderr.matches(words).count(), 1, "{output}");
        let error = output.report().text("error").to_owned();
        assert_eq!(error.matches(words).count(), 1, "{output}");
        assert!(!error.contains("Failed to lsjson") && error.starts_with("rclone lsjson "), "{output}");
    };
    said_once(&remote.config_with(remote.secret().unwrap(), "wrongwrongwrongwrong"), 9, "SignatureDoesNotMatch");
    said_once(&remote.config_by(1), 6, "connection refused");
    let output = Run::new().arg("list").store(&remote).env("TARGET", "store:missing").exits(2);
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
}

#[test]
fn no_key_and_no_content_is_ever_said() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(1);
    let (name, value) = ("/registry/secrets/a-very-private-name", "the-content-of-a-very-private-secret");
    cluster.etcdctl(&["put", name, value]);
    let remote = Remote::rclone_s3();
    let key = std::fs::read_to_string(&cluster.pki().client.key).unwrap();
    let job = || {
        let run = Run::job(&cluster, &remote).env("LOG_LEVEL", "trace").secret(name).secret(value);
        key.lines().filter(|line| !line.starts_with("-----")).fold(run, Run::secret)
    };
    let output = job().exits(0);
    assert!(output.stderr.contains("DEBUG"), "the log says all it can\n{output}");
    job().env("OUTPUT", "text").exits(0);
    // A key where a certificate belongs is as near to being quoted as a key can come.
    job().env("ETCDCTL_CERT", &cluster.pki().client.key).exits(2);
    job().env("ETCDCTL_CACERT", &cluster.pki().client.key).exits(2);
}
