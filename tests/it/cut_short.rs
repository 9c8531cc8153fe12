//! An upload that is cut short, by a signal, a deadline or a kill: nothing half-made stays, and no child.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    processes::is_alive,
    proxy::{Fault, Proxy},
    remote::Remote,
    run::{Job, Run},
};

/// What a signal may take until all has ended.
const PROMPTLY: Duration = Duration::from_secs(10);
/// Comes after the upload has begun, on a busy machine too, and before it is done.
const DEADLINE: Duration = Duration::from_secs(12);

const SLOWLY: [&str; 2] = ["--rclone-flags", "--bwlimit 400k --s3-upload-cutoff 5M --s3-chunk-size 5M"];

fn uploading(job: &Job) -> u32 {
    eventually(SOON, "the upload", || {
        let uploads = |pid: &u32| {
            let argv = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Not what is to become rclone, and not that of a record, which is over at once.
            let is_rclone = !argv.contains("\0--become-child-of\0");
            is_rclone && argv.contains("\0copyto\0") && argv.contains(".etcdb") && !argv.contains(".json")
        };
        job.children().into_iter().find(uploads)
    })
}

fn runs(pid: u32, argv: &[&str]) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == argv.join("\0") + "\0")
}

/// Waits until bytes have arrived at the store, so that there is something to clean up.
fn arriving(remote: &Remote, job: &Job) -> u32 {
    let child = uploading(job);
    eventually(SOON, "bytes at the store", || {
        let arrived = match remote.secret() {
            Some(_) => remote.pending_uploads().contains("UploadId"),
            // A folder may not be there yet.
            None => !remote
                .rclone_with(remote.config(), &["lsf", &format!("{}/.etcd-backup/parts", remote.target())])
                .stdout
                .is_empty(),
        };
        arrived.then_some(child)
    })
}

/// Nothing of a cut upload is visible, not even in part. What stood there before it is written down.
fn assert_nothing_stored(remote: &Remote) {
    assert!(remote.names().is_empty(), "{:?}", remote.names());
    assert_eq!(remote.records(), [".since.json"]);
    if remote.secret().is_some() {
        let pending = remote.pending_uploads();
        assert!(!pending.contains("UploadId"), "{pending}");
    }
}

#[test]
fn a_signal_during_the_upload_leaves_nothing() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::large();
    for (remote, signal, code) in [(Remote::seaweedfs(), Signal::TERM, 143), (Remote::folder(), Signal::INT, 130)] {
        let job = Run::job(&cluster, &remote).args(SLOWLY).spawn();
        let child = arriving(&remote, &job);
        job.signal(signal);
        let output = job.wait_further(PROMPTLY);
        output.assert().code(code);
        assert!(!is_alive(child), "{output}");
        assert_nothing_stored(&remote);
    }
}

#[test]
fn the_deadline_during_the_upload_leaves_nothing() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::large();
    let begin = |remote: Remote| {
        let job = Run::job(&cluster, &remote).args(SLOWLY).env("TIMEOUT", "12s").spawn();
        let child = arriving(&remote, &job);
        (remote, job, child)
    };
    for (remote, job, child) in [begin(Remote::seaweedfs()), begin(Remote::folder())] {
        let output = job.wait_further(DEADLINE + PROMPTLY);
        output.assert().code(7);
        assert!(!is_alive(child), "{output}");
        assert_nothing_stored(&remote);
    }
}

#[test]
fn a_store_that_stalls_ends_with_the_deadline() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let proxy = Proxy::to(remote.port());
    proxy.set(Fault::StallAfter(2 << 20));
    let cluster = Cluster::large();
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    let job = run.env("TIMEOUT", "12s").spawn();
    let child = uploading(&job);
    let output = job.wait_further(DEADLINE + PROMPTLY);
    output.assert().code(7);
    assert!(!is_alive(child), "{output}");
    assert!(remote.names().is_empty());
}

#[test]
fn rclone_killed_during_the_upload_is_six() {
    needs!("etcd", "rclone");
    let cluster = Cluster::large();
    for remote in [Remote::rclone_s3(), Remote::folder(), Remote::folder().encrypted(true)] {
        let job = Run::job(&cluster, &remote).args(SLOWLY).spawn();
        let child = uploading(&job);
        if remote.secret().is_none() {
            arriving(&remote, &job);
        }
        kill_process(Pid::from_raw(i32::try_from(child).unwrap()).unwrap(), Signal::KILL).unwrap();
        let output = job.wait_further(SOON);
        output.assert().code(6);
        assert!(remote.names().is_empty(), "{:?}\n{output}", remote.names());
        output.says(&["killed by signal 9"]);
    }
}

#[test]
fn a_child_that_does_not_listen_is_killed() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    // Deaf for long enough to be noticed, not for ever.
    let script = "#!/bin/bash
if [ \"$1\" = copyto ]; then trap '' TERM HUP; for i in {1..60}; do sleep 1; done; fi
exec REAL \"$@\"\n";
    let job = Run::job(&cluster, &remote).rclone_is(script).spawn();
    let child = uploading(&job);
    eventually(SOON, "the trap", || job.children().iter().any(|pid| runs(*pid, &["sleep", "1"])).then_some(()));
    job.signal(Signal::TERM);
    let output = job.wait_further(PROMPTLY);
    output.assert().code(143);
    assert!(!is_alive(child), "{output}");
    assert!(remote.names().is_empty());
    output.says(&["a child process did not end within 7 s of SIGTERM; killing it"]);
}

/// A stopped process keeps every signal but the last for later.
#[test]
fn a_stopped_child_is_killed() {
    needs!("etcd", "rclone");
    let cluster = Cluster::large();
    let remote = Remote::rclone_s3();
    let job = Run::job(&cluster, &remote).args(SLOWLY).spawn();
    let child = uploading(&job);
    kill_process(Pid::from_raw(i32::try_from(child).unwrap()).unwrap(), Signal::STOP).unwrap();
    job.signal(Signal::TERM);
    let output = job.wait_further(PROMPTLY);
    output.assert().code(143);
    assert!(!is_alive(child), "{output}");
    assert!(remote.names().is_empty());
}

#[test]
fn a_helper_of_rclones_ends_with_it() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    // As ssh does for `sftp`: it holds rclone's own stderr open.
    let script = "#!/bin/sh\n[ \"$1\" = copyto ] && sleep 600\nexec REAL \"$@\"\n";
    let cluster = Cluster::small();
    let job = Run::job(&cluster, &remote).rclone_is(script).spawn();
    let helper =
        eventually(SOON, "the helper", || job.children().into_iter().find(|pid| runs(*pid, &["sleep", "600"])));
    job.signal(Signal::TERM);
    let output = job.wait_further(PROMPTLY);
    output.assert().code(143);
    assert!(!is_alive(helper), "{output}");
}
