//! `staging: none`: a snapshot goes straight to the store, and whatever happens on the way, nothing that is no backup has a
//! backup's name.

use std::{
    fs,
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    kills::{Battered, seed},
    support::{
        SOON,
        etcd::Cluster,
        eventually,
        http_proxy::{Action, HttpProxy},
        kubernetes::save,
        liar::{Act, Honest, Liar, SNAPSHOT, framed, messages},
        output::Output,
        processes::{descendants, is_alive},
        proxy::{Fault, Proxy},
        remote::Remote,
        run::{Job, Run},
        sample, sha256,
        traffic::Random,
    },
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

#[derive(Clone, Copy, Debug)]
enum Killed {
    Us,
    Rclone,
    Both,
}

/// While its bytes come: at most so long after the upload has begun.
fn kill_while_it_streams(remote: &Remote, whole: Duration, rounds: u32) {
    let seed = seed("KILL_SEED");
    println!("KILL_SEED={seed} at {}", remote.target());
    let mut random = Random(seed);
    let cluster = Cluster::with(1).mib(4).start();
    for round in 0..rounds {
        let killed = [Killed::Us, Killed::Rclone, Killed::Both][usize::try_from(round % 3).unwrap()];
        let job = job(&cluster, remote).args(SLOWLY).spawn();
        let rclone = uploading(&job);
        let delay = Duration::from_millis(random.number() % u64::try_from(whole.as_millis()).unwrap());
        std::thread::sleep(delay);
        let kill = |pid| kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).ok();
        if matches!(killed, Killed::Rclone | Killed::Both) {
            kill(rclone);
        }
        if let Killed::Rclone = killed {
            let output = job.wait_further(SOON);
            output.assert().code(6);
        } else {
            drop(job);
            eventually(SOON, "the end of rclone", || (!is_alive(rclone)).then_some(()));
        }
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
    kill_while_it_streams(&remote(), Duration::from_millis(1900), 9);
}

#[rstest]
#[case::aws(Remote::aws)]
#[case::azure(Remote::azure)]
#[ignore = "slow: make test-all"]
fn what_is_killed_while_it_streams_to_a_cloud_leaves_no_backup(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone");
    needs_clouds!();
    kill_while_it_streams(&remote(), Duration::from_millis(1900), 9);
}

#[test]
fn one_that_is_killed_while_it_streams_leaves_no_backup() {
    needs!("etcd", "etcdctl", "rclone");
    kill_while_it_streams(&Remote::rclone_s3(), Duration::from_millis(1500), 3);
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

#[test]
fn a_name_that_another_takes_meanwhile_costs_a_new_snapshot() {
    needs!("etcd", "rclone", "weed");
    let remote = std::sync::Arc::new(Remote::seaweedfs());
    let (inside, mut first) = (std::sync::Arc::clone(&remote), true);
    let hooked = HttpProxy::to(remote.port(), move |request| {
        if request.is_upload() && std::mem::take(&mut first) {
            assert_eq!(request.header("if-none-match"), Some("*"));
            let path = request.path.split('?').next().unwrap();
            inside.put(path.rsplit('/').next().unwrap(), b"another run's");
        }
        Action::Forward
    });
    let cluster = Cluster::small();
    let output = job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(hooked.port())).exits(0);
    assert_stored(&remote, &output);
    let names = remote.names();
    let others = names.iter().find(|name| *name != output.report().text("name")).unwrap();
    assert_eq!((names.len(), remote.read(others)), (2, b"another run's".to_vec()), "{output}");
    output.says(&["is already there; it is never overwritten; taking a new snapshot, for another name"]);
}

#[test]
fn a_store_without_conditions_is_used_without() {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let hooked = HttpProxy::to(remote.port(), |request| {
        let refused = request.is_upload() && request.header("if-none-match").is_some();
        if refused { Action::Refuse(501, "NotImplemented") } else { Action::Forward }
    });
    let output = job(&Cluster::small(), &remote).env("RCLONE_CONFIG", remote.config_by(hooked.port())).exits(0);
    assert_stored(&remote, &output);
    output.says(&["the store has no conditional uploads"]);
}

/// The liar is liked best, and there is nobody else.
#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
fn no_lie_of_a_member_gets_a_name(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (cluster, remote) = (Cluster::single(), remote());
    cluster.put_many(20, "/registry/pods/", 10_000);
    let old = save(&cluster);
    cluster.put_many(20, "/registry/secrets/", 10_000);
    let mut honest = Honest::new(&cluster, save(&cluster));
    honest.members.clear();
    let end = || Act::Status(0, String::new());
    let sent = |file: &[u8]| -> Vec<Act> {
        messages(file).iter().map(|message| Act::Send(framed(message))).chain([end()]).collect()
    };
    let mut flipped = honest.snapshot.clone();
    flipped[40_000] ^= 1;
    let zeros = vec![0; honest.snapshot.len() - 32];
    let digest = sha256(&zeros);
    let digest = (0..32).map(|at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap()).collect();
    let garbage = [zeros, digest].concat();
    let all = messages(&honest.snapshot);
    let without_trailer: Vec<Act> = all[..all.len() - 1].iter().map(|message| Act::Send(framed(message))).collect();
    let more = [sent(&honest.snapshot)[..all.len()].to_vec(), vec![Act::Send(framed(&all[all.len() - 1])), end()]];
    let stalled = [without_trailer.clone(), vec![Act::Hang]].concat();
    let broken = [without_trailer.clone(), vec![Act::Reset]].concat();
    for (what, acts, words) in [
        ("a flipped bit", sent(&flipped), "does not match"),
        ("pages of zeros that fit their trailer", sent(&garbage), "is not a valid snapshot"),
        ("an earlier state", sent(&old), "already at"),
        ("no trailer", [without_trailer, vec![end()]].concat(), "were announced"),
        ("more than was announced", more.concat(), "more bytes arrived"),
        ("no end", stalled, "no bytes from the member for 2 s"),
        ("a broken stream", broken, ""),
    ] {
        let mut script = honest.script();
        script.insert(SNAPSHOT, acts);
        let liar = Liar::start(script);
        let run = job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", liar.endpoint()).args(["--idle-timeout", "2s"]);
        let output = run.exits(5);
        assert!(output.stderr.contains(words), "{what}\n{output}");
        assert_eq!(remote.names(), [""; 0], "{what}\n{output}");
    }
}

#[test]
fn a_member_that_dies_meanwhile_costs_the_backup_nothing() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::with(3).proxied().mib(4).start(), Remote::rclone_s3());
    let job = job(&cluster, &remote).args(SLOWLY).spawn();
    uploading(&job);
    let log = job.stderr();
    let chosen = log.split("storing the snapshot of ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let at = (0..3).find(|at| cluster.endpoint(*at) == chosen).unwrap();
    cluster.proxy(at).set(Fault::CutAfter(0));
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    let report = output.report();
    assert_ne!(report.text("member"), chosen, "{output}");
    assert!(report.value("refused").to_string().contains(&chosen), "{output}");
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn a_store_that_is_away_is_waited_for_before_a_snapshot_is_taken() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::rclone_s3());
    remote.server().stop();
    let job = job(&cluster, &remote).args(["--rclone-flags", "--retries=1 --low-level-retries=1"]).spawn();
    eventually(SOON, "a wait", || job.stderr().contains("trying again in").then_some(()));
    remote.server().start_again();
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    assert_eq!(output.stderr.matches("as it comes").count(), 1, "{output}");
    output.says(&["no snapshot is taken before it is there"]);
}

#[test]
fn a_store_that_goes_away_meanwhile_costs_a_new_snapshot() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::with(3).mib(4).start(), Remote::rclone_s3());
    let flags = "--bwlimit 2M --retries=1 --low-level-retries=1";
    let job = job(&cluster, &remote).args(["--rclone-flags", flags]).spawn();
    uploading(&job);
    remote.server().stop();
    eventually(SOON, "a failure", || job.stderr().contains("from the next member").then_some(()));
    remote.server().start_again();
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    assert_eq!(output.stderr.matches("as it comes").count(), 2, "{output}");
}

#[test]
fn a_store_that_stalls_is_given_up() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(4).start(), Remote::seaweedfs());
    let proxy = Proxy::to(remote.port());
    let run = job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    let flags = "--bwlimit 2M --retries=1 --low-level-retries=1 --timeout 3s";
    let job = run.args(["--retry-for", "0s", "--rclone-flags", flags]).spawn();
    uploading(&job);
    proxy.set(Fault::StallAfter(0));
    let began = Instant::now();
    let output = job.wait_further(SOON);
    output.assert().code(6);
    println!("after {:?}", began.elapsed());
    proxy.set(Fault::None);
    assert_nothing_new(&remote, "stalled");
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
