//! What a person's decision about a backup covers, and whether it may be made. Pure.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use super::catalog::{Catalog, Class, Doubt, Entry};
use super::identity::KubeSystem;
use super::name::BackupName;
use super::record::Facts;
use super::verdict::{Identity, same_cluster};

/// The names that `accept` of this backup covers: itself; earlier suspicious ones of its cluster, or that show no cluster;
/// and later ones of its cluster that are suspicious for no other reason. `facts` are those of the backup.
pub fn covered(catalog: &Catalog, name: &BackupName, facts: &Facts) -> Vec<String> {
    let mut covered = vec![name.leaf()];
    let Some(at) = catalog.entries.iter().position(|entry| entry.name == *name) else { return covered };
    let reasons = catalog.entries.get(at).and_then(|entry| entry.verdict.as_ref()).map_or(&[][..], |v| v.reasons());
    let suspicious =
        catalog.entries.iter().enumerate().filter(|(_, entry)| entry.class == Class::Doubtful(Doubt::Suspicious));
    // Without anything that identifies the two, a stray would go along.
    let is_same =
        |other: &Facts| matches!(same_cluster(other, facts), (Identity::KubeSystemUid | Identity::EtcdClusterId, true));
    for (place, entry) in suspicious {
        let (Some(other), Some(verdict)) = (&entry.facts, &entry.verdict) else { continue };
        let goes_along = match place.cmp(&at) {
            Ordering::Equal => false,
            // The newest is the first.
            Ordering::Less => is_same(other) && verdict.reasons().iter().all(|r| reasons.contains(r)),
            Ordering::Greater => other.kube_system == KubeSystem::Absent || is_same(other),
        };
        if goes_along {
            covered.push(entry.name.leaf());
        }
    }
    covered
}

