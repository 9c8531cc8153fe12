//! In which format an API server stored a value, and which object the value holds.
//!
//! Only what all Kubernetes types have in common is read: an envelope (`runtime.Unknown`) around a message whose first
//! field is its `ObjectMeta`. All other fields are skipped by their number, so objects of any version can be read.

use std::collections::BTreeMap;

use prost::Message;
use serde::{Deserialize, Serialize};

const PROTOBUF: &[u8] = b"k8s\0";
const ENCRYPTED: &[u8] = b"k8s:enc:";

#[derive(Debug, PartialEq, Eq)]
pub enum StoredValue<'a> {
    /// The protobuf of Kubernetes, with its object if that can be read.
    Protobuf(Option<ObjectSummary>),
    /// A JSON object or list, as Kubernetes stores custom resources, with its object if it is one of Kubernetes.
    Json(&'a str, Option<ObjectSummary>),
    Encrypted(Encryption),
    Text(&'a str),
    Binary,
}

/// The identity and state of a Kubernetes object, as exports show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSummary {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Empty for an object in no namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether it was deleted and waited for its finalizers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    #[serde(skip)]
    pub owners: Vec<OwnerReference>,
}

/// `k8s.io/apimachinery/pkg/apis/meta/v1.OwnerReference`.
#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub uid: String,
    /// Whether it is the one owner that makes the object, and makes it anew when it is gone.
    #[prost(bool, optional, tag = "6")]
    pub controller: Option<bool>,
}

/// The readable start of an encrypted value: `k8s:enc:<provider>:<version>:<name>:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Encryption {
    /// `aescbc`, `aesgcm`, `secretbox` or `kms`.
    pub provider: String,
    pub version: String,
    /// The name of the key, or of the KMS plugin.
    pub name: String,
}

impl<'a> StoredValue<'a> {
    /// A value in no known format is text or binary.
    pub fn parse(value: &'a [u8]) -> Self {
        if let Some(envelope) = value.strip_prefix(PROTOBUF) {
            return Self::Protobuf(object_in(envelope));
        }
        if let Some(sealed) = value.strip_prefix(ENCRYPTED) {
            return Encryption::parse(sealed).map_or(Self::Binary, Self::Encrypted);
        }
        let Ok(text) = str::from_utf8(value) else { return Self::Binary };
        if text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            // serde would also read a list of two strings as the first two fields of an object.
            let object = Some(text).filter(|text| text.starts_with('{'));
            let object = object.and_then(|text| serde_json::from_str::<JsonObject>(text).ok());
            return Self::Json(text, object.map(ObjectSummary::from));
        }
        Self::Text(text)
    }

    pub fn object(&self) -> Option<&ObjectSummary> {
        match self {
            Self::Protobuf(object) | Self::Json(_, object) => object.as_ref(),
            Self::Encrypted(_) | Self::Text(_) | Self::Binary => None,
        }
    }

    /// The UID of the object; `None` if it has none that a log could show, or cannot be read.
    pub fn uid(&self) -> Option<&str> {
        let uid = self.object()?.uid.as_str();
        (!uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_graphic())).then_some(uid)
    }

    pub const fn format(&self) -> &'static str {
        match self {
            Self::Protobuf(_) => "protobuf",
            Self::Json(..) => "json",
            Self::Encrypted(_) => "encrypted",
            Self::Text(_) => "text",
            Self::Binary => "binary",
        }
    }
}

impl Encryption {
    fn parse(sealed: &[u8]) -> Option<Self> {
        let mut parts = sealed.splitn(4, |byte| *byte == b':');
        let mut text = || str::from_utf8(parts.next()?).ok().map(str::to_owned);
        let encryption = Self { provider: text()?, version: text()?, name: text()? };
        // The encrypted part comes after the last colon, and may contain colons itself.
        parts.next().is_some().then_some(encryption)
    }
}

/// `k8s.io/apimachinery/pkg/runtime.Unknown`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

