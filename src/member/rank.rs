//! Which member a snapshot is taken from, and why. Pure.

use std::collections::BTreeSet;

use super::{Member, Refusal, Role};
use crate::system::fs::with_reserve;

/// In raft entries. Members are asked at slightly different moments, so a smaller lag says nothing.
const EQUAL_WITHIN: u64 = 1_000;

#[derive(Debug)]
pub struct Choice {
    /// Members to snapshot, best first; at least one.
    pub members: Vec<Member>,
    /// Members that answered but are not used.
    pub refused: Vec<Refusal>,
    /// Why only a degraded backup is possible; `None` when all is well.
    pub degraded: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NoMember {
    #[error("the endpoints belong to different clusters: {0}; name the members of one cluster only")]
    SeveralClusters(String),
    #[error("no member can be used")]
    AllRefused(Vec<Refusal>),
    #[error("only a degraded backup can be had ({0}), and --strict refuses it")]
    OnlyDegraded(String),
}

/// Chooses and orders members. `members` has at most one entry for each member.
///
/// The order is: the most recent applied index, follower before leader, smaller round trip. Never a learner, never a
/// member with a CORRUPT alarm. But without a quorum, or when every voter is CORRUPT, the reachable voter with the
/// highest revision is the last resort, and the backup is degraded.
pub fn rank(members: Vec<Member>, strict: bool) -> Result<Choice, NoMember> {
    refuse_several_clusters(&members)?;
    // A member with a CORRUPT alarm still serves snapshots as if nothing were wrong. Any member may list the alarm.
    let corrupt: BTreeSet<u64> = members.iter().flat_map(|m| m.corrupt.iter().copied()).collect();
    let (learners, voters): (Vec<_>, Vec<_>) = members.into_iter().partition(|m| m.role == Role::Learner);
    // A learner serves a snapshot, too, but answers no linearizable read, which would show whether it is recent.
    let mut refused: Vec<_> = learners.iter().map(|m| refusal(m, "is a learner")).collect();
    let (mut healthy, unhealthy): (Vec<_>, Vec<_>) =
        voters.into_iter().partition(|m| m.read_error.is_none() && !corrupt.contains(&m.id));
    let degraded = why_degraded(&healthy, &unhealthy, &corrupt);
    if let (true, Some(reason)) = (strict, &degraded) {
        return Err(NoMember::OnlyDegraded(reason.clone()));
    }
    let best_first = if healthy.is_empty() {
        // The applied index counts entries of raft that change no key, too; the revision is what a restored cluster
        // has.
        let mut last_resort = unhealthy;
        last_resort.sort_by_key(|m| (corrupt.contains(&m.id), std::cmp::Reverse(m.revision), m.round_trip));
        last_resort
    } else {
        refused.extend(unhealthy.iter().map(|m| refusal(m, &why_refused(m, &corrupt))));
        sort_best_first(&mut healthy);
        healthy
    };
    if best_first.is_empty() {
        return Err(NoMember::AllRefused(refused));
    }
    Ok(Choice { members: best_first, refused, degraded })
}

/// Puts members whose database does not fit into so many free bytes behind the others, the smallest of them first. Members
/// hold the same keys in files of different sizes, as each is defragmented by itself.
pub fn fitting_first(members: Vec<Member>, free: u64) -> Vec<Member> {
    let fits = |m: &Member| with_reserve(m.db_size) <= free;
    let (mut ordered, mut too_large): (Vec<_>, Vec<_>) = members.into_iter().partition(fits);
    too_large.sort_by_key(|m| m.db_size);
    ordered.append(&mut too_large);
    ordered
}

fn refuse_several_clusters(members: &[Member]) -> Result<(), NoMember> {
    let clusters: BTreeSet<u64> = members.iter().map(|m| m.cluster_id).collect();
    if clusters.len() < 2 {
        return Ok(());
    }
    let described = clusters.iter().map(|id| {
        let at: Vec<_> = members.iter().filter(|m| m.cluster_id == *id).map(|m| m.endpoint.to_string()).collect();
        format!("cluster {id:x} at {}", at.join(" and "))
    });
    Err(NoMember::SeveralClusters(described.collect::<Vec<_>>().join(", ")))
}

fn why_degraded(healthy: &[Member], unhealthy: &[Member], corrupt: &BTreeSet<u64>) -> Option<String> {
    // Without a single voter there is no backup at all, degraded or not.
    if healthy.is_empty() && unhealthy.is_empty() {
        return None;
    }
    if !corrupt.is_empty() {
        let ids: Vec<_> = corrupt.iter().map(|id| format!("{id:x}")).collect();
        return Some(format!("CORRUPT alarm on member {}", ids.join(" and ")));
    }
    if healthy.is_empty() {
        let error = unhealthy.iter().find_map(|m| m.read_error.as_deref()).unwrap_or("a read failed");
        return Some(format!("no quorum: {error}"));
    }
    None
}

fn why_refused(member: &Member, corrupt: &BTreeSet<u64>) -> String {
    if corrupt.contains(&member.id) {
        return "has a CORRUPT alarm".into();
    }
    member.read_error.clone().unwrap_or_else(|| "a read failed".into())
}

fn refusal(member: &Member, reason: &str) -> Refusal {
    Refusal { endpoint: member.endpoint.clone(), reason: reason.to_owned() }
}

fn sort_best_first(members: &mut [Member]) {
    let newest = members.iter().map(|m| m.applied_index).max().unwrap_or_default();
    members.sort_by_key(|m| {
        let lag = newest.saturating_sub(m.applied_index);
        (if lag > EQUAL_WITHIN { lag } else { 0 }, m.role, m.round_trip)
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn member(id: u64, role: Role, applied_index: u64, millis: u64) -> Member {
        Member {
            endpoint: format!("https://10.0.0.{id}:2379").parse().unwrap(),
            id,
            cluster_id: 1,
            version: "3.5.16".into(),
            role,
            db_size: 1,
            applied_index,
            revision: applied_index,
            round_trip: Duration::from_millis(millis),
            read_error: None,
            corrupt: BTreeSet::new(),
            no_space: false,
        }
    }

    fn order(choice: &Choice) -> Vec<u64> {
        choice.members.iter().map(|m| m.id).collect()
    }

    #[test]
    fn followers_first_then_the_nearer_one() {
        let members = vec![
            member(1, Role::Leader, 5_000, 1),
            member(2, Role::Follower, 4_500, 9),
            member(3, Role::Follower, 4_100, 3),
            member(4, Role::Follower, 3_900, 1),
        ];
        let choice = rank(members, false).unwrap();
        assert_eq!(order(&choice), [3, 2, 1, 4]);
        assert_eq!(choice.degraded, None);
    }

    #[test]
    fn never_a_learner() {
        let choice = rank(vec![member(1, Role::Learner, 9, 1), member(2, Role::Leader, 9, 1)], false).unwrap();
        assert_eq!(order(&choice), [2]);
        assert_eq!(choice.refused[0].reason, "is a learner");
        let Err(NoMember::AllRefused(refused)) = rank(vec![member(1, Role::Learner, 9, 1)], false) else { panic!() };
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn a_corrupt_member_is_avoided_and_the_backup_is_degraded() {
        let mut seen = vec![member(1, Role::Follower, 9, 1), member(2, Role::Leader, 9, 1)];
        seen[1].corrupt.insert(1);
        let choice = rank(seen.clone(), false).unwrap();
        assert_eq!(order(&choice), [2]);
        assert!(choice.degraded.unwrap().contains("CORRUPT"));
        assert!(matches!(rank(seen, true), Err(NoMember::OnlyDegraded(_))));
    }

    #[test]
    fn all_corrupt_is_the_last_resort() {
        let mut seen = vec![member(1, Role::Follower, 9, 1), member(2, Role::Leader, 8, 1)];
        seen[0].corrupt.extend([1, 2]);
        assert_eq!(order(&rank(seen, false).unwrap()), [1, 2]);
    }

    #[test]
    fn without_quorum_the_highest_revision() {
        let mut seen =
            vec![member(1, Role::Follower, 7, 1), member(2, Role::Follower, 8, 1), member(3, Role::Learner, 9, 1)];
        for member in &mut seen {
            member.read_error = Some("timed out".into());
        }
        let choice = rank(seen.clone(), false).unwrap();
        assert_eq!(order(&choice), [2, 1]);
        assert!(choice.degraded.unwrap().contains("no quorum"));
        assert!(matches!(rank(seen, true), Err(NoMember::OnlyDegraded(_))));
    }

    #[test]
    fn a_member_cut_off_from_the_others_is_refused() {
        let mut seen = vec![member(1, Role::Follower, 9, 1), member(2, Role::Leader, 9, 1)];
        seen[0].read_error = Some("no leader".into());
        let choice = rank(seen, false).unwrap();
        assert_eq!(order(&choice), [2]);
        assert!(choice.degraded.is_none());
    }

    #[test]
    fn where_room_is_short_those_that_fit_come_first() {
        let sized = |id, db_size| Member { db_size, ..member(id, Role::Follower, 9, id) };
        let members = || vec![sized(1, 300), sized(2, 100), sized(3, 200), sized(4, 50)];
        let order = |free| fitting_first(members(), free).iter().map(|m| m.id).collect::<Vec<_>>();
        assert_eq!(order(1000), [1, 2, 3, 4]);
        assert_eq!(order(150), [2, 4, 3, 1]);
        // A tenth more is needed than the file itself.
        assert_eq!(order(109), [4, 2, 3, 1]);
        assert_eq!(order(0), [4, 2, 3, 1]);
    }

    #[test]
    fn two_clusters_are_named() {
        let mut seen = vec![member(1, Role::Leader, 9, 1), member(2, Role::Leader, 9, 1)];
        seen[1].cluster_id = 0xbeef;
        let error = rank(seen, false).unwrap_err().to_string();
        assert!(error.contains("cluster 1 at https://10.0.0.1:2379") && error.contains("beef"), "{error}");
    }
}
