//! URLs: those of etcd's members, and the secrets in those of other programs' configuration. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `http://host:port` or `https://host:port`: what etcd knows as a client URL, a peer URL or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    tls: bool,
    /// An IPv6 address is in brackets, as in a URL.
    host: String,
    port: u16,
}

impl Url {
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host as URLs have it: an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host, if it is an address and not a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn with_address(&self, address: IpAddr) -> Self {
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        Self { host, ..self.clone() }
    }

    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a URL is empty".into());
        }
        // The error does not quote the text, because a password may be in it.
        if text.contains('@') {
            return Err("a URL has a user name in it".into());
        }
        let refuse = |why: &str| Err(format!("`{text}` {why}"));
        let Ok(uri) = text.parse::<http::Uri>() else { return refuse("is not a URL") };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return refuse("does not begin with http:// or https://"),
        };
        // `null` is what jq prints for a value that is not there.
        let Some(host) = uri.host().filter(|host| !host.is_empty() && *host != "null") else {
            return refuse("names no host");
        };
        // etcd refuses URLs without a port or with a path, too.
        let Some(port) = uri.port_u16().filter(|port| *port != 0) else { return refuse("names no port") };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return refuse("has a path");
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

/// What takes the place of a secret in a text.
const HIDDEN: &str = "***";
/// Parts of the names of a query's parameters whose values are secrets however short they are.
const SECRET_PARAMETERS: [&str; 6] = ["sig", "token", "key", "secret", "pass", "cred"];
/// A value that is as long as this may be a secret whatever it is called.
const LONG: usize = 16;

/// Whether a text has a URL with a user or with a query, where signed URLs have their signature, or a `user:password@` without
/// a scheme, as proxies are written. The text is any configuration, so its URLs need not be well-formed.
pub fn carries_credentials(text: &str) -> bool {
    after_schemes(text).any(|rest| user_of(rest).is_some() || rest.contains('?'))
        || without_scheme(text).is_some_and(|password| !password.is_empty())
}

/// Whether a text has a URL with a user.
pub fn has_user_in_url(text: &str) -> bool {
    after_schemes(text).any(|rest| user_of(rest).is_some())
}

/// The secrets in the URLs of a text, spelled as they are there: passwords, long users without one, and the values of
/// parameters that are called so or are long. Some may be empty.
pub fn secrets(text: &str) -> Vec<&str> {
    let of_url = |rest| user_of(rest).into_iter().flat_map(secrets_of_user).chain(secrets_of_query(rest));
    after_schemes(text).flat_map(of_url).chain(without_scheme(text)).collect()
}

fn after_schemes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("://").map(|(at, slashes)| &text[at + slashes.len()..])
}

/// The part of a URL before its host, without the `@`.
fn user_of(rest: &str) -> Option<&str> {
    let authority = rest.split('/').next().unwrap_or_default();
    // The last `@` ends the user's part, because a password that is not well-formed may have one in it.
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    // Or a slash: then what looks like a port is none.
    let is_no_port = |port: &str| !port.ends_with(']') && port.bytes().any(|byte| !byte.is_ascii_digit());
    let has_no_port = || authority.rsplit_once(':').is_some_and(|(_, port)| is_no_port(port));
    user.or_else(|| rest.rsplit_once('@').filter(|_| has_no_port()).map(|(user, _)| user))
}

fn secrets_of_user(user: &str) -> Vec<&str> {
    match user.split_once(':') {
        // An error about a password that is not well-formed quotes a part of it.
        Some((_, password)) => [password].into_iter().chain(password.split(['/', '@'])).collect(),
        None => Some(user).filter(|user| user.len() >= LONG).into_iter().collect(),
    }
}

fn secrets_of_query(rest: &str) -> impl Iterator<Item = &str> {
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    query.split(['&', '#']).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let name = name.to_lowercase();
        (value.len() >= LONG || SECRET_PARAMETERS.iter().any(|word| name.contains(word))).then_some(value)
    })
}

/// The password in `user:password@host`, if that is all of the text.
fn without_scheme(text: &str) -> Option<&str> {
    if text.contains("://") || text.contains(char::is_whitespace) {
        return None;
    }
    let (user, rest) = text.split_once(':')?;
    rest.rsplit_once('@').map(|(password, _)| password).filter(|_| !user.is_empty())
}

/// `text` without the users and the queries of its URLs, wherever they are from. What they are of can still be read.
pub fn without_credentials(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut left = text;
    while !left.is_empty() {
        let ends = |c: char| c.is_whitespace() || "\"'`<>()\\".contains(c);
        let (word, rest) = left.split_at(left.find(ends).unwrap_or(left.len()));
        for url in split_urls(word) {
            push_without_credentials(&mut cleaned, url);
        }
        let end = rest.chars().next();
        cleaned.extend(end);
        left = &rest[end.map_or(0, char::len_utf8)..];
    }
    cleaned
}

/// The URLs of a list with `,` or `;` between them. A password or a query may have these characters, too, so only what looks
/// like the next URL begins one.
fn split_urls(mut word: &str) -> Vec<&str> {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let mut urls = Vec::new();
    while let Some(at) = word.match_indices([',', ';']).map(|(at, _)| at + 1).find(|at| {
        word[*at..].split_once("://").is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.chars().all(is_scheme))
            && !word[..*at].contains('?')
    }) {
        let (first, rest) = word.split_at(at);
        urls.push(first);
        word = rest;
    }
    urls.push(word);
    urls
}

