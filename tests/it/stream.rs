//! What can happen between the first and the last byte of a snapshot.

use std::{
    fs::OpenOptions,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    output::{Output, Report},
    proxy::Fault,
    remote::Remote,
    run::{Job, Run},
};

const MIB: u64 = 1 << 20;
/// A ping every ten seconds that is answered within six, and a little for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// Slow enough to interfere with, and a second or two a snapshot all the same.
const SLOWLY: Fault = Fault::Throttle(6 * MIB);

fn all(cluster: &Cluster, fault: Fault) {
    cluster.living().into_iter().for_each(|i| cluster.proxy(i).set(fault));
}

/// Waits until the snapshot is under way, and answers which member gives it.
fn streaming(cluster: &Cluster, job: &Job) -> usize {
    eventually(SOON, "two MiB of a snapshot", || (job.received() > 2 * MIB).then_some(()));
    let living = cluster.living().into_iter();
    living.max_by_key(|i| cluster.proxy(*i).passed()).unwrap()
}

fn reasons(report: &Report) -> Vec<(String, String)> {
    let refused = report.value("refused").as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    refused.map(|refused| (text(&refused["endpoint"]), text(&refused["reason"]))).collect()
}

/// One member failed in the midst of its snapshot, and another gave the one that is stored.
fn assert_next_member(output: &Output, cluster: &Cluster, failed: usize, why: &str, remote: &Remote) {
    output.assert().code(0);
    let report = output.report();
    let [(endpoint, reason)] = &reasons(&report)[..] else { panic!("{output}") };
    assert_eq!(endpoint, &cluster.endpoint(failed), "{output}");
    assert!(reason.starts_with("snapshot: ") && reason.contains(why), "{output}");
    assert_ne!(report.text("member"), endpoint);
    let stored = remote.read(report.text("name"));
    assert_eq!(u64::try_from(stored.len()).unwrap(), report.number("bytes"), "from a clean file\n{output}");
}

#[test]
fn a_member_killed_in_its_midst_is_replaced() {
    needs!("etcd", "rclone");
    let mut cluster = Cluster::with(3).proxied().mib(12).start();
    let remote = Remote::folder();
    all(&cluster, SLOWLY);
    let job = Run::job(&cluster, &remote).spawn();
    let i = streaming(&cluster, &job);
    cluster.kill(i);
    let output = job.wait(SOON);
    assert_next_member(&output, &cluster, i, "closed the connection", &remote);
}

#[test]
fn connections_cut_in_their_midst_leave_nothing() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(3).proxied().mib(12).start();
    let remote = Remote::folder();
    all(&cluster, Fault::CutAfter(5 * MIB));
    let output = Run::job(&cluster, &remote).exits(5);
    assert_eq!(reasons(&output.report()).len(), 3, "each member is tried once\n{output}");
    assert!(remote.names().is_empty(), "{output}");
}

#[test]
#[ignore = "slow: make test-all"]
fn a_member_frozen_in_its_midst_is_given_up() {
    needs!("etcd", "rclone");
    let frozen = |freeze: fn(&Cluster, usize)| {
        let cluster = Cluster::with(3).proxied().mib(12).start();
        let remote = Remote::folder();
        all(&cluster, SLOWLY);
        let job = Run::job(&cluster, &remote).spawn();
        let i = streaming(&cluster, &job);
        freeze(&cluster, i);
        eventually(GIVEN_UP, "the frozen member given up", || job.stderr().contains("snapshot failed").then_some(()));
        let output = job.wait(Duration::from_mins(1));
        assert_next_member(&output, &cluster, i, "pings are not answered", &remote);
    };
    thread::scope(|scope| {
        scope.spawn(|| frozen(Cluster::stop));
        scope.spawn(|| frozen(|cluster, i| cluster.proxy(i).set(Fault::StallAfter(0))));
    });
}

#[test]
fn a_leader_killed_beside_the_stream_is_no_loss() {
    needs!("etcd", "rclone");
    let mut cluster = Cluster::with(3).proxied().mib(12).start();
    let remote = Remote::folder();
    all(&cluster, SLOWLY);
    let job = Run::job(&cluster, &remote).spawn();
    let (i, leader) = (streaming(&cluster, &job), cluster.leader());
    assert_ne!(i, leader);
    cluster.kill(leader);
    let output = job.wait(SOON);
    output.assert().code(0);
    let report = output.report();
    assert_eq!(report.text("member"), cluster.endpoint(i), "{output}");
    assert_eq!(reasons(&report), [], "{output}");
}

#[test]
fn a_database_may_grow_meanwhile() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(1).proxied().mib(12).start();
    let remote = Remote::folder();
    let revision = |cluster: &Cluster| {
        cluster.client(0, async |client| client.status().await.unwrap().header().unwrap().revision())
    };
    all(&cluster, SLOWLY);
    let before = revision(&cluster);
    let job = Run::job(&cluster, &remote).spawn();
    let ended = AtomicBool::new(false);
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                cluster.put_many(20, "/more/", 50_000);
            }
        });
        streaming(&cluster, &job);
        let output = job.wait(SOON);
        ended.store(true, Ordering::SeqCst);
        output
    });
    output.assert().code(0);
    let taken = i64::try_from(output.report().number("revision")).unwrap();
    assert!(taken >= before, "{output}");
    assert!(taken < revision(&cluster), "it is of one point in time, while the writing went on\n{output}");
}

#[test]
fn a_member_that_cannot_read_its_database_does_not_keep_us() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(3).proxied().mib(24).start();
    let remote = Remote::folder();
    let leader = cluster.leader();
    all(&cluster, SLOWLY);
    let job = Run::job(&cluster, &remote).spawn();
    streaming(&cluster, &job);
    // Only now: a member that reads the lost pages through its memory map, to write, is dead at once.
    for i in (0..3).filter(|i| *i != leader) {
        let db = OpenOptions::new().write(true).open(cluster.data_dir(i).join("member/snap/db")).unwrap();
        assert!(db.metadata().unwrap().len() > 24 * MIB);
        db.set_len(12 * MIB).unwrap();
    }
    all(&cluster, Fault::None);
    let output = job.wait(SOON).says(&["empty messages", "cannot read its own database"]);
    output.assert().code(0);
    let report = output.report();
    assert_eq!(report.text("member"), cluster.endpoint(leader), "{output}");
    assert_eq!(reasons(&report).len(), 2, "{output}");
}

#[test]
fn a_member_that_sends_nothing_is_given_up_after_the_idle_timeout() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(1).proxied().mib(12).start();
    let remote = Remote::folder();
    all(&cluster, SLOWLY);
    let job = Run::job(&cluster, &remote).env("IDLE_TIMEOUT", "2s").spawn();
    let i = streaming(&cluster, &job);
    cluster.proxy(i).set(Fault::StallAfter(0));
    let output = job.wait(Duration::from_secs(10));
    output.assert().code(5);
    output.says(&["no bytes from the member for 2 s", &cluster.endpoint(0)]);
}

#[test]
fn the_deadline_ends_a_stream_that_still_flows() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(1).proxied().mib(12).start();
    let remote = Remote::folder();
    all(&cluster, Fault::Throttle(MIB));
    let output = Run::job(&cluster, &remote).args(["--timeout", "3s"]).exits(7).says(&["deadline of 3s", "--timeout"]);
    assert!((3..5).contains(&output.took.as_secs()), "{output}");
    assert!(remote.names().is_empty());
}
