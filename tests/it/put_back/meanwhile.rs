//! Others write, or the cluster goes away, while keys are put back.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::*;
use crate::support::{
    SOON, eventually,
    kubernetes::{Meta, namespace, object, pod},
    output::Output,
    proxy::Fault,
    run::Job,
};

/// Deleted keys, and a way to the cluster that is slow enough to interfere.
fn slow() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::with(1).plain().proxied().start();
    let objects: Vec<_> = (0..60_u8).map(|i| pod("default", &format!("web-{i:04}"), &[i; 1000])).collect();
    put(&cluster, &objects);
    let (folder, backup) = backup_of(&cluster);
    let keys: Vec<_> = (0..60).map(name).collect();
    delete(&cluster, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.proxy(0).set(Fault::Throttle(30_000));
    (cluster, folder, backup)
}

fn until_it_writes(job: &Job) {
    eventually(SOON, "the first key", || job.stderr().contains("put back").then_some(()));
}

fn end(job: Job, exit: i32) -> Output {
    let output = job.wait(Duration::from_mins(1));
    output.assert().code(exit);
    output
}

#[test]
fn a_key_that_somebody_else_makes_meanwhile_is_theirs() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    let theirs = (name(59), b"theirs".to_vec());
    put(&cluster, std::slice::from_ref(&theirs));
    let report = end(job, 0).says(&["left alone", &name(59)]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!((count(&report, "create"), count(&report, "leave")), (59, 1));
    let kv = cluster.keys_at(&name(59), 0).remove(0);
    assert_eq!((kv.value, kv.version), (theirs.1, 1));
}

#[test]
fn a_key_that_changes_meanwhile_is_not_overwritten() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let old: Vec<_> = (0..60).map(|i| (name(i), b"old".to_vec())).collect();
    put(&cluster, &old);
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--overwrite", "--yes"]).spawn();
    until_it_writes(&job);
    put(&cluster, &[(name(59), b"theirs".to_vec())]);
    let report = end(job, 1).says(&["changed after they were read", "run the command again"]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!(count(&report, "replace"), 59);
    assert_eq!(cluster.keys_at(&name(59), 0)[0].value, b"theirs");
}

#[test]
fn a_cluster_that_goes_away_is_told_key_by_key_and_can_be_finished() {
    needs!("etcd", "etcdctl");
    let (mut cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    cluster.kill(0);
    let report = end(job, 4).report();
    let results = results(&report);
    let sort = |result: &str| results.values().filter(|r| *r == result).count();
    assert_eq!(sort("unknown"), 1);
    assert!(sort("created") >= 1 && sort("not-attempted") >= 1);
    assert_eq!(sort("created") + 1 + sort("not-attempted"), 60);
    assert!(report.text("error").contains("putting keys back"));

    cluster.restart(0);
    cluster.proxy(0).set(Fault::None);
    let there: Vec<_> = cluster.keys_at("/registry/", 0).into_iter().map(|kv| kv.key).collect();
    for (key, result) in &results {
        let exists = there.contains(&key.clone().into_bytes());
        assert!(result == "unknown" || exists == (result == "created"), "{key} is {result}, and {exists}");
    }
    let rest = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).success();
    assert_eq!(count(&rest, "create") + count(&rest, "leave"), 60);
    assert_eq!(cluster.keys_at("/registry/", 0).len(), 60);
}

const SHOP: &str = "/registry/namespaces/shop";

/// The namespace `shop` while it is being deleted. Its controller writes another one at every sync.
fn dying(label: &str) -> (String, Vec<u8>) {
    namespace(&Meta { uid: "n", labels: &[("sync", label)], deleting: true, ..Meta::new("", "shop") })
}

/// A namespace that is being deleted, with all its pods gone, and a way to the cluster that takes a second for what the
/// backup has of the namespace.
fn dying_shop() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::with(1).plain().proxied().start();
    let alive = Meta { uid: "n", ..Meta::new("", "shop") };
    put(&cluster, &[object("namespaces", "v1", "Namespace", &alive, &vec![b'x'; 30_000])]);
    let pods: Vec<_> = (0..40).map(|i| pod("shop", &format!("web-{i}"), b"")).collect();
    put(&cluster, &pods);
    let (folder, backup) = backup_of(&cluster);
    delete(&cluster, &pods.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>());
    put(&cluster, &[dying("0")]);
    cluster.proxy(0).set(Fault::Throttle(30_000));
    (cluster, folder, backup)
}

const REPLACE: [&str; 3] = ["--namespace=shop", "--overwrite", "--yes"];

#[test]
fn nothing_is_put_into_a_namespace_whose_deletion_could_not_be_cancelled() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = dying_shop();
    let job = put_back(&cluster, &backup, &REPLACE).spawn();
    let stop = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                put(&cluster, &[dying(&i.to_string())]);
            }
        });
        let output = job.wait(Duration::from_mins(1));
        stop.store(true, Ordering::SeqCst);
        output.assert().code(1);
        output
            .says(&["the namespace shop was being deleted", "nothing was put into it", "run the command again"])
            .report()
    });
    let results = results(&report);
    assert_eq!(results[SHOP], "overtaken");
    assert_eq!(results.values().filter(|result| *result == "not-attempted").count(), 40);
    assert_eq!(count(&report, "fail"), 40);
    assert_eq!(cluster.keys_at("/registry/pods/", 0), []);
}

