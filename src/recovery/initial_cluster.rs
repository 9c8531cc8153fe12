//! The members of a restored cluster: names and peer URLs, as etcd's `--initial-cluster` has them. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::kubernetes::kubeadm::{Layout, Topology};
use crate::recovery::etcdutl::Identity;
use crate::snapshot;
use crate::url::Url;

const CLIENT_PORT: u16 = 2379;

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// Where the other members reach it; at least one. Texts, because a snapshot may record URLs that `Url` refuses.
    pub urls: Vec<String>,
}

impl Peer {
    /// The first of its URLs that `Url` accepts.
    pub fn url(&self) -> Option<Url> {
        self.urls.iter().find_map(|url| url.parse().ok())
    }
}

/// All members, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster(Vec<Peer>);

/// The flags that say which member is restored, and as what.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityFlags<'a> {
    pub name: Option<&'a str>,
    pub peer_urls: Option<&'a str>,
    pub token: &'a str,
}

/// The token of a cluster that is restored from the backup of this short id. Another one than the old cluster's keeps
/// members of the old cluster that still run from joining the restored one.
pub fn default_token(backup_id: &str) -> String {
    format!("etcd-restore-{backup_id}")
}

impl InitialCluster {
    /// The voting members that a snapshot records.
    pub fn recorded(members: &[snapshot::RecordedMember]) -> Self {
        // A member that was added but never started has no name yet, so nothing can be restored as that member.
        let voters = members.iter().filter(|m| !m.is_learner && !m.name.is_empty() && !m.peer_urls.is_empty());
        let mut peers: Vec<_> = voters.map(|m| Peer { name: m.name.clone(), urls: m.peer_urls.clone() }).collect();
        // The snapshot has them in the order of their ids, which means nothing to people.
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        Self(peers)
    }

    pub fn peers(&self) -> &[Peer] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn peer(&self, name: &str) -> Option<&Peer> {
        self.0.iter().find(|peer| peer.name == name)
    }

