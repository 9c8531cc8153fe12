//! What kubeadm's ClusterConfiguration says about etcd.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use serde::Deserialize;
use serde_yaml::Value;

use crate::url::Url;

/// Where kubeadm's static pod of a stacked etcd listens.
const STACKED_ENDPOINT: &str = "https://127.0.0.1:2379";

/// How etcd is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// As kubeadm's static pods on the control-plane nodes
    Stacked,
    /// As systemd's service `etcd` on machines of their own
    External,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stacked => "stacked",
            Self::External => "external",
        })
    }
}

/// What a client of etcd needs for TLS: paths of PEM files on a machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// Where etcd is, on the network and on the disks of the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub topology: Topology,
    /// Of a stacked member. kubeadm does not know that of an external one, so there this is the usual one.
    pub data_dir: String,
    /// Where a stacked member keeps its log, if that is not in its data directory.
    pub wal_dir: Option<String>,
    /// From which etcd's image comes, without the image's own name.
    pub image_repository: Option<String>,
    /// For a client of etcd on a control-plane node.
    pub client: Option<TlsFiles>,
    /// Client URLs as written: of all external members, or of the stacked member of this node.
    pub endpoints: Vec<String>,
}

impl Default for Layout {
    /// kubeadm's own defaults.
    fn default() -> Self {
        ClusterConfiguration::default().layout()
    }
}

