//! The upload and what comes between: other writers, lost answers, busy stores, cut connections.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    LONG_AGO, SOON,
    etcd::Cluster,
    eventually,
    http_proxy::{Action, HttpProxy},
    output::Output,
    proxy::{Fault, Proxy},
    remote::Remote,
    run::Run,
    sample, sha256,
};

/// A bucket, and a job that gets to it by way of a hook. An old backup there must outlive whatever goes wrong.
fn hooked(
    hook: impl FnMut(&Remote, &crate::support::http_proxy::Request) -> Action + Send + 'static,
) -> (HttpProxy, Arc<Remote>, PathBuf) {
    let remote = Arc::new(Remote::seaweedfs());
    remote.put_aged("202001010000.etcdb", sample::old(), LONG_AGO);
    let (inside, mut hook) = (Arc::clone(&remote), hook);
    let hooked = HttpProxy::to(remote.port(), move |request| hook(&inside, request));
    let config = remote.config_by(hooked.port());
    (hooked, remote, config)
}

fn job(cluster: &Cluster, remote: &Remote, config: &PathBuf) -> Run {
    Run::job(cluster, remote).env("RCLONE_CONFIG", config).env("RETENTION", "10d").env("KEEP_LAST", "1")
}

fn leaf(path: &str) -> String {
    path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Runs the job, whose first name another run takes meanwhile; both backups have to be there afterwards.
fn stored_beside_anothers(remote: &Remote, config: &PathBuf) -> Output {
    let output = job(&Cluster::small(), remote, config).without_env("RETENTION").exits(0);
    let report = output.report();
    let names = remote.names();
    assert_eq!(names.len(), 3, "{names:?}");
    let others = names.iter().find(|name| *name != report.text("name") && *name != "202001010000.etcdb").unwrap();
    assert_eq!(remote.read(others), b"another run's");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
    output
}

#[test]
fn a_name_that_another_takes_meanwhile_is_left_alone() {
    needs!("etcd", "rclone", "weed");
    let mut first = true;
    let (_hooked, remote, config) = hooked(move |remote, request| {
        if request.is_upload() && std::mem::take(&mut first) {
            assert_eq!(request.header("if-none-match"), Some("*"));
            remote.put(&leaf(&request.path), b"another run's");
        }
        Action::Forward
    });
    let output = stored_beside_anothers(&remote, &config);
    output.says(&["is already there; it is never overwritten; taking another name"]);
}

#[test]
fn the_same_while_it_is_moved_into_place() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    let script = "#!/bin/bash
if [ \"$1\" = copyto ] && [ ! -e DONE ]; then
    touch DONE
    leaf=$(basename \"${@: -1}\")
    printf theirs > \"TARGET/${leaf%.????????.part}\"
fi
exec REAL \"$@\"\n";
    let done = tempfile::tempdir().unwrap();
    let script = script.replace("DONE", done.path().join("done").to_str().unwrap()).replace("TARGET", remote.target());
    let report = Run::job(&Cluster::small(), &remote).rclone_is(&script).success();
    let names = remote.names();
    assert_eq!(names.len(), 2, "{names:?}");
    let theirs = names.iter().find(|name| *name != report.text("name")).unwrap();
    assert_eq!(remote.read(theirs), b"theirs");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
}

#[test]
fn an_object_altered_before_it_is_confirmed_is_six() {
    needs!("etcd", "rclone", "weed");
    let (mut uploaded, mut looks) = (false, 0);
    let (_hooked, remote, config) = hooked(move |remote, request| {
        let name = leaf(&request.path);
        uploaded |= request.is_upload();
        looks += u32::from(uploaded && request.method == "HEAD" && name.starts_with("20"));
        // The first look is rclone's own, at the end of its upload.
        if looks == 2 {
            looks += 1;
            // As long as before, so that only its hash tells.
            let mut bytes = remote.read(&name);
            bytes[9000] ^= 1;
            remote.put(&name, &bytes);
        }
        Action::Forward
    });
    let output = job(&Cluster::small(), &remote, &config).exits(6);
    // The store itself made it for this run alone.
    assert_eq!(remote.names(), ["202001010000.etcdb"], "it was removed, and nothing was pruned");
    assert_eq!(remote.records(), [".since.json", "202001010000.etcdb.json"]);
    assert!(output.report().value("name").is_null(), "{output}");
    output.says(&["its content, read back, differs from what was sent", "nothing is left under that name"]);
}

#[test]
fn a_lost_answer_is_no_lost_backup() {
    needs!("etcd", "rclone", "weed");
    let mut first = true;
    let (_hooked, remote, config) = hooked(move |_, request| {
        let lost = request.is_upload() && std::mem::take(&mut first);
        if lost { Action::DropAnswer } else { Action::Forward }
    });
    let output = job(&Cluster::small(), &remote, &config).exits(0);
    let report = output.report();
    assert_eq!(remote.names(), [report.text("name")], "stored once, and the old one pruned");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
    output.says(&["the object is there and identical to what was sent"]);
}

#[test]
fn a_busy_store_is_asked_again_and_a_sick_one_is_six() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::small();
    let refusals = Arc::new(AtomicU32::new(2));
    let left = Arc::clone(&refusals);
    let (_hooked, remote, config) = hooked(move |_, request| {
        let refused = request.is_upload() && left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        if refused { Action::Refuse(503, "SlowDown") } else { Action::Forward }
    });
    let report = job(&cluster, &remote, &config).success();
    assert_eq!((refusals.load(SeqCst), remote.names()), (0, vec![report.text("name").to_owned()]));

    refusals.store(u32::MAX, SeqCst);
    remote.put_aged("202001010000.etcdb", sample::old(), LONG_AGO);
    let output = job(&cluster, &remote, &config).env("RETRY_FOR", "0s").exits(6);
    assert_eq!(remote.names().len(), 2, "nothing was stored or pruned");
    output.says(&["SlowDown"]);
}

#[test]
fn a_store_without_conditional_uploads_is_used_all_the_same() {
    needs!("etcd", "rclone", "weed");
    let (_hooked, remote, config) = hooked(|_, request| match request.header("if-none-match") {
        Some(_) => Action::Refuse(501, "NotImplemented"),
        None => Action::Forward,
    });
    let output = job(&Cluster::small(), &remote, &config).exits(0);
    assert_eq!(remote.names(), [output.report().text("name")]);
    output.says(&["the store has no conditional uploads"]);
}

/// There rclone's own look, directly before the upload, is all that guards the name.
#[test]
fn without_conditional_uploads_a_taken_name_is_left_alone_too() {
    needs!("etcd", "rclone", "weed");
    let mut first = true;
    let (_hooked, remote, config) = hooked(move |remote, request| match request.header("if-none-match") {
        Some(_) => {
            if request.is_upload() && std::mem::take(&mut first) {
                remote.put(&leaf(&request.path), b"another run's");
            }
            Action::Refuse(501, "NotImplemented")
        }
        None => Action::Forward,
    });
    let output = stored_beside_anothers(&remote, &config);
    output.says(&["is already there; it is never overwritten; taking another name"]);
}

#[test]
fn a_connection_cut_while_uploading_is_tried_again() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let proxy = Proxy::to(remote.port());
    proxy.set(Fault::CutAfter(2 << 20));
    let cluster = Cluster::large();
    let job = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port())).spawn();
    eventually(SOON, "the cut", || (proxy.passed() >= 2 << 20).then_some(()));
    assert!(remote.names().is_empty());
    proxy.set(Fault::None);
    let output = job.wait(Duration::from_secs(30));
    output.assert().code(0);
    assert_eq!(sha256(&remote.read(output.report().text("name"))), output.report().text("sha256"));
}