    /// Adds `name=url` pairs, separated by commas. A name that is there already gets one more URL.
    pub fn add(&mut self, pairs: &str) -> Result<(), String> {
        for pair in pairs.split(',') {
            let refused = |why: String| format!("{why}; allowed is `name=https://host:2380`");
            let (name, url) = pair.split_once('=').ok_or_else(|| refused(format!("`{pair}` has no `=`")))?;
            if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(refused(format!("`{pair}` has no name before the `=`, or one with a space")));
            }
            let url = url.parse::<Url>().map_err(refused)?.to_string();
            match self.0.iter_mut().find(|peer| peer.name == name) {
                Some(peer) => peer.urls.push(url),
                None => self.0.push(Peer { name: name.to_owned(), urls: vec![url] }),
            }
        }
        Ok(())
    }

    /// The identity of the member with this name, or without a name of the only member.
    pub fn identity(&self, flags: IdentityFlags<'_>) -> Result<Identity, String> {
        let peer = self.named_or_only(flags.name)?;
        // etcdutl refuses a member whose own peer URLs are not those in the initial cluster; their order does not
        // matter.
        let own = peer.urls.join(",");
        let peer_urls = flags.peer_urls.unwrap_or(&own);
        if url_set(peer_urls) != url_set(&own) {
            let name = &peer.name;
            return Err(format!(
                "initial-advertise-peer-urls: `{peer_urls}` is not what the cluster has for {name}, {own}; \
                 give --initial-cluster if the addresses are new"
            ));
        }
        Ok(Identity {
            name: peer.name.clone(),
            peer_urls: peer_urls.to_owned(),
            cluster: self.to_string(),
            token: flags.token.to_owned(),
        })
    }

    fn named_or_only(&self, name: Option<&str>) -> Result<&Peer, String> {
        match (name, self.0.as_slice()) {
            (_, []) => {
                Err("initial-cluster: the snapshot records no members; give --name and --initial-cluster".into())
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(format!("name: is not set, and the cluster has the members {}", self.names())),
            (Some(name), _) => self.peer(name).ok_or_else(|| {
                let names = self.names();
                format!("name: `{name}` is none of the members {names}; give --initial-cluster if the members are new")
            }),
        }
    }

    /// Where clients reach these members once they are restored: as the snapshot records it if all are where they were,
    /// else as kubeadm's file lists it, else at the usual port of each peer's host.
    pub fn client_urls(&self, recorded_members: &[snapshot::RecordedMember], layout: &Layout) -> Vec<Url> {
        let recorded = Self::recorded(recorded_members);
        let as_recorded = |peer: &Peer| {
            let same = recorded_members.iter().find(|m| m.name == peer.name);
            let same = same.filter(|_| recorded.0.contains(peer))?;
            // Some versions of etcd record none.
            same.client_urls.iter().find_map(|url| url.parse().ok())
        };
        if let Some(urls) = self.0.iter().map(as_recorded).collect() {
            return urls;
        }
        // A stacked layout has the endpoints of one node only.
        let is_listed = layout.topology == Topology::External && *self == recorded && !layout.endpoints.is_empty();
        let listed: Result<Vec<Url>, _> = layout.endpoints.iter().map(|url| url.parse()).collect();
        match listed {
            Ok(urls) if is_listed => urls,
            _ => self.0.iter().filter_map(Peer::url).map(|url| url.with_port(CLIENT_PORT)).collect(),
        }
    }

    pub fn names(&self) -> String {
        self.0.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// URLs as they are compared: those of a list may end in a slash, those of the cluster do not.
fn url_set(list: &str) -> BTreeSet<String> {
    list.split(',').map(|url| url.parse::<Url>().map_or_else(|_| url.to_owned(), |url| url.to_string())).collect()
}

impl FromStr for InitialCluster {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut cluster = Self::default();
        cluster.add(text)?;
        Ok(cluster)
    }
}

/// As `--initial-cluster` takes it.
impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter().flat_map(|peer| peer.urls.iter().map(|url| format!("{}={url}", peer.name)));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "a=https://h:1,b=https://h:2,a=http://[::1]:3";

    fn identity(text: &str, name: Option<&str>, peer_urls: Option<&str>) -> Result<Identity, String> {
        text.parse::<InitialCluster>().unwrap().identity(IdentityFlags { name, peer_urls, token: "t" })
    }

    #[test]
    fn text_and_back() {
        let cluster: InitialCluster = TWO.parse().unwrap();
        assert_eq!(cluster.to_string(), "a=https://h:1,a=http://[::1]:3,b=https://h:2");
        for bad in
            ["", "a", "a=", "=https://h:1", "a b=https://h:1", "a=h:1", "a=https://h", "a=https://:1", "a=https://h:x"]
        {
            let error = bad.parse::<InitialCluster>().unwrap_err();
            assert!(error.contains("allowed is `name=https://host:2380`"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_a_snapshot_records() {
        let member = |name: &str, learner| snapshot::RecordedMember {
            id: 1,
            name: name.into(),
            peer_urls: vec!["https://h:1".into()],
            client_urls: vec![],
            is_learner: learner,
        };
        let cluster =
            InitialCluster::recorded(&[member("b", false), member("", false), member("c", true), member("a", false)]);
        assert_eq!(cluster.names(), "a, b");
    }

    #[test]
    fn one_members_identity() {
        let b = identity(TWO, Some("b"), None).unwrap();
        assert_eq!((b.name.as_str(), b.peer_urls.as_str(), b.token.as_str()), ("b", "https://h:2", "t"));
        assert_eq!(identity("x=https://h:1", None, None).unwrap().name, "x");
        let swapped = "http://[::1]:3,https://h:1";
        assert_eq!(identity(TWO, Some("a"), Some(swapped)).unwrap().peer_urls, swapped);
        assert!(identity("x=https://h:1/", None, Some("https://h:1/")).is_ok());
        for (name, urls, why) in [
            (None, None, "is not set, and the cluster has the members a, b"),
            (Some("c"), None, "none of the members a, b"),
            (Some("b"), Some("https://h:9"), "is not what the cluster has for b, https://h:2"),
        ] {
            let error = identity(TWO, name, urls).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(
            InitialCluster::default().identity(IdentityFlags::default()).unwrap_err().contains("records no members")
        );
    }

    #[test]
    fn where_clients_reach_the_restored_members() {
        let a = |client_urls: &[&str]| snapshot::RecordedMember {
            id: 1,
            name: "a".into(),
            peer_urls: vec!["https://10.0.0.1:2380".into()],
            client_urls: client_urls.iter().map(ToString::to_string).collect(),
            is_learner: false,
        };
        let only: InitialCluster = "a=https://10.0.0.1:2380".parse().unwrap();
        let moved: InitialCluster = "a=http://[fd00::9]:2380".parse().unwrap();
        let external = |urls: &[&str]| Layout {
            topology: Topology::External,
            endpoints: urls.iter().map(ToString::to_string).collect(),
            ..Layout::default()
        };
        let listed = external(&["https://etcd.example:4001"]);
        for (members, layout, recorded, expected) in [
            (&only, &listed, a(&["odd", "https://10.0.0.1:4000"]), "https://10.0.0.1:4000"),
            (&only, &listed, a(&[]), "https://etcd.example:4001"),
            (&only, &external(&["odd"]), a(&[]), "https://10.0.0.1:2379"),
            (&only, &Layout::default(), a(&[]), "https://10.0.0.1:2379"),
            (&moved, &listed, a(&["https://10.0.0.1:4000"]), "http://[fd00::9]:2379"),
        ] {
            let urls: Vec<_> = members.client_urls(&[recorded], layout).iter().map(Url::to_string).collect();
            assert_eq!(urls, [expected], "{members} {layout:?}");
        }
    }
}
