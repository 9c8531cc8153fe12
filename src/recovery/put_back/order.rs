//! The order in which keys are written.

use std::collections::HashMap;

use super::{Candidate, Candidates};
use crate::kubernetes::OwnerReference;

/// Sorts by rank, then by creation; but an owner always comes before what it owns, because Kubernetes' garbage collector
/// deletes an object whose owner it does not find.
///
/// An owner is mostly older than what it owns, but not always: a controller that was made anew adopts what the old one
/// left. So creation alone does not give the order.
pub fn in_order(mut candidates: Candidates) -> Candidates {
    candidates.sort_unstable_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let order = owners_first(&owners(&candidates));
    let mut candidates: Vec<_> = candidates.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| candidates.get_mut(at)?.take()).collect()
}

fn sort_key(candidate: &Candidate) -> (u8, i64, impl Ord, &[u8]) {
    let state = &candidate.state;
    (rank(candidate), state.create_revision, state.revision, &state.key)
}

/// What has to be there first has the lowest rank.
fn rank(candidate: &Candidate) -> u8 {
    if candidate.is_namespace() {
        // Nothing runs in a namespace that does not exist: the API server refuses new pods.
        return 0;
    }
    match candidate.place().map(|place| place.plural()) {
        // As soon as a namespace exists, Kubernetes makes the service account `default` in it, with another UID.
        Some("serviceaccounts") => 1,
        // Workloads begin to run at once. Without these their pods would fail to start, or would start without their
        // limits, permissions, policies and addresses.
        Some(
            "customresourcedefinitions"
            | "priorityclasses"
            | "storageclasses"
            | "persistentvolumes"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "clusterroles"
            | "clusterrolebindings"
            | "roles"
            | "rolebindings"
            | "resourcequotas"
            | "limitranges"
            | "networkpolicies"
            | "specs",
        ) => 2,
        _ => 3,
    }
}

/// For each candidate the places of its owners.
fn owners(candidates: &[Box<Candidate>]) -> Vec<Vec<usize>> {
    let uids = candidates.iter().enumerate().filter_map(|(at, candidate)| Some((candidate.about.uid()?, at)));
    let by_uid: HashMap<&str, usize> = uids.collect();
    let place = |owner: &OwnerReference| by_uid.get(owner.uid.as_str()).copied();
    candidates.iter().map(|candidate| candidate.about.owners.iter().filter_map(place).collect()).collect()
}

/// All places, each after those of its owners.
fn owners_first(owners: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(owners.len());
    // A place is seen once, so objects that own each other by mistake end the walk as well.
    let mut seen = vec![false; owners.len()];
    let mut see = |at: usize| seen.get_mut(at).is_some_and(|seen| !std::mem::replace(seen, true));
    for start in 0..owners.len() {
        let mut path: Vec<usize> = see(start).then_some(start).into_iter().collect();
        while let Some(&at) = path.last() {
            let its = owners.get(at).map_or(&[][..], Vec::as_slice);
            if let Some(owner) = its.iter().copied().find(|owner| see(*owner)) {
                path.push(owner);
            } else {
                path.pop();
                order.push(at);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::tests::{candidate, owned};
    use super::*;

    fn sorted(candidates: Candidates) -> Vec<String> {
        let name =
            |candidate: Box<Candidate>| String::from_utf8(candidate.state.key).unwrap().replace("/registry/", "");
        in_order(candidates).into_iter().map(name).collect()
    }

    #[test]
    fn what_has_to_be_there_comes_first_and_then_the_older() {
        let keys = [
            ("/registry/deployments/ns/b", 30),
            ("/registry/deployments/ns/a", 20),
            ("/registry/example.com/things/ns/old", 5),
            ("/registry/secrets/ns/late", 90),
            ("/registry/networkpolicies/ns/p", 80),
            ("/registry/services/specs/ns/web", 70),
            ("/registry/serviceaccounts/ns/default", 60),
            ("/registry/namespaces/ns", 95),
        ];
        let candidates = keys.map(|(key, created)| candidate(key, created)).into();
        let expected = [
            "namespaces/ns",
            "serviceaccounts/ns/default",
            "services/specs/ns/web",
            "networkpolicies/ns/p",
            "secrets/ns/late",
            "example.com/things/ns/old",
            "deployments/ns/a",
            "deployments/ns/b",
        ];
        assert_eq!(sorted(candidates), expected);
    }

    #[test]
    fn owners_come_first_whatever_their_rank_and_age() {
        let candidates = vec![
            owned("/registry/secrets/ns/tls", 1, "tls", &["certificate"]),
            owned("/registry/pods/ns/adopted", 2, "pod", &["set", "elsewhere"]),
            owned("/registry/example.com/certificates/ns/c", 8, "certificate", &[]),
            owned("/registry/replicasets/ns/set", 9, "set", &["deployment"]),
            owned("/registry/deployments/ns/d", 10, "deployment", &[]),
        ];
        let expected = [
            "example.com/certificates/ns/c",
            "secrets/ns/tls",
            "deployments/ns/d",
            "replicasets/ns/set",
            "pods/ns/adopted",
        ];
        assert_eq!(sorted(candidates), expected);
    }

    #[test]
    fn owners_in_a_circle_are_all_written() {
        for owners in [vec![vec![1], vec![0]], vec![vec![0], vec![0]], vec![vec![2], vec![0], vec![1]]] {
            let mut order = owners_first(&owners);
            order.sort_unstable();
            assert_eq!(order, (0..owners.len()).collect::<Vec<_>>());
        }
    }
}
