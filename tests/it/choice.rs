//! Which member is snapshotted, and what becomes of a cluster that is not well.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    etcd::Cluster,
    output::{Output, Report},
    proxy::Proxy,
    remote::Remote,
    run::Run,
    sample,
    unreachable::Unreachable,
};

/// The patience with each connection and each request, in seconds.
const PATIENCE: f64 = 5.0;

/// How long the members were looked at, in seconds.
fn survey(output: &Output) -> f64 {
    output.report().value("seconds")["survey"].as_f64().unwrap()
}

const OLDER: &str = "202001010000.etcdb";
const OLD: &str = "202001020000.etcdb";

/// Two backups of long ago, of which the retention of `prunable` would remove one.
fn put_old(remote: &Remote) {
    for name in [OLDER, OLD] {
        remote.put_aged(name, sample::old(), Duration::from_hours(24 * 1000));
    }
}

fn prunable(run: Run) -> Run {
    run.env("RETENTION", "10d").env("KEEP_LAST", "1")
}

/// Stored beside the old ones, which are still there although one would go.
fn assert_held_back(remote: &Remote, output: &Output) -> Report {
    let report = output.report();
    assert_eq!(remote.names(), [OLDER, OLD, report.text("name")], "{output}");
    assert!(!report.text("held_back").is_empty() && report.list("removed").is_empty(), "{output}");
    let would = prunable(Run::new().args(["prune", "--dry-run"]).store(remote)).success();
    assert_eq!(would.value("planned").as_array().unwrap().len(), 1, "{would:?}");
    assert_eq!(would.value("planned")[0]["name"], OLDER, "without the trouble it would go");
    report
}

/// The record says why the backup is not good, as the report does.
fn assert_recorded_as_degraded(remote: &Remote, report: &Report) {
    let why = report.text("degraded");
    let record = remote.record(&format!("{}.json", report.text("name")));
    assert_eq!(record["degraded"], why);
    assert_eq!(record["verdict"], json!({ "is": "degraded", "why": why }));
    assert_eq!(report.value("verdict"), &record["verdict"]);
}

/// The reason for which the endpoint was not used.
fn refusal<'a>(report: &'a Report, endpoint: &str) -> &'a str {
    let refused = report.value("refused").as_array().unwrap();
    let refused = refused.iter().find(|refused| refused["endpoint"] == endpoint);
    refused.unwrap_or_else(|| panic!("{endpoint} in {report:?}"))["reason"].as_str().unwrap()
}

/// Everything that a client can change, as etcd's own client sees it.
fn state(cluster: &Cluster) -> [String; 3] {
    let status = cluster.client(cluster.living()[0], async |client| client.status().await.unwrap());
    let revision = status.header().unwrap().revision();
    let alarms = cluster.etcdctl(&["alarm", "list"]);
    let mut alarms: Vec<_> = alarms.lines().collect();
    alarms.sort_unstable();
    [alarms.join("\n"), cluster.etcdctl(&["member", "list"]), revision.to_string()]
}

#[test]
fn every_member_gets_one_line_and_a_follower_is_taken() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(3);
    cluster.put_many(100, "/registry/pods/", 100);
    let remote = Remote::folder();
    let before = state(&cluster);
    let output = Run::job(&cluster, &remote).exits(0);
    let leader = cluster.endpoint(cluster.leader());
    for endpoint in cluster.endpoints() {
        let lines: Vec<_> =
            output.stderr.lines().filter(|line| line.contains(&format!(" member {endpoint} "))).collect();
        let [line] = lines[..] else { panic!("{lines:?}") };
        let (role, verdict) = match () {
            () if endpoint == leader => ("leader", "spare 2"),
            () if endpoint == output.report().text("member") => ("follower", "chosen"),
            () => ("follower", "spare 1"),
        };
        let facts = [format!("role={role}"), format!("verdict=\"{verdict}\"")];
        for fact in
            facts.iter().map(String::as_str).chain(["version=", "size=", "applied=", "round_trip_ms=", "reason="])
        {
            assert!(line.replace("=chosen", "=\"chosen\"").contains(fact), "{fact} in {line}");
        }
    }
    assert_ne!(output.report().text("member"), leader);
    assert_eq!(state(&cluster), before, "etcd is only read");
}

