//! Judges a new backup by the one before it: is it what the cluster's next backup should look like? Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::identity::KubeSystem;
use super::record::Facts;

/// Decided once, in the step that writes the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Verdict {
    Good,
    /// The best that could be had from a cluster that needs help. Its revision is compared with no other.
    Degraded {
        why: String,
    },
    Suspicious {
        reasons: Vec<Suspicion>,
        why: String,
    },
    /// It did not prove good when it was read back.
    Damaged {
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspicion {
    Empty,
    AnotherCluster,
    OlderState,
    /// None of the backups before it could be read.
    UnreadableBefore,
}

/// The backup that a new one was compared with, and what showed whether they are of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The file's name, without the directory of its prefix.
    pub with: String,
    pub by: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// The UID of the namespace kube-system.
    KubeSystemUid,
    EtcdClusterId,
    /// Neither is known of both backups.
    Nothing,
}

/// What a new backup is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Before<'a> {
    /// There is no other backup that tells what the cluster was.
    Nothing,
    /// There are some, and none can be compared with, for this reason.
    Unreadable(&'a str),
    Backup {
        name: &'a str,
        facts: &'a Facts,
    },
}

/// Judges `new`. `undecided` are the backups younger than the one before whose verdict is an older state, which nobody has
/// accepted or dismissed.
pub fn judge<'a>(
    new: &Facts,
    before: Before<'_>,
    undecided: impl IntoIterator<Item = (&'a str, &'a Facts)>,
) -> (Verdict, Option<Compared>) {
    if let Some(why) = &new.degraded {
        return (Verdict::Degraded { why: why.clone() }, None);
    }
    let compared = match before {
        Before::Backup { name, facts } => Some(Compared { with: name.to_owned(), by: same_cluster(new, facts).0 }),
        Before::Nothing | Before::Unreadable(_) => None,
    };
    let suspicion = if new.keys == 0 {
        Some((Suspicion::Empty, "it holds no keys".to_owned()))
    } else {
        match before {
            Before::Nothing => None,
            Before::Unreadable(why) => Some((Suspicion::UnreadableBefore, why.to_owned())),
            Before::Backup { name, facts } => compare(new, name, facts).or_else(|| still_older(new, undecided)),
        }
    };
    let verdict = suspicion.map_or(Verdict::Good, |(reason, why)| Verdict::Suspicious { reasons: vec![reason], why });
    (verdict, compared)
}

fn compare(new: &Facts, name: &str, before: &Facts) -> Option<(Suspicion, String)> {
    let (identity, same) = same_cluster(new, before);
    if !same {
        let why = match identity {
            Identity::KubeSystemUid => format!(
                "it is of another cluster than {name}: there, the namespace kube-system has {}, here {}",
                before.kube_system, new.kube_system
            ),
            Identity::EtcdClusterId | Identity::Nothing => {
                let id = |facts: &Facts| facts.cluster_id.clone().unwrap_or_default();
                format!(
                    "it is of another cluster than {name}: etcd's cluster id is {} there, {} here",
                    id(before),
                    id(new)
                )
            }
        };
        return Some((Suspicion::AnotherCluster, why));
    }
    // A cluster's revision never falls, so a lower one means that it was restored or put back.
    (new.revision < before.revision).then(|| {
        let why = format!(
            "it holds an older state than {name}, which has revision {}; this one only {}",
            before.revision, new.revision
        );
        (Suspicion::OlderState, why)
    })
}

/// A revision that has grown past the one before does not show that nothing was lost in between.
fn still_older<'a>(
    new: &Facts,
    undecided: impl IntoIterator<Item = (&'a str, &'a Facts)>,
) -> Option<(Suspicion, String)> {
    let (name, _) = undecided.into_iter().find(|(_, facts)| same_cluster(new, facts).1)?;
    let why =
        format!("it follows {name}, which holds an older state of this cluster and is neither accepted nor dismissed");
    Some((Suspicion::OlderState, why))
}

/// What decides whether two backups are of one cluster, and whether they are.
pub fn same_cluster(new: &Facts, before: &Facts) -> (Identity, bool) {
    use KubeSystem::{Absent, Uid, Unreadable};
    match (&new.kube_system, &before.kube_system) {
        (Uid(new), Uid(before)) => (Identity::KubeSystemUid, new == before),
        // Every Kubernetes cluster has the namespace. Where it is gone, so is the cluster.
        (Absent, Uid(_) | Unreadable) => (Identity::KubeSystemUid, false),
        // A restore gives etcd another id, so this decides only where nothing else can.
        _ => match (&new.cluster_id, &before.cluster_id) {
            (Some(new), Some(before)) => (Identity::EtcdClusterId, new == before),
            _ => (Identity::Nothing, true),
        },
    }
}