#[test]
fn a_namespace_that_its_controller_wrote_while_the_plan_was_made_is_read_again() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = dying_shop();
    let before = cluster.proxy(0).passed();
    put_back(&cluster, &backup, &REPLACE[..2]).success();
    let plan = cluster.proxy(0).passed() - before;
    let job = put_back(&cluster, &backup, &REPLACE).spawn();
    let half = before + plan + plan / 2;
    eventually(SOON, "half of the plan", || (cluster.proxy(0).passed() > half).then_some(()));
    put(&cluster, &[dying("1")]);
    let report = end(job, 0).report();
    assert_eq!((count(&report, "replace"), count(&report, "create")), (1, 40));
}

/// What the cluster has, which is exactly what the report says: every key is accounted for.
fn assert_accounted_for(cluster: &Cluster, report: &Report, unknown: usize) {
    let results = results(report);
    let sort = |result: &str| results.values().filter(|r| *r == result).count();
    assert_eq!((results.len(), sort("unknown")), (60, unknown), "{results:?}");
    assert!(sort("created") >= 1 && sort("not-attempted") >= 1, "{results:?}");
    assert_eq!(count(report, "unknown"), u64::try_from(unknown).unwrap());
    let there: Vec<_> = cluster.keys_at("/registry/", 0).into_iter().map(|kv| kv.key).collect();
    for (key, result) in &results {
        let exists = there.contains(&key.clone().into_bytes());
        assert!(result == "unknown" || exists == (result == "created"), "{key} is {result}, and {exists}");
    }
}

/// Ends a command that writes; then its own advice does the rest.
fn ended_and_gone_on(more: &[&str], exit: i32, cut_short: impl FnOnce(&Cluster, &Job)) {
    let (cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &[&["--prefix=/registry/", "--yes"], more].concat()).spawn();
    until_it_writes(&job);
    cut_short(&cluster, &job);
    let report = end(job, exit).says(&[" created, 0 replaced, ", " NOT WRITTEN", "the report tells which"]).report();
    assert_accounted_for(&cluster, &report, 0);
    assert!(report.text("error").contains("NOT WRITTEN"));

    cluster.proxy(0).set(Fault::None);
    let (program, words) = shell_words(report.text("carry_out"));
    assert_eq!(program, "etcd-backup");
    let rest = Run::new().etcd(&cluster).args(words).success();
    assert_eq!(count(&rest, "create"), count(&report, "fail"));
    assert!(rest.value("carry_out").is_null());
}

#[test]
fn each_key_is_accounted_for_whatever_signal_ends_it() {
    needs!("etcd", "etcdctl");
    for (signal, exit) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        ended_and_gone_on(&[], exit, |_, job| job.signal(signal));
    }
}

#[test]
#[ignore = "slow: make test-all"]
fn each_key_is_accounted_for_when_the_deadline_passes() {
    needs!("etcd", "etcdctl");
    ended_and_gone_on(&["--timeout=15s"], 7, |cluster, _| cluster.proxy(0).set(Fault::Throttle(3000)));
}

/// The cluster stops while a key is being written, and so much later a signal ends the command.
fn ended_without_an_answer(after: Duration) {
    let (cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    cluster.stop(0);
    thread::sleep(after);
    job.signal(Signal::TERM);
    let output = job.wait(Duration::from_secs(15));
    cluster.cont(0);
    output.assert().code(143);
    let report = output.says(&["1 UNKNOWN", "could not be asked after"]).report();
    assert_accounted_for(&cluster, &report, 1);
}

#[test]
fn a_key_that_gets_no_answer_is_the_one_that_is_unknown() {
    needs!("etcd", "etcdctl");
    ended_without_an_answer(Duration::from_millis(300));
}

#[test]
fn a_key_that_is_being_asked_after_is_still_accounted_for() {
    needs!("etcd", "etcdctl");
    // An answer is waited for for five seconds, and then the key is asked after for two.
    ended_without_an_answer(Duration::from_millis(6200));
}

#[test]
fn an_interrupted_plan_has_written_nothing_and_says_so() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let before = cluster.proxy(0).passed();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    eventually(SOON, "a request", || (cluster.proxy(0).passed() > before + 1000).then_some(()));
    job.signal(Signal::TERM);
    let report = end(job, 143).report();
    assert_eq!(report.text("error"), "interrupted by SIGTERM; nothing was written to etcd");
}

#[test]
fn what_was_put_back_is_in_the_log_where_the_report_is_lost() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    cluster.proxy(0).set(Fault::None);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn_into(full);
    let output = end(job, 10).says(&["60 created, 0 replaced", "cannot write to stdout", &name(0), &name(59)]);
    assert_eq!(output.stderr.matches("put back /registry/").count(), 60);
    assert_eq!(cluster.keys_at("/registry/", 0).len(), 60);
}
