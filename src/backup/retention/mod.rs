//! Decides which backups stay and which are removed, by nothing but their names, the policy and the time.

mod age;

use std::cmp::Reverse;
use std::fmt;
use std::num::NonZeroUsize;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use serde::Serialize;

pub use age::Age;

use crate::backup::name::BackupName;

/// How long backups are kept. Without a limit they are all kept.
#[derive(Clone, Debug)]
pub struct Policy {
    pub max_age: Option<Age>,
    /// Only this many of the newest are kept.
    pub max_count: Option<NonZeroUsize>,
    /// This many of the newest are never removed, whatever the limits.
    pub keep_last: NonZeroUsize,
}

/// Both lists begin with the newest backup.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub keep: Vec<Decision>,
    pub remove: Vec<Decision>,
}

/// The outcome of a plan's removals.
#[derive(Debug, Default)]
pub struct Removal {
    pub removed: Vec<BackupName>,
    /// The backups that are still there.
    pub failed: Vec<BackupName>,
    /// rclone's reason, if it gave one.
    pub complaint: Option<String>,
}

/// One backup, with every reason why it stays or is removed.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    pub name: BackupName,
    pub reasons: Vec<Reason>,
}

impl Decision {
    pub fn is_expired(&self) -> bool {
        self.reasons.contains(&Reason::Expired)
    }

    pub fn is_from_the_future(&self) -> bool {
        self.reasons.contains(&Reason::Future)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// One of the newest `keep-last`.
    Newest,
    Young,
    WithinCount,
    /// Dated in the future, so a clock is or was wrong.
    Future,
    NoLimit,
    /// Made by this very run; younger ones are from other runs.
    ThisRun,
    Expired,
    BeyondCount,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisRun => "made by this run",
            Self::Newest => "one of the newest",
            Self::Young => "younger than the age limit",
            Self::WithinCount => "within the count limit",
            Self::Future => "dated in the future",
            Self::NoLimit => "no limit is set",
            Self::Expired => "older than the age limit",
            Self::BeyondCount => "beyond the count limit",
        })
    }
}

/// Decides about each of `names`. `own` is the backup of this very run, which stays, however other clocks have dated theirs.
///
/// Backups that are dated after `now` stay and do not count as the newest. Otherwise the backups of a wrong clock would take
/// the places of good ones, and those would be removed.
pub fn plan(
    names: impl IntoIterator<Item = BackupName>,
    own: Option<&BackupName>,
    policy: &Policy,
    now: DateTime<Utc>,
    zone: Tz,
) -> Plan {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_cached_key(|name| Reverse(name.age_key(zone)));
    let mut plan = Plan::default();
    let mut rank = 0;
    for name in names {
        let taken_at = name.taken_at(zone);
        if taken_at > now {
            plan.keep.push(Decision { name, reasons: vec![Reason::Future] });
            continue;
        }
        rank += 1;
        let against = reasons_to_remove(rank, now - taken_at, policy);
        if rank <= policy.keep_last.get() || against.is_empty() {
            plan.keep.push(Decision { name, reasons: reasons_to_keep(rank, policy, &against) });
        } else if Some(&name) == own {
            plan.keep.push(Decision { name, reasons: vec![Reason::ThisRun] });
        } else {
            plan.remove.push(Decision { name, reasons: against });
        }
    }
    plan
}

/// `rank` counts from 1, the newest.
fn reasons_to_remove(rank: usize, age: Duration, policy: &Policy) -> Vec<Reason> {
    let expired = policy.max_age.as_ref().is_some_and(|max| age > Duration::seconds(max.seconds().into()));
    let beyond = policy.max_count.is_some_and(|max| rank > max.get());
    that_hold([(expired, Reason::Expired), (beyond, Reason::BeyondCount)])
}

/// `against` are the reasons to remove it, which count for nothing in one of the newest.
fn reasons_to_keep(rank: usize, policy: &Policy, against: &[Reason]) -> Vec<Reason> {
    let young = policy.max_age.is_some() && !against.contains(&Reason::Expired);
    let within = policy.max_count.is_some() && !against.contains(&Reason::BeyondCount);
    let unlimited = policy.max_age.is_none() && policy.max_count.is_none();
    let newest = rank <= policy.keep_last.get();
    that_hold([
        (newest, Reason::Newest),
        (young, Reason::Young),
        (within, Reason::WithinCount),
        (unlimited, Reason::NoLimit),
    ])
}