#[test]
fn a_dead_leader_is_passed_over_while_another_is_elected() {
    needs!("etcd", "etcdctl", "rclone");
    let mut cluster = Cluster::start(3);
    cluster.put_many(1, "/a/", 10);
    let remote = Remote::folder();
    cluster.kill(cluster.leader());
    let dead = (0..3).find(|i| !cluster.living().contains(i)).unwrap();
    let output = Run::job(&cluster, &remote).exits(0);
    assert!(refusal(&output.report(), &cluster.endpoint(dead)).contains("onnection refused"), "{output}");
    assert!(survey(&output) < 2.0 * PATIENCE, "{output}");
    assert_eq!(output.report().value("degraded"), &Value::Null, "an election is no loss of quorum");

    let output = Run::job(&cluster, &remote).exits(0);
    assert!(survey(&output) < PATIENCE, "a dead member costs nothing\n{output}");
}

#[test]
fn mute_members_cost_one_timeout_together() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(3);
    cluster.put_many(1, "/a/", 10);
    let remote = Remote::folder();
    let frozen = (cluster.leader() + 1) % 3;
    cluster.stop(frozen);
    let (silent, unreachable) = (Proxy::silent(), Unreachable::new());
    let silent = format!("https://127.0.0.1:{}", silent.port());
    let unreachable = format!("https://127.0.0.1:{}", unreachable.port());
    let endpoints = [cluster.endpoints(), vec![silent.clone(), unreachable.clone()]].concat().join(",");
    let output = Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", endpoints).exits(0);
    for mute in [&cluster.endpoint(frozen), &silent, &unreachable] {
        let reason = refusal(&output.report(), mute).to_owned();
        assert!(reason.contains("no answer within 5 s"), "{mute}: {reason}");
    }
    assert!(survey(&output) < 2.0 * PATIENCE, "{output}");
    cluster.cont(frozen);
}

#[test]
fn all_dead_is_told_at_once() {
    needs!("etcd", "rclone");
    let mut cluster = Cluster::start(3);
    let remote = Remote::folder();
    (0..3).for_each(|i| cluster.kill(i));
    let output = Run::job(&cluster, &remote).exits(4);
    assert!(output.took < Duration::from_secs(6), "{output}");
    for endpoint in cluster.endpoints() {
        let told = format!("{endpoint}: connecting: tcp connect error: Connection refused");
        assert!(output.report().text("error").contains(&told), "{told:?} in {output}");
        assert!(output.stderr.contains(&format!("WARN member {endpoint} verdict=\"refused\"")), "{output}");
    }
    assert!(remote.names().is_empty());
}

#[test]
fn a_learner_is_never_taken() {
    needs!("etcd", "etcdctl", "rclone");
    let mut cluster = Cluster::start(1);
    cluster.put_many(1, "/a/", 10);
    let remote = Remote::folder();
    let learner = cluster.add_learner();
    let before = state(&cluster);
    let output = Run::job(&cluster, &remote).exits(0);
    let report = output.report();
    assert_eq!(report.text("member"), cluster.endpoint(0), "{output}");
    assert_eq!(refusal(&report, &cluster.endpoint(learner)), "is a learner");
    let line = output.stderr.lines().find(|line| line.contains(&format!(" member {} ", cluster.endpoint(learner))));
    assert!(line.is_some_and(|line| line.contains("role=learner") && line.contains("refused")), "{output}");
    assert_eq!(state(&cluster), before, "etcd is only read");

    let alone = Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", cluster.endpoint(learner));
    alone.exits(4).says(&[&cluster.endpoint(learner), "is a learner"]);
}

