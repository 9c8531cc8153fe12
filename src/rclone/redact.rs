//! Takes secrets out of what rclone prints, and leaves addresses in it.

mod command;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use command::secrets_of_command;

use super::reveal::reveal;
use super::sections::Sections;
use crate::config::rclone_options::{is_credential, runs_command};
use crate::config::target::Connection;
use crate::url;

/// Options that say where a store is or what it is like, by the ends of their names, so that a variable's name may have more
/// before it. With `s3` or `us-east-1` hidden, errors could not be read.
const ADDRESSES: [&str; 38] = [
    "account",
    "acl",
    "agent",
    "bucket",
    "compartment",
    "container",
    "description",
    "dir",
    "domain",
    "email",
    "encoding",
    "endpoint",
    "file",
    "host",
    "hostname",
    "id",
    "location",
    "location_constraint",
    "namenode",
    "namespace",
    "path",
    "port",
    "profile",
    "project_number",
    "provider",
    "proxy",
    "region",
    "remote",
    "server",
    "storage_class",
    "tenancy",
    "tenant",
    "tier",
    "type",
    "upstreams",
    "user",
    "username",
    "vendor",
];
/// A shorter value protects nothing, and hiding it would hide half of every message.
const SHORTEST: usize = 4;
/// A shorter secret may be a part of a common word, and is hidden only where it is a word of its own.
const DISTINCT: usize = 8;
/// Of an option that is not known, a plain word that is shorter than this is a choice such as `standard`.
const PLAIN: usize = 16;
/// What a token stands behind that rclone got while it ran, and that no configuration has.
const MARKS: [&str; 4] = ["Bearer ", "access_token\":\"", "refresh_token\":\"", "id_token\":\""];
const HIDDEN: &str = "***";
/// Begins the variables that are options of one remote, in lower case.
const OF_REMOTE: &str = "rclone_config_";

#[derive(Debug, Default)]
pub struct Redactor {
    /// The longest ones first.
    secrets: Vec<String>,
}

impl Redactor {
    /// `config` is the text of an `rclone.conf`. If that is encrypted, its secrets are only learnt by [`Self::and_sections`].
    pub fn new(config: &str, environment: &BTreeMap<String, String>) -> Self {
        let mut secrets = Vec::new();
        let is_section = |line: &str| line.starts_with('[') && line.ends_with(']');
        for line in config.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';'])) {
            match line.split_once('=') {
                Some((key, value)) => learn(key.trim(), value.trim(), &mut secrets),
                None if is_section(line) => {}
                // rclone quotes a line that it cannot read, and that may be a broken setting with its secret.
                None => secrets.push(line.to_owned()),
            }
        }
        let remotes: Vec<_> = environment.keys().filter_map(|name| remote_with_type(name)).collect();
        for (name, value) in environment {
            learn_variable(&name.to_lowercase(), value, &remotes, &mut secrets);
        }
        Self { secrets: Vec::new() }.with(secrets)
    }

    /// Knows the secrets of the decrypted configuration too.
    pub fn and_sections(self, sections: &Sections) -> Self {
        let mut secrets = Vec::new();
        for (option, value) in sections.values().flatten() {
            learn(option, value, &mut secrets);
        }
        self.with(secrets)
    }

    fn with(mut self, mut more: Vec<String>) -> Self {
        more.retain(|secret| secret.len() >= SHORTEST);
        for secret in more {
            self.secrets.extend([quoted(&secret), in_url(&secret), secret]);
        }
        // Replacing a part of a longer secret first would leave the rest of that one in the text.
        self.secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.secrets.dedup();
        self
    }

    pub fn clean(&self, text: &str) -> String {
        let text = self.secrets.iter().fold(text.to_owned(), |text, secret| without(text, secret));
        url::without_credentials(&MARKS.iter().fold(text, |text, mark| without_what_follows(&text, mark)))
    }
}

/// Collects the secrets in an option's value.
fn learn(option: &str, value: &str, secrets: &mut Vec<String>) {
    let option = option.to_lowercase();
    // Also in what is an address otherwise.
    for secret in url::secrets(value) {
        // An error may escape the padding of a signature that is written plainly here.
        secrets.extend([secret.to_owned(), secret.trim_end_matches('=').to_owned(), out_of_url(secret)]);
    }
    // A remote in a remote.
    for part in shlex::split(value).unwrap_or_default() {
        let connection = Connection::of(&part).unwrap_or_default();
        connection.options.iter().for_each(|(option, value)| learn(option, value, secrets));
    }
    if value.starts_with('{') {
        learn_json(value, secrets);
    }
    if option.ends_with("connection_string") {
        let parts = value.split(';').filter_map(|part| part.split_once('='));
        parts.for_each(|(name, value)| learn(name, value, secrets));
    } else if runs_command(&option) {
        secrets.extend(secrets_of_command(value));
    } else if option.ends_with("headers") {
        // As in `name,value,name,value`.
        secrets.extend(value.split(',').skip(1).step_by(2).map(str::to_owned));
    } else if is_secret(&option, value) {
        secrets.push(value.to_owned());
        secrets.extend(lines_of_key(value));
        secrets.extend(reveal(value));
    }
}

