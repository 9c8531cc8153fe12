//! Which keys are asked for, and which of them are left to Kubernetes.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{About, Candidate, Candidates, Kind};
use crate::kubernetes::{OwnerReference, ResourceKey, namespace_keys};
use crate::snapshot::KeyState;

/// What a person has asked for. The parts add up.
#[derive(Debug, Default)]
pub struct Scope {
    pub keys: HashSet<Vec<u8>>,
    pub prefix: Option<Vec<u8>>,
    pub namespaces: Vec<String>,
}

/// How a key was asked for: by the most exact of the ways that name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    Key,
    Prefix,
    Namespace,
}

impl Scope {
    pub fn selects(&self, key: &[u8]) -> Option<Selected> {
        if self.keys.contains(key) {
            return Some(Selected::Key);
        }
        if self.prefix.as_ref().is_some_and(|prefix| key.starts_with(prefix)) {
            return Some(Selected::Prefix);
        }
        self.namespaces.iter().any(|namespace| belongs(key, namespace)).then_some(Selected::Namespace)
    }
}

/// Whether the key is that of the namespace, or of an object in it.
fn belongs(key: &[u8], namespace: &str) -> bool {
    namespace_keys(namespace).iter().any(|its| its == key)
        || ResourceKey::parse(key).is_some_and(|place| place.namespace == Some(namespace))
}

/// What lives only as long as something renews it, or is made from what runs now: an old one would be wrong from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MadeAnew {
    Leased,
    Event,
    Lease,
    ApiServerLease,
    Endpoints,
    Pod,
    SealedPod,
    OfLeftOut,
    RootCertificates,
    StorageCapacity,
}

impl MadeAnew {
    /// Why it is not put back, of a single key.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Leased => "it expires with a lease of etcd, and leases are not put back",
            Self::Event => "it is an event, which expires by itself",
            Self::Lease => "it is a Lease: its holder renews it, and an old one names a holder that may be gone",
            Self::ApiServerLease => "it is the lease of an API server, which writes it anew",
            Self::Endpoints => "it holds endpoints, which Kubernetes makes from the pods that run now",
            Self::Pod => "its controller makes it anew",
            Self::SealedPod => "it is an encrypted pod: whether a controller makes it anew cannot be read",
            Self::OfLeftOut => "it belongs to what is left out, and is made anew with it",
            Self::RootCertificates => "Kubernetes writes it into every namespace",
            Self::StorageCapacity => "its storage driver measures it anew",
        }
    }

    /// What many of them are called, and why they are left out.
    const fn summary(self) -> (&'static str, &'static str) {
        match self {
            Self::Leased => ("keys with a lease of etcd", "they expire by themselves"),
            Self::Event => ("events", "they expire by themselves"),
            Self::Lease => ("Leases", "their holders renew them"),
            Self::ApiServerLease => ("leases of API servers", "the API servers write them anew"),
            Self::Endpoints => (
                "endpoints",
                "Kubernetes makes them from the pods that run now; make those of Services without a selector by hand",
            ),
            Self::Pod => ("pods", "their controllers make them anew"),
            Self::SealedPod => (
                "encrypted pods",
                "whether a controller makes them anew cannot be read; give their KEYs to put them back",
            ),
            Self::OfLeftOut => ("objects that belong to what is left out", "they are made anew with it"),
            Self::RootCertificates => ("root certificates", "Kubernetes writes them into every namespace"),
            Self::StorageCapacity => ("storage capacities", "their drivers measure them anew"),
        }
    }
}

/// How many keys of a namespace were left out, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<MadeAnew, u64>);

impl LeftOut {
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(kind, count)| {
            let (what, why) = kind.summary();
            format!("{what}: {count}, {why}")
        })
    }

    pub fn json(&self) -> Value {
        let line = |(kind, count): (&MadeAnew, &u64)| {
            let (what, why) = kind.summary();
            json!({ "what": what, "count": count, "reason": why })
        };
        self.0.iter().map(line).collect()
    }
}

