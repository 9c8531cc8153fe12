//! The job as three steps, as the packages run it: snapshot, store, prune, with a record handed from one to the next.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{etcd::Cluster, kubernetes::save, remote::Remote, run::Run};

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
    for (endpoints, code) in [("", 4), ("nonsense", 2)] {
        staging.snapshot(&cluster).env("ETCDCTL_ENDPOINTS", endpoints).exits(code);
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

#[test]
fn no_record_is_said() {
    needs!("rclone");
    let remote = Remote::folder();
    let staging = Staging::new();
    staging.store(&remote).exits(2).says(&["cannot read the record", "etcd-backup snapshot"]);
    staging.prune(&remote).exits(2).says(&["cannot read the record"]);
}