fn push_without_credentials(cleaned: &mut String, word: &str) {
    let (scheme, rest) = word.split_at(word.find("://").map_or(0, |at| at + "://".len()));
    let is_url = !scheme.is_empty();
    cleaned.push_str(scheme);
    let host = match user_of(rest).filter(|_| is_url) {
        Some(user) => {
            cleaned.push_str(HIDDEN);
            &rest[user.len()..]
        }
        None => rest,
    };
    match host.split_once('?') {
        // Without a scheme it may be a question.
        Some((before, query)) if is_url || query.contains('=') => {
            let end = query.trim_end_matches([':', ',', ';', '.']);
            cleaned.extend([before, "?", HIDDEN, &query[end.len()..]]);
        }
        _ => cleaned.push_str(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_back() {
        for (text, shown) in [
            ("https://10.0.0.1:2379", "https://10.0.0.1:2379"),
            (" http://localhost:1 ", "http://localhost:1"),
            ("https://[::1]:2379", "https://[::1]:2379"),
            ("https://etcd-0.Example:2379/", "https://etcd-0.Example:2379"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("", "empty"),
            ("null", "begin"),
            ("https://null:2379", "no host"),
            ("10.0.0.1:2379", "begin"),
            ("ftp://x:1", "begin"),
            ("https://x", "no port"),
            ("https://x:0", "no port"),
            ("https://:1", "no host"),
            ("https://x:1/y", "path"),
            ("https://x:1?y", "path"),
            ("https://a b:1", "not a URL"),
            ("https://u:geheim@x:1", "user name"),
            ("https://u:ge heim@x:1", "user name"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.contains(why) && !error.contains("heim"), "{text:?}: {error}");
        }
    }

    #[test]
    fn parts() {
        let url: Url = "https://[::1]:2379".parse().unwrap();
        assert!(url.is_tls());
        assert_eq!((url.host(), url.authority().as_str()), ("[::1]", "[::1]:2379"));
        assert_eq!(url.address(), Some("::1".parse().unwrap()));
        assert_eq!(url.with_address("10.0.0.7".parse().unwrap()).to_string(), "https://10.0.0.7:2379");
        assert_eq!(url.with_address("fd00::7".parse().unwrap()).with_port(1).to_string(), "https://[fd00::7]:1");
        assert_eq!("http://localhost:1".parse::<Url>().unwrap().address(), None);
    }

    #[test]
    fn secrets_are_found_in_free_text() {
        for (text, found) in [
            ("no url", vec![]),
            ("https://h.example/a?", vec![]),
            ("https://h.example/a@b", vec![]),
            ("see https://etcd:p:w@h/x", vec!["p:w", "p:w"]),
            ("sftp://etcd@h", vec![]),
            ("https://AKIAIOSFODNN7EXAMPLE@h", vec!["AKIAIOSFODNN7EXAMPLE"]),
            ("https://h/c?sv=1&sig=a%2Bb==&flag#end", vec!["a%2Bb=="]),
            ("https://h/c?to=https://x&X-Amz-Security-Token=abc", vec!["abc"]),
            ("https://a:b@h/, https://c:d@h/", vec!["b", "b", "d", "d"]),
            ("https://a:b/c@h/", vec!["b/c", "b", "c"]),
            ("etcd:p@w@h:1080", vec!["p@w"]),
        ] {
            let mut secrets = secrets(text);
            secrets.retain(|secret| !secret.starts_with("https://") && !secret.contains(", "));
            assert_eq!(secrets, found, "{text}");
        }
    }

    #[test]
    fn credentials_are_noticed_in_any_spelling() {
        for text in [
            "http://u:p@h",
            "http://u@h",
            "u:p@h:1",
            "http://u:p/w@h",
            "https://h/?sig=x",
            "x https://h/?y",
            "http://u:@h",
            "https://a,https://u:p@h",
            "https://a;https://u@h",
        ] {
            assert!(carries_credentials(text), "{text}");
        }
        for text in ["http://h:1", "https://[::1]:9000/a@b", "https://h/dav/me@h.example/", "From: ops@h", "a@b", "10M"]
        {
            assert!(!carries_credentials(text), "{text}");
        }
    }

    #[test]
    fn a_printed_url_loses_its_user_and_its_query() {
        for (text, cleaned) in [
            ("Get \"https://u:p@h:1/b?sig=S\": refused", "Get \"https://***@h:1/b?***\": refused"),
            ("Propfind http://h/b?x=1: refused", "Propfind http://h/b?***: refused"),
            ("https://a,https://u:p@h;http://c:d@i/", "https://a,https://***@h;http://***@i/"),
            ("https://u:p,w@h https://h?a=b,https://c", "https://***@h https://h?***"),
            ("parse http://u:p/w@h: no", "parse http://***@h: no"),
            ("PUT /c?comp=block&sig=S done", "PUT /c?*** done"),
            ("is it obscured? no", "is it obscured? no"),
            ("store:etcd/a@b ops@h.example https://h/me@x/", "store:etcd/a@b ops@h.example https://h/me@x/"),
        ] {
            assert_eq!(without_credentials(text), cleaned);
        }
    }
}
