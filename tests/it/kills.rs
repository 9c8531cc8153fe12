//! Jobs that are killed at random moments: no child goes on, nothing counts that is no backup, and the next job works and
//! clears away what they left. `KILL_SEED` repeats the moments of a failure, which prints it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rstest::rstest;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    LONG_AGO, SOON, etcd::Cluster, eventually, processes::is_alive, remote::Remote, run::Run, sample, traffic::Random,
};

/// So that uploading and reading back take some of the time.
const SLOWLY: [&str; 2] = ["--rclone-flags", "--bwlimit 8M"];
/// How soon the children of a killed job end.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The number in a variable, or one that no other test has.
pub fn seed(variable: &str) -> u64 {
    let set = env::var(variable).ok();
    let set = set.map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is not a number")));
    set.unwrap_or_else(|| u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) + 1)
}

/// One cluster, one remote, and the folders that all jobs share, so that each finds what an earlier one left.
pub struct Battered {
    cluster: Cluster,
    pub remote: Remote,
    home: TempDir,
    staging: &'static str,
}

impl Battered {
    pub fn new(remote: Remote) -> Self {
        Self::staged(remote, "disk")
    }

    pub fn unstaged(remote: Remote) -> Self {
        Self::staged(remote, "none")
    }

    fn staged(remote: Remote, staging: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        for name in ["work", "tmp"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        remote.put_aged("202001010000.etcdb", sample::snapshot(), LONG_AGO);
        Self { cluster: Cluster::with(1).mib(4).start(), remote, home, staging }
    }

    pub fn job(&self) -> Run {
        let run = Run::job(&self.cluster, &self.remote).args(SLOWLY).args(["--staging", self.staging]);
        run.env("WORK_DIR", self.home.path().join("work")).env("TMPDIR", self.home.path().join("tmp"))
    }

    /// Kills so many jobs that are at work.
    pub fn kill(self, kills: u64) {
        let seed = seed("KILL_SEED");
        let mut random = Random(seed);
        let begun = Instant::now();
        self.job().success();
        let mut whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
        println!("{kills} kills at {} with KILL_SEED={seed}, of jobs of {whole} µs", self.remote.target());
        let (mut killed, mut missed) = (0, 0);
        while killed < kills {
            let delay = Duration::from_micros(random.number() % whole);
            if interrupt(self.job(), delay, Signal::KILL, 137).is_some() {
                killed += 1;
            } else {
                // A job takes less time than the first one did.
                (missed, whole) = (missed + 1, u64::try_from(delay.as_micros()).unwrap());
            }
            assert!(missed <= kills, "{missed} jobs had ended before they could be killed");
        }
        println!("  {killed} killed while alive, {missed} had ended");
        self.assert_cleared();
    }

    /// Nothing may look like a backup that is none.
    pub fn assert_all_good(&self) {
        let report = Run::new().args(["verify", "--all"]).store(&self.remote).success();
        assert!(report.number("good") >= 1, "{report:?}");
    }

    /// What killed jobs left goes when it is old, with the next job.
    pub fn assert_cleared(&self) {
        let is_on_disk = self.remote.secret().is_none() || self.remote.target().contains(":etcd");
        let parts = if is_on_disk { self.remote.on_disk(".etcd-backup/parts") } else { PathBuf::new() };
        settle(&parts);
        let mut left = 0;
        for part in fs::read_dir(&parts).into_iter().flatten().flatten() {
            let file = fs::File::options().write(true).open(part.path()).unwrap();
            file.set_modified(SystemTime::now() - LONG_AGO).unwrap();
            left += 1;
        }
        let last = self.job().success();
        let names = self.remote.names();
        println!("  {left} parts were left, and are cleared; {} backups", names.len());
        assert!(names.iter().any(|name| name == last.text("name")), "{last:?}");
        let is_backup = |name: &String| {
            name.strip_suffix(".etcdb").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        assert!(names.iter().all(is_backup), "{names:?}");
        for folder in ["work", "tmp"] {
            let left: Vec<_> = fs::read_dir(self.home.path().join(folder)).unwrap().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
        self.assert_all_good();
    }
}

/// Waits until the server has noticed that its clients are gone: until then it may write, and change times.
fn settle(parts: &Path) {
    let seen = || -> Vec<_> {
        let parts = fs::read_dir(parts).into_iter().flatten().flatten();
        parts.map(|part| (part.path(), part.metadata().and_then(|part| part.modified()).ok())).collect()
    };
    eventually(SOON, "an end of all writing", || {
        let before = seen();
        std::thread::sleep(Duration::from_secs(1));
        (before == seen() && !is_open_below(parts)).then_some(())
    });
}

/// Whether a process has a file open below a folder.
fn is_open_below(folder: &Path) -> bool {
    let links = |process: fs::DirEntry| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
    let mut open = fs::read_dir("/proc").unwrap().flatten().flat_map(links);
    !folder.as_os_str().is_empty() && open.any(|link| fs::read_link(link.path()).is_ok_and(|to| to.starts_with(folder)))
}

/// Starts a job and sends it a signal after the delay. Answers what it did at that moment, by its log; `None` if it had
/// ended before.
pub fn interrupt(run: Run, delay: Duration, signal: Signal, code: i32) -> Option<String> {
    let job = run.spawn();
    std::thread::sleep(delay);
    let children = job.children();
    if !is_alive(job.id()) {
        return None;
    }
    job.signal(signal);
    let told = Instant::now();
    let doing = job.stderr().lines().last().unwrap_or("starting").chars().skip(30).take(90).collect();
    if signal == Signal::KILL {
        drop(job);
    } else {
        let output = job.wait_further(SOON);
        // It may have been done by then.
        assert!([Some(0), Some(code)].contains(&output.status.code()), "{output}");
    }
    eventually(AT_ONCE, "the end of every child", || (!children.iter().any(|pid| is_alive(*pid))).then_some(()));
    println!("  {code} after {delay:?}, {} children ended in {:?}: {doing}", children.len(), told.elapsed());
    Some(doing)
}

#[rstest]
#[case::s3(Remote::rclone_s3)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
fn five_killed_jobs_leave_nothing(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone");
    Battered::new(remote()).kill(5);
}

#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
#[ignore = "slow: make test-all"]
fn fifteen_killed_jobs_leave_nothing(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    Battered::new(remote()).kill(15);
}

/// Makes every open upload old, which rclone and the store tell by their clocks.
pub const A_DAY_LATER: &str = r#"#!/bin/bash
args=()
for arg in "$@"; do
    case "$arg" in max-age=*) arg=max-age=0s;; esac
    args+=("$arg")
done
if [[ " $* " == *" list-multipart-uploads "* ]]; then
    REAL "$@" | sed 's/"Initiated": "20../"Initiated": "2001/'
    exit "${PIPESTATUS[0]}"
fi
exec REAL "${args[@]}"
"#;

/// The uploads of the other rounds are too small to be sent in parts, which no listing shows.
#[test]
#[ignore = "slow: make test-all"]
fn an_upload_in_parts_that_was_killed_is_aborted_a_day_later() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(12).start(), Remote::seaweedfs());
    let run = || Run::job(&cluster, &remote);
    let in_parts = "--bwlimit 2M --s3-upload-cutoff 5M --s3-chunk-size 5M";
    let is_open = || remote.pending_uploads().contains("UploadId");
    let job = run().args(["--rclone-flags", in_parts]).spawn();
    eventually(SOON, "an open upload", || is_open().then_some(()));
    // Kills it.
    drop(job);
    assert!(remote.names().is_empty(), "{:?}", remote.names());
    let key = remote.pending_uploads();
    let name = key.lines().find_map(|line| line.trim().strip_prefix("\"Key\": \"")?.strip_suffix("\",")).unwrap();
    // As after a restart, the name is another backup's by now.
    remote.put(name, sample::snapshot());
    run().success();
    assert!(is_open(), "it is not old");
    run().rclone_is(A_DAY_LATER).exits(0).says(&["aborted an upload that an earlier run did not finish"]);
    assert!(!is_open(), "{}", remote.pending_uploads());
    assert_eq!(remote.names().len(), 3);
}
