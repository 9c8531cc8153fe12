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

/// The credentials in the URLs of a text, spelled as they are there: user names, passwords and the values of queries,
/// where signed URLs have their signature. Some may be empty. The text is any configuration, so its URLs need not be
/// well-formed.
pub fn credentials(text: &str) -> Vec<&str> {
    text.match_indices("://").flat_map(|(at, slashes)| credentials_after_scheme(&text[at + slashes.len()..])).collect()
}

fn credentials_after_scheme(rest: &str) -> Vec<&str> {
    // The last `@` ends the user's part, because a password that is not well-formed may have one in it.
    let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    let mut found: Vec<&str> = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((user, password)) => vec![user, password],
        None => vec![],
    };
    if let Some((_, query)) = rest.split_once('?') {
        let value = |pair| str::split_once(pair, '=').map_or(pair, |(_, value)| value);
        found.extend(query.split(['&', '#']).map(value));
    }
    found
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
    fn credentials_are_found_in_free_text() {
        for (text, found) in [
            ("no url", vec![]),
            ("https://h.example/a?", vec![""]),
            ("https://h.example/a@b", vec![]),
            ("see https://user:p:w@h/x", vec!["user", "p:w"]),
            ("sftp://user@h", vec!["user", ""]),
            ("https://h/c?sv=1&sig=a%2Bb==&flag#end", vec!["1", "a%2Bb==", "flag", "end"]),
            ("https://h/c?to=https://x&sig=abc", vec!["https://x", "abc"]),
            ("https://a:b@h/, https://c:d@h/", vec!["a", "b", "c", "d"]),
            ("https://a:b c?d@h/", vec!["a", "b c?d", "d@h/"]),
        ] {
            assert_eq!(credentials(text), found, "{text}");
        }
    }
}
