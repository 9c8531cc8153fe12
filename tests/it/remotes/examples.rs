//! rclone/: the placeholder and the example for each provider, as rclone itself reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{remote::Remote, run::Run, tools};

/// A section of a configuration: its type and its options.
type Section = BTreeMap<String, String>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rclone")
}

/// The placeholder and the examples.
fn files() -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder().join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(folder().join("rclone.conf"));
    files.sort();
    files
}

fn rclone(config: &Path, args: &[&str]) -> Vec<u8> {
    let output = tools::command(tools::tool("rclone")).arg("--config").arg(config).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn sections(file: &Path) -> BTreeMap<String, Section> {
    serde_json::from_slice(&rclone(file, &["config", "dump"])).unwrap()
}

/// Each backend's options, by the backend's name.
fn backends() -> BTreeMap<String, BTreeMap<String, Value>> {
    let all: Vec<Value> = serde_json::from_slice(&rclone(Path::new("/dev/null"), &["config", "providers"])).unwrap();
    let name = |value: &Value| value["Name"].as_str().unwrap().to_owned();
    let options = |backend: &Value| -> BTreeMap<String, Value> {
        backend["Options"].as_array().unwrap().iter().map(|option| (name(option), option.clone())).collect()
    };
    all.iter().map(|backend| (name(backend), options(backend))).collect()
}

/// The values that an option offers.
fn offered(option: &Value) -> Vec<&str> {
    option["Examples"].as_array().into_iter().flatten().filter_map(|example| example["Value"].as_str()).collect()
}

#[test]
fn the_options_of_every_backend_pass() {
    needs!("rclone");
    let all: Vec<Value> = serde_json::from_slice(&rclone(Path::new("/dev/null"), &["config", "providers"])).unwrap();
    let prefixes = all.iter().flat_map(|backend| [&backend["Prefix"], &backend["Name"]]);
    // A variable with a space in its name is none; rclone reads the prefix, which has no space.
    let prefixes: BTreeSet<_> = prefixes.filter_map(Value::as_str).filter(|prefix| !prefix.contains(' ')).collect();
    let prefixes: Vec<_> = prefixes.into_iter().filter(|prefix| *prefix != "oracleobjectstorage").collect();
    assert!(prefixes.len() > 60, "{prefixes:?}");
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("environment");
    let variable = |prefix: &str| format!("RCLONE_{}_NO_SUCH_OPTION", prefix.to_uppercase());
    let run = prefixes.iter().fold(Run::new().arg("list"), |run, prefix| run.env(variable(prefix), "x"));
    let script = format!("#!/bin/sh\nenv > '{}'\nexec REAL \"$@\"\n", seen.display());
    run.store(&Remote::folder()).env("RCLONE_NO_TRAVERSE", "x").rclone_is(&script).exits(0);
    let seen = fs::read_to_string(seen).unwrap();
    for prefix in prefixes {
        let set = format!("{}=x", variable(prefix));
        assert!(seen.lines().any(|line| line == set), "{prefix} does not pass");
    }
    assert!(!seen.contains("RCLONE_NO_TRAVERSE"), "{seen}");
}

#[test]
fn every_provider_has_its_file() {
    needs!("rclone");
    let names: Vec<_> = files().iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let wanted = [
        "aws-s3-instance-role.conf",
        "aws-s3.conf",
        "azure-blob.conf",
        "backblaze-b2.conf",
        "ceph.conf",
        "google-cloud-storage.conf",
        "local-path.conf",
        "minio.conf",
        "naver-cloud.conf",
        "oracle-oci.conf",
        "seaweedfs.conf",
        "sftp.conf",
        "rclone.conf",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn rclone_knows_every_backend_option_and_provider() {
    needs!("rclone");
    let backends = backends();
    for file in files() {
        for (name, section) in sections(&file) {
            let place = format!("{} [{name}]", file.display());
            let options = backends.get(&section["type"]).unwrap_or_else(|| panic!("{place}: no such type"));
            for (key, value) in section.iter().filter(|(key, _)| *key != "type") {
                let option = options.get(key).unwrap_or_else(|| panic!("{place}: no option {key}"));
                let closed = option["Exclusive"] == true || key == "provider";
                assert!(!closed || offered(option).contains(&value.as_str()), "{place}: {key} = {value}");
            }
        }
    }
}

#[test]
fn a_bucket_is_never_created() {
    needs!("rclone");
    let backends = backends();
    for file in files() {
        for (name, section) in sections(&file) {
            let options = &backends[&section["type"]];
            for option in ["no_check_bucket", "no_check_container"] {
                let set = section.get(option).is_some_and(|value| value == "true");
                assert_eq!(set, options.contains_key(option), "{} [{name}]: {option}", file.display());
            }
        }
    }
}

#[test]
fn every_example_can_be_encrypted() {
    needs!("rclone");
    for file in files().into_iter().filter(|file| !file.ends_with("rclone.conf")) {
        let sections = sections(&file);
        let crypt: Vec<_> = sections.values().filter(|section| section["type"] == "crypt").collect();
        assert_eq!(crypt.len(), 1, "{}", file.display());
        let (wrapped, path) = crypt[0]["remote"].split_once(':').unwrap();
        assert!(sections.contains_key(wrapped), "{}: {wrapped}", file.display());
        let whole_store = path.is_empty() && sections[wrapped]["type"] != "alias";
        assert!(!whole_store, "{}: a bucket is named, and a folder can be", file.display());
    }
}

#[test]
fn nothing_that_looks_like_a_secret_is_shipped() {
    needs!("rclone");
    let secret = ["access_key_id", "secret_access_key", "key", "account", "password", "password2", "pass"];
    for file in files() {
        for (name, section) in sections(&file) {
            for (key, value) in section.iter().filter(|(key, _)| secret.contains(&key.as_str())) {
                assert!(value.starts_with("REPLACE_"), "{} [{name}]: {key}", file.display());
            }
        }
    }
}

#[test]
fn the_placeholder_is_the_remote_of_the_default_target() {
    needs!("rclone");
    let names: BTreeSet<_> = sections(&folder().join("rclone.conf")).into_keys().collect();
    assert_eq!(names, BTreeSet::from(["minio".to_owned()]));
}

#[test]
fn what_goes_through_the_encrypted_example_is_unreadable_at_rest() {
    needs!("rclone");
    let home = tempfile::tempdir().unwrap();
    let [config, plain, disk, back] = ["rclone.conf", "plain", "disk", "back"].map(|name| home.path().join(name));
    let obscured = |password: &str| {
        let output = rclone(Path::new("/dev/null"), &["obscure", password]);
        String::from_utf8(output).unwrap().trim().to_owned()
    };
    let text = fs::read_to_string(folder().join("examples/local-path.conf"))
        .unwrap()
        .replace("/mnt/etcd-backups", disk.to_str().unwrap())
        .replace("REPLACE_WITH_OBSCURED_PASSWORD", &obscured("one"))
        .replace("REPLACE_WITH_OBSCURED_SALT", &obscured("two"));
    fs::write(&config, text).unwrap();
    fs::write(&plain, "a snapshot").unwrap();

    rclone(&config, &["copyto", plain.to_str().unwrap(), "disk-crypt:cluster/a.etcdb"]);
    let stored = fs::read(disk.join("cluster/a.etcdb.bin")).unwrap();
    assert!(!stored.windows(8).any(|window| window == b"snapshot"));
    assert_eq!(rclone(&config, &["lsf", "disk-crypt:cluster"]), b"a.etcdb\n");
    rclone(&config, &["copyto", "disk-crypt:cluster/a.etcdb", back.to_str().unwrap()]);
    assert_eq!(fs::read(&back).unwrap(), b"a snapshot");
}
