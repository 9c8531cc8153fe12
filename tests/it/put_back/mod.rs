//! `put-back`: what was deleted is there again byte for byte, and nothing else has changed.

mod keys;
mod meanwhile;
mod namespace;
mod refused;
mod repeat;
mod warnings;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    etcd::Cluster,
    kubernetes::{SECRET, save},
    output::Report,
    run::Run,
    traffic::Kv,
};

const UID: &str = "11111111-aaaa-4bbb-8ccc-222222222222";

fn put(cluster: &Cluster, objects: &[(String, Vec<u8>)]) {
    cluster.client(0, async |client| {
        for (key, value) in objects {
            client.put(key.as_str(), value.as_slice(), None).await.unwrap();
        }
    });
}

fn delete(cluster: &Cluster, keys: &[&str]) {
    cluster.client(0, async |client| {
        for key in keys {
            assert_eq!(client.delete(*key, None).await.unwrap().deleted(), 1, "{key}");
        }
    });
}

fn backup_of(cluster: &Cluster) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.etcdb");
    fs::write(&path, save(cluster)).unwrap();
    (folder, path)
}

fn put_back(cluster: &Cluster, backup: &Path, args: &[&str]) -> Run {
    Run::new().etcd(cluster).arg("put-back").arg(backup).args(args).secret(SECRET)
}

fn by_key(keys: Vec<Kv>) -> BTreeMap<Vec<u8>, Kv> {
    keys.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

/// What became of each key.
fn results(report: &Report) -> BTreeMap<String, String> {
    let keys = report.value("keys").as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.map(|line| (text(&line["key"]), text(&line["result"]))).collect()
}

fn count(report: &Report, field: &str) -> u64 {
    report.value("counts")[field].as_u64().unwrap()
}

fn name(i: usize) -> String {
    format!("/registry/pods/default/web-{i:04}")
}

/// The texts of the warnings, each after its kind.
fn told(report: &Report) -> Vec<String> {
    let warnings = report.value("warnings").as_array().unwrap().iter();
    warnings.map(|w| format!("{}: {}", w["warning"].as_str().unwrap(), w["text"].as_str().unwrap())).collect()
}

/// The name of the program in a command, and the other words that a shell makes of it.
fn shell_words(command: &str) -> (String, Vec<String>) {
    let output = Command::new("bash").args(["-c", &format!("printf '%s\\n' {command}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.lines().map(str::to_owned);
    (words.next().unwrap(), words.collect())
}
