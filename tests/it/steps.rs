//! The job as three steps, as the packages run it: snapshot, store, prune, with a record handed from one to the next.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{etcd::Cluster, kubernetes::save, output::Output, remote::Remote, run::Run};

const RECORD: &str = ".etcd-backup.json";
/// The folder of the records, among the backups.
const RECORDS: &str = ".etcd-backup";
const DAY: Duration = Duration::from_hours(24);

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn record(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).unwrap()).unwrap()
}

/// What is handed on where backups stay in the staging folder.
fn in_place(claim: &Staging, prefix: &str) -> Value {
    let path = claim.path().join(RECORDS).join(format!("{prefix}.handover"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A staging folder that outlives the single steps.
struct Staging(tempfile::TempDir);

impl Staging {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn record(&self) -> PathBuf {
        self.path().join(RECORD)
    }

    fn snapshot(&self, cluster: &Cluster) -> Run {
        Run::new().arg("snapshot").etcd(cluster).arg("--work-dir").arg(self.path())
    }

    fn store(&self, remote: &Remote) -> Run {
        Run::new().arg("store").store(remote).arg("--work-dir").arg(self.path())
    }

    fn prune(&self, remote: &Remote) -> Run {
        Run::new().arg("prune").store(remote).arg("--after").arg(self.record())
    }
}

#[test]
fn three_steps_make_one_job() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/", 100);
    let remote = Remote::rclone_s3();
    let old = save(&cluster);
    remote.put_aged("p-202001010000.etcdb", &old, 1000 * DAY);
    let staging = Staging::new();

    let prefixed = [("BACKUP_PREFIX", "p-")];
    let with = |run: Run| prefixed.iter().fold(run, |run, (k, v)| run.env(k, v));
    with(staging.snapshot(&cluster).env("TARGET", "elsewhere:x")).success();
    let handed = record(staging.path());
    let name = handed["file"].as_str().unwrap().to_owned();
    assert_eq!(files(staging.path()), [RECORD, name.as_str()]);
    for file in files(staging.path()) {
        let mode = fs::metadata(staging.path().join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{file}");
    }
    assert_eq!(handed["keys"], 7);
    assert_eq!(handed["stored"], false);

    // Nothing is pruned on a record that is not stored.
    let retained = |run: Run| with(run).env("RETENTION", "10d").env("KEEP_LAST", "1");
    retained(staging.prune(&remote)).exits(6).says(&["does not say", "stored and confirmed"]);
    assert_eq!(remote.names(), ["p-202001010000.etcdb"]);

    // A stray file in the staging folder is none of our business.
    fs::write(staging.path().join("p-202512312359.etcdb"), "stray").unwrap();
    let stored = with(staging.store(&remote)).success();
    assert_eq!(stored.text("name"), name);
    assert_eq!(record(staging.path())["stored"], true);
    assert_eq!(remote.names(), ["p-202001010000.etcdb", name.as_str()]);
    assert_eq!(remote.read(&name), fs::read(staging.path().join(&name)).unwrap());
    with(staging.store(&remote)).success();
    assert_eq!(remote.names().len(), 2, "a second try stores nothing twice");

    let pruned = retained(staging.prune(&remote)).success();
    assert_eq!(pruned.value("removed")[0]["name"], "p-202001010000.etcdb");
    assert_eq!(remote.names(), [name]);
}

#[test]
fn a_file_that_is_not_the_recorded_one_is_not_stored() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let staging = Staging::new();
    staging.snapshot(&cluster).env("TARGET", "elsewhere:x").success();
    let file = staging.path().join(record(staging.path())["file"].as_str().unwrap());
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[9000] ^= 1;
    fs::write(&file, &bad).unwrap();
    staging.store(&remote).exits(5).says(&["sha-256 at its end"]);

    cluster.put_many(1, "/b/", 10);
    let other = Staging::new();
    other.snapshot(&cluster).env("TARGET", "elsewhere:x").success();
    fs::copy(other.path().join(record(other.path())["file"].as_str().unwrap()), &file).unwrap();
    staging.store(&remote).exits(5).says(&["not the file of its record"]);
    assert!(remote.names().is_empty());
}

#[test]
fn in_place_the_staging_folder_is_the_store() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::small();
    let claim = Staging::new();
    let at = |run: Run| run.env("TARGET", claim.path());
    let first = at(claim.snapshot(&cluster)).success().text("name").to_owned();
    let second = at(claim.snapshot(&cluster)).success().text("name").to_owned();
    assert_ne!(first, second);
    assert_eq!(in_place(&claim, "")["stored"], true);
    assert_eq!(in_place(&claim, "")["name"], second.as_str());
    // The packages give it the name that it has where backups do not stay.
    let prune = || Run::new().arg("prune").env("TARGET", claim.path()).arg("--after").arg(claim.record());
    let limited = || prune().env("RETENTION_COUNT", "1").env("KEEP_LAST", "1");
    limited().success();
    assert_eq!(files(claim.path()), [RECORDS, second.as_str()]);
    assert_eq!(files(&claim.path().join(RECORDS)), [".handover", ".since.json", &format!("{second}.json"), "parts"]);

    let wiped = Cluster::small();
    at(claim.snapshot(&wiped)).success();
    let held = limited().exits(3).report();
    assert!(held.text("held_back").contains("another cluster"), "{held:?}");
    assert_eq!(files(claim.path()).len(), 3);

    // A run that fails takes the old record's word back.
    at(claim.snapshot(&cluster)).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1").exits(4);
    prune().exits(6);
    assert_eq!(files(claim.path()).len(), 3);
}

#[test]
fn two_prefixes_in_one_claim_hand_on_their_own_backups() {
    needs!("etcd", "etcdctl", "rclone");
    let (one, two, claim) = (Cluster::small(), Cluster::small(), Staging::new());
    let at = |run: Run, prefix: &str| run.env("TARGET", claim.path()).env("BACKUP_PREFIX", prefix);
    let prune = |prefix: &str| {
        let run = Run::new().arg("prune").arg("--after").arg(claim.record());
        at(run, prefix).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
    };
    let night = |cluster: &Cluster, prefix: &str| at(claim.snapshot(cluster), prefix).success().text("name").to_owned();
    for (cluster, prefix) in [(&one, "a-"), (&two, ""), (&one, "sub/c-")] {
        night(cluster, prefix);
    }
    // Each step prunes by its own snapshot, whichever came last.
    let first = night(&one, "a-");
    let second = night(&two, "");
    assert_eq!(prune("a-").success().text("name"), first);
    assert_eq!(prune("").success().text("name"), second);
    assert_eq!(files(claim.path()), [RECORDS, second.as_str(), first.as_str(), "sub"]);
    at(claim.snapshot(&one), "a-").env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1").exits(4);
    prune("a-").exits(6);
    prune("").success();
    prune("sub/c-").success();
}

#[test]
fn a_snapshot_that_fails_for_its_settings_authorises_no_pruning() {
    needs!("etcd", "rclone");
    let (cluster, staging) = (Cluster::small(), Staging::new());
    staging.snapshot(&cluster).success();
    assert_eq!(in_place(&staging, "")["stored"], true);
    // No endpoints at all, then one that is none.
    for endpoints in ["", "nonsense"] {
        staging.snapshot(&cluster).env("ETCDCTL_ENDPOINTS", endpoints).exits(2);
        assert_eq!(in_place(&staging, "")["stored"], false);
    }
    // What waits for `store` is not deleted before there can be something newer.
    let waiting = Staging::new();
    waiting.snapshot(&cluster).env("TARGET", "elsewhere:x").success();
    let before = files(waiting.path());
    waiting.snapshot(&cluster).env("TARGET", "elsewhere:x").env("ETCDCTL_ENDPOINTS", "nonsense").exits(2);
    assert_eq!(files(waiting.path()), before);
    let prune = Run::new().arg("prune").env("TARGET", staging.path()).arg("--after").arg(staging.record());
    prune.exits(6).says(&["does not say that its backup is stored"]);
}

#[test]
fn a_degraded_snapshot_is_handed_on_and_the_last_step_says_so() {
    needs!("etcd", "etcdctl", "rclone");
    let mut cluster = Cluster::start(3);
    cluster.put_many(3, "/a/", 10);
    cluster.kill(1);
    cluster.kill(2);
    let remote = Remote::folder();
    remote.put_aged("202001010000.etcdb", b"old", 1000 * DAY);
    let staging = Staging::new();
    staging.snapshot(&cluster).env("TARGET", "elsewhere:x").success();
    staging.store(&remote).success();
    let verdict = staging.prune(&remote).env("RETENTION", "1d").env("KEEP_LAST", "1").exits(8).report();
    assert!(verdict.text("held_back").contains("degraded"), "{verdict:?}");
    assert_eq!(remote.names().len(), 2);
}

#[test]
fn a_backup_that_the_store_does_not_list_authorises_no_pruning() {
    needs!("etcd", "rclone");
    let (staging, remote, other) = (Staging::new(), Remote::folder(), Remote::folder());
    staging.snapshot(&Cluster::small()).env("TARGET", remote.target()).success();
    staging.store(&remote).success();
    staging.prune(&other).exits(6).says(&["is not at", "nothing was pruned"]);
    // A listing may lag; the backup itself is looked for.
    let lags = "#!/bin/bash\n[ \"$1\" = lsjson ] && { echo []; exit; }\nexec REAL \"$@\"\n";
    staging.prune(&remote).rclone_is(lags).exits(3).says(&["does not list", "nothing was pruned"]);
    staging.prune(&remote).success();
}

/// A container that is killed is started again, and finds what it had on its way.
#[test]
fn what_a_killed_upload_left_does_not_hold_up_the_next() {
    needs!("etcd", "rclone");
    let (staging, remote) = (Staging::new(), Remote::sftp());
    staging.snapshot(&Cluster::small()).env("TARGET", remote.target()).success();
    let name = record(staging.path())["taken_at"].as_str().unwrap()[..16].replace(['-', 'T', ':'], "");
    let parts = remote.on_disk(".etcd-backup/parts");
    fs::create_dir_all(&parts).unwrap();
    fs::write(parts.join(format!("{name}.etcdb.00000000.part")), "cut").unwrap();
    let output = staging.store(&remote).exits(0);
    assert!(!output.stderr.contains("another") && output.stderr.matches(" storing ").count() == 1, "{output}");
    assert_eq!(output.report().text("name").len(), "20260102030405.etcdb".len(), "{output}");
}

/// What an overlay may give to another container: a wrong one is worth a warning, in a step that does not use it.
#[test]
fn a_step_warns_of_what_a_later_one_will_refuse() {
    needs!("etcd", "rclone");
    let (cluster, staging, remote) = (Cluster::small(), Staging::new(), Remote::folder());
    let wrong = [
        ("target", "bucket", "store"),
        ("rclone-flags", "--dry-run", "store"),
        ("retry-for", "15", "store"),
        ("list-timeout", "15", "store"),
        ("confirm", "hash", "store"),
        ("retention", "10", "prune --after"),
        ("retention-count", "many", "prune --after"),
        ("keep-last", "0", "prune --after"),
    ];
    let map = wrong.map(|(key, value, _)| (key, value));
    let warned = |output: &Output, key: &str, value: &str, here: &str, later: &str| {
        let line = output.stderr.lines().find(|line| line.contains(&format!(" WARN {key}: `{value}` ")));
        let words = format!("; `{here}` does not use it, but `{later}` will refuse it");
        assert!(line.is_some_and(|line| line.contains(&words)), "{key}\n{output}");
    };
    let by_map = staging.snapshot(&cluster).config_dir(&map).exits(0);
    // An environment, too, may be another container's.
    let variable = |key: &str| key.replace('-', "_").to_uppercase();
    // These two are arguments of `snapshot`, too.
    let in_environment = wrong.iter().filter(|(key, ..)| !["confirm", "list-timeout"].contains(key));
    let run =
        in_environment.clone().fold(staging.snapshot(&cluster), |run, (key, value, _)| run.env(variable(key), value));
    let by_variables = run.exits(0);
    assert_eq!(record(staging.path())["stored"], false);
    for (key, value, later) in wrong {
        warned(&by_map, key, value, "snapshot", later);
    }
    for (key, value, later) in in_environment {
        warned(&by_variables, key, value, "snapshot", later);
    }
    let stored = staging.store(&remote).config_dir(&map[5..]).exits(0);
    for (key, value, later) in &wrong[5..] {
        warned(&stored, key, value, "store", later);
    }

    // In place it stores, so it uses what `store` does.
    let claim = Staging::new();
    let at = |run: Run| run.arg("--target").arg(claim.path());
    at(claim.snapshot(&cluster)).config_dir(&[("confirm", "hash")]).exits(2).says(&["confirm: `hash`"]);
    at(claim.snapshot(&cluster)).config_dir(&[("list-timeout", "0s")]).exits(2).says(&["list-timeout: `0`"]);
    let output = at(claim.snapshot(&cluster)).config_dir(&[("retention", "10"), ("retry-for", "15")]).exits(0);
    warned(&output, "retention", "10", "snapshot", "prune --after");
    warned(&output, "retry-for", "15", "snapshot", "prune --after");
}

#[test]
fn a_step_refuses_what_it_uses_itself() {
    needs!("etcd", "rclone");
    let (cluster, staging) = (Cluster::small(), Staging::new());
    staging.snapshot(&cluster).args(["--target", "bucket"]).exits(2).says(&["target: `bucket` names no remote"]);
    staging.snapshot(&cluster).env("BACKUP_PREFIX", "../x").exits(2).says(&["backup-prefix"]);
    assert!(files(staging.path()).is_empty());
    // However the work directory is written, it is the target.
    let again = format!("{}/../{}/", staging.path().parent().unwrap().display(), "nowhere");
    staging.snapshot(&cluster).args(["--target", &again]).exits(2).says(&["`.` or `..`"]);
    let slash = format!("{}/", staging.path().display());
    staging.snapshot(&cluster).env("TARGET", slash).success();
    assert_eq!(in_place(&staging, "")["stored"], true);
}

/// Each is refused although there is nothing to store, so before that is looked for.
#[test]
fn wrong_settings_of_the_store_come_before_the_snapshot_is_read() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let placeholder = remote.config_with(remote.secret().unwrap(), "REPLACE_ME");
    let vault = fs::read_to_string(&placeholder).unwrap()
        + "[outer]\ntype = alias\nremote = inner:x\n[inner]\ntype = crypt\npassword = x\nremote = store:bucket\n";
    fs::write(&placeholder, vault).unwrap();
    let of_prefix = "x".repeat(200);
    let mistakes: [(&str, &str, &str, &[&str]); 6] = [
        ("TARGET", "bucket", "", &["target: `bucket` names no remote"]),
        ("TARGET", "nosuch:bucket", "", &["target: there is no section [nosuch] in ", "which has [store]"]),
        ("RCLONE_FLAGS", "--dry-run", "", &["rclone-flags: `--dry-run`"]),
        ("BACKUP_PREFIX", &of_prefix, "crypt", &["backup-prefix: the longest name"]),
        (
            "TARGET",
            "store:bucket",
            "placeholder",
            &["section [store] of ", "is only a placeholder, where `secret_access_key`"],
        ),
        ("TARGET", "outer:", "placeholder", &["section [store] of ", "is only a placeholder", "rclone/rclone.conf"]),
    ];
    let crypt = Remote::rclone_s3().encrypted(true);
    let staging = Staging::new();
    for (variable, value, kind, words) in mistakes {
        let configured = |run: Run| match kind {
            "placeholder" => run.env("RCLONE_CONFIG", &placeholder),
            "crypt" => run.store(&crypt),
            _ => run,
        };
        configured(staging.store(&remote)).env(variable, value).exits(2).says(words);
        if kind != "crypt" {
            configured(staging.prune(&remote)).env(variable, value).exits(2).says(words);
            configured(Run::new().arg("list").store(&remote)).env(variable, value).exits(2).says(words);
        }
    }
    staging.prune(&remote).env("RETENTION", "10").exits(2).says(&["`10d`"]);
}