/// Whether a key is never put back, however it was asked for.
pub fn refusal(state: &KeyState, about: &About) -> Option<MadeAnew> {
    if state.lease != 0 {
        return Some(MadeAnew::Leased);
    }
    // By the key's usual place, or by the object's own kind, because an API server can be told another root for its
    // keys (`--etcd-prefix`).
    match (ResourceKey::parse(&state.key).map(|place| place.resource), about.kind) {
        (Some("events"), _) | (_, Kind::Event) => Some(MadeAnew::Event),
        (Some("leases"), _) | (_, Kind::Lease) => Some(MadeAnew::Lease),
        (Some("masterleases"), _) => Some(MadeAnew::ApiServerLease),
        (Some("services/endpoints" | "endpointslices"), _) | (_, Kind::Endpoints) => Some(MadeAnew::Endpoints),
        _ => None,
    }
}

/// Takes away what makes itself anew, and what belongs to it, from what was asked for by its namespace alone.
pub fn leave_out(mut candidates: Candidates) -> (Candidates, LeftOut) {
    let mut left_out = LeftOut::default();
    let mut gone = HashSet::new();
    loop {
        let before = candidates.len();
        candidates.retain(|candidate| {
            let Some(kind) = made_anew(candidate, &gone) else { return true };
            gone.extend(candidate.about.uid().map(str::to_owned));
            *left_out.0.entry(kind).or_default() += 1;
            false
        });
        if candidates.len() == before {
            return (candidates, left_out);
        }
    }
}

/// `gone` are the UIDs of what is left out already.
fn made_anew(candidate: &Candidate, gone: &HashSet<String>) -> Option<MadeAnew> {
    let Candidate { state, selected, about } = candidate;
    if *selected != Selected::Namespace {
        return None;
    }
    let owners = &about.owners;
    let by_itself = refusal(state, about).or_else(|| match candidate.place()? {
        ResourceKey { resource: "pods", .. } if about.encryption.is_some() => Some(MadeAnew::SealedPod),
        // A pod without a controller comes back only by its own key.
        ResourceKey { resource: "pods", .. } => owners.iter().any(is_controller).then_some(MadeAnew::Pod),
        ResourceKey { resource: "configmaps", name: "kube-root-ca.crt" | "openshift-service-ca.crt", .. } => {
            Some(MadeAnew::RootCertificates)
        }
        ResourceKey { resource: "csistoragecapacities", .. } => Some(MadeAnew::StorageCapacity),
        _ => None,
    });
    let belongs = !owners.is_empty() && owners.iter().all(|owner| gone.contains(&owner.uid));
    by_itself.or_else(|| belongs.then_some(MadeAnew::OfLeftOut))
}