// The messages of all Kubernetes types begin with this field.
#[derive(Clone, PartialEq, Eq, Message)]
struct AnyObject {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

/// `k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta`.
#[derive(Clone, PartialEq, Eq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<OwnerReference>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The object's own message in a value in protobuf, without its envelope.
pub(super) fn raw_object(value: &[u8]) -> Option<Vec<u8>> {
    Unknown::decode(value.strip_prefix(PROTOBUF)?).ok().map(|unknown| unknown.raw)
}

fn object_in(envelope: &[u8]) -> Option<ObjectSummary> {
    let unknown = Unknown::decode(envelope).ok()?;
    let type_meta = unknown.type_meta?;
    let metadata = AnyObject::decode(unknown.raw.as_slice()).ok()?.metadata.unwrap_or_default();
    Some(ObjectSummary {
        api_version: type_meta.api_version,
        kind: type_meta.kind,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        labels: metadata.labels,
        deleting: metadata.deletion_timestamp.is_some(),
        owners: metadata.owner_references,
    })
}

/// The message in the envelope of a value that is stored as protobuf; `None` for every other one.
pub(super) fn message_in(value: &[u8]) -> Option<Vec<u8>> {
    Some(Unknown::decode(value.strip_prefix(PROTOBUF)?).ok()?.raw)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonObject {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: JsonMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JsonMeta {
    name: String,
    namespace: String,
    uid: String,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<JsonObject> for ObjectSummary {
    fn from(JsonObject { api_version, kind, metadata }: JsonObject) -> Self {
        Self {
            api_version,
            kind,
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            labels: metadata.labels.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            owners: metadata.owner_references.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(metadata: ObjectMeta) -> Vec<u8> {
        let type_meta = Some(TypeMeta { api_version: "v1".into(), kind: "Pod".into() });
        let raw = AnyObject { metadata: Some(metadata) }.encode_to_vec();
        // A Pod's spec is field 2: skipped by its number.
        let raw = [raw, vec![0x12, 3, 1, 2, 3]].concat();
        [PROTOBUF.to_vec(), Unknown { type_meta, raw }.encode_to_vec()].concat()
    }

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference { kind: "ReplicaSet".into(), name: "web".into(), uid: uid.into(), controller: Some(true) }
    }

    #[test]
    fn the_object_in_a_protobuf_envelope_is_read() {
        let value = envelope(ObjectMeta {
            name: "web".into(),
            namespace: "default".into(),
            uid: "0c9f".into(),
            deletion_timestamp: Some(Time { seconds: 1 }),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            owner_references: vec![owner("7d")],
        });
        let StoredValue::Protobuf(Some(object)) = StoredValue::parse(&value) else { panic!() };
        assert_eq!(object.owners, [owner("7d")]);
        let json = serde_json::to_string(&object).unwrap();
        let expected = r#"{"apiVersion":"v1","kind":"Pod","namespace":"default","name":"web","uid":"0c9f","#;
        assert_eq!(json, format!(r#"{expected}"labels":{{"app":"web"}},"deleting":true}}"#));
    }

    #[test]
    fn protobuf_that_cannot_be_read_is_still_protobuf() {
        assert_eq!(StoredValue::parse(b"k8s\0\xff\xff"), StoredValue::Protobuf(None));
        let mut value = envelope(ObjectMeta::default());
        value.truncate(value.len() - 1);
        assert_eq!(StoredValue::parse(&value), StoredValue::Protobuf(None));
    }

    #[test]
    fn the_object_in_json_is_read() {
        let text = r#"{"apiVersion":"example.com/v1","kind":"CronTab","metadata":{"name":"x","uid":"u","labels":null},"spec":{}}"#;
        let StoredValue::Json(json, Some(object)) = StoredValue::parse(text.as_bytes()) else { panic!() };
        assert_eq!((json, object.kind.as_str(), object.uid.as_str()), (text, "CronTab", "u"));
        let text = "{\"kind\":\"RangeAllocation\"}\n";
        assert_eq!(StoredValue::parse(text.as_bytes()), StoredValue::Json(text, None));
        let reference = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"7d","controller":true}"#;
        for (references, owners) in [(format!("[{reference}]"), vec![owner("7d")]), ("null".into(), vec![])] {
            let text = format!(r#"{{"apiVersion":"v1","kind":"X","metadata":{{"ownerReferences":{references}}}}}"#);
            assert_eq!(StoredValue::parse(text.as_bytes()).object().unwrap().owners, owners);
        }
        let list = r#"["v1","Secret"]"#;
        assert_eq!(StoredValue::parse(list.as_bytes()), StoredValue::Json(list, None));
    }

    #[test]
    fn an_encrypted_value_names_its_key() {
        let aes = StoredValue::parse(b"k8s:enc:aescbc:v1:key1:\0:\xff");
        let encryption = |provider: &str, version: &str, name: &str| Encryption {
            provider: provider.into(),
            version: version.into(),
            name: name.into(),
        };
        assert_eq!(aes, StoredValue::Encrypted(encryption("aescbc", "v1", "key1")));
        assert_eq!(
            StoredValue::parse(b"k8s:enc:kms:v2:plugin:\x0a"),
            StoredValue::Encrypted(encryption("kms", "v2", "plugin"))
        );
        assert_eq!(StoredValue::parse(b"k8s:enc:aescbc:v1:key1"), StoredValue::Binary);
    }

    #[test]
    fn the_rest_is_text_or_binary() {
        for text in ["", "1", "true", "\"x\"", "{", "[1", "k8s", "{} {}"] {
            assert_eq!(StoredValue::parse(text.as_bytes()), StoredValue::Text(text));
        }
        assert_eq!(StoredValue::parse(b"\xff"), StoredValue::Binary);
    }

    proptest! {
        #[test]
        fn no_value_panics(start in prop::sample::select(vec![PROTOBUF, ENCRYPTED, b"{", b""]), rest: Vec<u8>) {
            let value = [start, &rest].concat();
            prop_assert!(!StoredValue::parse(&value).format().is_empty());
        }
    }
}
