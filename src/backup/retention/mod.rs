//! Decides which backups stay and which are removed, by nothing but the catalog, the policy and the time.

mod age;

use std::fmt;
use std::num::NonZeroUsize;

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;

pub use age::Age;

use crate::backup::catalog::{Class, Entry};
use crate::backup::name::BackupName;

/// How long backups are kept. Without a limit they are all kept.
#[derive(Clone, Debug)]
pub struct Policy {
    pub max_age: Option<Age>,
    /// Only this many of the newest good ones are kept.
    pub max_count: Option<NonZeroUsize>,
    /// This many of the newest good ones are never removed, whatever the limits.
    pub keep_last: NonZeroUsize,
}

impl Policy {
    pub const fn has_limit(&self) -> bool {
        self.max_age.is_some() || self.max_count.is_some()
    }
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
    /// Dated in the future, so a clock is or was wrong, or the zone of the names.
    Future,
    NoLimit,
    /// Made by this very run; younger ones are from other runs.
    ThisRun,
    /// There are fewer good backups than are always kept, so not even a doubtful one goes.
    FewGood,
    /// Not good, and younger than the oldest good backup that stays.
    AmongGood,
    /// Without a record, in a run that found nothing better to compare its own backup with.
    Witness,
    Expired,
    BeyondCount,
    /// Not good, and older than every good backup that stays.
    Outlived,
    /// Compressed, and nothing that can be read tells that this program made it.
    Foreign,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisRun => "made by this run",
            Self::Newest => "one of the newest",
            Self::FewGood => "there are few good ones",
            Self::AmongGood => "younger than the oldest good one that stays",
            Self::Witness => "nothing better tells what was before",
            Self::Foreign => "another program may have made it",
            Self::Outlived => "not good, and older than every good one that stays",
            Self::Young => "younger than the age limit",
            Self::WithinCount => "within the count limit",
            Self::Future => "dated in the future",
            Self::NoLimit => "no limit is set",
            Self::Expired => "older than the age limit",
            Self::BeyondCount => "beyond the count limit",
        })
    }
}

/// The backups that stay in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spared<'a> {
    /// The backup of this very run, however other clocks have dated theirs.
    pub own: Option<&'a BackupName>,
    /// Whether those without a record stay, because this run's backup could be compared with nothing better.
    pub unconfirmed: bool,
}

/// Decides about each of `entries`, which begin with the newest.
///
/// Only backups that count as good have a rank. Otherwise doubtful ones would take their places, and the good ones would be
/// removed. The same goes for those that are dated in the future, which stay. Foreign ones are not decided about at all.
pub fn plan(entries: &[Entry], spared: Spared<'_>, policy: &Policy, now: DateTime<Utc>) -> Plan {
    let entries: Vec<_> = entries.iter().filter(|entry| entry.class != Class::Foreign).collect();
    let good = entries.iter().filter(|entry| entry.is_current(now)).count();
    let mut rank = 0;
    let ranked = entries.iter().map(|entry| {
        entry.is_current(now).then(|| {
            rank += 1;
            decide_by_rank(entry, rank, spared, policy, now)
        })
    });
    let ranked: Vec<Option<Reasons>> = ranked.collect();
    // By its place: two backups may be of one second.
    let oldest_kept = ranked.iter().rposition(|reasons| matches!(reasons, Some(Ok(_))));
    let few_good = good < policy.keep_last.get();
    let mut plan = Plan::default();
    for (place, (entry, reasons)) in entries.iter().zip(ranked).enumerate() {
        let decision = |reasons| Decision { name: entry.name.clone(), reasons };
        let others = Others { few_good, is_outlived: oldest_kept.is_some_and(|oldest| oldest < place) };
        match reasons.unwrap_or_else(|| others.decide(entry, spared, policy, now)) {
            Ok(reasons) => plan.keep.push(decision(reasons)),
            Err(reasons) => plan.remove.push(decision(reasons)),
        }
    }
    plan
}

/// The reasons to keep a backup, or the reasons to remove it.
type Reasons = Result<Vec<Reason>, Vec<Reason>>;

/// `rank` counts from 1, the newest.
fn decide_by_rank(entry: &Entry, rank: usize, spared: Spared<'_>, policy: &Policy, now: DateTime<Utc>) -> Reasons {
    let against = reasons_to_remove(rank, now - entry.taken_at, policy);
    if rank <= policy.keep_last.get() || against.is_empty() {
        Ok(reasons_to_keep(rank, policy, &against))
    } else if Some(&entry.name) == spared.own {
        Ok(vec![Reason::ThisRun])
    } else {
        Err(against)
    }
}

/// What decides about a backup that has no rank.
struct Others {
    few_good: bool,
    /// Whether each good backup that stays is younger.
    is_outlived: bool,
}

impl Others {
    fn decide(&self, entry: &Entry, spared: Spared<'_>, policy: &Policy, now: DateTime<Utc>) -> Reasons {
        let age = now - entry.taken_at;
        let keep = |reason| Ok(vec![reason]);
        if !entry.is_ours {
            keep(Reason::Foreign)
        } else if entry.is_from_the_future(now) {
            keep(Reason::Future)
        } else if Some(&entry.name) == spared.own {
            keep(Reason::ThisRun)
        } else if !policy.has_limit() {
            keep(Reason::NoLimit)
        } else if self.few_good {
            keep(Reason::FewGood)
        } else if spared.unconfirmed && entry.class == Class::Unconfirmed {
            keep(Reason::Witness)
        } else if policy.max_age.is_some() {
            if is_expired(age, policy) { Err(vec![Reason::Expired]) } else { keep(Reason::Young) }
        } else if self.is_outlived {
            Err(vec![Reason::Outlived])
        } else {
            keep(Reason::AmongGood)
        }
    }
}

fn is_expired(age: Duration, policy: &Policy) -> bool {
    policy.max_age.as_ref().is_some_and(|max| age > Duration::seconds(max.seconds().into()))
}

fn reasons_to_remove(rank: usize, age: Duration, policy: &Policy) -> Vec<Reason> {
    let beyond = policy.max_count.is_some_and(|max| rank > max.get());
    that_hold([(is_expired(age, policy), Reason::Expired), (beyond, Reason::BeyondCount)])
}

/// `against` are the reasons to remove it, which count for nothing in one of the newest.
fn reasons_to_keep(rank: usize, policy: &Policy, against: &[Reason]) -> Vec<Reason> {
    let young = policy.max_age.is_some() && !against.contains(&Reason::Expired);
    let within = policy.max_count.is_some() && !against.contains(&Reason::BeyondCount);
    let newest = rank <= policy.keep_last.get();
    that_hold([
        (newest, Reason::Newest),
        (young, Reason::Young),
        (within, Reason::WithinCount),
        (!policy.has_limit(), Reason::NoLimit),
    ])
}

fn that_hold<const N: usize>(reasons: [(bool, Reason); N]) -> Vec<Reason> {
    reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
}

#[cfg(test)]
mod tests;
