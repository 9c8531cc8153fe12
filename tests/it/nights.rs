//! What a cluster goes through between two nights, and what becomes of its backups: nothing is deleted while it is unclear
//! what the cluster is now, and a person's word ends that.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    etcd::Cluster,
    kubernetes::{kube_system, save},
    output::Report,
    remote::Remote,
    run::Run,
};

const ONE: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const TWO: &str = "22222222-aaaa-4bbb-8ccc-000000000002";

/// With limits that leave one backup if nothing holds them back.
fn limited(run: Run) -> Run {
    run.env("BACKUP_PREFIX", "p-").env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
}

fn night(cluster: &Cluster, remote: &Remote) -> Run {
    limited(Run::job(cluster, remote))
}

fn prune(remote: &Remote) -> Run {
    limited(Run::new().arg("prune").store(remote))
}

fn ruling(word: &str, name: &str, remote: &Remote) -> Run {
    Run::new().arg(word).arg(name).args(["--by", "alice"]).store(remote).env("BACKUP_PREFIX", "p-")
}

fn accept(name: &str, remote: &Remote) -> Report {
    ruling("accept", name, remote).success()
}

fn dismiss(name: &str, remote: &Remote) -> Report {
    ruling("dismiss", name, remote).success()
}

/// A night whose backup is good, and after which retention leaves it alone.
fn good_night(cluster: &Cluster, remote: &Remote) -> String {
    let output = night(cluster, remote).exits(0);
    let report = output.report();
    assert_eq!(report.value("verdict"), &json!({ "is": "good" }), "{output}");
    let name = report.text("name");
    assert_eq!(remote.names(), [name], "{output}");
    let others = |file: &&String| !file.starts_with("p-.since") && !file.starts_with(name);
    assert_eq!(remote.records().iter().find(others), None, "records of deleted backups are left");
    name.to_owned()
}

/// A night whose backup is suspicious for this reason, and that deletes nothing; answers the backup's name.
fn red_night(cluster: &Cluster, remote: &Remote, reason: &str) -> String {
    let before = remote.names();
    let output = night(cluster, remote).exits(3);
    let report = output.report();
    let name = report.text("name").to_owned();
    assert_eq!(report.value("verdict")["is"], "suspicious", "{output}");
    assert_eq!(report.value("verdict")["reasons"], json!([reason]), "{output}");
    assert!(report.text("held_back").contains(&name), "{output}");
    let mut after = remote.names();
    after.retain(|other| *other != name);
    assert_eq!(after, before, "{output}");
    name
}

/// `prune` by hand is held by exactly these backups, every time, and deletes nothing.
fn assert_held_by(names: &[&str], remote: &Remote) {
    let before = remote.names();
    for args in [&[][..], &["--dry-run"], &[]] {
        let report = prune(remote).args(args).exits(3).report();
        assert_eq!(held_by(report.value("holds")), names, "{report:?}");
        assert!(report.value("removed").as_array().unwrap().is_empty());
    }
    assert_eq!(remote.names(), before);
}

/// The newest first.
fn held_by(holds: &Value) -> Vec<&str> {
    holds.as_array().unwrap().iter().map(|hold| hold["name"].as_str().unwrap()).collect()
}

/// Name and class of each backup, the newest first.
fn classes(remote: &Remote) -> Vec<(String, String)> {
    let report = Run::new().arg("list").store(remote).env("BACKUP_PREFIX", "p-").success();
    let class = |line: &Value| {
        let word = line["doubt"].as_str().or(line["class"].as_str()).unwrap();
        (line["name"].as_str().unwrap().to_owned(), word.to_owned())
    };
    report.value("backups").as_array().unwrap().iter().map(class).collect()
}

/// What `latest` gives.
fn latest(remote: &Remote) -> String {
    let report = Run::new().arg("verify").store(remote).env("BACKUP_PREFIX", "p-").success();
    report.value("backups")[0]["name"].as_str().unwrap().to_owned()
}

/// Wiped and made anew with the same names: etcd's id of the cluster is the same, only the UID tells.
fn wiped_and_accepted(remote: &Remote) {
    let mut cluster = Cluster::kubernetes(ONE);
    let first = good_night(&cluster, remote);
    let id = remote.record(&format!("{first}.json"))["cluster_id"].clone();
    cluster.wipe();
    cluster.become_kubernetes(TWO);
    let second = red_night(&cluster, remote, "another-cluster");
    assert_eq!(remote.record(&format!("{second}.json"))["cluster_id"], id, "etcd's id tells nothing here");
    let third = red_night(&cluster, remote, "another-cluster");
    assert_held_by(&[&third, &second], remote);
    assert_eq!(latest(remote), first);

    let accepted = accept(&second, remote);
    assert_eq!(accepted.value("covers"), &json!([second, third]));
    assert_eq!(accepted.value("holds"), &json!([]));
    assert_eq!(latest(remote), third);
    assert_eq!(accept(&second, remote).value("covers"), &json!([]), "it was accepted already");
    good_night(&cluster, remote);
}

