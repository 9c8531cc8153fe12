//! Which members to ask first, and who said so.

use std::path::{Path, PathBuf};

use super::settings_dir::SettingsDir;
use super::{env, present};
use crate::cli::EtcdArgs;
use crate::exit::Failure;
use crate::kubernetes::kubeadm::{self, Layout};
use crate::url::Url;

const VARIABLE: &str = "ETCDCTL_ENDPOINTS";
const KUBEADM_FILE: &str = "/k8s/config.yaml";

/// Where the endpoints come from, and what they are.
#[derive(Debug)]
pub struct Seeds {
    /// For the log, such as `ETCDCTL_ENDPOINTS`.
    pub source: String,
    /// The first members to ask; at least one.
    pub endpoints: Vec<Url>,
}

/// Takes the first source that says anything: flag, environment, ConfigMap, kubeadm's file. The inner error names all
/// of them, when none does.
///
/// # Errors
/// A source that says something wrong.
pub fn find(args: &EtcdArgs, settings: &SettingsDir) -> Result<Result<Seeds, String>, Failure> {
    let source = |source: String, list: String| {
        Ok(Ok(Seeds { source, endpoints: endpoint_list("endpoints", list.split(','))? }))
    };
    if let Some(list) = said(args.endpoints.clone()) {
        // clap has merged the two; they differ only in what the log says.
        let from_environment = env::var(VARIABLE).is_ok_and(|variable| variable == list);
        return source(if from_environment { VARIABLE } else { "--endpoints" }.into(), list);
    }
    let map = settings.path_of("endpoints");
    if let Some(list) = said(settings.or(None, "endpoints").map_err(Failure::settings)?) {
        return source(format!("endpoints in {}", map.display()), list);
    }
    let silent = |kubeadm| format!("{VARIABLE} and --endpoints are not set, {} says nothing, {kubeadm}", map.display());
    Ok(kubeadm_seeds(args)?.map_err(silent))
}

/// A list of nothing but blanks is none.
fn said(list: Option<String>) -> Option<String> {
    list.filter(|list| !list.trim().is_empty())
}

/// Where kubeadm's file says that things are on the cluster's machines, and the file; `None` when there is none.
///
/// # Errors
/// A file that cannot be read.
pub fn layout(written: Option<&str>) -> Result<Option<(PathBuf, Layout)>, Failure> {
    let Some(path) = kubeadm_file(written) else { return Ok(None) };
    let layout = read(&path, kubeadm::layout)?;
    Ok(Some((path, layout)))
}

fn kubeadm_file(written: Option<&str>) -> Option<PathBuf> {
    match present(written) {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(PathBuf::from(KUBEADM_FILE)).filter(|path| path.exists()),
    }
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::settings(format!("kubeadm-config: cannot read {shown}: {e}")))?;
    parse(&text).map_err(|why| Failure::settings(format!("kubeadm-config: {shown} {why}")))
}

/// The outer error is a file that is wrong, the inner one a file that is not there.
fn kubeadm_seeds(args: &EtcdArgs) -> Result<Result<Seeds, String>, Failure> {
    let Some(path) = kubeadm_file(args.kubeadm_config.as_deref()) else {
        return Ok(Err(format!("and there is no kubeadm file at {KUBEADM_FILE}")));
    };
    let shown = path.display();
    let etcd = read(&path, kubeadm::parse)?.also_at(args.host_ip);
    let (kind, urls) = etcd.urls();
    if urls.is_empty() {
        return Ok(Err(format!("and etcd.external in {shown} has no endpoints")));
    }
    let endpoints = endpoint_list(&format!("kubeadm-config: {shown}"), urls.iter().map(String::as_str))?;
    Ok(Ok(Seeds { source: format!("{shown} ({kind} etcd)"), endpoints }))
}

fn endpoint_list<'a>(setting: &str, list: impl Iterator<Item = &'a str>) -> Result<Vec<Url>, Failure> {
    let mut endpoints: Vec<Url> = Vec::new();
    for text in list {
        let endpoint = text.parse().map_err(|why| {
            let instead = if text.contains('@') {
                "set ETCDCTL_USER instead"
            } else {
                "an endpoint is written like https://10.0.0.1:2379"
            };
            Failure::settings(format!("{setting}: {why}; {instead}"))
        })?;
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}
