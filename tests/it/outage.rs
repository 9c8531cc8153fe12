//! A store that goes away for a while in each step of the job, and comes back. What is wrong for good ends at once.

use std::{fs, path::Path, time::Duration};

use rstest::rstest;

use crate::support::{
    LONG_AGO, SOON, etcd::Cluster, eventually, output::Output, remote::Remote, run::Run, sample, sha256,
};

const OLD: &str = "202001010000.etcdb";
/// Calls of rclone fail at once, so that what is seen is the program's own patience.
const IMPATIENT: &str = "--retries=1 --low-level-retries=1";
/// Less than any wait for a store, of which the default is 15 minutes.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A bucket with an old backup, in a server of its own.
fn bucket() -> Remote {
    let remote = Remote::rclone_s3();
    remote.put_aged(OLD, sample::old(), LONG_AGO);
    remote
}

fn limited(run: Run) -> Run {
    run.env("RETENTION", "10d").env("KEEP_LAST", "1")
}

/// Stops the server directly before the first call of rclone for which the condition holds, and starts it again as soon as
/// these words are logged, and that it is tried again.
///
/// In the condition, `step` is rclone's subcommand and its last argument, or `old` and the subcommand.
fn with_outage(remote: &Remote, run: Run, at: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"#!/bin/bash
step="$1 ${@: -1}"
[[ $step == */OLD* ]] && step="old $1"
if [ ! -e HERE/there ] && [[ CONDITION ]]; then
    touch HERE/there
    until [ -e HERE/away ]; do sleep 0.05; done
fi
[[ $step == "copyto "*.etcdb.json ]] && touch HERE/recorded
exec REAL "$@"
"#;
    let script = script.replace("CONDITION", at).replace("OLD", OLD).replace("HERE", folder.path().to_str().unwrap());
    let job = run.rclone_is(&script).args(["--rclone-flags", IMPATIENT]).spawn();
    let has = |name| folder.path().join(name).exists();
    eventually(SOON, "the step", || has("there").then_some(()));
    remote.server().stop();
    fs::write(folder.path().join("away"), "").unwrap();
    eventually(SOON, "another try", || {
        let log = job.stderr();
        words.iter().chain(&["trying again in"]).all(|words| log.contains(words)).then_some(())
    });
    remote.server().start_again();
    job.wait_further(SOON)
}

/// Stored once, under one name, with its record.
fn assert_stored(remote: &Remote, output: &Output, others: &[&str]) {
    output.assert().code(0);
    let report = output.report();
    let name = report.text("name");
    assert_eq!(remote.names(), [others, &[name]].concat(), "{output}");
    assert_eq!(sha256(&remote.read(name)), report.text("sha256"));
    assert_eq!(remote.record(&format!("{name}.json"))["sha256"], report.text("sha256"));
}

const FIRST_LOOK: &str = "$step == lsjson*";
const OLD_ONE: &str = r#"$step == "old cat""#;
const OLD_RECORD: &str = r#"$step == "old copyto""#;
const SINCE: &str = r#"$step == "copyto "*.since.json"#;
const UPLOAD: &str = r#"$step == "copyto "*.etcdb"#;
const LOOK: &str = r#"$step == "lsjson "*.etcdb"#;
const READ_BACK: &str = r#"$step == "cat "*.etcdb"#;
const RECORD: &str = r#"$step == "copyto "*.etcdb.json"#;
const LOOK_AT_RECORD: &str = r#"$step == "lsjson "*.etcdb.json"#;
const LISTING: &str = r#"-e HERE/recorded && $step == "lsjson "* && $step != *.json"#;
const DELETION: &str = "$step == delete*";

#[rstest]
#[case::the_first_look(FIRST_LOOK)]
#[ignore = "slow: make test-all"]
#[case::since(SINCE)]
#[ignore = "slow: make test-all"]
#[case::reading_the_old_one(OLD_ONE)]
#[ignore = "slow: make test-all"]
#[case::the_record_of_the_old_one(OLD_RECORD)]
#[case::the_upload(UPLOAD)]
#[ignore = "slow: make test-all"]
#[case::the_look_at_it(LOOK)]
#[ignore = "slow: make test-all"]
#[case::reading_back(READ_BACK)]
#[case::the_record(RECORD)]
#[ignore = "slow: make test-all"]
#[case::the_look_at_the_record(LOOK_AT_RECORD)]
#[case::the_listing(LISTING)]
#[case::the_deletion(DELETION)]
fn run_waits_it_out(#[case] at: &str) {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let output = with_outage(&remote, limited(Run::job(&cluster, &remote)), at, &["proved the snapshot of"]);
    assert_stored(&remote, &output, &[]);
    assert_eq!(output.stderr.matches("proved the snapshot of").count(), 1, "it is taken once\n{output}");
    assert_eq!(output.report().value("removed")[0]["name"], OLD, "{output}");
}

