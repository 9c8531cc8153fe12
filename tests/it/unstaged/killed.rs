//! Runs and their rclone that are killed while a snapshot streams, or are told to end: nothing has a backup's name.

use std::time::Duration;

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use super::{SLOWLY, assert_nothing_new, assert_stored, job, uploading};
use crate::{
    kills::{A_DAY_LATER, Battered, seed},
    support::{SOON, etcd::Cluster, eventually, processes::is_alive, remote::Remote, traffic::Random},
};

#[derive(Clone, Copy, Debug)]
enum Killed {
    Us,
    Rclone,
    Both,
    /// Told to end.
    Terminated,
}

/// A database of so many MiB, and for how long at least its bytes come with these flags.
struct Stream {
    mib: usize,
    flags: &'static str,
    lasts: Duration,
}

const IN_ONE_PIECE: Stream = Stream { mib: 4, flags: SLOWLY[1], lasts: Duration::from_millis(1900) };
const IN_PARTS: Stream = Stream {
    mib: 24,
    flags: "--bwlimit 6M --s3-upload-cutoff 5M --s3-chunk-size 5M",
    lasts: Duration::from_millis(3500),
};

/// At any moment while its bytes come.
fn kill_while_it_streams(remote: &Remote, stream: &Stream, rounds: u32) {
    let seed = seed("KILL_SEED");
    println!("KILL_SEED={seed} at {}", remote.target());
    let mut random = Random(seed);
    let cluster = Cluster::with(1).mib(stream.mib).start();
    let ways = [Killed::Us, Killed::Rclone, Killed::Both, Killed::Terminated];
    for killed in ways.into_iter().cycle().take(usize::try_from(rounds).unwrap()) {
        let job = job(&cluster, remote).args(["--rclone-flags", stream.flags]).spawn();
        let rclone = uploading(&job);
        let delay = Duration::from_millis(random.number() % u64::try_from(stream.lasts.as_millis()).unwrap());
        std::thread::sleep(delay);
        let kill = |pid| kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).ok();
        if matches!(killed, Killed::Rclone | Killed::Both) {
            kill(rclone);
        }
        match killed {
            Killed::Rclone => drop(job.wait_further(SOON).assert().code(6)),
            Killed::Terminated => {
                job.signal(Signal::TERM);
                job.wait_further(Duration::from_secs(10)).assert().code(143);
            }
            Killed::Us | Killed::Both => drop(job),
        }
        eventually(SOON, "the end of rclone", || (!is_alive(rclone)).then_some(()));
        // Servers may finish what they have received, a moment later.
        std::thread::sleep(Duration::from_millis(300));
        assert_nothing_new(remote, &format!("{killed:?} after {delay:?}"));
    }
    assert_stored(remote, &job(&cluster, remote).exits(0));
}

#[rstest]
#[case::s3(Remote::rclone_s3)]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::sftp(Remote::sftp)]
#[case::webdav(Remote::webdav)]
#[case::crypt_over_s3(|| Remote::seaweedfs().encrypted(true))]
#[ignore = "slow: make test-all"]
fn what_is_killed_while_it_streams_leaves_no_backup(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    kill_while_it_streams(&remote(), &IN_ONE_PIECE, 12);
}

#[rstest]
#[case::s3(Remote::rclone_s3)]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::crypt_over_s3(|| Remote::seaweedfs().encrypted(true))]
#[ignore = "slow: make test-all"]
fn what_is_killed_while_it_streams_in_parts_leaves_no_backup(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    kill_while_it_streams(&remote(), &IN_PARTS, 12);
}

#[rstest]
#[case::aws(Remote::aws)]
#[case::azure(Remote::azure)]
#[ignore = "slow: make test-all"]
fn what_is_killed_while_it_streams_to_a_cloud_leaves_no_backup(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone");
    needs_clouds!();
    kill_while_it_streams(&remote(), &IN_ONE_PIECE, 8);
    kill_while_it_streams(&remote(), &IN_PARTS, 8);
}

