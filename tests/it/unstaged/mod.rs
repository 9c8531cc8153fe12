//! `staging: none`: a snapshot goes straight to the store, and whatever happens on the way, nothing that is no backup has a
//! backup's name.

mod faults;
mod killed;
mod read_back;

use rstest::rstest;

use std::fs;

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    output::Output,
    processes::descendants,
    proxy::Proxy,
    remote::Remote,
    run::{Job, Run},
    sample, sha256,
};

/// There is no such directory, so a run that needs one fails.
const NO_DISK: &str = "/nonexistent/work";
/// So that a snapshot of some MiB takes some seconds.
const SLOWLY: [&str; 2] = ["--rclone-flags", "--bwlimit 2M"];

fn job(cluster: &Cluster, remote: &Remote) -> Run {
    Run::job(cluster, remote).args(["--staging", "none"]).env("WORK_DIR", NO_DISK)
}

/// Stored under this one name, with its record.
fn assert_stored(remote: &Remote, output: &Output) {
    output.assert().code(0);
    let report = output.report();
    let name = report.text("name");
    assert!(remote.names().iter().any(|stored| stored == name), "{output}");
    assert_eq!(sha256(&remote.read(name)), report.text("sha256"), "{output}");
    let record = remote.record(&format!("{name}.json"));
    assert_eq!(record["sha256"], report.text("sha256"), "{output}");
    assert_eq!(record["confirmed"], report.text("confirmed"), "{output}");
}

fn a_night(remote: &Remote) {
    let cluster = Cluster::small();
    // It has no record, so it is read back, and compared with.
    remote.put("202001010000.etcdb", sample::snapshot());
    for _ in 0..2 {
        let output = job(&cluster, remote).exits(0);
        assert_stored(remote, &output);
        assert!(output.stderr.contains("as it comes"), "{output}");
    }
    assert_eq!(remote.names().len(), 3, "{:?}", remote.names());
}

#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::s3_without_conditions(Remote::rclone_s3)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
#[case::webdav(Remote::webdav)]
#[case::crypt_over_sftp(|| Remote::sftp().encrypted(true))]
#[case::crypt_over_s3(|| Remote::seaweedfs().encrypted(true))]
fn a_night_without_a_disk(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    a_night(&remote());
}

#[rstest]
#[case::aws(Remote::aws)]
#[case::azure(Remote::azure)]
fn a_night_in_a_cloud(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone");
    needs_clouds!();
    a_night(&remote());
}

/// A process of the job that has this word among its arguments.
fn child(job: &Job, word: &str) -> Option<u32> {
    descendants(job.id()).into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.contains(&word.as_bytes()) && !words.iter().any(|word| word.starts_with(b"--become-child"))
    })
}

/// The upload while its bytes come.
fn uploading(job: &Job) -> u32 {
    eventually(SOON, "an upload", || child(job, "rcat"))
}

/// Nothing but what was there, and perhaps parts.
fn assert_nothing_new(remote: &Remote, what: &str) {
    let names = remote.names();
    let new = names.iter().any(|name| !name.contains("/parts/") && !name.starts_with("2020"));
    assert!(!new, "{what}: {names:?}");
}

/// What neither moves files nor is known to take whole objects.
#[test]
fn a_store_that_takes_no_stream_is_refused_before_etcd_is_asked() {
    needs!("rclone");
    let (etcd, remote) = (Proxy::silent(), Remote::folder());
    let run = Run::new().args(["run", "--staging", "none"]).store(&remote).env("TARGET", ":memory:bucket");
    let output = run.env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", etcd.port())).exits(2);
    output.says(&["staging: `none` is not for :memory:bucket", "allowed is disk"]);
    assert_eq!(etcd.accepted(), 0, "etcd was dialled");
}

/// It would finish an upload in parts that was cut short, and does not send the condition.
#[test]
fn an_older_rclone_takes_no_stream_to_a_name() {
    needs!("etcd", "rclone");
    let (etcd, remote) = (Proxy::silent(), Remote::rclone_s3());
    let old = "#!/bin/sh\n[ \"$1\" = version ] && exec echo 'rclone v1.74.4'\nexec REAL \"$@\"\n";
    let run = Run::new().args(["run", "--staging", "none"]).store(&remote).rclone_is(old);
    let output = run.env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", etcd.port())).exits(2);
    output.says(&["staging: `none` needs rclone 1.75.1 or newer", "this is 1.74.4", "allowed is disk"]);
    assert_eq!(etcd.accepted(), 0, "etcd was dialled");
}

#[test]
fn the_steps_need_a_disk() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    let words = ["staging: `none` leaves nothing for", "allowed is disk, or `run` in place of the steps"];
    let none: [(&str, &str); 1] = [("staging", "none")];
    let step = |name: &str| Run::new().arg(name).etcd(&cluster).store(&remote);
    step("snapshot").config_dir(&none).exits(2).says(&words);
    step("snapshot").env("STAGING", "none").exits(2).says(&words);
    step("store").config_dir(&none).exits(2).says(&words);
    step("prune").args(["--after", "/nonexistent/record"]).config_dir(&none).exits(2).says(&words);
    // By hand it has nothing to do with steps.
    step("prune").arg("--dry-run").config_dir(&none).exits(0);
    step("run")
        .config_dir(&[("staging", "nothing")])
        .exits(2)
        .says(&["staging: `nothing` is not known; allowed is disk"]);
    job(&cluster, &remote).env("STAGING", "disk").exits(0).says(&["as it comes"]);
    step("run").config_dir(&none).env("WORK_DIR", NO_DISK).exits(0).says(&["as it comes"]);
}
