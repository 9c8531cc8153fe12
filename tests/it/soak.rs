//! Jobs that are interrupted at random moments, over and over. `make soak` runs it; `SOAK_ROUNDS` and `SOAK_SEED` are
//! its settings, and a failure prints the seed.

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;

use crate::support::{
    LONG_AGO, SOON, etcd::Cluster, eventually, processes::is_alive, remote::Remote, run::Run, sample, traffic::Random,
};

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is not a number")))
}

/// One cluster, and a remote whose old backup each job would remove once its own is stored.
struct Soak {
    cluster: Cluster,
    remote: Remote,
}

impl Soak {
    fn new(remote: Remote) -> Self {
        let soak = Self { cluster: Cluster::with(1).mib(4).start(), remote };
        soak.remote.put_aged("202001010000.etcdb", sample::snapshot(), LONG_AGO);
        soak
    }

    fn job(&self) -> Run {
        Run::job(&self.cluster, &self.remote).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
    }

    /// At no moment may there be less than one good backup, or anything that looks like one and is not.
    fn assert_all_good(&self) {
        let report = Run::new().args(["verify", "--all"]).store(&self.remote).success();
        assert!(report.number("good") >= 1, "{report:?}");
    }

    fn interrupt(&self, delay: Duration, signal: Signal, code: i32) {
        let job = self.job().spawn();
        std::thread::sleep(delay);
        let children = job.children();
        // It may have ended by now.
        if is_alive(job.id()) {
            job.signal(signal);
        }
        if signal == Signal::KILL {
            drop(job);
        } else {
            let output = job.wait_further(SOON);
            assert!([Some(0), Some(code)].contains(&output.status.code()), "{output}");
        }
        // A killed job cannot end its rclone, which then ends by itself.
        eventually(SOON, "the end of every child", || (!children.iter().any(|pid| is_alive(*pid))).then_some(()));
        self.assert_all_good();
    }
}

#[test]
#[ignore = "make soak"]
fn jobs_interrupted_at_any_moment_leave_a_good_backup() {
    needs!("etcd", "etcdctl", "rclone");
    let seed = setting("SOAK_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) + 1
    });
    let rounds = setting("SOAK_ROUNDS").unwrap_or(100);
    println!("{rounds} rounds with SOAK_SEED={seed}");
    let mut random = Random(seed);
    for soak in [Soak::new(Remote::folder()), Soak::new(Remote::rclone_s3())] {
        let started = Instant::now();
        soak.job().success();
        let whole = u64::try_from(started.elapsed().as_micros()).unwrap();
        for round in 1..=rounds / 2 {
            let signals = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::KILL, 137)];
            let (signal, code) = signals[usize::try_from(random.number() % 3).unwrap()];
            let delay = Duration::from_micros(random.number() % whole);
            println!("{round}: {signal:?} after {delay:?}");
            soak.interrupt(delay, signal, code);
        }
        let last = soak.job().success();
        assert!(soak.remote.names().iter().any(|name| name == last.text("name")), "{last:?}");
        // What a killed upload to a directory leaves has a name that no command takes for a backup's.
        let names: Vec<_> =
            soak.remote.names().into_iter().filter(|name| name.strip_suffix(".etcdb").is_some()).collect();
        // Two jobs in one second: the second one's name is of the next second, and a backup of the future is kept.
        assert!((1..=2).contains(&names.len()), "{names:?}");
    }
}
