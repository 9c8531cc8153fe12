//! What kubeadm's ClusterConfiguration says about etcd.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_yaml::Value;

use crate::url::Url;

/// Where kubeadm's static pod of a stacked etcd listens.
const STACKED: &str = "https://127.0.0.1:2379";

/// Where the configuration says that etcd is.
#[derive(Debug, PartialEq, Eq)]
pub enum Etcd {
    /// `etcd.external.endpoints`, as written.
    External(Vec<String>),
    /// One member on each control-plane node; the client URLs of this node's.
    Stacked(Vec<String>),
}

impl Etcd {
    /// The client URLs to begin with, and a name for the kind in the log.
    pub fn urls(&self) -> (&'static str, &[String]) {
        match self {
            Self::External(urls) => ("external", urls),
            Self::Stacked(urls) => ("stacked", urls),
        }
    }

    /// Also looks for this node's member at the node's address, for a pod that does not share the node's network.
    #[must_use]
    pub fn also_at(mut self, node: Option<IpAddr>) -> Self {
        if let (Self::Stacked(urls), Some(node)) = (&mut self, node) {
            for local in urls.clone() {
                let parsed = local.parse::<Url>().ok().filter(|url| url.address().is_some_and(|a| a.is_loopback()));
                let at_node = parsed.map_or(local, |url| url.with_address(node).to_string());
                if !urls.contains(&at_node) {
                    urls.push(at_node);
                }
            }
        }
        self
    }
}

/// Where things are on the machines of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whether etcd is a static pod of each control-plane node.
    pub stacked: bool,
    /// The member's data folder, when it is.
    pub data_dir: String,
    /// Authority, certificate and key of a client of etcd, on a control-plane node.
    pub client: Option<[String; 3]>,
    /// The members' client URLs, where the file lists them.
    pub endpoints: Vec<String>,
}

