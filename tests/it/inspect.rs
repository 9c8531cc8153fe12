//! `inspect`: the figures of etcd's own tools, the sizes of what etcd serves, and differences key by key.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    etcd::Cluster,
    kubernetes::{SECRET, WORLD},
    remote::Remote,
    run::Run,
    sample, tools,
    traffic::Kv,
};

fn folder_with(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn inspect(path: &Path) -> Run {
    Run::new().arg("inspect").arg(path).secret(SECRET)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// `etcdutl` 3.5.1 reads what 3.4 wrote, too. With `ETCD` set to the binary of another release, such as 3.4's from
/// Debian 12's package etcd-server, all tests of this file, of `export` and of `put_back` are about that release.
#[test]
fn figures_are_those_of_etcdutl() {
    needs!("etcd", "etcdctl", "etcdutl");
    let folder = folder_with(&[("world", &WORLD.snapshot), ("sample", sample::snapshot())]);
    let files = ["world", "sample"].map(|name| folder.path().join(name));
    for path in files.iter().chain(&[fixture("etcd-3.4.23.etcdb"), fixture("etcd-3.5.1.etcdb")]) {
        let status = tools::command(tools::tool("etcdutl"))
            .args(["snapshot", "status", "--write-out=json"])
            .arg(path)
            .output()
            .unwrap();
        let theirs: Value = serde_json::from_slice(&status.stdout).unwrap();
        let ours = inspect(path).success();
        assert_eq!(ours.value("hash"), &theirs["hash"], "{}", path.display());
        assert_eq!(ours.value("last_key_revision"), &theirs["revision"]);
        assert_eq!(ours.value("total_keys"), &theirs["totalKey"]);
        assert_eq!(ours.value("db_bytes"), &theirs["totalSize"]);
        let text = inspect(path).env("OUTPUT", "text").exits(0).stdout;
        let hash = format!("{:x} (as etcdutl", theirs["hash"].as_u64().unwrap());
        assert!(text.contains(&hash), "{text}");
    }
}

#[test]
fn the_head_says_what_etcd_says() {
    needs!("etcd", "etcdctl");
    let folder = folder_with(&[("world", &WORLD.snapshot)]);
    let report = inspect(&folder.path().join("world")).success();
    assert_eq!(report.number("revision"), u64::try_from(WORLD.revision).unwrap());
    assert_eq!(report.number("compact_revision"), u64::try_from(WORLD.compacted).unwrap());
    assert_eq!(report.number("changes"), report.number("keys") + report.number("history"));
    assert_eq!(report.text("cluster_version"), format!("{}.0", report.text("storage_version")));
    assert!(report.number("consistent_index") > 40);
    let members = report.value("members").as_array().unwrap();
    assert_eq!((members.len(), &members[0]["name"], &members[0]["learner"]), (1, &json!("m0"), &json!(false)));
    // 3.5.1 does not record a member's client URLs.
    assert!(members[0]["peer_urls"][0].as_str().unwrap().starts_with("http://127.0.0.1:"));
}

/// Keys, and bytes of them and their values, by group.
type Sizes = BTreeMap<String, (u64, u64)>;

/// The groups as the documentation describes them, read from the keys in the simplest way.
fn groups(keys: &[Kv]) -> (Sizes, Sizes, [(u64, u64); 2]) {
    let (mut resources, mut namespaces, mut others) = (BTreeMap::new(), BTreeMap::new(), [(0, 0); 2]);
    for kv in keys {
        let bytes = u64::try_from(kv.key.len() + kv.value.len()).unwrap();
        let add = |(keys, sum): &mut (u64, u64)| (*keys, *sum) = (*keys + 1, *sum + bytes);
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        let Some(path) = key.strip_prefix("/registry/") else {
            add(&mut others[1]);
            continue;
        };
        let steps: Vec<_> = path.split('/').collect();
        let named = if steps[0] == "services" || steps[0].contains('.') { 2 } else { 1 };
        add(resources.entry(steps[..named].join("/")).or_default());
        match steps[named..] {
            [_] => add(&mut others[0]),
            [namespace, _] => add(namespaces.entry(namespace.to_owned()).or_default()),
            _ => panic!("{key}"),
        }
    }
    (resources, namespaces, others)
}

fn sizes(rows: &Value, label: &str) -> Sizes {
    let size = |row: &Value| (row["keys"].as_u64().unwrap(), row["bytes"].as_u64().unwrap());
    let rows = rows.as_array().unwrap().iter().map(|row| (row[label].as_str().unwrap().to_owned(), size(row)));
    // A group that only the history has left is no group of keys.
    rows.filter(|(_, size)| *size != (0, 0)).collect()
}

#[test]
fn sizes_are_those_of_what_etcd_serves() {
    needs!("etcd", "etcdctl", "etcdutl");
    let folder = folder_with(&[("world", &WORLD.snapshot)]);
    let path = folder.path().join("world");
    let keys = Cluster::restored(&path).keys_at("", 0);
    let (resources, namespaces, [cluster_scoped, other]) = groups(&keys);
    let report = inspect(&path).success();
    assert_eq!(report.number("keys"), u64::try_from(keys.len()).unwrap());
    assert_eq!(sizes(report.value("resources"), "resource"), resources);
    assert_eq!(sizes(report.value("namespaces"), "namespace"), namespaces);
    let size = |field: &str| {
        let size = report.value(field);
        (size["keys"].as_u64().unwrap(), size["bytes"].as_u64().unwrap())
    };
    assert_eq!((size("cluster_scoped"), size("other")), (cluster_scoped, other));
    // What is not live is history, and every change is one or the other.
    let rows = report.value("resources").as_array().unwrap().iter().chain([report.value("other")]);
    let old: u64 = rows.map(|row| row["old_changes"].as_u64().unwrap()).sum();
    assert_eq!(old, report.number("history"));
}

#[test]
fn people_see_tables() {
    needs!("etcd", "etcdctl");
    let folder = folder_with(&[("world", &WORLD.snapshot)]);
    let text = inspect(&folder.path().join("world")).env("OUTPUT", "text").exits(0).stdout;
    let words = |start: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
        line.split_whitespace().collect()
    };
    assert_eq!(words("RESOURCE"), ["RESOURCE", "KEYS", "SIZE", "HISTORY"]);
    assert_eq!(words("pods")[1], "23");
    assert_eq!(words("stable.example.com/crontabs")[1], "1");
    assert_eq!(words("(not Kubernetes)")[2], "6");
    assert_eq!(words("kube-system")[1], "5");
    assert_eq!(words("member")[2], "m0,");
    assert!(!text.contains('█'), "bars are for terminals: {text}");
}

#[test]
fn differences_are_told_key_by_key() {
    needs!("etcd", "etcdctl");
    let folder = folder_with(&[("before", &WORLD.before), ("after", &WORLD.snapshot)]);
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
    let run = || inspect(&after).arg("--diff").arg(&before);
    let text = run().env("OUTPUT", "text").exits(0).stdout;
    let crontab = "/registry/stable.example.com/crontabs/default/nightly";
    let pod = |i| format!("/registry/pods/default/web-{i:02}");
    let expected = [
        "~ /plain/a ".to_owned(),
        "- /plain/empty".to_owned(),
        "+ /plain/new".to_owned(),
        format!("~ {} ", pod(0)),
        format!("~ {} ", pod(5)),
        format!("~ {} ", pod(6)),
        format!("~ {} ", pod(7)),
        format!("- {}", pod(9)),
        format!("= {crontab} "),
        "from ".to_owned(),
    ];
    let lines: Vec<_> = text.lines().collect();
    for (line, start) in lines.iter().zip(&expected) {
        assert!(line.starts_with(start), "{line:?}, not {start:?}\n{text}");
    }
    assert_eq!(lines.len(), expected.len() + 1, "{text}");
    let counts = "1 added (+), 2 removed (-), 5 changed (~), 1 rewritten (=), ";
    assert!(lines.last().unwrap().starts_with(counts), "{text}");

    let json: Vec<Value> = run().exits(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, changes) = json.split_last().unwrap();
    assert_eq!(changes.len(), expected.len() - 1);
    assert_eq!((&changes[1]["change"], &changes[1]["key"]), (&json!("removed"), &json!("/plain/empty")));
    assert_eq!(changes[1]["after"], Value::Null);
    assert_eq!(changes[0]["before"]["bytes"], 1);
    assert_eq!(end["summary"]["changed"], 5);
    assert_eq!(end["to"]["revision"], WORLD.revision);

    let back = inspect(&before).arg("--diff").arg(&after).exits(0).stdout;
    assert!(back.contains(r#""added":2"#) && back.contains(r#""removed":1"#), "{back}");
    let same = inspect(&after).arg("--diff").arg(&after).exits(0).stdout;
    assert_eq!(same.lines().count(), 1, "{same}");
}

#[test]
fn stored_backups_are_read_and_compared_too() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put("p-202601010000.etcdb", &WORLD.before);
    remote.put("p-202601020000.etcdb", &WORLD.snapshot);
    let run = |args: &[&str]| Run::new().arg("inspect").args(args).store(&remote).env("BACKUP_PREFIX", "p-");
    assert_eq!(run(&[]).success().text("name"), "p-202601020000.etcdb");
    let before = run(&["0101"]).success();
    assert_eq!(before.number("revision"), u64::try_from(WORLD.compacted).unwrap());
    let output = run(&["--diff", "0101", "--output=text"]).exits(0);
    assert!(output.stdout.contains("from p-202601010000.etcdb"), "{output}");
}

#[test]
fn damage_is_named_and_so_is_what_is_not_there() {
    needs!("etcd", "etcdctl");
    let cut = &WORLD.snapshot[..WORLD.snapshot.len() - 4096];
    let folder = folder_with(&[("good", &WORLD.snapshot), ("bad", &sample::damaged()), ("cut", cut), ("empty", b"")]);
    let at = |name: &str| folder.path().join(name);
    for name in ["bad", "cut", "empty"] {
        inspect(&at(name)).exits(5).says(&[&at(name).to_string_lossy()]);
        inspect(&at("good")).arg("--diff").arg(at(name)).exits(5).says(&[name]);
    }
    inspect(&at("missing")).exits(2);
    inspect(folder.path()).exits(2).says(&["not a regular file"]);
}