/// Of an empty cluster nothing tells whose it is. The word on the cluster that comes after it counts for it, too.
fn wiped_and_empty(remote: &Remote) {
    let mut cluster = Cluster::kubernetes(ONE);
    let first = good_night(&cluster, remote);
    cluster.wipe();
    let empty = red_night(&cluster, remote, "empty");
    cluster.become_kubernetes(TWO);
    let other = red_night(&cluster, remote, "another-cluster");
    assert_held_by(&[&other, &empty], remote);
    assert_eq!(latest(remote), first);
    assert_eq!(accept(&other, remote).value("covers"), &json!([other, empty]));
    good_night(&cluster, remote);
}

/// Two backups of staging's cluster among prod's.
fn disturbed_and_dismissed(remote: &Remote) {
    let (prod, staging) = (Cluster::kubernetes(ONE), Cluster::kubernetes(TWO));
    let first = good_night(&prod, remote);
    let strays = [(); 2].map(|()| red_night(&staging, remote, "another-cluster"));
    // Prod's own backup is good all the same, and only retention is held.
    let report = night(&prod, remote).exits(3).report();
    assert_eq!(report.value("verdict"), &json!({ "is": "good" }));
    assert_eq!(held_by(report.value("holds")), [strays[1].as_str(), strays[0].as_str()]);
    let second = report.text("name").to_owned();
    assert_eq!(latest(remote), second);

    assert_eq!(held_by(dismiss(&strays[0], remote).value("holds")), [strays[1].as_str()], "one word for each");
    assert_held_by(&[&strays[1]], remote);
    dismiss(&strays[1], remote);
    assert_eq!(
        classes(remote),
        [(&second, "good"), (&strays[1], "dismissed"), (&strays[0], "dismissed"), (&first, "good")]
            .map(|(name, class)| (name.clone(), class.to_owned()))
    );
    good_night(&prod, remote);
}

/// An older state stays one when its revision has grown past the one before.
fn restored(remote: &Remote) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    let cluster = Cluster::kubernetes(ONE);
    std::fs::write(&snapshot, save(&cluster)).unwrap();
    cluster.put_many(3, "/lost/", 10);
    good_night(&cluster, remote);
    drop(cluster);

    let cluster = Cluster::restored(&snapshot);
    let older = red_night(&cluster, remote, "older-state");
    // One transaction is one revision.
    for i in 0..5 {
        cluster.put_many(1, &format!("/new/{i}/"), 10);
    }
    let grown = red_night(&cluster, remote, "older-state");
    assert_held_by(&[&grown, &older], remote);
    assert_eq!(accept(&grown, remote).value("covers"), &json!([grown, older]));
    good_night(&cluster, remote);
}

/// etcd has another id of the cluster after a restore, which says nothing where the UID is known.
fn restored_with_a_raised_revision(remote: &Remote) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    let cluster = Cluster::kubernetes(ONE);
    let first = good_night(&cluster, remote);
    let id = remote.record(&format!("{first}.json"))["cluster_id"].clone();
    std::fs::write(&snapshot, save(&cluster)).unwrap();
    let cluster = Cluster::restored(&snapshot);
    cluster.put_many(1, "/new/", 10);
    let second = good_night(&cluster, remote);
    let record = remote.record(&format!("{second}.json"));
    assert_ne!(record["cluster_id"], id);
    assert_eq!(record["compared"], json!({ "with": first, "by": "kube-system-uid" }));
}

/// Where namespaces are encrypted at rest, etcd's id has to do.
fn encrypted_at_rest(remote: &Remote) {
    let seal = |cluster: &Cluster| {
        let sealed = b"k8s:enc:aescbc:v1:key:\xff\x00\x01".to_vec();
        cluster.client(0, async |client| client.put(kube_system(ONE).0, sealed, None).await.unwrap());
        cluster.put_many(2, "/registry/pods/default/", 10);
    };
    let cluster = Cluster::single();
    seal(&cluster);
    let first = good_night(&cluster, remote);
    let second = good_night(&cluster, remote);
    let record = remote.record(&format!("{second}.json"));
    assert_eq!(record["kube_system"], "unreadable");
    assert_eq!(record["compared"], json!({ "with": first, "by": "etcd-cluster-id" }));
    let other = Cluster::single();
    seal(&other);
    let red = red_night(&other, remote, "another-cluster");
    dismiss(&red, remote);
    good_night(&cluster, remote);
}

