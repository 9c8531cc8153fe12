//! Which cluster a snapshot is of: its namespace kube-system.

use crate::backup::identity::KubeSystem;
use crate::kubernetes::{KUBE_SYSTEM_KEYS, StoredValue};
use crate::snapshot::Newest;

/// The namespace below one of its keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub key: &'static [u8],
    /// `None` if it cannot be read.
    pub uid: Option<String>,
}

/// The namespace as a proof tells it, which was asked for [`KUBE_SYSTEM_KEYS`].
pub fn kube_system(newest: &[Newest]) -> KubeSystem {
    // An etcd can hold leftovers of another API server below the other key. The first key decides alone: that its UID
    // cannot be read must not give the cluster the identity of the leftovers.
    let first = find_kube_system(newest).into_iter().next();
    first.map_or(KubeSystem::Absent, |found| found.uid.map_or(KubeSystem::Unreadable, KubeSystem::Uid))
}

/// The namespace below each of its keys that exists, in the order of [`KUBE_SYSTEM_KEYS`].
pub fn find_kube_system(newest: &[Newest]) -> Vec<Found> {
    let one = |key: &'static [u8]| {
        let uid = match newest.iter().find(|newest| newest.key == key) {
            Some(newest) => StoredValue::parse(newest.value.as_deref()?).uid().map(str::to_owned),
            // Not asked for: that is not the same as absent.
            None => None,
        };
        Some(Found { key, uid })
    };
    KUBE_SYSTEM_KEYS.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use prost::encoding::bytes::encode;

    use super::*;
    use crate::snapshot::tests::history::newest;

    const UID: &str = "5f1c7f0e-6f0b-4d0e-9f5e-0d5b2f8f2c11";
    const OTHER: &str = "c2a8e8f4-1c1d-4c0a-8a53-2f6f6f0b7a90";
    const SEALED: &[u8] = b"k8s:enc:aescbc:v1:key1:\0:\xff\x10";

    fn fields(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in fields {
            encode(*number, &bytes.to_vec(), &mut out);
        }
        out
    }

    /// The namespace as Kubernetes 1.36 stores it, field for field.
    fn protobuf(uid: &str) -> Vec<u8> {
        let label = fields(&[(1, b"kubernetes.io/metadata.name"), (2, b"kube-system")]);
        let owned: &[u8] = br#"{"f:metadata":{"f:labels":{".":{},"f:kubernetes.io/metadata.name":{}}}}"#;
        let (writer, time, owned) = (b"kube-apiserver", b"\x08\x90\xc2\xb2\xc6\x06\x10\0", fields(&[(1, owned)]));
        let managed =
            fields(&[(1, writer), (2, b"Update"), (3, b"v1"), (4, time), (6, b"FieldsV1"), (7, &owned), (8, b"")]);
        let generation = b"\x38\0";
        let metadata = [
            fields(&[(1, b"kube-system"), (2, b""), (3, b""), (4, b""), (5, uid.as_bytes()), (6, b"")]),
            generation.to_vec(),
            fields(&[(8, time), (11, &label), (17, &managed)]),
        ];
        let (spec, status) = (fields(&[(1, b"kubernetes")]), fields(&[(1, b"Active")]));
        let object = fields(&[(1, &metadata.concat()), (2, &spec), (3, &status)]);
        let type_meta = fields(&[(1, b"v1"), (2, b"Namespace")]);
        [b"k8s\0".to_vec(), fields(&[(1, &type_meta), (2, &object), (3, b""), (4, b"")])].concat()
    }

    /// As API servers before 1.6 stored it, and later ones with `--storage-media-type=application/json`.
    fn json(uid: &str) -> Vec<u8> {
        let metadata = format!(r#"{{"name":"kube-system","uid":"{uid}","creationTimestamp":"2016-05-04T03:02:01Z"}}"#);
        let rest = r#""spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}"#;
        format!("{{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{metadata},{rest}}}\n").into_bytes()
    }

    /// Puts and deletions, each of the one key or the other.
    fn identity(changes: &[(usize, Option<&[u8]>)]) -> KubeSystem {
        let changes = changes.iter().map(|(key, value)| (KUBE_SYSTEM_KEYS[*key].to_vec(), value.map(<[u8]>::to_vec)));
        let around = |name: &str| (name.as_bytes().to_vec(), Some(protobuf(OTHER)));
        let mut ops = vec![around("/registry/namespaces/kube-system-2")];
        ops.extend(changes);
        ops.push(around("/registry/namespaces/default"));
        kube_system(&newest(&ops, &KUBE_SYSTEM_KEYS))
    }

    fn uid(uid: &str) -> KubeSystem {
        KubeSystem::Uid(uid.into())
    }

    #[test]
    fn the_uid_is_read_in_each_encoding_below_each_key() {
        for key in [0, 1] {
            for value in [protobuf(UID), json(UID)] {
                assert_eq!(identity(&[(key, Some(&value))]), uid(UID), "{key}: {}", value.escape_ascii());
            }
        }
    }

    #[test]
    fn the_newest_state_counts() {
        let (ours, other) = (protobuf(UID), protobuf(OTHER));
        assert_eq!(identity(&[]), KubeSystem::Absent);
        assert_eq!(identity(&[(0, Some(&ours)), (0, None)]), KubeSystem::Absent);
        assert_eq!(identity(&[(0, Some(&ours)), (0, None), (0, Some(&other))]), uid(OTHER));
        assert_eq!(identity(&[(0, Some(SEALED)), (0, Some(&ours))]), uid(UID));
        assert_eq!(identity(&[(0, Some(&ours)), (0, Some(SEALED))]), KubeSystem::Unreadable);
    }

    #[test]
    fn a_namespace_whose_uid_cannot_be_read_is_not_absent() {
        let cut = protobuf(UID)[..60].to_vec();
        let values = [
            SEALED,
            b"k8s:enc:kms:v2:plugin:\x0a\x01",
            b"k8s:enc:torn",
            &cut,
            b"k8s\0",
            b"",
            b"{",
            b"\xd9\xd9\xf7\xa1\x64kind",
            &protobuf(""),
            &json(""),
            &json("\\u001b[2J"),
            br#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system"}}"#,
        ];
        for value in values {
            assert_eq!(identity(&[(0, Some(value))]), KubeSystem::Unreadable, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_first_key_decides_where_both_exist() {
        let (ours, other) = (protobuf(UID), protobuf(OTHER));
        assert_eq!(identity(&[(0, Some(&ours)), (1, Some(&other))]), uid(UID));
        assert_eq!(identity(&[(1, Some(&other)), (0, Some(&ours))]), uid(UID));
        assert_eq!(identity(&[(0, Some(SEALED)), (1, Some(&other))]), KubeSystem::Unreadable);
        assert_eq!(identity(&[(0, Some(&ours)), (1, Some(&other)), (0, None)]), uid(OTHER));
    }

    #[test]
    fn both_keys_are_named_in_their_order() {
        let ops = [1, 0].map(|key| (KUBE_SYSTEM_KEYS[key].to_vec(), Some(json(UID))));
        let expected = KUBE_SYSTEM_KEYS.map(|key| Found { key, uid: Some(UID.to_owned()) });
        assert_eq!(find_kube_system(&newest(&ops, &KUBE_SYSTEM_KEYS)), expected);
    }
}