impl Verdict {
    /// Why it is not good.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Degraded { why } | Self::Suspicious { why, .. } | Self::Damaged { why } => Some(why),
        }
    }

    pub fn reasons(&self) -> &[Suspicion] {
        if let Self::Suspicious { reasons, .. } = self { reasons } else { &[] }
    }
}

impl fmt::Display for KubeSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "the UID {uid}"),
            Self::Absent => f.write_str("no UID, as there is no such namespace"),
            Self::Unreadable => f.write_str("a UID that cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::facts;
    use super::*;

    fn of(kube_system: KubeSystem, cluster_id: Option<&str>, revision: u64) -> Facts {
        Facts { kube_system, cluster_id: cluster_id.map(Into::into), revision, ..facts() }
    }

    fn uid(uid: &str, revision: u64) -> Facts {
        of(KubeSystem::Uid(uid.into()), Some("id"), revision)
    }

    fn against(new: &Facts, before: &Facts, undecided: &[(&str, &Facts)]) -> (Verdict, Option<Compared>) {
        judge(new, Before::Backup { name: "before", facts: before }, undecided.iter().copied())
    }

    /// The only reason, if there is one.
    fn reason(verdict: &Verdict) -> Option<Suspicion> {
        match (verdict, verdict.reasons()) {
            (Verdict::Good, []) => None,
            (Verdict::Suspicious { .. }, [reason]) => Some(*reason),
            _ => panic!("{verdict:?}"),
        }
    }

    fn found(new: &Facts, before: &Facts) -> (Option<Suspicion>, Identity) {
        let (verdict, compared) = against(new, before, &[]);
        let compared = compared.unwrap();
        assert_eq!(compared.with, "before");
        (reason(&verdict), compared.by)
    }

    #[test]
    fn the_good_ones_uid_and_no_lower_revision_is_good() {
        for revision in [10, 11, 1_000_000_010] {
            assert_eq!(found(&uid("a", revision), &uid("a", 10)), (None, Identity::KubeSystemUid));
        }
        // A restore gives etcd another id.
        let restored = of(KubeSystem::Uid("a".into()), Some("other id"), 1_000_000_000);
        assert_eq!(found(&restored, &uid("a", 10)), (None, Identity::KubeSystemUid));
    }

    #[test]
    fn another_uid_is_another_cluster() {
        for revision in [1, 10, 100] {
            // Even where etcd's id is the same.
            let (verdict, compared) = against(&uid("b", revision), &uid("a", 10), &[]);
            assert_eq!(reason(&verdict), Some(Suspicion::AnotherCluster));
            assert_eq!(compared.unwrap().by, Identity::KubeSystemUid);
            let why = verdict.why().unwrap();
            assert!(why.contains("than before") && why.contains("UID a, here the UID b"), "{why}");
        }
    }

    #[test]
    fn a_lower_revision_is_an_older_state() {
        let (verdict, _) = against(&uid("a", 9), &uid("a", 10), &[]);
        assert_eq!(reason(&verdict), Some(Suspicion::OlderState));
        let why = verdict.why().unwrap();
        assert!(why.contains("than before, which has revision 10; this one only 9"), "{why}");
    }

    #[test]
    fn no_keys_are_empty_whatever_was_before() {
        let empty = Facts { keys: 0, kube_system: KubeSystem::Absent, revision: 1, ..facts() };
        assert_eq!(found(&empty, &uid("a", 10)), (Some(Suspicion::Empty), Identity::KubeSystemUid));
        for before in [Before::Nothing, Before::Unreadable("x")] {
            assert_eq!(judge(&empty, before, []).0.reasons(), [Suspicion::Empty]);
        }
    }

    #[test]
    fn an_absent_namespace_is_another_cluster_where_the_good_one_had_it() {
        use KubeSystem::{Absent, Uid, Unreadable};
        let same = Some("id");
        for had in [Uid("a".into()), Unreadable] {
            let got = found(&of(Absent, same, 20), &of(had.clone(), same, 10));
            assert_eq!(got, (Some(Suspicion::AnotherCluster), Identity::KubeSystemUid), "{had}");
        }
        // Not where it had none either, and not where it is there.
        assert_eq!(found(&of(Absent, same, 20), &of(Absent, same, 10)), (None, Identity::EtcdClusterId));
        assert_eq!(found(&of(Unreadable, same, 20), &uid("a", 10)), (None, Identity::EtcdClusterId));
    }

    #[test]
    fn where_the_uid_is_unknown_the_etcd_id_decides_and_the_verdict_says_so() {
        use KubeSystem::{Absent, Uid, Unreadable};
        let known = || Uid("a".into());
        for (new, before) in [
            (Unreadable, known()),
            (known(), Unreadable),
            (Unreadable, Unreadable),
            (known(), Absent),
            (Absent, Absent),
        ] {
            let found = |id, revision| found(&of(new.clone(), id, revision), &of(before.clone(), Some("x"), 10));
            assert_eq!(found(Some("x"), 10), (None, Identity::EtcdClusterId), "{new} {before}");
            assert_eq!(found(Some("x"), 9), (Some(Suspicion::OlderState), Identity::EtcdClusterId));
            assert_eq!(found(Some("y"), 90), (Some(Suspicion::AnotherCluster), Identity::EtcdClusterId));
            // A backup of another program does not tell it. Then only the revision is left.
            assert_eq!(found(None, 10), (None, Identity::Nothing));
            assert_eq!(found(None, 9), (Some(Suspicion::OlderState), Identity::Nothing));
        }
        let (verdict, _) = against(&of(Unreadable, Some("y"), 10), &uid("a", 10), &[]);
        assert!(verdict.why().unwrap().contains("etcd's cluster id is id there, y here"), "{verdict:?}");
    }

    #[test]
    fn without_any_backup_before_it_there_is_nothing_to_compare() {
        assert_eq!(judge(&facts(), Before::Nothing, []), (Verdict::Good, None));
    }

    #[test]
    fn what_was_before_cannot_be_read() {
        let (verdict, compared) = judge(&facts(), Before::Unreadable("no room"), []);
        assert_eq!(reason(&verdict), Some(Suspicion::UnreadableBefore));
        assert!(verdict.why().unwrap().ends_with("no room"));
        assert_eq!(compared, None);
    }

    #[test]
    fn a_degraded_backup_is_degraded_and_nothing_else() {
        for mut new in [uid("b", 1), uid("a", 1), Facts { keys: 0, ..facts() }] {
            new.degraded = Some("no quorum".into());
            let older = uid("a", 5);
            for before in [Before::Nothing, Before::Unreadable("x"), Before::Backup { name: "b", facts: &uid("a", 10) }]
            {
                let expected = (Verdict::Degraded { why: "no quorum".into() }, None);
                assert_eq!(judge(&new, before, [("older", &older)]), expected);
            }
        }
    }

    #[test]
    fn what_follows_an_undecided_older_state_stays_one() {
        let (good, older) = (uid("a", 100), uid("a", 50));
        for revision in [51, 100, 1_000] {
            let (verdict, compared) = against(&uid("a", revision), &good, &[("older", &older)]);
            assert_eq!(reason(&verdict), Some(Suspicion::OlderState), "{revision}");
            assert_eq!(compared.unwrap().with, "before");
        }
        let (verdict, _) = against(&uid("a", 1_000), &good, &[("older", &older)]);
        assert!(verdict.why().unwrap().starts_with("it follows older,"), "{verdict:?}");
        // Dismissed, it is not among the undecided; accepted, it is itself what the next one is compared with.
        assert_eq!(reason(&against(&uid("a", 101), &good, &[]).0), None);
        assert_eq!(reason(&against(&uid("a", 51), &older, &[]).0), None);
        // Another cluster's older state says nothing about this one.
        let stray = uid("b", 5);
        assert_eq!(reason(&against(&uid("a", 101), &good, &[("stray", &stray)]).0), None);
        assert_eq!(
            reason(&against(&uid("a", 101), &good, &[("stray", &stray), ("older", &older)]).0),
            Some(Suspicion::OlderState)
        );
        // Another cluster is that, and no older state.
        assert_eq!(reason(&against(&uid("b", 101), &good, &[("older", &stray)]).0), Some(Suspicion::AnotherCluster));
    }
}