#[test]
fn what_the_store_refuses_comes_before_the_proof_and_an_outage_does_not() {
    needs!("etcd", "rclone");
    let (cluster, staging, remote) = (Cluster::small(), Staging::new(), Remote::rclone_s3());
    staging.snapshot(&cluster).env("TARGET", "elsewhere:x").success();
    let file = staging.path().join(record(staging.path())["file"].as_str().unwrap());
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    staging.store(&remote).env("TARGET", "store:missing").exits(2).says(&["there is no bucket at store:missing"]);
    let away = || staging.store(&remote).env("RCLONE_CONFIG", remote.config_by(1)).env("RETRY_FOR", "1s");
    away().exits(5);
    fs::write(&file, &good).unwrap();
    away().exits(6).says(&["trying again in", "connection refused"]);
    staging.store(&remote).success();
    // The work is done, so nobody asks the store, and it may be away.
    let again = away().success();
    assert_eq!(again.text("name"), remote.names()[0]);
}

#[test]
fn no_record_is_said() {
    needs!("rclone");
    let remote = Remote::folder();
    let staging = Staging::new();
    staging.store(&remote).exits(2).says(&["cannot read the record", "etcd-backup snapshot"]);
    staging.prune(&remote).exits(2).says(&["cannot read the record"]);
}