/// Variables of rclone are options; of all others the name says whether they hold a secret, or they have it in a URL.
fn learn_variable(name: &str, value: &str, remotes: &[String], secrets: &mut Vec<String>) {
    // The path of a file.
    if name == "google_application_credentials" {
        return;
    }
    if let Some(rest) = name.strip_prefix(OF_REMOTE).filter(|rest| rest.contains('_')) {
        learn(option_of(rest, remotes), value, secrets);
    } else if name.starts_with("rclone_") || names_secret(name) || value.contains("://") {
        learn(name, value, secrets);
    } else {
        secrets.extend(url::secrets(value).into_iter().map(str::to_owned));
    }
}

/// The remote of which a variable such as `RCLONE_CONFIG_X_TYPE` tells that there is one.
fn remote_with_type(name: &str) -> Option<String> {
    Some(name.to_lowercase().strip_prefix(OF_REMOTE)?.strip_suffix("_type")?.to_owned())
}

/// The option in `x_region`, so that a remote's name such as `monkey` makes no secret of its region. Where the remote is not
/// known, an address says so in its last word.
fn option_of<'a>(rest: &'a str, remotes: &[String]) -> &'a str {
    let of = |remote: &String| rest.strip_prefix(remote.as_str())?.strip_prefix('_');
    if let Some(option) = remotes.iter().filter_map(of).max_by_key(|option| option.len()) {
        return option;
    }
    // `access_key_id` ends in an address' word, too.
    let last = rest.rsplit_once('_').map_or(rest, |(_, last)| last);
    if last != "id" && ADDRESSES.contains(&last) { last } else { rest }
}

fn names_secret(option: &str) -> bool {
    is_credential(option) || ["signature", "header"].iter().any(|word| option.contains(word))
}

fn is_secret(option: &str, value: &str) -> bool {
    let is_address =
        ADDRESSES.iter().any(|end| option.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')));
    // A remote may be called so, in the name of a variable.
    let is_url = value.contains("://") && (is_address || option.ends_with("url") || option.ends_with("uri"));
    if names_secret(option) {
        return !is_url && !option.ends_with("_file") && !option.ends_with("_path") && !is_switch(value);
    }
    !is_address && !value.contains("://") && !is_plain(value)
}

fn is_switch(value: &str) -> bool {
    matches!(value, "true" | "false")
}

/// Whether a value of an option that is not known is a word or a path rather than a secret that got there by mistake.
fn is_plain(value: &str) -> bool {
    let is_word = value.len() < PLAIN && value.chars().all(|c| c.is_ascii_alphabetic() || "_-, ".contains(c));
    is_word || value.starts_with('/') || value.len() < DISTINCT
}

/// The secrets in JSON such as `{"access_token":"x","token_type":"Bearer"}`, which need not be well-formed.
fn learn_json(text: &str, secrets: &mut Vec<String>) {
    let parts: Vec<&str> = text.split('"').collect();
    for part in parts.windows(3) {
        let &[name, between, value] = part else { continue };
        if between.trim() == ":" && names_secret(name) && !matches!(name, "token_type" | "token_uri") {
            secrets.push(value.to_owned());
            secrets.extend(lines_of_key(value));
        }
    }
}

/// Of a key in PEM, with its lines escaped.
fn lines_of_key(value: &str) -> impl Iterator<Item = String> {
    value.split("\\n").filter(|line| line.len() >= DISTINCT && !line.starts_with("--")).map(str::to_owned)
}

/// A short secret is only replaced where it is a word of its own.
fn without(text: String, secret: &str) -> String {
    if secret.len() >= DISTINCT {
        return if text.contains(secret) { text.replace(secret, HIDDEN) } else { text };
    }
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut cleaned = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices(secret) {
        let after = at + secret.len();
        if !text[..at].ends_with(is_inside) && !text[after..].starts_with(is_inside) {
            cleaned.extend([&text[copied..at], HIDDEN]);
            copied = after;
        }
    }
    cleaned + &text[copied..]
}

/// Hides the word behind each mark.
fn without_what_follows(text: &str, mark: &str) -> String {
    let mut parts = text.split(mark);
    let mut cleaned = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "\"',}".contains(c)).unwrap_or(part.len());
        let hidden = if end < DISTINCT { &part[..end] } else { HIDDEN };
        cleaned.extend([mark, hidden, &part[end..]]);
    }
    cleaned
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

/// The reverse of [`in_url`]; what is not well-formed stays.
fn out_of_url(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
