//! A key of a snapshot as one JSON object, from which the exact bytes of key and value can be restored.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::kubernetes::{Encryption, ObjectSummary, StoredValue, is_secret};
use crate::snapshot::KeyState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowValues {
    Hidden,
    WithoutSecrets,
    All,
}

// The keys of Kubernetes are text. Those of other programs can be any bytes, which a JSON string cannot hold.
#[derive(Debug, Serialize)]
pub struct JsonKey<'a> {
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(rename = "key_base64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl<'a> JsonKey<'a> {
    pub fn new(key: &'a [u8]) -> Self {
        match str::from_utf8(key) {
            Ok(text) => Self { text: Some(text), base64: None },
            Err(_) => Self { text: None, base64: Some(BASE64_STANDARD.encode(key)) },
        }
    }
}

/// Text for a terminal.
pub fn printable(bytes: &[u8]) -> String {
    // A terminal obeys control characters, so a key must not bring them there.
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// A line of `export`, and what `get` prints.
#[derive(Debug, Serialize)]
pub struct KeyLine<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    /// The size of the stored value.
    bytes: usize,
    /// `json`, `protobuf`, `encrypted`, `text` or `binary`.
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<Encryption>,
    #[serde(flatten)]
    value: ShownValue<'a>,
}

/// At most one of these. The name of the field tells how the value is encoded.
#[derive(Debug, Default, Serialize)]
struct ShownValue<'a> {
    /// JSON as it is stored, without the line feed that may end it.
    #[serde(rename = "value", skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(rename = "value_text", skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(rename = "value_base64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'static str>,
}

impl<'a> KeyLine<'a> {
    /// `value` is the stored value of `key`.
    pub fn new(key: &'a KeyState, value: &'a [u8], show: ShowValues) -> Self {
        let stored = StoredValue::parse(value);
        // By the key too: an encrypted Secret is still a Secret, but its kind cannot be read.
        let secret = is_secret(&key.key, stored.object());
        let shown = match show {
            ShowValues::Hidden => ShownValue::default(),
            ShowValues::WithoutSecrets if secret => ShownValue { withheld: Some("secret"), ..ShownValue::default() },
            ShowValues::WithoutSecrets | ShowValues::All => ShownValue::new(&stored, value),
        };
        let format = stored.format();
        let (object, encryption) = match stored {
            StoredValue::Protobuf(object) | StoredValue::Json(_, object) => (object, None),
            StoredValue::Encrypted(encryption) => (None, Some(encryption)),
            StoredValue::Text(_) | StoredValue::Binary => (None, None),
        };
        Self {
            key: JsonKey::new(&key.key),
            create_revision: key.create_revision,
            mod_revision: key.mod_revision,
            version: key.version,
            lease: key.lease,
            bytes: value.len(),
            format,
            object,
            encryption,
            value: shown,
        }
    }

    /// Whether the value was left out because it belongs to a Secret.
    pub const fn is_withheld(&self) -> bool {
        self.value.withheld.is_some()
    }
}

impl<'a> ShownValue<'a> {
    fn new(stored: &StoredValue<'a>, value: &[u8]) -> Self {
        match stored {
            StoredValue::Json(text, _) => match verbatim(text) {
                Some(json) => Self { json: Some(json), ..Self::default() },
                None => Self { text: Some(text), ..Self::default() },
            },
            StoredValue::Text(text) => Self { text: Some(text), ..Self::default() },
            StoredValue::Protobuf(_) | StoredValue::Encrypted(_) | StoredValue::Binary => {
                Self { base64: Some(BASE64_STANDARD.encode(value)), ..Self::default() }
            }
        }
    }
}

/// The text as JSON that can be written into a line unchanged.
fn verbatim(text: &str) -> Option<&RawValue> {
    // Raw, because JSON that is parsed and written again can have other numbers and another order of fields.
    // Kubernetes stores one line with a line feed at its end; the line feed would break up the lines of an export.
    let line = text.strip_suffix('\n').unwrap_or(text);
    let json: &RawValue = serde_json::from_str(line).ok()?;
    (json.get().len() == line.len() && !line.contains(['\n', '\r'])).then_some(json)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::snapshot::Revision;

    fn key_state(key: &[u8]) -> KeyState {
        let revision = Revision { main: 5, sub: 0, tombstone: false };
        let (create_revision, mod_revision, version, lease) = (3, 5, 2, 7);
        let key = key.to_vec();
        KeyState { key, revision, create_revision, mod_revision, version, lease, value_bytes: 0, fingerprint: 0 }
    }

    fn line(key: &[u8], value: &[u8], show: ShowValues) -> String {
        serde_json::to_string(&KeyLine::new(&key_state(key), value, show)).unwrap()
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
    fn a_line_holds_the_exact_value(#[case] value: &[u8], #[case] end: &str) {
        let line = line(b"/k", value, ShowValues::WithoutSecrets);
        let begin = r#"{"key":"/k","create_revision":3,"mod_revision":5,"version":2,"lease":7,"bytes":"#;
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }

    #[test]
    fn secrets_are_withheld_also_encrypted_ones() {
        for value in [b"k8s:enc:aesgcm:v1:k:sealed".as_slice(), b"k8s\0", b"{}", b"text", b"\xff"] {
            let hidden = line(b"/registry/secrets/ns/x", value, ShowValues::WithoutSecrets);
            assert!(hidden.ends_with(r#""withheld":"secret"}"#) && !hidden.contains("\"value"), "{hidden}");
            let shown = line(b"/registry/secrets/ns/x", value, ShowValues::All);
            assert!(!shown.contains("withheld") && shown.contains("\"value"), "{shown}");
        }
        let hidden = line(b"/registry/secrets/ns/x", b"{}", ShowValues::Hidden);
        assert!(!hidden.contains("withheld"), "nothing was asked for: {hidden}");
    }

    #[test]
    fn keys_are_exact_in_json_and_harmless_on_a_terminal() {
        assert!(line(b"/a\xff\0", b"", ShowValues::Hidden).starts_with(r#"{"key_base64":"L2H/AA==","#));
        assert_eq!(printable("/ns/ü".as_bytes()), "/ns/ü");
        assert_eq!(printable(b"/a\x1b[31m"), r"/a\x1b[31m");
        assert_eq!(printable(b"/\xff"), r"/\xff");
    }
}