#[test]
fn two_clusters_in_one_list_are_refused_by_name() {
    needs!("etcd", "rclone");
    let clusters = [Cluster::single(), Cluster::single()];
    let remote = Remote::folder();
    let [one, other] = clusters.each_ref().map(|cluster| cluster.endpoint(0));
    let run = Run::new().store(&remote).env("ETCDCTL_ENDPOINTS", format!("{one},{other}"));
    let output = run.exits(2).says(&["different clusters", &one, &other]);
    for cluster in &clusters {
        let id = cluster.client(0, async |client| client.status().await.unwrap().header().unwrap().cluster_id());
        assert!(output.stderr.contains(&format!("cluster {id:x} at {}", cluster.endpoint(0))), "{output}");
    }
    assert!(remote.names().is_empty());
}

#[test]
fn without_quorum_the_last_resort_is_stored_and_nothing_goes() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let mut cluster = Cluster::start(3);
    cluster.put_many(20, "/registry/pods/", 100);
    let remote = Remote::seaweedfs();
    put_old(&remote);
    cluster.kill(0);
    cluster.kill(2);

    let strict = prunable(Run::job(&cluster, &remote)).arg("--strict").spawn();
    let output = prunable(Run::job(&cluster, &remote)).exits(8).says(&["no quorum", "degraded"]);
    let report = assert_held_back(&remote, &output);
    assert_eq!(report.text("outcome"), "degraded");
    assert_eq!(report.text("member"), cluster.endpoint(1));
    assert_eq!(report.number("keys"), 20);
    assert!(report.text("degraded").contains("no quorum: linearizable read: "), "{output}");
    assert_recorded_as_degraded(&remote, &report);

    let output = strict.wait(Duration::from_secs(30));
    output.assert().code(4);
    output.says(&["--strict refuses", "no quorum"]);
}

#[test]
fn a_full_database_is_a_warning() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::with(1).plain().quota(2 << 20).start();
    cluster.fill();
    let before = state(&cluster);
    assert!(before[0].contains("NOSPACE"), "{before:?}");
    let remote = Remote::folder();
    let output = Run::job(&cluster, &remote).exits(0).says(&[" WARN NOSPACE", "defragment"]);
    assert_eq!(output.report().value("degraded"), &Value::Null);
    assert_eq!(state(&cluster), before, "the alarm is not ours to disarm");
}

#[test]
fn a_corrupt_member_is_not_taken() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let cluster = Cluster::start(3);
    cluster.put_many(20, "/registry/pods/", 100);
    let remote = Remote::seaweedfs();
    put_old(&remote);
    // A follower, which would otherwise be liked best.
    let corrupt = (cluster.leader() + 1) % 3;
    cluster.raise_corrupt(corrupt);
    let before = state(&cluster);
    let output = prunable(Run::job(&cluster, &remote)).exits(8).says(&["CORRUPT"]);
    let report = assert_held_back(&remote, &output);
    assert_ne!(report.text("member"), cluster.endpoint(corrupt));
    assert_eq!(refusal(&report, &cluster.endpoint(corrupt)), "has a CORRUPT alarm");
    assert_eq!(report.number("keys"), 20);
    assert_recorded_as_degraded(&remote, &report);
    prunable(Run::job(&cluster, &remote)).arg("--strict").exits(4).says(&["--strict refuses", "CORRUPT"]);

    (0..3).filter(|i| *i != corrupt).for_each(|i| cluster.raise_corrupt(i));
    let all = state(&cluster);
    assert_eq!(all[0].matches("CORRUPT").count(), 3, "{all:?}");
    let remote = Remote::seaweedfs();
    put_old(&remote);
    let output = prunable(Run::job(&cluster, &remote)).exits(8);
    assert_eq!(assert_held_back(&remote, &output).number("keys"), 20);
    assert_eq!(state(&cluster), all);
    assert_eq!(all[1..], before[1..], "etcd is only read");
}
