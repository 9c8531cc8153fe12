//! What a key says about the object behind it.

use super::value::Object;

/// What Kubernetes' API servers put in front of their keys: Kubernetes, and the two of `OpenShift`.
const ROOTS: [&str; 3] = ["/registry/", "/kubernetes.io/", "/openshift.io/"];

/// Where an object of Kubernetes lies, as its key says.
///
/// Resources that are part of Kubernetes are stored without their group (`/registry/deployments/<namespace>/<name>`),
/// services and endpoints in two steps (`services/specs`), and custom resources below their group, which is known by
/// its dot: `/registry/<group>/<resource>/…`. What follows is `<namespace>/<name>`, or just `<name>` for resources that
/// lie in no namespace: no name can have a slash in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The resource as the key spells it: `pods`, `minions` for nodes, `services/specs`, `cilium.io/ciliumnodes`.
    pub resource: &'a str,
    /// The namespace; `None` outside all of them.
    pub namespace: Option<&'a str>,
    /// The rest.
    pub name: &'a str,
}

impl<'a> Place<'a> {
    /// Reads a key; `None` for one that is not below the root of an API server.
    pub fn of(key: &'a [u8]) -> Option<Self> {
        let key = str::from_utf8(key).ok()?;
        let path = ROOTS.iter().find_map(|root| key.strip_prefix(root))?;
        let (first, rest) = path.split_once('/')?;
        let (resource, rest) = if first.contains('.') || first == "services" {
            let second = rest.find('/')?;
            // Both steps and the slash between them.
            let resource = path.get(..first.len() + 1 + second)?;
            (resource, rest.get(second + 1..)?)
        } else {
            (first, rest)
        };
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        let sound = !resource.is_empty() && !name.is_empty() && !namespace.is_some_and(str::is_empty);
        sound.then_some(Self { resource, namespace, name })
    }

    /// The resource without its group.
    pub fn plural(&self) -> &'a str {
        self.resource.rsplit('/').next().unwrap_or(self.resource)
    }
}

/// Whether the value is that of a Secret, which is shown only on demand: by its key, or by what the value says it is.
pub fn is_secret(key: &[u8], object: Option<&Object>) -> bool {
    let by_key = match Place::of(key) {
        Some(place) => place.plural() == "secrets",
        // An API server can be given another root. The path is still the same.
        None => key.split(|byte| *byte == b'/').any(|step| step == b"secrets"),
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
    fn places(#[case] key: &str, #[case] resource: &str, #[case] namespace: Option<&str>, #[case] name: &str) {
        assert_eq!(Place::of(key.as_bytes()), Some(Place { resource, namespace, name }));
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
    fn other_keys_have_no_place(#[case] key: &str) {
        assert_eq!(Place::of(key.as_bytes()), None);
    }

    #[test]
    fn a_key_that_is_no_text_has_no_place() {
        assert_eq!(Place::of(b"/registry/pods/ns/\xff"), None);
    }

    #[test]
    fn secrets_are_known_by_their_key_or_their_kind() {
        let object = |kind: &str| Object { kind: kind.into(), ..Object::default() };
        assert!(is_secret(b"/registry/secrets/ns/token", None));
        assert!(is_secret(b"/my-own-root/secrets/ns/\xff", None));
        assert!(is_secret(b"/odd", Some(&object("Secret"))));
        assert!(!is_secret(b"/registry/configmaps/secrets/list", Some(&object("ConfigMap"))));
    }
}