/// Why this backup cannot be dismissed: it is good, and nothing newer would take its place.
pub fn refuses_dismissal(catalog: &Catalog, entry: &Entry, now: DateTime<Utc>) -> Option<String> {
    // One from the future holds retention back, whatever it is.
    if !entry.is_current(now) {
        return None;
    }
    let mut newer = catalog.entries.iter().take_while(|other| other.name != entry.name);
    let is_replaced = newer.any(|other| other.is_current(now));
    (!is_replaced).then(|| {
        format!(
            "{} is {}, and there is no newer good backup in its place; store or accept one first",
            entry.name, entry.class
        )
    })
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::super::catalog::tests::{entry, name, suspicious};
    use super::super::record::tests::facts;
    use super::super::verdict::{Suspicion, Verdict};
    use super::*;

    const NONE: [u32; 0] = [];
    const UID: fn(&str) -> KubeSystem = |uid| KubeSystem::Uid(uid.to_owned());

    fn leaf(day: u32) -> String {
        format!("p-202601{day:02}0000.etcdb")
    }

    fn of_class(day: u32, class: Class) -> Entry {
        entry(name(&leaf(day)), class)
    }

    fn odd(day: u32, kube_system: KubeSystem, reason: Suspicion) -> Entry {
        let mut entry = of_class(day, Class::Doubtful(Doubt::Suspicious));
        entry.verdict = Some(suspicious(reason));
        entry.facts = Some(Box::new(Facts { kube_system, ..facts() }));
        entry
    }

    fn catalog(mut entries: Vec<Entry>) -> Catalog {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.taken_at));
        Catalog { entries, warnings: Vec::new() }
    }

    /// The days of those that an acceptance covers beside the backup itself.
    fn covered_by(day: u32, entries: Vec<Entry>) -> Vec<u32> {
        let catalog = catalog(entries);
        let name = name(&leaf(day));
        let facts = catalog.find(&name).and_then(|entry| entry.facts.clone()).map_or_else(facts, |facts| *facts);
        let covered = covered(&catalog, &name, &facts);
        assert_eq!(covered[0], leaf(day));
        (1..32).rev().filter(|day| covered[1..].contains(&leaf(*day))).collect()
    }

    #[test]
    fn earlier_ones_of_its_cluster_or_of_none_go_along() {
        use Suspicion::{AnotherCluster, Empty, OlderState};
        let entries = vec![
            of_class(1, Class::Good),
            odd(2, KubeSystem::Absent, Empty),
            odd(3, UID("c"), AnotherCluster),
            odd(4, UID("b"), OlderState),
            odd(5, UID("b"), AnotherCluster),
        ];
        assert_eq!(covered_by(5, entries.clone()), [4, 2]);
        // The first of them decides about none that comes later for another reason.
        assert_eq!(covered_by(2, entries.clone()), NONE);
        assert_eq!(covered_by(3, entries), [2]);
    }

    #[test]
    fn later_ones_of_its_cluster_go_along_if_they_are_odd_for_no_other_reason() {
        use Suspicion::{AnotherCluster, Empty, OlderState};
        let entries = vec![
            odd(2, UID("b"), AnotherCluster),
            odd(3, UID("b"), AnotherCluster),
            odd(4, UID("b"), OlderState),
            odd(5, UID("c"), AnotherCluster),
            odd(6, KubeSystem::Absent, Empty),
            odd(7, KubeSystem::Absent, AnotherCluster),
            odd(8, UID("b"), AnotherCluster),
        ];
        assert_eq!(covered_by(2, entries), [8, 3]);
        let mut both = odd(3, UID("b"), AnotherCluster);
        both.verdict = Some(Verdict::Suspicious { reasons: vec![AnotherCluster, OlderState], why: "x".into() });
        assert_eq!(covered_by(2, vec![odd(2, UID("b"), AnotherCluster), both]), NONE);
    }

    #[test]
    fn what_nothing_identifies_does_not_go_along() {
        let sealed = |day| {
            let mut entry = odd(day, KubeSystem::Unreadable, Suspicion::AnotherCluster);
            entry.facts = entry.facts.map(|facts| Box::new(Facts { cluster_id: None, ..*facts }));
            entry
        };
        assert_eq!(covered_by(3, vec![sealed(2), sealed(3), sealed(4)]), NONE);
    }

    #[test]
    fn only_suspicious_ones_that_nobody_decided_about_go_along() {
        let mut entries: Vec<_> = [
            Class::Good,
            Class::Legacy,
            Class::Unconfirmed,
            Class::Doubtful(Doubt::Degraded),
            Class::Doubtful(Doubt::Dismissed),
            Class::Doubtful(Doubt::Damaged),
            Class::Doubtful(Doubt::Unknown),
        ]
        .into_iter()
        .zip(1..)
        .map(|(class, day)| Entry { class, ..odd(day, UID("a"), Suspicion::OlderState) })
        .collect();
        entries.push(odd(10, UID("a"), Suspicion::OlderState));
        entries.push(Entry { class: Class::Good, ..odd(11, UID("a"), Suspicion::OlderState) });
        assert_eq!(covered_by(10, entries), NONE);
    }

    #[test]
    fn one_without_a_verdict_covers_no_later_one() {
        let unknown = of_class(3, Class::Doubtful(Doubt::Unknown));
        let odd = |day| odd(day, UID("uid-a"), Suspicion::OlderState);
        assert_eq!(covered_by(3, vec![odd(2), unknown, odd(4)]), [2]);
        // One that is not listed covers itself.
        assert_eq!(covered_by(5, vec![odd(2), odd(4)]), NONE);
    }

    #[test]
    fn where_the_uid_cannot_be_read_the_etcd_id_tells_whose_it_is() {
        let of = |day, id: &str| {
            let mut entry = odd(day, KubeSystem::Unreadable, Suspicion::AnotherCluster);
            entry.facts.as_mut().unwrap().cluster_id = Some(id.into());
            entry
        };
        assert_eq!(covered_by(3, vec![of(1, "x"), of(2, "y"), of(3, "x"), of(4, "y"), of(5, "x")]), [5, 1]);
    }

    fn dismissal(entries: Vec<Entry>, day: u32, now: u32) -> Option<String> {
        let catalog = catalog(entries);
        let entry = catalog.find(&name(&leaf(day))).unwrap();
        refuses_dismissal(&catalog, entry, name(&leaf(now)).taken_at(Tz::UTC))
    }

    #[test]
    fn the_newest_good_one_cannot_be_dismissed() {
        for class in [Class::Good, Class::Legacy] {
            let alone = vec![of_class(1, Class::Good), of_class(2, class), of_class(3, Class::Unconfirmed)];
            let why = dismissal(alone.clone(), 2, 9).unwrap();
            assert!(why.contains("a/p-202601020000.etcdb is ") && why.contains("no newer good"), "{why}");
            assert_eq!(dismissal(alone, 1, 9), None);
        }
    }

    #[test]
    fn a_newer_one_must_be_good_now() {
        for newer in [
            Class::Unconfirmed,
            Class::Doubtful(Doubt::Suspicious),
            Class::Doubtful(Doubt::Degraded),
            Class::Doubtful(Doubt::Dismissed),
            Class::Doubtful(Doubt::Unknown),
        ] {
            assert!(dismissal(vec![of_class(1, Class::Good), of_class(2, newer)], 1, 9).is_some(), "{newer}");
            // It may itself be dismissed.
            assert_eq!(dismissal(vec![of_class(2, newer)], 2, 9), None, "{newer}");
        }
        let entries = vec![of_class(1, Class::Good), of_class(20, Class::Good)];
        assert!(dismissal(entries.clone(), 1, 9).is_some());
        // One from the future holds retention back, so it can be dismissed.
        assert_eq!(dismissal(entries, 20, 9), None);
    }
}