#[test]
fn one_that_is_killed_while_it_streams_leaves_no_backup() {
    needs!("etcd", "etcdctl", "rclone");
    kill_while_it_streams(&Remote::rclone_s3(), &IN_ONE_PIECE, 3);
}

#[test]
#[ignore = "slow: make test-all"]
fn parts_of_a_killed_stream_are_swept_a_day_later() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(24).start(), Remote::seaweedfs());
    let is_open = || remote.pending_uploads().contains("UploadId");
    let killed = job(&cluster, &remote).args(["--rclone-flags", IN_PARTS.flags]).spawn();
    eventually(SOON, "an open upload", || is_open().then_some(()));
    drop(killed);
    assert_nothing_new(&remote, "killed");
    job(&cluster, &remote).exits(0);
    assert!(is_open(), "it is not old");
    job(&cluster, &remote)
        .rclone_is(A_DAY_LATER)
        .exits(0)
        .says(&["aborted an upload that an earlier run did not finish"]);
    assert!(!is_open(), "{}", remote.pending_uploads());
    assert_eq!(remote.names().len(), 2);
}

/// All bytes are there, and rclone takes its time to say so.
const SLOW_TO_END: &str =
    "#!/bin/bash\n[ \"$1\" = rcat ] || exec REAL \"$@\"\nREAL \"$@\"\ncode=$?\nsleep 20\nexit $code\n";

#[rstest]
#[case::deadline(None, 7)]
#[case::terminated(Some(Signal::TERM), 143)]
fn one_that_ends_after_its_last_bytes_does_not_say_that_nothing_is_there(
    #[case] signal: Option<Signal>,
    #[case] code: i32,
) {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::small(), Remote::seaweedfs());
    let run = job(&cluster, &remote).rclone_is(SLOW_TO_END);
    let run = if signal.is_none() { run.args(["--timeout", "6s"]) } else { run };
    let job = run.spawn();
    eventually(SOON, "the backup", || (!remote.names().is_empty()).then_some(()));
    if let Some(signal) = signal {
        job.signal(signal);
    }
    let output = job.wait_further(SOON);
    output.assert().code(code);
    let name = remote.names().pop().unwrap();
    let output =
        output.says(&[&format!("whether {name} is there is not known, and without a record it does not count")]);
    assert!(!remote.records().iter().any(|record| record.starts_with(&name)), "{output}");
    // The next one reads it back, as there is nothing better to compare with.
    let next = super::job(&cluster, &remote).exits(0);
    assert_stored(&remote, &next);
    assert_ne!(next.report().text("name"), name);
}

#[rstest]
#[case::s3(Remote::rclone_s3)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
fn five_killed_jobs_without_a_disk_leave_nothing(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone");
    Battered::unstaged(remote()).kill(5);
}

#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
#[case::webdav(Remote::webdav)]
#[ignore = "slow: make test-all"]
fn fifteen_killed_jobs_without_a_disk_leave_nothing(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    Battered::unstaged(remote()).kill(15);
}

#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::sftp(Remote::sftp)]
fn an_interrupted_stream_is_taken_back(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(12).start(), remote());
    let in_parts = "--bwlimit 2M --s3-upload-cutoff 5M --s3-chunk-size 5M";
    let job = job(&cluster, &remote).args(["--rclone-flags", in_parts]).spawn();
    let rclone = uploading(&job);
    std::thread::sleep(Duration::from_secs(3));
    job.signal(Signal::TERM);
    job.wait_further(Duration::from_secs(10)).assert().code(143);
    assert!(!is_alive(rclone));
    assert_nothing_new(&remote, "terminated");
    if remote.target().starts_with("store:etcd") {
        return;
    }
    // rclone was asked before it was ended, and nothing is open.
    assert!(!remote.pending_uploads().contains("UploadId"), "{}", remote.pending_uploads());
}
