//! Kubernetes' own schemas, and checkov, on what is rendered. `make judges` unpacks both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use super::render::{Render, everything, root};
use crate::support::tools;

/// The judges' folder; none is a reason to skip on a laptop, and a failure in CI.
fn judges() -> Option<PathBuf> {
    let folder = root().join("target/judges");
    if folder.join(".installed").exists() {
        return Some(folder);
    }
    tools::skip("`make judges` unpacks the judges");
    None
}

fn python(judges: &Path, module: &str, args: &[&str]) -> Output {
    Command::new("python3")
        .env("PYTHONPATH", judges)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", module])
        .args(args)
        .output()
        .expect("python3")
}

/// Checks the files strictly against one version's schemas; answers its complaints.
fn complaints(judges: &Path, version: &str, folder: &TempDir) -> String {
    let files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path().into_os_string().into_string().unwrap())
        .collect();
    let mut args = vec!["--strict", "--quiet", "--kubernetes-version", version];
    args.extend(files.iter().map(String::as_str));
    let output = python(judges, "kubernetes_validate", &args);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), said.trim().is_empty(), "{said}");
    said
}

/// The oldest and the newest version whose schemas the judge carries, such as `1.25.0`.
fn oldest_and_newest(judges: &Path) -> [String; 2] {
    let schemas = judges.join("kubernetes_validate/kubernetes-json-schema");
    let mut versions: Vec<Vec<u32>> = fs::read_dir(schemas)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let version = name.strip_prefix('v')?.strip_suffix("-local-strict")?.to_owned();
            Some(version.split('.').map(|part| part.parse().unwrap()).collect())
        })
        .collect();
    versions.sort();
    let [Some(oldest), Some(newest)] = [versions.first(), versions.last()] else {
        panic!("no schemas in {}", judges.display());
    };
    [oldest, newest].map(|version| version.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

#[test]
fn everything_fits_the_schemas_of_the_oldest_and_the_newest_kubernetes() {
    let Some(judges) = judges() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, render) in everything() {
        fs::write(folder.path().join(format!("{name}.yaml")), &render.text).unwrap();
    }
    for version in oldest_and_newest(&judges) {
        assert_eq!(complaints(&judges, &version, &folder), "", "Kubernetes {version}");
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_noticed() {
    let Some(judges) = judges() else { return };
    let folder = tempfile::tempdir().unwrap();
    let misspelt = Render::shipped("etcd-backup-s3").text.replace("backoffLimit", "backOffLimit");
    fs::write(folder.path().join("misspelt.yaml"), misspelt).unwrap();
    for version in oldest_and_newest(&judges) {
        let said = complaints(&judges, &version, &folder);
        assert!(said.contains("backOffLimit"), "Kubernetes {version}: {said}");
    }
}

/// What checkov may find, and why it stays.
const EXCUSED: [&str; 2] = [
    // Host network: a stacked etcd answers on the node's loopback address.
    "CKV_K8S_19",
    // An added capability: DAC_OVERRIDE, for key files that belong to a user `etcd` with mode 0400.
    "CKV_K8S_25",
];

/// Judged with an image pinned by digest, which only the one who pushes the image can know.
#[test]
fn checkov_finds_nothing_that_is_not_excused() {
    let Some(judges) = judges() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s3.yaml");
    fs::write(&file, Render::shipped("examples/own-image").text).unwrap();
    let args = ["--file", file.to_str().unwrap(), "--framework", "kubernetes"];
    // `--skip-download`: it asks no server for anything.
    let flags = ["--skip-download", "--soft-fail", "--output", "json"];
    let output = python(&judges, "checkov.main", &[args, flags].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert!(report["summary"]["passed"].as_u64() > Some(80), "{}", report["summary"]);
    let failed = report["results"]["failed_checks"].as_array().unwrap();
    let mut found: Vec<_> = failed.iter().map(|check| check["check_id"].as_str().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, EXCUSED, "{failed:#?}");
}
