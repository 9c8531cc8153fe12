//! The members of a cluster: where they are reached, and what each answered. Pure.

mod rank;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use rank::{Choice, NoMember, rank};

/// A member's client URL: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint(String);

impl Endpoint {
    /// Whether it is dialled with TLS.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or(&*self.0, |(_, authority)| authority)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| Err(format!("`{text}` {why}; an endpoint is written like https://10.0.0.1:2379"));
        let text = text.trim();
        if text.is_empty() {
            return Err("an endpoint is empty; one is written like https://10.0.0.1:2379".into());
        }
        let Ok(uri) = text.parse::<http::Uri>() else { return refuse("is not a URL") };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return refuse("does not begin with http:// or https://");
        }
        let Some(authority) = uri.authority() else { return refuse("names no host") };
        if authority.as_str().contains('@') {
            return Err("an endpoint has a user in it; set ETCDCTL_USER instead".into());
        }
        if authority.host().is_empty() || authority.host() == "null" {
            return refuse("names no host");
        }
        if authority.port_u16().is_none_or(|port| port == 0) {
            return refuse("names no port");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return refuse("has a path");
        }
        Ok(Self(format!("{}://{authority}", uri.scheme_str().unwrap_or_default())))
    }
}

/// What a member does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Votes and follows; the one to burden with a snapshot.
    Follower,
    /// Votes and leads.
    Leader,
    /// Does not vote, may lag behind without limit.
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Learner => "learner",
        })
    }
}

/// A member as it answered.
#[derive(Clone, Debug)]
pub struct Member {
    /// The URL that it answered at.
    pub endpoint: Endpoint,
    /// Its id.
    pub id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// Its version, like `3.5.16`.
    pub version: String,
    /// Its role.
    pub role: Role,
    /// Bytes of its database file.
    pub db_size: u64,
    /// The last raft entry that it applied.
    pub applied_index: u64,
    /// Its store's revision.
    pub revision: u64,
    /// How long a status request took.
    pub round_trip: Duration,
    /// Why a linearizable read or the list of alarms failed; `None` when both worked, which proves a quorum.
    pub read_error: Option<String>,
    /// Members that have a CORRUPT alarm, in this member's view.
    pub corrupt: BTreeSet<u64>,
    /// Whether a NOSPACE alarm is raised in its cluster.
    pub no_space: bool,
}

/// An endpoint that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub endpoint: Endpoint,
    /// Why, for a person.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in
            ["https://10.0.0.1:2379", " http://localhost:1 ", "https://[::1]:2379", "https://etcd-0.example:2379/"]
        {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "null",
            "https://null:2379",
            "10.0.0.1:2379",
            "https://x",
            "ftp://x:1",
            "https://u:p@x:1",
            "https://x:1/y",
            "https://x:0",
            "https://a b:1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        assert_eq!(" https://x:1/ ".parse::<Endpoint>().unwrap().as_str(), "https://x:1");
    }
}
