//! What is said of a backup that is stored, and of those that were to go, when the store or the run ends while retention is
//! at work; and a listing that tells what was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{
    LONG_AGO, SOON,
    etcd::Cluster,
    eventually,
    http_proxy::{Action, HttpProxy, Request},
    output::Report,
    remote::Remote,
    run::Run,
    sample,
};

const OLD: [&str; 4] = ["202001010000.etcdb", "202001020000.etcdb", "202001030000.etcdb", "202001040000.etcdb"];

/// A bucket with four old backups, and a job that would delete them.
fn with_old_backups() -> (Cluster, Remote) {
    let remote = Remote::rclone_s3();
    for name in OLD {
        remote.put_aged(name, sample::old(), LONG_AGO);
    }
    (Cluster::small(), remote)
}

fn job(cluster: &Cluster, remote: &Remote, proxy: &HttpProxy) -> Run {
    let run = Run::job(cluster, remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    run.env("RETENTION", "10d").env("KEEP_LAST", "1")
}

fn is_deletion_of_a_backup(request: &Request) -> bool {
    request.method == "DELETE"
        && request.path.split('?').next().is_some_and(|path| path.strip_suffix(".etcdb").is_some())
}

fn removed(report: &Report) -> Vec<&str> {
    report.value("removed").as_array().unwrap().iter().map(|gone| gone["name"].as_str().unwrap()).collect()
}

#[test]
fn what_was_deleted_is_said_although_no_listing_tells() {
    needs!("etcd", "rclone");
    let (cluster, remote) = with_old_backups();
    let (deleted, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen, listed) = (Arc::clone(&deleted), Arc::clone(&refused));
    let proxy = HttpProxy::to(remote.port(), move |request| {
        if is_deletion_of_a_backup(request) && seen.fetch_add(1, SeqCst) == 3 {
            return Action::Refuse(403, "AccessDenied");
        }
        if request.is_list() && seen.load(SeqCst) > 0 {
            listed.fetch_add(1, SeqCst);
            return Action::Refuse(403, "AccessDenied");
        }
        Action::Forward
    });
    let output = job(&cluster, &remote, &proxy).exits(3);
    assert!(deleted.load(SeqCst) >= 4 && refused.load(SeqCst) > 0, "{output}");
    let report = output.report();
    let mut known = [removed(&report), report.list("unknown")].concat();
    known.sort_unstable();
    assert_eq!((known, removed(&report).len()), (OLD.to_vec(), 3), "{output}");
    let [left] = report.list("unknown")[..] else { panic!("{output}") };
    assert_eq!(remote.names(), [left, report.text("name")]);
    let words = "of 4 backups to delete, 3 are deleted, and it is not known of 1: the backup is safe";
    assert!(report.text("error").contains(words), "{output}");
}

#[test]
fn a_signal_while_old_backups_are_deleted_says_that_the_new_one_is_safe() {
    needs!("etcd", "rclone");
    let (cluster, remote) = with_old_backups();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let proxy = HttpProxy::to(remote.port(), move |request| {
        let held = is_deletion_of_a_backup(request);
        seen.fetch_or(held, SeqCst);
        if held { Action::Hang } else { Action::Forward }
    });
    let job = job(&cluster, &remote, &proxy).spawn();
    eventually(SOON, "a deletion", || begun.load(SeqCst).then_some(()));
    job.signal(Signal::TERM);
    let output = job.wait_further(SOON);
    output.assert().code(143);
    let report = output.report();
    assert_eq!(report.list("unknown").len(), 4, "{output}");
    assert!(remote.names().iter().any(|name| name == report.text("name")), "{output}");
    output.says(&["interrupted by SIGTERM; the backup is safe, retention is not done"]);
}

#[test]
#[ignore = "slow: make test-all"]
fn a_deadline_while_old_backups_are_deleted_is_three() {
    needs!("etcd", "rclone");
    let (cluster, remote) = with_old_backups();
    let proxy =
        HttpProxy::to(
            remote.port(),
            |request| {
                if is_deletion_of_a_backup(request) { Action::Hang } else { Action::Forward }
            },
        );
    let output = job(&cluster, &remote, &proxy).env("TIMEOUT", "10s").limit(Duration::from_secs(25)).exits(3);
    let report = output.report();
    assert_eq!(report.text("outcome"), "retention-incomplete");
    assert!(remote.names().iter().any(|name| name == report.text("name")), "{output}");
    assert_eq!(report.list("unknown").len(), 4, "{output}");
    output.says(&["the backup is safe, retention is not done: the deadline of 10s passed"]);
}

#[test]
fn a_listing_that_is_stale_costs_no_backup() {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let answered = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&answered);
    let proxy = HttpProxy::to(remote.port(), move |request| {
        if request.is_list() {
            counted.fetch_add(1, SeqCst);
            return Action::FromCache;
        }
        Action::Forward
    });
    let config = remote.config_by(proxy.port());
    let list = || Run::new().arg("list").store(&remote).env("RCLONE_CONFIG", &config).exits(0);
    list();
    let before = answered.load(SeqCst);
    let cluster = Cluster::small();
    // The names of this minute and of the next two.
    let now = chrono::Utc::now();
    for minute in 0..=2 {
        let at = now + chrono::Duration::minutes(minute);
        remote.put(&at.format("%Y%m%d%H%M.etcdb").to_string(), sample::old());
    }
    let output = Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).exits(3);
    assert!(answered.load(SeqCst) > before, "the stale listing was not asked for\n{output}");
    let report = output.report();
    assert_eq!(remote.names().len(), 4, "{output}");
    assert_eq!(crate::support::sha256(&remote.read(report.text("name"))), report.text("sha256"));
    output.says(&["is already there; it is never overwritten; taking another name", "does not list"]);
}

#[test]
fn a_name_that_leads_nowhere_is_passed_over() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    let now = chrono::Utc::now();
    for minute in 0..=2 {
        let name = (now + chrono::Duration::minutes(minute)).format("%Y%m%d%H%M.etcdb").to_string();
        std::os::unix::fs::symlink("/nowhere/at/all", remote.on_disk(&name)).unwrap();
    }
    let report = Run::job(&cluster, &remote).success();
    assert_eq!(report.text("name").len(), "20261121010203.etcdb".len(), "{report:?}");
}