fn that_hold<const N: usize>(reasons: [(bool, Reason); N]) -> Vec<Reason> {
    reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + day * 86_400, 0).unwrap()
    }

    fn names(days: &[i64]) -> Vec<BackupName> {
        days.iter().map(|d| BackupName::new(&"p-".parse().unwrap(), at(*d), Tz::UTC)).collect()
    }

    fn policy(age: Option<&str>, count: Option<usize>, keep: usize) -> Policy {
        Policy {
            max_age: age.map(|a| a.parse().unwrap()),
            max_count: count.and_then(NonZeroUsize::new),
            keep_last: NonZeroUsize::new(keep).unwrap(),
        }
    }

    fn removed(plan: &Plan) -> Vec<BackupName> {
        plan.remove.iter().map(|v| v.name.clone()).collect()
    }

    #[test]
    fn after_a_month_of_silence_the_newest_stay() {
        let plan = plan(names(&[0, 1, 2, 3, 4]), None, &policy(Some("10d"), None, 3), at(40), Tz::UTC);
        assert_eq!(removed(&plan), names(&[1, 0]));
        assert_eq!(plan.keep[0].reasons, [Reason::Newest]);
    }

    #[test]
    fn a_future_date_neither_goes_nor_displaces() {
        let plan = plan(names(&[0, 100, 101, 102, 20]), None, &policy(Some("10d"), None, 1), at(40), Tz::UTC);
        assert_eq!(removed(&plan), names(&[0]));
        assert_eq!(plan.keep.iter().filter(|v| v.reasons == [Reason::Future]).count(), 3);
    }

    #[test]
    fn of_two_names_of_one_moment_the_one_with_seconds_is_the_newer() {
        let prefix = "p-".parse().unwrap();
        let [minute, second] =
            ["p-202601020000.etcdb", "p-20260102000000.etcdb"].map(|leaf| BackupName::parse(&prefix, leaf).unwrap());
        for names in [[minute.clone(), second.clone()], [second.clone(), minute.clone()]] {
            let plan = plan(names, None, &policy(None, Some(1), 1), at(0), Tz::UTC);
            assert_eq!(removed(&plan), std::slice::from_ref(&minute));
        }
    }

    #[test]
    fn either_limit_is_enough() {
        let plan = plan(names(&[0, 38, 39, 40]), None, &policy(Some("10d"), Some(2), 1), at(40), Tz::UTC);
        assert_eq!(removed(&plan), names(&[38, 0]));
        assert!(!plan.remove[0].is_expired() && plan.remove[1].is_expired());
    }

    #[test]
    fn without_a_limit_everything_stays() {
        let plan = plan(names(&[0, 1, 2]), None, &policy(None, None, 1), at(4000), Tz::UTC);
        assert_eq!(plan.keep.len(), 3);
        assert_eq!(plan.keep[2].reasons, [Reason::NoLimit]);
    }

    #[test]
    fn the_runs_own_backup_stays_beside_younger_ones() {
        let own = &names(&[0])[0];
        let plan = plan(names(&[0, 1, 2]), Some(own), &policy(Some("1d"), Some(1), 1), at(40), Tz::UTC);
        // The newest stays too: it may be what another run has just made.
        assert_eq!(removed(&plan), names(&[1]));
        assert_eq!(plan.keep[1].reasons, [Reason::ThisRun]);
    }

    proptest! {
        #[test]
        fn plans_are_whole_and_keep_the_newest(
            days in proptest::collection::btree_set(0i64..400, 0..40),
            age in proptest::option::of(1u32..300),
            count in proptest::option::of(1usize..30),
            keep in 1usize..10,
            now in 0i64..500,
        ) {
            let policy = policy(age.map(|d| format!("{d}d")).as_deref(), count, keep);
            let all = names(&days.iter().copied().collect::<Vec<_>>());
            let plan = plan(all.clone(), None, &policy, at(now), Tz::UTC);
            prop_assert_eq!(plan.keep.len() + plan.remove.len(), all.len());
            let mut past: Vec<_> = all.iter().filter(|n| n.taken_at(Tz::UTC) <= at(now)).collect();
            past.sort_by_key(|n| std::cmp::Reverse(n.taken_at(Tz::UTC)));
            let gone = removed(&plan);
            for name in past.iter().take(keep) {
                prop_assert!(!gone.contains(name));
            }
            for name in &gone {
                prop_assert!(past.contains(&name));
                let old = age.is_some_and(|d| at(now) - name.taken_at(Tz::UTC) > Duration::days(d.into()));
                let beyond = count.is_some_and(|c| past.iter().position(|n| *n == name).unwrap() >= c);
                prop_assert!(old || beyond);
            }
        }
    }
}
