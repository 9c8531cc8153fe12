//! Signals, crashes and full disks in the midst of a snapshot: nothing stays.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    output::Output,
    processes::{is_alive, peak_rss},
    proxy::Fault,
    remote::Remote,
    run::{Job, Run},
};

const MIB: u64 = 1 << 20;

/// One member with a database of some MiB, which gives so many bytes a second.
fn slow_cluster(mib: usize) -> Cluster {
    let cluster = Cluster::with(1).proxied().mib(mib).start();
    cluster.proxy(0).set(Fault::Throttle(3 * MIB));
    cluster
}

fn await_stream(cluster: &Cluster) {
    let enough = cluster.proxy(0).passed() + 2 * MIB;
    eventually(SOON, "two MiB of a snapshot", || (cluster.proxy(0).passed() > enough).then_some(()));
}

fn interrupted(job: Job, pid: u32, signal: Signal, code: i32, remote: &Remote) {
    let children = job.children();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    let told = Instant::now();
    let output = job.wait(SOON);
    assert!(told.elapsed() < Duration::from_secs(2), "{output}");
    output.assert().code(code);
    let report = output.report();
    assert_eq!((report.text("outcome"), report.number("exit")), ("interrupted", u64::try_from(code).unwrap()));
    assert!(!children.into_iter().any(is_alive), "{output}");
    assert!(remote.names().is_empty(), "{output}");
}

#[test]
fn a_signal_ends_it_in_two_seconds_and_nothing_stays() {
    needs!("etcd", "rclone");
    let cluster = slow_cluster(16);
    let remote = Remote::folder();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let job = Run::job(&cluster, &remote).spawn();
        eventually(SOON, "a part file", || (job.received() > MIB).then_some(()));
        let pid = job.id();
        interrupted(job, pid, signal, code, &remote);
    }
    let job = Run::job(&cluster, &remote).env("COMPRESSION", "zstd:9").spawn();
    await_stream(&cluster);
    let pid = job.id();
    interrupted(job, pid, Signal::TERM, 143, &remote);
}