impl Layout {
    /// Reads a file of one or more YAML documents; the one of kind `ClusterConfiguration` counts.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(configuration(text)?.layout())
    }

    /// Adds the endpoints of this node's stacked member at the node's address, for a pod that has a network of its own
    /// and does not reach the node's loopback interface.
    pub fn add_node_address(&mut self, node: IpAddr) {
        if self.topology == Topology::External {
            return;
        }
        let local = self.endpoints.iter().filter_map(|url| url.parse::<Url>().ok());
        let local = local.filter(|url| url.address().is_some_and(|address| address.is_loopback()));
        let at_node: Vec<_> = local.map(|url| url.with_address(node).to_string()).collect();
        for url in at_node {
            push_if_new(&mut self.endpoints, url);
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration {
    #[serde(default)]
    etcd: Option<EtcdSection>,
    certificates_dir: Option<String>,
    image_repository: Option<String>,
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
    image_repository: Option<String>,
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

/// The keys that are read, by the place where they stand.
const KEYS: [(&[&str], &[&str]); 4] = [
    (&[], &["etcd", "certificatesDir", "imageRepository", "kind", "apiVersion"]),
    (&["etcd"], &["external", "local"]),
    (&["etcd", "external"], &["endpoints", "caFile", "certFile", "keyFile"]),
    (&["etcd", "local"], &["dataDir", "extraArgs", "imageRepository"]),
];

/// Refuses a key that is written with other capitals: it would be passed over, and etcd be looked for elsewhere. Other
/// keys that are not known may be those of a later kubeadm.
fn check_keys(config: &Value) -> Result<(), String> {
    for (place, known) in KEYS {
        let section = place.iter().try_fold(config, |section, key| section.get(key)).and_then(Value::as_mapping);
        for key in section.into_iter().flat_map(|section| section.keys()).filter_map(Value::as_str) {
            if known.contains(&key) {
                continue;
            }
            let path = |key| [place, &[key]].concat().join(".");
            if let Some(right) = known.iter().find(|right| right.eq_ignore_ascii_case(key)) {
                return Err(format!("has the key `{}`, which is written `{}`", path(key), path(right)));
            }
            tracing::debug!(key = path(key), "kubeadm's file has a key that is not used");
        }
    }
    Ok(())
}

fn configuration(text: &str) -> Result<ClusterConfiguration, String> {
    // Some editors begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    for (n, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|e| format!("is not YAML: {e}"))?;
        if value.get("kind").and_then(Value::as_str) == Some("ClusterConfiguration") {
            check_keys(&value)?;
            // Once more from the text: an error then has the line and the column, which a `Value` does not know.
            let document = serde_yaml::Deserializer::from_str(text).nth(n);
            let config = document.map(ClusterConfiguration::deserialize).transpose();
            return config.map(Option::unwrap_or_default).map_err(|e| format!("is not a ClusterConfiguration: {e}"));
        }
    }
    Err("has no document of kind ClusterConfiguration".into())
}

impl ClusterConfiguration {
    fn layout(self) -> Layout {
        let etcd = self.etcd.unwrap_or_default();
        let local = etcd.local.unwrap_or_default();
        let data_dir = or_default(local.data_dir.as_deref(), "/var/lib/etcd").to_owned();
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        match etcd.external {
            // kubeadm refuses a file that has both, so `local` cannot be meant.
            Some(external) => {
                let client = external.ca_file.zip(external.cert_file).zip(external.key_file);
                Layout {
                    topology: Topology::External,
                    data_dir,
                    wal_dir: None,
                    image_repository: None,
                    client: client.map(|((ca, cert), key)| TlsFiles { ca, cert, key }),
                    endpoints: external.endpoints.unwrap_or_default(),
                }
            }
            None => Layout {
                topology: Topology::Stacked,
                data_dir,
                wal_dir: set(local.extra_args.as_ref().and_then(|args| args.get("wal-dir")).map(str::to_owned)),
                image_repository: set(local.image_repository).or_else(|| set(self.image_repository)),
                client: Some(stacked_client(or_default(self.certificates_dir.as_deref(), "/etc/kubernetes/pki"))),
                endpoints: local_endpoints(local.extra_args.as_ref()),
            },
        }
    }
}

// kubeadm, too, takes an empty text for one that is not set.
fn or_default<'a>(text: Option<&'a str>, default: &'a str) -> &'a str {
    text.filter(|text| !text.is_empty()).unwrap_or(default)
}

/// kubeadm makes this client certificate for the health checks of the etcd pod, on every control-plane node.
fn stacked_client(pki: &str) -> TlsFiles {
    TlsFiles {
        ca: format!("{pki}/etcd/ca.crt"),
        cert: format!("{pki}/etcd/healthcheck-client.crt"),
        key: format!("{pki}/etcd/healthcheck-client.key"),
    }
}

/// The node's address is not in a ClusterConfiguration, so without arguments for etcd only its loopback address is
/// known.
fn local_endpoints(args: Option<&ExtraArgs>) -> Vec<String> {
    let flag = |name| args.and_then(|args| args.get(name)).unwrap_or_default();
    let mut endpoints = Vec::new();
    for url in flag("listen-client-urls").split(',').chain(flag("advertise-client-urls").split(',')) {
        let url = url.trim();
        if !url.is_empty() {
            push_if_new(&mut endpoints, dialable(url));
        }
    }
    if endpoints.is_empty() {
        endpoints.push(STACKED_ENDPOINT.into());
    }
    endpoints
}

/// etcd can listen on every interface (`0.0.0.0`), but that is no address to dial.
fn dialable(text: &str) -> String {
    let Ok(url) = text.parse::<Url>() else { return text.to_owned() };
    match url.address().filter(IpAddr::is_unspecified) {
        Some(IpAddr::V4(_)) => url.with_address(Ipv4Addr::LOCALHOST.into()).to_string(),
        Some(IpAddr::V6(_)) => url.with_address(Ipv6Addr::LOCALHOST.into()).to_string(),
        None => text.to_owned(),
    }
}

fn push_if_new(urls: &mut Vec<String>, url: String) {
    if !urls.contains(&url) {
        urls.push(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = STACKED_ENDPOINT;

    fn parse(etcd: &str) -> Layout {
        Layout::parse(&format!("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n{etcd}\n")).unwrap()
    }

    #[test]
    fn a_stacked_member_is_also_found_at_the_nodes_address() {
        let at = |etcd: &str, node: &str| {
            let mut layout = parse(etcd);
            layout.add_node_address(node.parse().unwrap());
            layout.endpoints
        };
        assert_eq!(at("", "10.0.0.7"), [LOCAL, "https://10.0.0.7:2379"]);
        assert_eq!(at("", "fd00::7"), [LOCAL, "https://[fd00::7]:2379"]);
        assert_eq!(at("", "127.0.0.1"), [LOCAL]);
        let advertised = "etcd: {local: {extraArgs: {advertise-client-urls: 'https://10.0.0.9:2379,odd'}}}";
        assert_eq!(at(advertised, "10.0.0.7"), ["https://10.0.0.9:2379", "odd"]);
        assert_eq!(at(&format!("etcd: {{external: {{endpoints: ['{LOCAL}']}}}}"), "10.0.0.7"), [LOCAL]);
    }

    #[test]
    fn external() {
        let layout = parse(
            "etcd:\n  external:\n    caFile: /a\n    certFile: /b\n    keyFile: /c\n    endpoints:\n    - https://h:1\n    - https://h:2\nunknown: {a: [1]}",
        );
        let expected = Layout {
            topology: Topology::External,
            data_dir: "/var/lib/etcd".into(),
            wal_dir: None,
            image_repository: None,
            client: Some(TlsFiles { ca: "/a".into(), cert: "/b".into(), key: "/c".into() }),
            endpoints: vec!["https://h:1".into(), "https://h:2".into()],
        };
        assert_eq!(layout, expected);
        assert_eq!(parse("etcd: {external: {endpoints: [], caFile: /a}}").client, None);
    }

    #[test]
    fn stacked_in_every_spelling() {
        for etcd in ["", "etcd: {}", "etcd: null", "etcd:\n  local: {}", "etcd:\n  local:\n    dataDir: /var/lib/etcd"]
        {
            assert_eq!(parse(etcd), Layout::default(), "{etcd}");
        }
        let default = Layout::default();
        assert_eq!((default.topology, default.endpoints), (Topology::Stacked, vec![LOCAL.to_owned()]));
        assert_eq!(default.client.unwrap().ca, "/etc/kubernetes/pki/etcd/ca.crt");
    }

    #[test]
    fn stacked_elsewhere() {
        let layout = parse("certificatesDir: /pki\netcd: {local: {dataDir: /data/etcd}}");
        assert_eq!((layout.topology, layout.data_dir.as_str()), (Topology::Stacked, "/data/etcd"));
        assert_eq!(layout.client.unwrap().key, "/pki/etcd/healthcheck-client.key");
    }

    #[test]
    fn client_urls_in_both_shapes() {
        let map = "etcd:\n  local:\n    extraArgs:\n      listen-client-urls: https://0.0.0.0:2479,https://[::]:2479";
        assert_eq!(parse(map).endpoints, ["https://127.0.0.1:2479", "https://[::1]:2479"]);
        let list = "etcd:\n  local:\n    extraArgs:\n    - {name: advertise-client-urls, value: 'https://10.0.0.9:2379'}\n    - {name: quota-backend-bytes, value: '1'}";
        assert_eq!(parse(list).endpoints, ["https://10.0.0.9:2379"]);
    }

    #[test]
    fn the_log_in_both_shapes_and_the_images() {
        let map = parse("etcd: {local: {extraArgs: {wal-dir: /wal}}}\nimageRepository: images.example");
        assert_eq!((map.wal_dir.as_deref(), map.image_repository.as_deref()), (Some("/wal"), Some("images.example")));
        let list = parse("etcd: {local: {imageRepository: own.example, extraArgs: [{name: wal-dir, value: /wal}]}}");
        assert_eq!((list.wal_dir.as_deref(), list.image_repository.as_deref()), (Some("/wal"), Some("own.example")));
        assert_eq!(parse("etcd: {local: {extraArgs: {wal-dir: ''}}}\nimageRepository: ''"), Layout::default());
    }

    #[test]
    fn many_documents() {
        let text = "kind: InitConfiguration\n---\nkind: ClusterConfiguration\netcd:\n  external: {endpoints: ['https://a:1']}\n---\nkind: KubeletConfiguration\n";
        assert_eq!(Layout::parse(text).unwrap().endpoints, ["https://a:1"]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        let etcd = "etcd:\n  external: {endpoints: ['https://a:1']}";
        for text in [format!("kind: ClusterConfiguration\n{etcd}\n"), format!("{etcd}\nkind: ClusterConfiguration\n")] {
            let marked = Layout::parse(&format!("\u{feff}{text}")).unwrap();
            assert_eq!(marked, Layout::parse(&text).unwrap());
            assert_eq!(marked.endpoints, ["https://a:1"]);
        }
    }

    #[test]
    fn a_key_in_other_capitals_is_refused() {
        let of = |config: &str| Layout::parse(&format!("kind: ClusterConfiguration\n{config}\n"));
        for (config, wrong, right) in [
            ("Etcd: {external: {endpoints: ['https://h:1']}}", "Etcd", "etcd"),
            ("etcd: {External: {endpoints: ['https://h:1']}}", "etcd.External", "etcd.external"),
            ("etcd: {LOCAL: {dataDir: /d}}", "etcd.LOCAL", "etcd.local"),
            ("etcd: {external: {Endpoints: ['https://h:1']}}", "etcd.external.Endpoints", "etcd.external.endpoints"),
            ("etcd: {external: {cafile: /a}}", "etcd.external.cafile", "etcd.external.caFile"),
            ("etcd: {local: {datadir: /d}}", "etcd.local.datadir", "etcd.local.dataDir"),
            ("etcd: {local: {extraargs: {}}}", "etcd.local.extraargs", "etcd.local.extraArgs"),
            ("certificatesdir: /pki", "certificatesdir", "certificatesDir"),
            ("etcd: {}\nETCD: {}", "ETCD", "etcd"),
        ] {
            let refused = of(config).unwrap_err();
            assert_eq!(refused, format!("has the key `{wrong}`, which is written `{right}`"));
        }
        let newer = "etcd: {local: {later: 1, imageTag: x}, later: {External: 1}}\nlater: {Etcd: 1}\n1: 2";
        assert_eq!(of(newer).unwrap(), Layout::default());
        // Another document is none of ours.
        assert!(Layout::parse("kind: Other\nEtcd: {}\n---\nkind: ClusterConfiguration\n").is_ok());
        for twice in ["etcd: {}\netcd: {}", "etcd: {external: {}, external: {}}"] {
            assert!(of(twice).unwrap_err().contains("duplicate"), "{twice}");
        }
    }

    #[test]
    fn unreadable_files_are_refused() {
        for (text, why) in [
            ("a: [", "not YAML"),
            ("kind: Pod\n", "no document"),
            ("", "no document"),
            ("kind: ClusterConfiguration\netcd: 5\n", "not a ClusterConfiguration"),
        ] {
            let error = Layout::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