/// The namespace is gone, and with it the cluster; a later accepted one is another one for good.
fn without_its_namespace(remote: &Remote) {
    let cluster = Cluster::kubernetes(ONE);
    good_night(&cluster, remote);
    cluster.etcdctl(&["del", &kube_system(ONE).0]);
    let red = red_night(&cluster, remote, "another-cluster");
    // It was a mistake, and is put back.
    dismiss(&red, remote);
    let (key, value) = kube_system(ONE);
    cluster.client(0, async |client| client.put(key, value, None).await.unwrap());
    good_night(&cluster, remote);
}

type Story = fn(&Remote);

const STORIES: [(&str, Story); 8] = [
    ("wiped and accepted", wiped_and_accepted),
    ("wiped and empty", wiped_and_empty),
    ("disturbed and dismissed", disturbed_and_dismissed),
    ("restored", restored),
    ("restored with a raised revision", restored_with_a_raised_revision),
    ("encrypted at rest", encrypted_at_rest),
    ("without its namespace", without_its_namespace),
    ("an outlived good one", one_red_night_costs_nothing),
];

/// Seven backups have outlived their age limit, because no newer ones were made. Nights of another cluster take none.
fn one_red_night_costs_nothing(remote: &Remote) {
    let old = Cluster::kubernetes(ONE);
    let by_age = |run: Run| run.env("BACKUP_PREFIX", "p-").env("RETENTION", "10d");
    let mut all = Vec::new();
    for days in (11..=17).rev() {
        let name = by_age(Run::job(&old, remote)).without_env("RETENTION").success().text("name").to_owned();
        all.push(remote.backdate(&name, days));
    }
    let new = Cluster::kubernetes(TWO);
    for _ in 0..3 {
        let report = by_age(Run::job(&new, remote)).exits(3).report();
        assert_eq!(report.value("verdict")["is"], "suspicious");
        all.push(report.text("name").to_owned());
        by_age(Run::new().arg("prune").store(remote)).exits(3);
    }
    assert_eq!(remote.names(), all);
    // The old cluster again: its newest two stay for `keep-last`, which is 3 with this one.
    for stray in &all[7..] {
        dismiss(stray, remote);
    }
    let own = by_age(Run::job(&old, remote)).success().text("name").to_owned();
    assert_eq!(remote.names(), [&all[5..7], &all[7..], &[own]].concat());
}

/// A night without a quorum. Its backup is compared with none, and none with it, but it may be of use.
#[test]
fn degraded_in_between() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let mut cluster = Cluster::with(3).plain().start();
    cluster.become_kubernetes(ONE);
    let first = good_night(&cluster, &remote);
    cluster.put_many(1, "/more/", 10);
    cluster.kill(1);
    cluster.kill(2);
    let report = night(&cluster, &remote).exits(8).report();
    let degraded = report.text("name").to_owned();
    assert_eq!(report.value("verdict")["is"], "degraded");
    assert_eq!(remote.record(&format!("{degraded}.json"))["compared"], Value::Null);
    assert_eq!(remote.names(), [first.as_str(), &degraded]);
    assert_eq!(latest(&remote), first);
    cluster.restart(1);
    let report = night(&cluster, &remote).success();
    assert_eq!(remote.record(&format!("{}.json", report.text("name")))["compared"]["with"], json!(first));
    assert_eq!(remote.names(), [report.text("name")], "the good one takes the places of both");
}

#[rstest]
#[case::wiped_and_accepted(0)]
#[case::wiped_and_empty(1)]
#[case::disturbed_and_dismissed(2)]
#[case::restored(3)]
#[case::restored_with_a_raised_revision(4)]
#[case::encrypted_at_rest(5)]
#[case::without_its_namespace(6)]
#[case::one_red_night_costs_nothing(7)]
fn in_a_folder(#[case] story: usize) {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    STORIES[story].1(&Remote::folder());
}

#[rstest]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::webdav(Remote::webdav)]
#[case::sftp(Remote::sftp)]
#[case::crypt(|| Remote::seaweedfs().encrypted(true))]
#[case::crypt_in_a_folder(|| Remote::folder().encrypted(false))]
#[ignore = "slow: make test-all"]
fn on_other_stores(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "etcdutl", "rclone", "weed");
    for (name, story) in STORIES {
        println!("{name}");
        story(&remote());
    }
}
