//! What a stored value is, and which object it names.
//!
//! Kubernetes' own types are far larger than what is read here, which is the same in all of them: an envelope
//! (`runtime.Unknown`) round a message whose first field is its `ObjectMeta`. Other fields are skipped by their number.

use std::collections::BTreeMap;

use prost::Message;
use serde::{Deserialize, Serialize};

const PROTOBUF: &[u8] = b"k8s\0";
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// A stored value, recognised.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Kubernetes' protobuf; the object it names, unless that cannot be read.
    Protobuf(Option<Object>),
    /// A JSON object or list, as Kubernetes stores custom resources; the object that it names, if it is one.
    Json(&'a str, Option<Object>),
    /// Encrypted by the API server before it was stored.
    Encrypted(Encryption),
    /// Any other text.
    Text(&'a str),
    /// Anything else.
    Binary,
}

/// Who an object is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Group and version, such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its namespace; empty outside all of them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity: another one after it was deleted and created again.
    pub uid: String,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether its deletion had begun.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
}

/// What stands in clear before an encrypted value: `k8s:enc:<provider>:<version>:<name>:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Encryption {
    /// `aescbc`, `aesgcm`, `secretbox` or `kms`.
    pub provider: String,
    /// The version of the provider's format.
    pub version: String,
    /// The name of the key, or of the KMS plugin.
    pub name: String,
}

impl<'a> Content<'a> {
    /// Recognises a value. Nothing is decrypted, and nothing is refused: what is not known is text or binary.
    pub fn of(value: &'a [u8]) -> Self {
        if let Some(envelope) = value.strip_prefix(PROTOBUF) {
            return Self::Protobuf(object_in(envelope));
        }
        if let Some(sealed) = value.strip_prefix(ENCRYPTED) {
            return Encryption::parse(sealed).map_or(Self::Binary, Self::Encrypted);
        }
        let Ok(text) = str::from_utf8(value) else { return Self::Binary };
        if text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            return Self::Json(text, serde_json::from_str::<JsonObject>(text).ok().map(Object::from));
        }
        Self::Text(text)
    }

    /// The object that the value names.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Protobuf(object) | Self::Json(_, object) => object.as_ref(),
            Self::Encrypted(_) | Self::Text(_) | Self::Binary => None,
        }
    }

    /// The kind of content, for machines.
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
        // Behind the last colon comes what is encrypted.
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

/// What all objects begin with.
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
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

fn object_in(envelope: &[u8]) -> Option<Object> {
    let unknown = Unknown::decode(envelope).ok()?;
    let type_meta = unknown.type_meta?;
    let metadata = AnyObject::decode(unknown.raw.as_slice()).ok()?.metadata.unwrap_or_default();
    Some(Object {
        api_version: type_meta.api_version,
        kind: type_meta.kind,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        labels: metadata.labels,
        deleting: metadata.deletion_timestamp.is_some(),
    })
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
}

impl From<JsonObject> for Object {
    fn from(JsonObject { api_version, kind, metadata }: JsonObject) -> Self {
        Self {
            api_version,
            kind,
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            labels: metadata.labels.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
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

    #[test]
    fn a_protobuf_envelope_names_its_object() {
        let value = envelope(ObjectMeta {
            name: "web".into(),
            namespace: "default".into(),
            uid: "0c9f".into(),
            deletion_timestamp: Some(Time { seconds: 1 }),
            labels: BTreeMap::from([("app".into(), "web".into())]),
        });
        let Content::Protobuf(Some(object)) = Content::of(&value) else { panic!() };
        let json = serde_json::to_string(&object).unwrap();
        let expected = r#"{"apiVersion":"v1","kind":"Pod","namespace":"default","name":"web","uid":"0c9f","#;
        assert_eq!(json, format!(r#"{expected}"labels":{{"app":"web"}},"deleting":true}}"#));
    }

    #[test]
    fn an_envelope_that_cannot_be_read_is_still_one() {
        assert_eq!(Content::of(b"k8s\0\xff\xff"), Content::Protobuf(None));
        let mut value = envelope(ObjectMeta::default());
        value.truncate(value.len() - 1);
        assert_eq!(Content::of(&value), Content::Protobuf(None));
    }

    #[test]
    fn a_custom_resource_names_itself() {
        let text = r#"{"apiVersion":"example.com/v1","kind":"CronTab","metadata":{"name":"x","uid":"u","labels":null},"spec":{}}"#;
        let Content::Json(json, Some(object)) = Content::of(text.as_bytes()) else { panic!() };
        assert_eq!((json, object.kind.as_str(), object.uid.as_str()), (text, "CronTab", "u"));
        let text = "{\"kind\":\"RangeAllocation\"}\n";
        assert_eq!(Content::of(text.as_bytes()), Content::Json(text, None));
    }

    #[test]
    fn what_is_encrypted_names_its_key() {
        let aes = Content::of(b"k8s:enc:aescbc:v1:key1:\0:\xff");
        let encryption = |provider: &str, version: &str, name: &str| Encryption {
            provider: provider.into(),
            version: version.into(),
            name: name.into(),
        };
        assert_eq!(aes, Content::Encrypted(encryption("aescbc", "v1", "key1")));
        assert_eq!(Content::of(b"k8s:enc:kms:v2:plugin:\x0a"), Content::Encrypted(encryption("kms", "v2", "plugin")));
        assert_eq!(Content::of(b"k8s:enc:aescbc:v1:key1"), Content::Binary);
    }

    #[test]
    fn the_rest_is_text_or_binary() {
        for text in ["", "1", "true", "\"x\"", "{", "[1", "k8s", "{} {}"] {
            assert_eq!(Content::of(text.as_bytes()), Content::Text(text));
        }
        assert_eq!(Content::of(b"\xff"), Content::Binary);
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(start in prop::sample::select(vec![PROTOBUF, ENCRYPTED, b"{", b""]), rest: Vec<u8>) {
            let value = [start, &rest].concat();
            prop_assert!(!Content::of(&value).format().is_empty());
        }
    }
}
