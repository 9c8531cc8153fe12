//! What grows with the number of backups grows no faster than it.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;
use crate::backup::record::to_the_second;

const COUNTS: [i64; 3] = [1_000, 10_000, 100_000];
/// For a binary that is built with optimization, as `make bench` measures it too.
const LIMIT: Duration = Duration::from_millis(100);

fn leaves(count: i64) -> Vec<String> {
    (0..count)
        .map(|i| {
            BackupName::new(&prefix(), at(0) + Duration::from_hours(1) * u32::try_from(i).unwrap(), Tz::UTC).leaf()
        })
        .collect()
}

/// The best of three, because other tests run beside this one.
fn seconds(what: &str, count: i64, mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    let best = (0..3).map(once).min().unwrap();
    println!("{what}, {count:>6} names: {:.1} ms", best.as_secs_f64() * 1000.0);
    best
}

fn is_linear(few: Duration, many: Duration) {
    // Ten times as many; with something quadratic it would be a hundred times as much.
    assert!(many < few * 35 + Duration::from_millis(5), "{many:?} after {few:?}");
}

/// Planning is all from the names, as a listing has them, to the plan: they are parsed and sorted, each backup gets its class,
/// holds are looked for, and it is decided about each. What rclone does, and reading records, is no part of it.
#[test]
fn planning_is_linear() {
    let policy = policy(Some("10d"), Some(30), 3);
    let [_, few, many] = COUNTS.map(|count| {
        let (leaves, prefix) = (leaves(count), prefix());
        seconds("plan", count, || {
            let parsed = leaves.iter().filter_map(|leaf| Some((BackupName::parse(&prefix, leaf)?, Some(1))));
            let mut names: Vec<_> = parsed.collect();
            names.sort_by_cached_key(|(name, _)| Reverse(name.age_key(Tz::UTC)));
            let catalog = Catalog::new(names, &Beside::default(), Tz::UTC);
            assert!(catalog.holds(at(count)).is_empty());
            let plan = plan(&catalog.entries, Spared::default(), &policy, at(count));
            assert_eq!((plan.keep.len(), plan.remove.len()), (3, leaves.len() - 3));
        })
    });
    is_linear(few, many);
    assert!(cfg!(debug_assertions) || many < LIMIT, "{many:?}");
}

/// All that is done with the records of backups that are gone, and of those that a person decided about.
#[test]
fn what_stands_beside_is_read_in_linear_time() {
    let taken_at = to_the_second(at(0));
    let measured = [500, 5_000].map(|count| {
        let names: Vec<_> = leaves(count).iter().filter_map(|leaf| BackupName::parse(&prefix(), leaf)).collect();
        let mut files: Vec<_> = names.iter().map(record_file).collect();
        let mut text = String::new();
        for name in &names {
            files.push(ruling_file(name, taken_at, Ruling::Accepted));
            let note = Note::new(name, taken_at, "somebody");
            writeln!(text, "{}", String::from_utf8(Line::Accepted(note).encode()).unwrap()).unwrap();
        }
        seconds("beside", count, || {
            let beside = Beside::parse(&prefix(), &files, text.as_bytes());
            // The records cannot be read, so each one's time is that of its name.
            let gone = beside.without_backup(&BTreeSet::new(), at(i64::MAX >> 40), Tz::UTC);
            assert_eq!(gone.len(), names.len());
            assert_eq!(beside.files_of(&gone.into_iter().collect(), &BTreeSet::new()).len(), files.len());
        })
    });
    is_linear(measured[0], measured[1]);
}
