//! What a ConfigMap says, as an API server stores it.

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;

use super::value::raw_object;
use super::{Encryption, StoredValue};

/// The keys under which kubeadm's own ConfigMap is stored.
pub const KUBEADM_KEYS: [&[u8]; 2] =
    [b"/registry/configmaps/kube-system/kubeadm-config", b"/kubernetes.io/configmaps/kube-system/kubeadm-config"];

/// The entries of a ConfigMap's `data`, or why they are not known.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigMapData {
    Entries(BTreeMap<String, String>),
    Encrypted(Encryption),
    Unreadable,
}

// `k8s.io/api/core/v1.ConfigMap`.
#[derive(Clone, PartialEq, Eq, Message)]
struct ConfigMap {
    #[prost(btree_map = "string, string", tag = "2")]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct JsonConfigMap {
    data: Option<BTreeMap<String, String>>,
}

impl ConfigMapData {
    /// Reads the value of a ConfigMap's key.
    pub fn parse(value: &[u8]) -> Self {
        let data = match StoredValue::parse(value) {
            StoredValue::Encrypted(encryption) => return Self::Encrypted(encryption),
            StoredValue::Protobuf(_) => {
                raw_object(value).and_then(|raw| ConfigMap::decode(raw.as_slice()).ok()).map(|map| map.data)
            }
            StoredValue::Json(text, _) => {
                serde_json::from_str::<JsonConfigMap>(text).ok().map(|map| map.data.unwrap_or_default())
            }
            StoredValue::Text(_) | StoredValue::Binary => None,
        };
        data.map_or(Self::Unreadable, Self::Entries)
    }
}

#[cfg(test)]
mod tests {
    use prost::encoding::bytes::encode;

    use super::*;

    fn fields(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in fields {
            encode(*number, &bytes.to_vec(), &mut out);
        }
        out
    }

    fn entries(pairs: &[(&str, &str)]) -> ConfigMapData {
        ConfigMapData::Entries(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_data_are_read_in_each_encoding() {
        let metadata = fields(&[(1, b"kubeadm-config"), (3, b"kube-system")]);
        let entry = fields(&[(1, b"ClusterConfiguration"), (2, b"kind: X\n")]);
        let object = fields(&[(1, &metadata), (2, &entry), (3, &fields(&[(1, b"b"), (2, b"\xff")]))]);
        let type_meta = fields(&[(1, b"v1"), (2, b"ConfigMap")]);
        let protobuf = [b"k8s\0".to_vec(), fields(&[(1, &type_meta), (2, &object), (3, b""), (4, b"")])].concat();
        let expected = entries(&[("ClusterConfiguration", "kind: X\n")]);
        assert_eq!(ConfigMapData::parse(&protobuf), expected);
        let json =
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{},"data":{"ClusterConfiguration":"kind: X\n"}}"#;
        assert_eq!(ConfigMapData::parse(json), expected);
        assert_eq!(ConfigMapData::parse(br#"{"kind":"ConfigMap","data":null}"#), entries(&[]));
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        let sealed = ConfigMapData::parse(b"k8s:enc:aescbc:v1:key1:\0:\xff");
        assert!(matches!(sealed, ConfigMapData::Encrypted(encryption) if encryption.name == "key1"));
        for odd in [&b"k8s\0\xff\xff"[..], b"text", b"\xff", br#"["x"]"#, br#"{"data":5}"#] {
            assert_eq!(ConfigMapData::parse(odd), ConfigMapData::Unreadable, "{}", odd.escape_ascii());
        }
    }
}