fn is_controller(owner: &OwnerReference) -> bool {
    owner.controller.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::tests::{candidate, owned};
    use super::*;
    use crate::kubernetes::Encryption;

    #[rstest]
    #[case("/registry/namespaces/shop", true)]
    #[case("/kubernetes.io/namespaces/shop", true)]
    #[case("/registry/pods/shop/web", true)]
    #[case("/registry/services/specs/shop/web", true)]
    #[case("/registry/services/endpoints/shop/web", true)]
    #[case("/registry/stable.example.com/crontabs/shop/nightly", true)]
    #[case("/openshift.io/routes/shop/web", true)]
    // In no namespace, but of its name.
    #[case("/registry/stable.example.com/sites/shop", false)]
    #[case("/registry/clusterroles/shop", false)]
    #[case("/registry/persistentvolumes/shop", false)]
    #[case("/registry/apiregistration.k8s.io/apiservices/shop", false)]
    // In another namespace.
    #[case("/registry/namespaces/shop-2", false)]
    #[case("/registry/pods/shop-2/web", false)]
    #[case("/registry/configmaps/other/shop", false)]
    #[case("/registry/shop/pods/web", false)]
    #[case("/registry/stable.example.com/shop/other/nightly", false)]
    #[case("/registry/services/specs/other/shop", false)]
    #[case("/elsewhere/pods/shop/web", false)]
    fn what_belongs_to_a_namespace(#[case] key: &str, #[case] belongs: bool) {
        let scope = Scope { namespaces: vec!["a".into(), "shop".into()], ..Scope::default() };
        assert_eq!(scope.selects(key.as_bytes()), belongs.then_some(Selected::Namespace));
    }

    #[test]
    fn the_parts_add_up_and_the_most_exact_counts() {
        let (keys, prefix) = ([b"/registry/pods/shop/a".to_vec()].into(), Some(b"/registry/pods/".to_vec()));
        let scope = Scope { keys, prefix, namespaces: vec!["shop".into()] };
        assert_eq!(scope.selects(b"/registry/pods/shop/a"), Some(Selected::Key));
        assert_eq!(scope.selects(b"/registry/pods/shop/b"), Some(Selected::Prefix));
        assert_eq!(scope.selects(b"/registry/secrets/shop/b"), Some(Selected::Namespace));
        assert_eq!(scope.selects(b"/registry/secrets/other/b"), None);
    }

    fn sealed(key: &str) -> Box<Candidate> {
        let encryption = Encryption { provider: "kms".into(), version: "v2".into(), name: "k".into() };
        let about = About { encryption: Some(encryption.into()), ..About::default() };
        Box::new(Candidate { about, ..*candidate(key, 1) })
    }

    fn shop() -> Candidates {
        vec![
            candidate("/registry/namespaces/shop", 1),
            candidate("/registry/configmaps/shop/kube-root-ca.crt", 2),
            candidate("/registry/configmaps/shop/web", 2),
            candidate("/registry/events/shop/e1", 3),
            candidate("/registry/events/shop/e2", 3),
            candidate("/registry/csistoragecapacities/shop/c", 3),
            owned("/registry/deployments/shop/web", 4, "deployment", &[]),
            owned("/registry/replicasets/shop/web-1", 5, "set", &["deployment"]),
            owned("/registry/pods/shop/web-1-a", 6, "pod", &["set"]),
            owned("/registry/pods/shop/alone", 6, "alone", &[]),
            owned("/registry/persistentvolumeclaims/shop/scratch", 7, "claim", &["pod"]),
            owned("/registry/example.com/parts/shop/x", 8, "part", &["claim"]),
            owned("/registry/example.com/parts/shop/y", 8, "other", &["claim", "deployment"]),
            sealed("/registry/secrets/shop/token"),
            sealed("/registry/pods/shop/sealed"),
        ]
    }

    #[test]
    fn what_makes_itself_anew_is_left_out_with_what_belongs_to_it() {
        let (kept, left_out) = leave_out(shop());
        let kept: Vec<_> = kept.iter().map(|kept| kept.place().unwrap().name).collect();
        assert_eq!(kept, ["shop", "web", "web", "web-1", "alone", "y", "token"]);
        let expected = [
            (MadeAnew::Event, 2),
            (MadeAnew::Pod, 1),
            (MadeAnew::SealedPod, 1),
            (MadeAnew::OfLeftOut, 2),
            (MadeAnew::RootCertificates, 1),
            (MadeAnew::StorageCapacity, 1),
        ];
        assert_eq!(left_out, LeftOut(expected.into()));
        assert_eq!(left_out.total(), 8);
        assert_eq!(left_out.lines().next().unwrap(), "events: 2, they expire by themselves");
        assert_eq!(left_out.json()[1]["reason"], "their controllers make them anew");
    }

    #[test]
    fn what_was_named_or_has_a_prefix_is_not_left_out() {
        for selected in [Selected::Key, Selected::Prefix] {
            let candidates =
                shop().into_iter().map(|candidate| Box::new(Candidate { selected, ..*candidate })).collect();
            let (kept, left_out) = leave_out(candidates);
            assert_eq!((kept.len(), left_out), (15, LeftOut::default()));
        }
    }
}
