//! Jobs that are interrupted at random moments, over and over. `make soak` runs it; `SOAK_ROUNDS` and `SOAK_SEED` are
//! its settings, and a failure prints the seed.

use std::{
    env,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    kills::{Battered, interrupt, seed},
    support::{remote::Remote, run::Run, traffic::Random},
};

fn rounds() -> u64 {
    let set = env::var("SOAK_ROUNDS").ok();
    set.map_or(100, |text| text.parse().unwrap_or_else(|_| panic!("SOAK_ROUNDS: `{text}` is not a number")))
}

/// The job would remove the backup before its own once that is stored.
fn replacing(battered: &Battered) -> Run {
    battered.job().env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
}

#[test]
#[ignore = "make soak"]
fn jobs_interrupted_at_any_moment_leave_a_good_backup() {
    needs!("etcd", "etcdctl", "rclone");
    let (rounds, seed) = (rounds(), seed("SOAK_SEED"));
    println!("{rounds} rounds with SOAK_SEED={seed}");
    let mut random = Random(seed);
    for remote in [Remote::folder(), Remote::rclone_s3(), Remote::sftp()] {
        let battered = Battered::new(remote);
        let started = Instant::now();
        replacing(&battered).success();
        let whole = u64::try_from(started.elapsed().as_micros()).unwrap();
        let mut at_work = 0;
        for round in 1..=rounds / 3 {
            let signals = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::KILL, 137)];
            let (signal, code) = signals[usize::try_from(random.number() % 3).unwrap()];
            let delay = Duration::from_micros(random.number() % whole);
            println!("{round}: {signal:?} after {delay:?}");
            at_work += u64::from(interrupt(replacing(&battered), delay, signal, code).is_some());
            // At no moment may there be less than one good backup.
            battered.assert_all_good();
        }
        println!("{at_work} of {} were at work", rounds / 3);
        assert!(at_work > rounds / 6, "most jobs had ended before the signal");
        battered.assert_cleared();
    }
}

#[test]
#[ignore = "make soak"]
fn jobs_killed_at_any_moment_leave_nothing() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    for remote in [Remote::seaweedfs(), Remote::folder(), Remote::sftp()] {
        Battered::new(remote).kill(rounds());
    }
}