/// What `snapshot` leaves for the two steps after it.
fn staged(cluster: &Cluster) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new().arg("snapshot").env("TARGET", "elsewhere:x").etcd(cluster);
    run.arg("--work-dir").arg(folder.path()).exits(0);
    folder
}

fn store(staged: &Path, remote: &Remote) -> Run {
    Run::new().arg("store").arg("--work-dir").arg(staged).store(remote)
}

fn prune(staged: &Path, remote: &Remote) -> Run {
    limited(Run::new().arg("prune").arg("--after").arg(staged.join(".etcd-backup.json")).store(remote))
}

#[rstest]
#[ignore = "slow: make test-all"]
#[case::the_first_look(FIRST_LOOK)]
#[ignore = "slow: make test-all"]
#[case::the_upload(UPLOAD)]
#[case::reading_back(READ_BACK)]
#[ignore = "slow: make test-all"]
#[case::the_record(RECORD)]
fn store_waits_it_out(#[case] at: &str) {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let staged = staged(&cluster);
    assert_stored(&remote, &with_outage(&remote, store(staged.path(), &remote), at, &[]), &[OLD]);
}

#[rstest]
#[case::the_first_look(FIRST_LOOK)]
#[case::the_deletion(DELETION)]
fn prune_after_waits_it_out(#[case] at: &str) {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let staged = staged(&cluster);
    store(staged.path(), &remote).exits(0);
    let output = with_outage(&remote, prune(staged.path(), &remote), at, &[]);
    assert_stored(&remote, &output, &[]);
}

/// With a server that never comes back.
fn in_vain(run: Run) -> Run {
    run.env("RETRY_FOR", "2s").args(["--rclone-flags", IMPATIENT]).limit(SOON)
}

#[test]
fn an_outage_that_lasts_is_six() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    remote.server().stop();
    let output = in_vain(Run::job(&cluster, &remote)).exits(6);
    let words = ["the snapshot is taken meanwhile", "proved the snapshot of", "giving up after", "connection refused"];
    assert!(output.says(&words).took >= Duration::from_secs(2));
}

#[test]
fn an_outage_that_lasts_is_three_once_the_backup_is_stored() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let staged = staged(&cluster);
    store(staged.path(), &remote).exits(0);
    let before = remote.names();
    remote.server().stop();
    let report = in_vain(prune(staged.path(), &remote)).exits(3).says(&["giving up after"]).report();
    assert!(report.text("error").contains("the backup is safe, retention is not done"), "{report:?}");
    assert_eq!(report.text("name"), before[1]);
    remote.server().start_again();
    assert_eq!(remote.names(), before);
}

#[rstest]
#[case::store(store, 9)]
#[case::prune_after(prune, 3)]
fn what_is_wrong_ends_at_once(#[case] step: fn(&Path, &Remote) -> Run, #[case] denied: i32) {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let staged = staged(&cluster);
    if denied == 3 {
        store(staged.path(), &remote).exits(0);
    }
    let ends = |run: Run, code: i32, words: &str| {
        let output = run.limit(AT_ONCE).exits(code).says(&[words]);
        assert!(!output.stderr.contains("trying again"), "{output}");
    };
    let at = |target: &str| step(staged.path(), &remote).env("TARGET", target);
    ends(at("nosuch:bucket"), 2, "there is no section [nosuch]");
    ends(at(&format!("{}-missing", remote.target())), 2, "there is no bucket at");
    let wrong = remote.config_with(remote.secret().unwrap(), "wrongwrongwrongwrong");
    ends(step(staged.path(), &remote).env("RCLONE_CONFIG", &wrong), denied, "SignatureDoesNotMatch");
}

/// Waiting ends before the deadline does, so that the exit says that the backup is stored.
#[test]
#[ignore = "slow: make test-all"]
fn a_longer_wait_than_the_deadline_is_cut_short() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), bucket());
    let staged = staged(&cluster);
    store(staged.path(), &remote).exits(0);
    remote.server().stop();
    let run = prune(staged.path(), &remote).env("RETRY_FOR", "1h").env("TIMEOUT", "32s");
    run.exits(3).says(&["connection refused", "retention is not done"]);
}

/// A person who asks does not want to wait, whatever is set for the job.
#[rstest]
#[case::list(&["list"])]
#[case::verify(&["verify"])]
#[case::prune(&["prune", "--retention=10d"])]
fn no_other_command_waits(#[case] args: &[&str]) {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    remote.server().stop();
    let run = Run::new().args(args).store(&remote).env("RETRY_FOR", "1h");
    run.limit(AT_ONCE).exits(6).says(&["connection refused"]);
}
