//! What an etcd key says about the Kubernetes object that is stored under it.

use super::value::ObjectSummary;

// `--etcd-prefix` of the API servers: `/registry` for Kubernetes, the other two for OpenShift.
const ROOTS: [&str; 3] = ["/registry/", "/kubernetes.io/", "/openshift.io/"];

/// The key of a Kubernetes object, taken apart.
///
/// Resources that are part of Kubernetes are stored without their group: `/registry/deployments/<namespace>/<name>`.
/// Custom resources are stored below it: `/registry/<group>/<resource>/<namespace>/<name>`. An object in no namespace has
/// only `<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceKey<'a> {
    /// The resource as it is in the key: `pods`, `minions` for nodes, `services/specs`, `cilium.io/ciliumnodes`.
    pub resource: &'a str,
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

impl<'a> ResourceKey<'a> {
    /// `None` for a key that an API server would not write.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let key = str::from_utf8(key).ok()?;
        let path = ROOTS.iter().find_map(|root| key.strip_prefix(root))?;
        let (first, rest) = path.split_once('/')?;
        // A group has a dot in its name, a resource never. Services and endpoints are stored below `services/specs` and
        // `services/endpoints`.
        let (resource, rest) = if first.contains('.') || first == "services" {
            let second = rest.find('/')?;
            // Both parts and the slash between them.
            let resource = path.get(..first.len() + 1 + second)?;
            (resource, rest.get(second + 1..)?)
        } else {
            (first, rest)
        };
        // Neither a namespace nor a name can contain a slash.
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        let complete = !resource.is_empty() && !name.is_empty() && !namespace.is_some_and(str::is_empty);
        complete.then_some(Self { resource, namespace, name })
    }

    /// The resource without its group.
    pub fn plural(&self) -> &'a str {
        self.resource.rsplit('/').next().unwrap_or(self.resource)
    }
}

/// The keys under which a namespace may be stored.
pub fn namespace_keys(namespace: &str) -> [Vec<u8>; 2] {
    // OpenShift's own objects are below another root, but no namespace is.
    ["/registry", "/kubernetes.io"].map(|root| format!("{root}/namespaces/{namespace}").into_bytes())
}

/// Whether a value is that of a Secret, by its key or by its own kind.
pub fn is_secret(key: &[u8], object: Option<&ObjectSummary>) -> bool {
    // In doubt it is one: a Secret is shown only on demand, so a wrong guess hides a value instead of leaking it.
    let by_key = match ResourceKey::parse(key) {
        Some(key) => key.plural() == "secrets",
        // An API server may have another root, but the rest of its path is the same.
        None => key.split(|byte| *byte == b'/').any(|part| part == b"secrets"),
    };
    by_key || object.is_some_and(|object| object.kind == "Secret")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/registry/pods/kube-system/etcd-0", "pods", Some("kube-system"), "etcd-0")]
    #[case("/registry/minions/node-1", "minions", None, "node-1")]
    #[case("/registry/clusterroles/system:node", "clusterroles", None, "system:node")]
    #[case("/registry/services/specs/default/web", "services/specs", Some("default"), "web")]
    #[case("/registry/services/endpoints/default/web", "services/endpoints", Some("default"), "web")]
    #[case("/registry/ranges/serviceips", "ranges", None, "serviceips")]
    #[case("/registry/cilium.io/ciliumnodes/node-1", "cilium.io/ciliumnodes", None, "node-1")]
    #[case("/registry/example.com/crontabs/ns/nightly", "example.com/crontabs", Some("ns"), "nightly")]
    #[case(
        "/registry/apiregistration.k8s.io/apiservices/v1.apps",
        "apiregistration.k8s.io/apiservices",
        None,
        "v1.apps"
    )]
    #[case("/kubernetes.io/secrets/ns/token", "secrets", Some("ns"), "token")]
    fn keys_of_kubernetes(
        #[case] key: &str,
        #[case] resource: &str,
        #[case] namespace: Option<&str>,
        #[case] name: &str,
    ) {
        assert_eq!(ResourceKey::parse(key.as_bytes()), Some(ResourceKey { resource, namespace, name }));
    }

    #[rstest]
    #[case("compact_rev_key")]
    #[case("/registry")]
    #[case("/registry/health")]
    #[case("/registry/pods/")]
    #[case("/registry//x")]
    #[case("/registry/pods//x")]
    #[case("/registry/services/specs")]
    #[case("/registry/example.com/crontabs")]
    #[case("/elsewhere/pods/ns/name")]
    fn other_keys_are_not_taken_apart(#[case] key: &str) {
        assert_eq!(ResourceKey::parse(key.as_bytes()), None);
    }

    #[test]
    fn a_key_that_is_not_text_is_not_taken_apart() {
        assert_eq!(ResourceKey::parse(b"/registry/pods/ns/\xff"), None);
    }

    #[test]
    fn secrets_are_known_by_their_key_or_their_kind() {
        let object = |kind: &str| ObjectSummary { kind: kind.into(), ..ObjectSummary::default() };
        assert!(is_secret(b"/registry/secrets/ns/token", None));
        assert!(is_secret(b"/my-own-root/secrets/ns/\xff", None));
        assert!(is_secret(b"/odd", Some(&object("Secret"))));
        assert!(!is_secret(b"/registry/configmaps/secrets/list", Some(&object("ConfigMap"))));
    }
}
