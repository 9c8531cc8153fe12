//! A key of a snapshot as one JSON object, from which its bytes can be had again. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::kubernetes::{Content, Encryption, Object, is_secret};
use crate::snapshot::Item;

/// Which values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// None.
    Hidden,
    /// Those of all keys but Secrets.
    WithoutSecrets,
    /// All of them.
    All,
}

/// A key as bytes, in a form that JSON can hold.
#[derive(Debug, Serialize)]
pub struct Key<'a> {
    /// The key, where it is text; Kubernetes' keys are.
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Any other key.
    #[serde(rename = "key_base64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl<'a> Key<'a> {
    /// A key as it is stored.
    pub fn new(key: &'a [u8]) -> Self {
        match str::from_utf8(key) {
            Ok(text) => Self { text: Some(text), base64: None },
            Err(_) => Self { text: None, base64: Some(BASE64_STANDARD.encode(key)) },
        }
    }
}

/// A key for people: as it is, unless that would disturb a terminal.
pub fn shown(key: &[u8]) -> String {
    match str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}

/// One line of an export.
#[derive(Debug, Serialize)]
pub struct KeyLine<'a> {
    #[serde(flatten)]
    key: Key<'a>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    /// Bytes of the value as it is stored.
    bytes: usize,
    /// `json`, `protobuf`, `encrypted`, `text` or `binary`.
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<Encryption>,
    #[serde(flatten)]
    value: Value<'a>,
}

/// At most one of these, and which one says how to read it.
#[derive(Debug, Default, Serialize)]
struct Value<'a> {
    /// JSON as it is stored, without the line feed that may end it.
    #[serde(rename = "value", skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(rename = "value_text", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(rename = "value_base64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Why there is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'static str>,
}

impl<'a> KeyLine<'a> {
    /// Describes `item`, whose stored value is `value`.
    pub fn new(item: &'a Item, value: &'a [u8], values: Values) -> Self {
        let content = Content::of(value);
        let secret = is_secret(&item.key, content.object());
        let shown = match values {
            Values::Hidden => Value::default(),
            Values::WithoutSecrets if secret => Value { withheld: Some("secret"), ..Value::default() },
            Values::WithoutSecrets | Values::All => Value::of(&content, value),
        };
        let format = content.format();
        let (object, encryption) = match content {
            Content::Protobuf(object) | Content::Json(_, object) => (object, None),
            Content::Encrypted(encryption) => (None, Some(encryption)),
            Content::Text(_) | Content::Binary => (None, None),
        };
        Self {
            key: Key::new(&item.key),
            create_revision: item.create_revision,
            mod_revision: item.mod_revision,
            version: item.version,
            lease: item.lease,
            bytes: value.len(),
            format,
            object,
            encryption,
            value: shown,
        }
    }

    /// Whether there is a value that was not to be shown.
    pub const fn is_withheld(&self) -> bool {
        self.value.withheld.is_some()
    }
}

impl<'a> Value<'a> {
    fn of(content: &Content<'a>, value: &[u8]) -> Self {
        match content {
            Content::Json(text, _) => match verbatim(text) {
                Some(json) => Self { json: Some(json), ..Self::default() },
                None => Self { text: Some(text), ..Self::default() },
            },
            Content::Text(text) => Self { text: Some(text), ..Self::default() },
            Content::Protobuf(_) | Content::Encrypted(_) | Content::Binary => {
                Self { base64: Some(BASE64_STANDARD.encode(value)), ..Self::default() }
            }
        }
    }
}

/// JSON that can stand in a line of JSON byte for byte; Kubernetes stores it in one line, with a line feed at its end.
fn verbatim(text: &str) -> Option<&RawValue> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let json: &RawValue = serde_json::from_str(line).ok()?;
    (json.get().len() == line.len() && !line.contains(['\n', '\r'])).then_some(json)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::snapshot::Revision;

    fn item(key: &[u8]) -> Item {
        let revision = Revision { main: 5, sub: 0, tombstone: false };
        let (create_revision, mod_revision, version, lease) = (3, 5, 2, 7);
        let key = key.to_vec();
        Item { key, revision, create_revision, mod_revision, version, lease, value_bytes: 0, fingerprint: 0 }
    }

    fn line(key: &[u8], value: &[u8], values: Values) -> String {
        serde_json::to_string(&KeyLine::new(&item(key), value, values)).unwrap()
    }

    #[rstest]
    #[case(b"{\"b\":1.0,\"a\": 1e400}", r#""format":"json","value":{"b":1.0,"a": 1e400}}"#)]
    #[case(b"{\"a\":[]}\n", r#""bytes":9,"format":"json","value":{"a":[]}}"#)]
    #[case(b"{\n}\n", r#""format":"json","value_text":"{\n}\n"}"#)]
    #[case(b"{}\n\n", r#""format":"json","value_text":"{}\n\n"}"#)]
    #[case(b"{} ", r#""format":"json","value_text":"{} "}"#)]
    #[case(b"3.5.0", r#""format":"text","value_text":"3.5.0"}"#)]
    #[case(b"", r#""bytes":0,"format":"text","value_text":""}"#)]
    #[case(b"\xff", r#""format":"binary","value_base64":"/w=="}"#)]
    #[case(b"k8s\0", r#""format":"protobuf","value_base64":"azhzAA=="}"#)]
    #[case(
        b"k8s:enc:kms:v2:p:x",
        r#""encryption":{"provider":"kms","version":"v2","name":"p"},"value_base64":"azhzOmVuYzprbXM6djI6cDp4"}"#
    )]
    fn values_can_be_had_again(#[case] value: &[u8], #[case] end: &str) {
        let line = line(b"/k", value, Values::WithoutSecrets);
        let begin = r#"{"key":"/k","create_revision":3,"mod_revision":5,"version":2,"lease":7,"bytes":"#;
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }

    #[test]
    fn secrets_are_withheld_also_encrypted_ones() {
        for value in [b"k8s:enc:aesgcm:v1:k:sealed".as_slice(), b"k8s\0", b"{}", b"text", b"\xff"] {
            let hidden = line(b"/registry/secrets/ns/x", value, Values::WithoutSecrets);
            assert!(hidden.ends_with(r#""withheld":"secret"}"#) && !hidden.contains("\"value"), "{hidden}");
            let shown = line(b"/registry/secrets/ns/x", value, Values::All);
            assert!(!shown.contains("withheld") && shown.contains("\"value"), "{shown}");
        }
        let hidden = line(b"/registry/secrets/ns/x", b"{}", Values::Hidden);
        assert!(!hidden.contains("withheld"), "nothing was asked for: {hidden}");
    }

    #[test]
    fn keys_are_lossless_and_tame() {
        assert!(line(b"/a\xff\0", b"", Values::Hidden).starts_with(r#"{"key_base64":"L2H/AA==","#));
        assert_eq!(shown("/ns/ü".as_bytes()), "/ns/ü");
        assert_eq!(shown(b"/a\x1b[31m"), r"/a\x1b[31m");
        assert_eq!(shown(b"/\xff"), r"/\xff");
    }
}
