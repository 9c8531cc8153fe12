//! Which members are asked first, and which setting or file names them.

use std::path::{Path, PathBuf};

use super::settings_dir::SettingsDir;
use super::{env, present};
use crate::cli::EtcdArgs;
use crate::exit::Failure;
use crate::kubernetes::kubeadm::Layout;
use crate::system::fs::read_small_text;
use crate::url::Url;

const VARIABLE: &str = "ETCDCTL_ENDPOINTS";
const KUBEADM_FILE: &str = "/k8s/config.yaml";

/// The members to ask first; they name the others.
#[derive(Debug)]
pub struct Endpoints {
    /// Where they were found, for the log, such as `ETCDCTL_ENDPOINTS`.
    pub source: String,
    /// At least one.
    pub urls: Vec<Url>,
}

/// Takes them from the first source that is not empty: flag, environment, ConfigMap, kubeadm's file.
pub fn find(args: &EtcdArgs, settings: &SettingsDir) -> Result<Endpoints, Failure> {
    if let Some(list) = not_blank(args.endpoints.clone()) {
        // clap does not tell which of the two it took. Only the log needs to know.
        let from_environment = env::var(VARIABLE).is_ok_and(|variable| variable == list);
        let source = if from_environment { VARIABLE } else { "--endpoints" };
        return Ok(Endpoints { source: source.into(), urls: parse_list(&list)? });
    }
    let path = settings.path_of("endpoints");
    let map = path.display();
    if let Some(list) = not_blank(settings.or(None, "endpoints").map_err(Failure::settings)?) {
        return Ok(Endpoints { source: format!("endpoints in {map}"), urls: parse_list(&list)? });
    }
    match from_kubeadm(args)? {
        KubeadmFile::Lists(endpoints) => Ok(endpoints),
        KubeadmFile::ListsNone(why) => {
            let why = format!("{VARIABLE} and --endpoints are not set, {map} is empty or not there, and {why}");
            Err(Failure::settings(format!("endpoints: no etcd member is named: {why}")))
        }
    }
}

/// The endpoints of a plan, if they were given; `None` if the list is blank.
pub fn given(list: Option<&str>) -> Result<Option<Vec<Url>>, Failure> {
    not_blank(list.map(ToOwned::to_owned)).map(|list| parse_list(&list)).transpose()
}

fn not_blank(list: Option<String>) -> Option<String> {
    // Kubernetes mounts an empty key as an empty file, and scripts pass an unset variable on as an empty one.
    list.filter(|list| !list.trim().is_empty())
}

/// What kubeadm's file says, and its path; `None` when there is no such file.
pub fn layout(written: Option<&str>) -> Result<Option<(PathBuf, Layout)>, Failure> {
    let Some(path) = present(written).map(PathBuf::from).or_else(default_kubeadm_file) else { return Ok(None) };
    let layout = read(&path)?;
    Ok(Some((path, layout)))
}

fn default_kubeadm_file() -> Option<PathBuf> {
    Some(PathBuf::from(KUBEADM_FILE)).filter(|path| path.exists())
}

fn read(path: &Path) -> Result<Layout, Failure> {
    let shown = path.display();
    let text =
        read_small_text(path).map_err(|e| Failure::settings(format!("kubeadm-config: cannot read {shown}: {e}")))?;
    Layout::parse(&text).map_err(|why| Failure::settings(format!("kubeadm-config: {shown} {why}")))
}

enum KubeadmFile {
    Lists(Endpoints),
    /// With the reason.
    ListsNone(String),
}

fn from_kubeadm(args: &EtcdArgs) -> Result<KubeadmFile, Failure> {
    let Some((path, mut layout)) = layout(args.kubeadm_config.as_deref())? else {
        return Ok(KubeadmFile::ListsNone(format!("there is no kubeadm file at {KUBEADM_FILE}")));
    };
    if let Some(node) = args.host_ip {
        layout.add_node_address(node);
    }
    let (shown, topology) = (path.display(), layout.topology);
    if layout.endpoints.is_empty() {
        return Ok(KubeadmFile::ListsNone(format!("etcd.external in {shown} has no endpoints")));
    }
    let urls = parse_all(&format!("kubeadm-config: {shown}"), layout.endpoints.iter().map(String::as_str))?;
    Ok(KubeadmFile::Lists(Endpoints { source: format!("{shown} ({topology} etcd)"), urls }))
}

fn parse_list(list: &str) -> Result<Vec<Url>, Failure> {
    parse_all("endpoints", list.split(','))
}

fn parse_all<'a>(setting: &str, texts: impl Iterator<Item = &'a str>) -> Result<Vec<Url>, Failure> {
    let mut urls: Vec<Url> = Vec::new();
    for text in texts {
        let url = text.parse().map_err(|why| {
            let advice = if text.contains('@') {
                "set ETCDCTL_USER instead"
            } else {
                "an endpoint is written like https://10.0.0.1:2379"
            };
            Failure::settings(format!("{setting}: {why}; {advice}"))
        })?;
        // The same member is not asked twice.
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Ok(urls)
}
