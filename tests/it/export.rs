//! `get` and `export`: what they print is what a real etcd restored from the file serves.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tempfile::TempDir;

use crate::support::{
    etcd::Cluster,
    kubernetes::{SECRET, WORLD},
    remote::Remote,
    run::Run,
    sample,
    traffic::Kv,
};

/// One line of an export, nothing of it interpreted.
#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    key_base64: Option<String>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    bytes: usize,
    value: Option<Box<RawValue>>,
    value_text: Option<String>,
    value_base64: Option<String>,
}

impl Line {
    /// What the documentation says about how to have the bytes again.
    fn kv(self) -> Kv {
        let decoded = |text: String| BASE64_STANDARD.decode(text).unwrap();
        let value = match (self.value, self.value_text, self.value_base64) {
            (Some(json), None, None) if json.get().len() + 1 == self.bytes => format!("{json}\n").into_bytes(),
            (Some(json), None, None) => json.get().into(),
            (None, Some(text), None) => text.into_bytes(),
            (None, None, Some(base64)) => decoded(base64),
            _ => panic!("not one value: {:?}", self.key),
        };
        assert_eq!(value.len(), self.bytes);
        Kv {
            key: self.key.map_or_else(|| decoded(self.key_base64.unwrap()), String::into_bytes),
            value,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

fn world() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("world.etcdb");
    fs::write(&path, &WORLD.snapshot).unwrap();
    (folder, path)
}

fn export(path: &PathBuf, args: &[&str]) -> Run {
    Run::new().arg("export").arg(path).args(args)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn exported(text: &str) -> Vec<Kv> {
    text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().kv()).collect()
}

#[test]
fn every_key_at_every_revision_is_what_etcd_serves() {
    needs!("etcd", "etcdctl", "etcdutl");
    let (_folder, path) = world();
    let cluster = Cluster::restored(&path);
    for revision in WORLD.compacted..=WORLD.revision {
        let theirs = cluster.keys_at("", revision);
        assert!(theirs.len() > 30);
        let rev = format!("--revision={revision}");
        let ours = export(&path, &["--values", "--show-secrets", &rev]).exits(0);
        assert_eq!(exported(&ours.stdout), theirs, "at revision {revision}");
    }
    for prefix in ["/registry/pods/kube-system/", "/plain/", "/registry/pods/default/web-0"] {
        let ours = export(&path, &["--values", "--prefix", prefix]).exits(0);
        assert_eq!(exported(&ours.stdout), cluster.keys_at(prefix, 0), "{prefix}");
    }
    // Every key by itself, and its bytes.
    for kv in cluster.keys_at("", 0) {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        if kv.key.contains(&0) {
            continue;
        }
        let get = || Run::new().arg("get").arg(&path).arg(OsStr::from_bytes(&kv.key)).arg("--show-secrets");
        assert_eq!(exported(&get().exits(0).stdout), std::slice::from_ref(&kv));
        assert_eq!(get().arg("--raw").exits(0).written, kv.value);
    }
}

#[test]
fn a_revision_that_cannot_be_had_is_refused_as_etcd_does() {
    needs!("etcd", "etcdctl", "etcdutl");
    let (_folder, path) = world();
    let cluster = Cluster::restored(&path);
    for (revision, words) in [(WORLD.compacted - 1, "has been compacted"), (WORLD.revision + 1, "is a future revision")]
    {
        let rev = format!("--rev={revision}");
        let theirs = cluster.etcdctl_at(&[0], &["get", "/plain/a", &rev]);
        assert!(String::from_utf8_lossy(&theirs.stderr).contains(words), "{theirs:?}");
        let ours = export(&path, &[&format!("--revision={revision}")]).exits(2).says(&["required revision", words]);
        assert_eq!(ours.stdout, "");
        let get = Run::new().arg("get").arg(&path).arg("/plain/a");
        get.arg(format!("--revision={revision}")).exits(2).says(&[words]);
    }
    export(&path, &["--revision=0"]).exits(2);
}

#[test]
fn objects_are_named_and_values_are_only_shown_when_asked_for() {
    needs!("etcd", "etcdctl");
    let (_folder, path) = world();
    let output = export(&path, &[]).secret(SECRET).exits(0);
    let all = lines(&output.stdout);
    let line = |key: &str| all.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    for line in &all {
        for field in ["value", "value_text", "value_base64", "withheld"] {
            assert!(line.get(field).is_none(), "{line}");
        }
    }
    let pod = line("/registry/pods/default/web-01");
    assert_eq!(pod["format"], "protobuf");
    let uid = "0c9f1a52-8c3e-4f5e-9d55-3d2b0e6c9f10";
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web-01", "uid": uid,
        "labels": { "app": "web", "tier": "front" },
    });
    assert_eq!(pod["object"], expected);
    let crontab = line("/registry/stable.example.com/crontabs/default/nightly");
    assert_eq!(crontab["format"], "json");
    assert_eq!(crontab["object"]["apiVersion"], "stable.example.com/v1");
    assert_eq!(crontab["object"]["labels"], json!({ "x": "y" }));
    let sealed = line("/registry/secrets/default/sealed");
    assert_eq!(sealed["format"], "encrypted");
    assert_eq!(sealed["encryption"], json!({ "provider": "aescbc", "version": "v1", "name": "key1" }));
    assert_eq!(line("compact_rev_key")["format"], "text");
    assert_ne!(line("/registry/events/default/e")["lease"], 0);
    assert_eq!(line("/registry/minions/node-1")["object"]["namespace"], Value::Null);
    let odd = all.iter().find(|line| line.get("key_base64").is_some()).unwrap();
    assert_eq!(odd["key_base64"], BASE64_STANDARD.encode(b"/plain/\xff\x00key"));
    assert!(!output.stdout.contains('\x1b'), "nothing disturbs a terminal");
}