impl Default for Layout {
    /// kubeadm's own defaults.
    fn default() -> Self {
        layout_of(ClusterConfiguration::default())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration {
    #[serde(default)]
    etcd: Option<EtcdSection>,
    certificates_dir: Option<String>,
}

#[derive(Default, Deserialize)]
struct EtcdSection {
    external: Option<External>,
    local: Option<Local>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct External {
    endpoints: Option<Vec<String>>,
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Local {
    data_dir: Option<String>,
    extra_args: Option<ExtraArgs>,
}

/// A map up to `kubeadm.k8s.io/v1beta3`, a list of name and value from v1beta4 on.
#[derive(Deserialize)]
#[serde(untagged)]
enum ExtraArgs {
    Map(BTreeMap<String, String>),
    List(Vec<Arg>),
}

#[derive(Deserialize)]
struct Arg {
    name: String,
    #[serde(default)]
    value: String,
}

impl ExtraArgs {
    fn get(&self, name: &str) -> Option<&str> {
        match self {
            Self::Map(map) => map.get(name).map(String::as_str),
            // The last one wins, as on etcd's own command line.
            Self::List(list) => list.iter().rev().find(|arg| arg.name == name).map(|arg| arg.value.as_str()),
        }
    }
}

/// Reads a file of one or more YAML documents; the one of kind `ClusterConfiguration` counts.
///
/// # Errors
/// What is wrong with the text, for a person.
pub fn parse(text: &str) -> Result<Etcd, String> {
    Ok(locate(configuration(text)?.etcd.unwrap_or_default()))
}

/// Reads where things are on the machines.
///
/// # Errors
/// As [`parse`].
pub fn layout(text: &str) -> Result<Layout, String> {
    Ok(layout_of(configuration(text)?))
}

fn configuration(text: &str) -> Result<ClusterConfiguration, String> {
    for (n, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|e| format!("is not YAML: {e}"))?;
        if value.get("kind").and_then(Value::as_str) == Some("ClusterConfiguration") {
            // Once more from the text: an error then says where.
            let document = serde_yaml::Deserializer::from_str(text).nth(n);
            let config = document.map(ClusterConfiguration::deserialize).transpose();
            return config.map(Option::unwrap_or_default).map_err(|e| format!("is not a ClusterConfiguration: {e}"));
        }
    }
    Err("has no document of kind ClusterConfiguration".into())
}

fn layout_of(config: ClusterConfiguration) -> Layout {
    let set = |text: Option<String>, default: &str| text.filter(|t| !t.is_empty()).unwrap_or_else(|| default.into());
    let pki = set(config.certificates_dir, "/etc/kubernetes/pki");
    let etcd = config.etcd.unwrap_or_default();
    let data_dir = set(etcd.local.and_then(|local| local.data_dir), "/var/lib/etcd");
    let Some(external) = etcd.external else {
        let client = ["ca.crt", "healthcheck-client.crt", "healthcheck-client.key"];
        let client = Some(client.map(|file| format!("{pki}/etcd/{file}")));
        return Layout { stacked: true, data_dir, client, endpoints: Vec::new() };
    };
    let client = external.ca_file.zip(external.cert_file).zip(external.key_file);
    Layout {
        stacked: false,
        data_dir,
        client: client.map(|((ca, cert), key)| [ca, cert, key]),
        endpoints: external.endpoints.unwrap_or_default(),
    }
}

fn locate(etcd: EtcdSection) -> Etcd {
    if let Some(external) = etcd.external {
        return Etcd::External(external.endpoints.unwrap_or_default());
    }
    let args = etcd.local.unwrap_or_default().extra_args;
    let flag = |name| args.as_ref().and_then(|a| a.get(name)).unwrap_or_default();
    let mut urls: Vec<String> = Vec::new();
    for url in flag("listen-client-urls").split(',').chain(flag("advertise-client-urls").split(',')) {
        let url = dialable(url.trim());
        if !url.is_empty() && !urls.contains(&url) {
            urls.push(url);
        }
    }
    if urls.is_empty() {
        urls.push(STACKED.into());
    }
    Etcd::Stacked(urls)
}

/// Every interface can be listened on, but not dialled. The loopback interface is the node's own, as the pod shares the
/// node's network.
fn dialable(url: &str) -> String {
    let everywhere = |url: &Url| url.address().filter(IpAddr::is_unspecified);
    match url.parse::<Url>().ok().and_then(|parsed| Some((everywhere(&parsed)?, parsed))) {
        Some((IpAddr::V4(_), parsed)) => parsed.with_address(Ipv4Addr::LOCALHOST.into()).to_string(),
        Some((IpAddr::V6(_), parsed)) => parsed.with_address(Ipv6Addr::LOCALHOST.into()).to_string(),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacked(urls: &[&str]) -> Etcd {
        Etcd::Stacked(urls.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_stacked_member_is_also_sought_at_the_nodes_address() {
        let at = |etcd: Etcd, node: &str| etcd.also_at(Some(node.parse().unwrap())).urls().1.to_vec();
        let stacked = || Etcd::Stacked(vec![STACKED.into()]);
        assert_eq!(at(stacked(), "10.0.0.7"), [STACKED, "https://10.0.0.7:2379"]);
        assert_eq!(at(stacked(), "fd00::7"), [STACKED, "https://[fd00::7]:2379"]);
        assert_eq!(at(stacked(), "127.0.0.1"), [STACKED]);
        assert_eq!(at(Etcd::External(vec![STACKED.into()]), "10.0.0.7"), [STACKED]);
        assert_eq!(stacked().also_at(None).urls().1, [STACKED]);
    }

    #[test]
    fn external() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\netcd:\n  external:\n    caFile: /x\n    endpoints:\n    - https://10.0.0.1:2379\n    - https://10.0.0.2:2379\nunknown: {a: [1]}\n";
        assert_eq!(
            parse(text),
            Ok(Etcd::External(vec!["https://10.0.0.1:2379".into(), "https://10.0.0.2:2379".into()]))
        );
    }

    #[test]
    fn stacked_in_every_spelling() {
        for etcd in ["", "etcd: {}", "etcd: null", "etcd:\n  local: {}", "etcd:\n  local:\n    dataDir: /var/lib/etcd"]
        {
            assert_eq!(parse(&format!("kind: ClusterConfiguration\n{etcd}\n")), Ok(stacked(&[STACKED])), "{etcd}");
        }
    }

    #[test]
    fn client_urls_in_both_shapes() {
        let map = "kind: ClusterConfiguration\netcd:\n  local:\n    extraArgs:\n      listen-client-urls: https://0.0.0.0:2479,https://[::]:2479\n";
        assert_eq!(parse(map), Ok(stacked(&["https://127.0.0.1:2479", "https://[::1]:2479"])));
        let list = "kind: ClusterConfiguration\netcd:\n  local:\n    extraArgs:\n    - {name: advertise-client-urls, value: 'https://10.0.0.9:2379'}\n    - {name: quota-backend-bytes, value: '1'}\n";
        assert_eq!(parse(list), Ok(stacked(&["https://10.0.0.9:2379"])));
    }

    #[test]
    fn where_things_are() {
        let stacked = layout("kind: ClusterConfiguration\n").unwrap();
        assert_eq!(stacked, Layout::default());
        assert_eq!((stacked.stacked, stacked.data_dir.as_str()), (true, "/var/lib/etcd"));
        assert_eq!(stacked.client.unwrap()[0], "/etc/kubernetes/pki/etcd/ca.crt");
        let moved = layout("kind: ClusterConfiguration\ncertificatesDir: /pki\netcd: {local: {dataDir: /data/etcd}}\n");
        let moved = moved.unwrap();
        assert_eq!(
            (moved.data_dir.as_str(), moved.client.unwrap()[2].as_str()),
            ("/data/etcd", "/pki/etcd/healthcheck-client.key")
        );
        let external = "kind: ClusterConfiguration\netcd: {external: {caFile: /a, certFile: /b, keyFile: /c, endpoints: ['https://h:1']}}\n";
        let expected = Layout {
            stacked: false,
            data_dir: "/var/lib/etcd".into(),
            client: Some(["/a", "/b", "/c"].map(Into::into)),
            endpoints: vec!["https://h:1".into()],
        };
        assert_eq!(layout(external), Ok(expected));
        assert_eq!(layout("kind: ClusterConfiguration\netcd: {external: {endpoints: []}}\n").unwrap().client, None);
    }

    #[test]
    fn many_documents() {
        let text = "kind: InitConfiguration\n---\nkind: ClusterConfiguration\netcd:\n  external: {endpoints: ['https://a:1']}\n---\nkind: KubeletConfiguration\n";
        assert_eq!(parse(text), Ok(Etcd::External(vec!["https://a:1".into()])));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(parse("a: [").unwrap_err().contains("not YAML"));
        assert!(parse("kind: Pod\n").unwrap_err().contains("no document"));
        assert!(parse("").unwrap_err().contains("no document"));
        assert!(parse("kind: ClusterConfiguration\netcd: 5\n").unwrap_err().contains("not a ClusterConfiguration"));
    }
}