#[test]
fn a_closed_terminal_does_not_end_what_was_started_to_outlive_it() {
    needs!("etcd", "rclone", "nohup");
    let cluster = slow_cluster(4);
    let remote = Remote::folder();
    let job = Run::job(&cluster, &remote).through(["nohup"]).spawn();
    eventually(SOON, "a part file", || (job.received() > MIB).then_some(()));
    job.signal(Signal::HUP);
    job.wait(SOON).assert().code(0);
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn the_first_process_of_a_container_heeds_sigterm_too() {
    needs!("etcd", "rclone", "unshare");
    let cluster = slow_cluster(16);
    let remote = Remote::folder();
    let job = Run::job(&cluster, &remote).through(apart(&["--pid", "--fork", "--kill-child"])).spawn();
    eventually(SOON, "a part file", || (job.received() > MIB).then_some(()));
    let [inner] = job.children()[..] else { panic!("{:?}", job.children()) };
    let status = fs::read_to_string(format!("/proc/{inner}/status")).unwrap();
    let pids = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    assert!(pids.ends_with("\t1"), "{pids}");
    interrupted(job, inner, Signal::TERM, 143, &remote);
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next() {
    needs!("etcd", "rclone");
    let cluster = slow_cluster(16);
    let remote = Remote::folder();
    let staging = tempfile::tempdir().unwrap();
    let run = || Run::job(&cluster, &remote).env("WORK_DIR", staging.path());
    let left = || fs::read_dir(staging.path()).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    fs::write(staging.path().join("not-ours.part"), "x").unwrap();

    for compression in ["none", "zstd"] {
        let job = run().env("COMPRESSION", compression).spawn();
        await_stream(&cluster);
        drop(job);
        // The second run has taken away what the first one left.
        assert_eq!(left().len(), 2, "{:?}", left());
    }
    cluster.proxy(0).set(Fault::None);
    run().exits(0).says(&["an earlier run left when it was cut short", staging.path().to_str().unwrap()]);
    assert_eq!(left(), [staging.path().join("not-ours.part")]);
}

/// `unshare`; root needs no user of its own, which not every machine grants to others.
fn apart<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    [&["unshare"], user, args].concat()
}

/// Runs the job with a disk of so many MiB of its own for its work folder; `before` is a shell's line.
pub fn on_a_disk_of(mib: u64, before: &str, run: Run) -> Run {
    let script = format!(
        r#"mount -t tmpfs -o size={mib}m tmpfs "$WORK_DIR" || exit 99
        {before}
        "$@"; code=$?
        ls -A "$WORK_DIR" | sed 's/^/LEFT: /' >&2
        exit $code"#
    );
    run.through(apart(&["--mount", "sh", "-c", &script, "sh"]))
}

fn assert_no_room(output: &Output, remote: &Remote) {
    assert!(output.stderr.contains("no room in") && output.stderr.contains(" bytes needed, "), "{output}");
    assert!(output.report().value("refused").as_array().unwrap().is_empty(), "no member is to blame\n{output}");
    assert!(!output.stderr.contains("LEFT: ."), "{output}");
    assert!(remote.names().is_empty(), "{output}");
}

#[test]
fn a_disk_that_is_too_small_is_told_before_a_byte_is_written() {
    needs!("etcd", "rclone", "unshare");
    let cluster = slow_cluster(8);
    let remote = Remote::folder();
    let size = cluster.client(0, async |client| client.status().await.unwrap().db_size());
    let mib = u64::try_from(size).unwrap() / MIB;
    // Room for the file, but not for the tenth more.
    let output = on_a_disk_of(mib + 1, "", Run::job(&cluster, &remote)).exits(10);
    assert_no_room(&output, &remote);
    assert!(output.stderr.contains(&format!(", {} free", (mib + 1) * MIB)), "nothing is written\n{output}");
}

#[test]
fn where_room_is_short_the_member_whose_file_fits_is_taken() {
    needs!("etcd", "etcdctl", "rclone", "unshare");
    let cluster = Cluster::with(2).mib(12).start();
    cluster.put_many(5, "/small/", 100);
    let revision = cluster.etcdctl(&["del", "/big/", "--prefix", "--write-out=json"]);
    let revision: serde_json::Value = serde_json::from_str(&revision).unwrap();
    cluster.etcdctl(&["compact", &revision["header"]["revision"].to_string(), "--physical"]);
    // The leader, which is liked least.
    let (leader, follower) = (cluster.leader(), 1 - cluster.leader());
    let defragmented = cluster.etcdctl_at(&[leader], &["defrag"]);
    assert!(defragmented.status.success(), "{defragmented:?}");
    let remote = Remote::folder();
    let output = on_a_disk_of(6, "", Run::job(&cluster, &remote)).exits(0);
    assert_eq!(output.report().text("member"), cluster.endpoint(leader), "{output}");
    assert_eq!(output.report().number("keys"), 5, "{output}");
    let output = output.says(&["there is no room for the database of", &cluster.endpoint(follower), "defragment"]);
    assert!(!output.stderr.contains("LEFT: ."), "{output}");

    // It is the smallest that is named when none fits.
    let remote = Remote::folder();
    let filler = "head -c 1020k /dev/zero >\"$WORK_DIR/filler\"";
    let output = on_a_disk_of(1, filler, Run::job(&cluster, &remote)).exits(10);
    assert_no_room(&output, &remote);
    let error = output.report().text("error").to_owned();
    assert!(error.starts_with(&format!("snapshot of {}: no room", cluster.endpoint(leader))), "{output}");
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_told() {
    needs!("etcd", "rclone", "unshare");
    let cluster = slow_cluster(16);
    for compression in ["none", "zstd"] {
        fill_up_meanwhile(&cluster, compression);
    }
}

fn fill_up_meanwhile(cluster: &Cluster, compression: &str) {
    let remote = Remote::folder();
    let run = Run::job(cluster, &remote).env("COMPRESSION", compression);
    let go = run.work_dir().with_file_name("go");
    let filler = format!(
        r#"(until [ -e {} ]; do sleep 0.02; done; head -c 100m /dev/zero >"$WORK_DIR/filler") 2>/dev/null &"#,
        go.display()
    );
    let job = on_a_disk_of(60, &filler, run).spawn();
    await_stream(cluster);
    fs::write(&go, "").unwrap();
    let output = job.wait(SOON);
    output.assert().code(10);
    assert!(output.stderr.contains("LEFT: filler"), "{output}");
    assert_no_room(&output, &remote);
}

#[test]
fn a_work_folder_that_is_none_is_told() {
    needs!("rclone");
    let remote = Remote::folder();
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let missing = folder.path().join("missing");
    for (path, why) in [(&missing, "No such file"), (&file, "not a directory"), (&link, "symbolic link")] {
        let run = Run::new().store(&remote).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1");
        run.arg("--work-dir").arg(path).exits(10).says(&["work directory", &path.display().to_string(), why]);
    }
}

#[test]
fn memory_does_not_grow_with_the_database() {
    needs!("etcd", "rclone");
    let cluster = Cluster::start(1);
    cluster.put_many(120, "/big/", 1 << 20);
    cluster.put_many(20_000, "/small/", 100);
    let remote = Remote::folder();
    let job = Run::job(&cluster, &remote).spawn();
    let mut peak = 0;
    eventually(Duration::from_mins(1), "the end", || {
        let now = peak_rss(job.id());
        peak = now.unwrap_or_default().max(peak);
        now.is_none().then_some(())
    });
    let output = job.wait(Duration::from_mins(1));
    output.assert().code(0);
    assert!(output.report().number("bytes") > 120 * MIB);
    assert!((1_000..32 << 10).contains(&peak), "{peak} KiB\n{output}");
    let stored = Path::new(remote.target()).join(output.report().text("name"));
    assert_eq!(fs::metadata(stored).unwrap().len(), output.report().number("bytes"));
}