#[test]
fn secrets_are_withheld_unless_asked_for() {
    needs!("etcd", "etcdctl");
    let (_folder, path) = world();
    let base64 = BASE64_STANDARD.encode(SECRET);
    let discreet = |run: Run| run.secret(SECRET).secret(&base64[4..base64.len() - 4]);
    let output = discreet(export(&path, &["--values"])).exits(0).says(&["2 Secrets", "--show-secrets"]);
    let withheld: Vec<_> = lines(&output.stdout).into_iter().filter(|line| line.get("withheld").is_some()).collect();
    let keys: Vec<_> = withheld.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["/registry/secrets/default/sealed", "/registry/secrets/default/token"]);
    for key in keys {
        let get = || discreet(Run::new().arg("get").arg(&path).arg(key));
        let line = get().exits(0).says(&["--show-secrets"]).report();
        assert_eq!(line.text("withheld"), "secret");
        let raw = get().arg("--raw").exits(2).says(&["--show-secrets"]);
        assert_eq!(raw.stdout, "");
        let text = get().env("OUTPUT", "text").exits(0);
        assert!(text.stdout.contains("\"withheld\": \"secret\""), "{text}");
    }
}

#[test]
fn backups_are_found_as_elsewhere_and_damage_is_not_read() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    remote.put("p-202601010000.etcdb", &WORLD.snapshot);
    remote.put("p-202601020000.etcdb", &sample::damaged());
    let run = |args: &[&str]| Run::new().args(args).store(&remote).env("BACKUP_PREFIX", "p-");
    let good = run(&["export", "20260101", "--prefix=/plain/a"]).exits(0);
    assert_eq!(lines(&good.stdout).len(), 2);
    assert_eq!(run(&["get", "0101", "/plain/a", "--raw"]).exits(0).written, b"2");
    for args in [&["export", "latest"][..], &["get", "latest", "/plain/a", "--raw"], &["inspect"]] {
        let output = run(args).exits(5).says(&["p-202601020000.etcdb", "sha-256"]);
        assert!(args[0] == "inspect" || output.stdout.is_empty(), "{output}");
    }
    run(&["export", "p-2030"]).exits(2);
}

#[test]
fn what_is_not_there_is_named() {
    needs!("etcd", "etcdctl");
    let (_folder, path) = world();
    let get = Run::new().arg("get").arg(&path).arg("/registry/pods/default/web-03");
    get.exits(2).says(&["no key /registry/pods/default/web-03 at revision"]);
    let none = export(&path, &["--prefix", "/nothing"]).exits(2).says(&["no key that begins with /nothing"]);
    assert_eq!(none.stdout, "");
    export(&path.with_extension("missing"), &[]).exits(2);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    needs!("etcd", "etcdctl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.etcdb");
    fs::write(&path, sample::snapshot()).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let job = export(&path, &["--values"]).spawn_into(writer);
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    let output = job.wait(Duration::from_secs(30));
    output.assert().code(0);
    assert!(!output.stderr.contains("ERROR") && !output.stderr.contains("WARN"), "{output}");
}

#[test]
fn a_reader_that_does_not_read_cannot_keep_it_from_its_end() {
    needs!("etcd", "etcdctl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.etcdb");
    fs::write(&path, sample::snapshot()).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let job = export(&path, &["--values"]).spawn_into(writer);
    // It is writing, and half a megabyte does not fit into a pipe.
    reader.read_exact(&mut [0; 100]).unwrap();
    job.signal(Signal::TERM);
    let output = job.wait(Duration::from_secs(10));
    output.assert().code(143);
}

#[test]
fn a_disk_that_is_full_is_an_error() {
    needs!("etcd", "etcdctl");
    let (_folder, path) = world();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for run in [export(&path, &[]), Run::new().arg("get").arg(&path).arg("/plain/a").arg("--raw")] {
        let output = run.spawn_into(full()).wait(Duration::from_secs(30));
        output.assert().code(10);
        output.says(&["cannot write to stdout"]);
    }
}
