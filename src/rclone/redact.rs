//! Takes secrets out of what rclone prints.

use std::fmt::Write as _;

use crate::url::credentials;

/// Options whose values are no secrets. With `s3` or `us-east-1` hidden, errors would be unreadable.
const HARMLESS: [&str; 10] =
    ["type", "provider", "region", "location_constraint", "acl", "env_auth", "storage_class", "vendor", "host", "port"];
/// A shorter value protects nothing, and hiding it would hide half of every message.
const SHORTEST: usize = 4;

#[derive(Debug, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// `config` is the text of an `rclone.conf`, `more` are secrets from elsewhere.
    pub fn new<'a>(config: &str, more: impl Iterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<String> = more.map(ToOwned::to_owned).collect();
        let is_section = |line: &str| line.starts_with('[') && line.ends_with(']');
        for line in config.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';'])) {
            match line.split_once('=') {
                Some((key, value)) if !is_harmless(key.trim(), value.trim()) => secrets.push(value.trim().to_owned()),
                Some(_) => {}
                None if is_section(line) => {}
                // rclone quotes a line that it cannot read, and that may be a broken setting with its secret.
                None => secrets.push(line.to_owned()),
            }
        }
        // An error shows a URL with another path between its host and its query, or escaped.
        let parts: Vec<&str> = secrets.iter().flat_map(|secret| credentials(secret)).collect();
        // It may escape the padding of a signature that is written plainly in the configuration.
        let parts: Vec<String> =
            parts.iter().flat_map(|part| [part, part.trim_end_matches('=')]).map(str::to_owned).collect();
        secrets.extend(parts);
        let spelled: Vec<String> = secrets.iter().flat_map(|secret| [quoted(secret), in_url(secret)]).collect();
        secrets.extend(spelled);
        secrets.retain(|s| s.len() >= SHORTEST);
        // Replacing a part of a longer secret first would leave the rest of that one in the text.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Self { secrets }
    }

    pub fn clean(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// Escaped, as rclone prints a quoted value.
fn quoted(secret: &str) -> String {
    secret.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Percent-encoded, as in a URL.
fn in_url(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

fn is_harmless(key: &str, value: &str) -> bool {
    HARMLESS.contains(&key) || matches!(value, "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_in_a_url_are_taken_out() {
        let config =
            "sas_url = https://h.example/c?sv=2026-01-01&sig=abc%2Bdef\nurl = https://user:passw0rd@h.example/";
        let redactor = Redactor::new(config, std::iter::empty());
        assert_eq!(
            redactor.clean("PUT https://h.example/c/x?comp=block&sig=abc%2Bdef as user with passw0rd"),
            "PUT https://h.example/c/x?comp=block&sig=*** as *** with ***"
        );
    }

    #[test]
    fn a_signature_is_taken_out_however_its_padding_is_spelled() {
        let redactor = Redactor::new("url = https://h.example/c?sig=a%2Bbc==", std::iter::empty());
        for spelled in ["a%2Bbc==", "a%2Bbc%3D%3D"] {
            assert!(!redactor.clean(&format!("GET /c?sig={spelled}")).contains("a%2Bbc"), "{spelled}");
        }
    }

    #[test]
    fn a_secret_is_known_however_it_is_spelled() {
        let redactor = Redactor::new("pass = a\"b\\c/d e", std::iter::empty());
        for spelled in [r#"a"b\c/d e"#, r#"a\"b\\c/d e"#, "a%22b%5Cc%2Fd%20e"] {
            assert_eq!(redactor.clean(&format!("<{spelled}>")), "<***>");
        }
    }

    #[test]
    fn values_and_broken_lines_are_taken_out() {
        let config = "[m]\ntype = s3\nprovider = Minio\nsecret_access_key = topsecret\n# note\nbroken SECRETXYZ line\n[broken section\npassword=topsecret2\nbool = true\n";
        let redactor = Redactor::new(config, ["fromenv"].into_iter());
        assert_eq!(
            redactor.clean("s3 Minio topsecret topsecret2 fromenv: could not parse line: broken SECRETXYZ line; true; [m]; [broken section"),
            "s3 Minio *** *** ***: could not parse line: ***; true; [m]; ***"
        );
    }
}
