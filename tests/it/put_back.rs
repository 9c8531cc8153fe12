//! `put-back`: what was deleted is there again byte for byte, and nothing else has changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::PutOptions;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    kubernetes::{Meta, SECRET, kube_system, pod, protobuf, save},
    output::{Output, Report},
    proxy::Fault,
    remote::Remote,
    run::{Job, Run},
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

#[test]
fn three_of_a_thousand_come_back_and_the_rest_is_untouched() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (cluster, remote) = (Cluster::start(3), Remote::seaweedfs());
    let objects: Vec<_> = (0..1000_u32)
        .map(|i| pod("default", &format!("web-{i:04}"), &i.to_le_bytes().repeat(50)))
        .chain([kube_system(UID)])
        .collect();
    put(&cluster, &objects);
    Run::job(&cluster, &remote).success();
    let before = by_key(cluster.keys_at("", 0));
    let gone = [name(7), name(500), name(999)];
    let gone = gone.each_ref().map(String::as_str);
    delete(&cluster, &gone);
    let deleted = by_key(cluster.keys_at("", 0));
    assert_eq!(deleted.len(), before.len() - 3);

    let run = |args: &[&str]| Run::new().etcd(&cluster).store(&remote).args(["put-back", "latest"]).args(args);
    let plan = run(&["--prefix=/registry/pods/"]).success();
    assert_eq!((count(&plan, "create"), count(&plan, "leave"), plan.value("written")), (3, 997, &false.into()));
    assert_eq!(by_key(cluster.keys_at("", 0)), deleted, "a plan writes nothing");

    let done = run(&["--prefix=/registry/pods/", "--yes"]).success();
    assert_eq!((count(&done, "create"), count(&done, "leave")), (3, 997));
    let results = results(&done);
    let created: Vec<_> = results.iter().filter(|(_, result)| *result == "created").map(|(key, _)| key).collect();
    assert_eq!(created, gone);
    let mut after = by_key(cluster.keys_at("", 0));
    let mut last = 0;
    for key in gone {
        let (new, old) = (after.remove(key.as_bytes()).unwrap(), &before[key.as_bytes()]);
        assert_eq!(new.value, old.value);
        assert_eq!((new.create_revision, new.version, new.lease), (new.mod_revision, 1, 0));
        assert!(new.mod_revision > last, "each has a revision of its own, older objects first");
        last = new.mod_revision;
    }
    assert_eq!(after, deleted, "nothing else was touched");

    let again = run(&["--prefix=/registry/pods/", "--yes", "--output=text"]).exits(0);
    assert!(again.stdout.contains("0 created, 0 replaced, 1000 left alone, 0 refused"), "{}", &again.stdout[..300]);
}

#[test]
fn what_exists_is_left_alone_unless_it_is_to_be_overwritten() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let objects: Vec<_> = (0..5_u8).map(|i| pod("default", &format!("web-{i:04}"), &[i])).collect();
    put(&cluster, &objects);
    let (_folder, backup) = backup_of(&cluster);
    let changed = pod("default", "web-0001", b"changed since");
    put(&cluster, std::slice::from_ref(&changed));
    delete(&cluster, &[&name(2)]);
    let live = by_key(cluster.keys_at("", 0));

    let keys = [name(0), name(1), name(2)];
    let keys = keys.each_ref().map(String::as_str);
    let done = put_back(&cluster, &backup, &keys).arg("--yes").success();
    let expected = [(name(0), "left-alone"), (name(1), "left-alone"), (name(2), "created")];
    assert_eq!(results(&done), expected.map(|(key, result)| (key, result.to_owned())).into());
    let mut after = by_key(cluster.keys_at("", 0));
    after.remove(name(2).as_bytes()).unwrap();
    assert_eq!(after, live);

    let plan = put_back(&cluster, &backup, &keys).arg("--overwrite").success();
    assert_eq!(results(&plan)[&name(1)], "would-replace");
    let text = put_back(&cluster, &backup, &keys).args(["--overwrite", "--output=text"]).exits(0).stdout;
    assert!(text.contains("would replace") && text.contains("nothing was written"), "{text}");
    let done = put_back(&cluster, &backup, &keys).args(["--overwrite", "--yes"]).success();
    let expected = [(name(0), "left-alone"), (name(1), "replaced"), (name(2), "left-alone")];
    assert_eq!(results(&done), expected.map(|(key, result)| (key, result.to_owned())).into());
    let after = by_key(cluster.keys_at("", 0));
    let key = name(1).into_bytes();
    assert_eq!((&after[&key].value, after[&key].version), (&objects[1].1, 3));
    assert_eq!(after[name(0).as_bytes()], live[name(0).as_bytes()], "the same is not written again");
}

#[test]
fn what_kubernetes_makes_itself_is_refused() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let object = |key: &str, kind: &str| (key.to_owned(), protobuf("v1", kind, &Meta::new("ns", "x"), b""));
    let refused = [
        ("/registry/endpointslices/ns/x", "endpoints"),
        ("/registry/events/ns/x", "event"),
        ("/registry/leased", "lease of etcd"),
        ("/registry/leases/ns/x", "its holder renews it"),
        ("/registry/masterleases/10.0.0.1", "API server"),
        ("/registry/services/endpoints/ns/x", "endpoints"),
    ];
    let objects = refused.map(|(key, _)| object(key, "X"));
    put(&cluster, &objects);
    cluster.client(0, async |client| {
        let lease = client.lease_grant(3600, None).await.unwrap().id();
        client.put("/registry/leased", "x", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    });
    let sealed = ("/registry/secrets/ns/x".to_owned(), format!("k8s:enc:aescbc:v1:key1:{SECRET}").into_bytes());
    let token =
        ("/registry/secrets/ns/y".to_owned(), protobuf("v1", "Secret", &Meta::new("ns", "y"), SECRET.as_bytes()));
    put(&cluster, &[sealed.clone(), token.clone()]);
    let (_folder, backup) = backup_of(&cluster);
    let all: Vec<_> = refused.iter().map(|(key, _)| *key).chain([sealed.0.as_str(), token.0.as_str()]).collect();
    delete(&cluster, &all);

    for (key, why) in refused {
        put_back(&cluster, &backup, &[&sealed.0, key, "--yes"]).exits(2).says(&[key, why]);
    }
    assert_eq!(cluster.keys_at("", 0), [], "a mistake writes nothing at all");
    let done = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).success();
    assert_eq!((count(&done, "create"), count(&done, "refuse")), (2, 6));
    for line in done.value("keys").as_array().unwrap() {
        if let Some((_, why)) = refused.iter().find(|(key, _)| line["key"] == *key) {
            assert_eq!(line["result"], "refused");
            assert!(line["reason"].as_str().unwrap().contains(why), "{line}");
        } else {
            let encrypted = line["note"].as_str().is_some_and(|note| note.contains("`key1`"));
            assert_eq!(encrypted, line["key"] == sealed.0.as_str(), "{line}");
        }
    }
    let values: Vec<_> = cluster.keys_at("", 0).into_iter().map(|kv| kv.value).collect();
    assert_eq!(values, [sealed.1, token.1]);

    // A lease that a key has got since is not taken from it.
    cluster.client(0, async |client| {
        let lease = client.lease_grant(3600, None).await.unwrap().id();
        let leased = PutOptions::new().with_lease(lease);
        client.put(token.0.as_str(), "now with a lease", Some(leased)).await.unwrap();
    });
    put_back(&cluster, &backup, &[&token.0, "--overwrite", "--yes"]).exits(2).says(&["lease", "take away"]);
}

#[test]
fn an_older_revision_has_what_the_backup_has_lost() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let (old, new) = (pod("default", "web-0000", b"old"), pod("default", "web-0000", b"new"));
    put(&cluster, &[old.clone(), new]);
    delete(&cluster, &[&name(0)]);
    let (_folder, backup) = backup_of(&cluster);
    let run = |revision: &str| put_back(&cluster, &backup, &[&name(0), "--yes", revision]);
    run("--revision=4").exits(2).says(&["does not have", &name(0)]);
    run("--revision=9").exits(2).says(&["future revision"]);
    run("--revision=2").success();
    assert_eq!(cluster.keys_at("", 0)[0].value, old.1);
}

#[test]
fn usage_that_is_unclear_is_refused() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    put(&cluster, &[kube_system(UID)]);
    let (_folder, backup) = backup_of(&cluster);
    let refuse = |args: &[&str], words: &[&str]| put_back(&cluster, &backup, args).arg("--yes").exits(2).says(words);
    refuse(&[], &["required"]);
    refuse(&["/a", "--prefix=/b"], &["cannot be used with"]);
    refuse(&["--prefix="], &["every key"]);
    refuse(&["--prefix=/nothing"], &["no key that begins with /nothing"]);
    refuse(&["/registry/namespaces/kube-system", "/a", "/b"], &["does not have", "/a, /b"]);
    put_back(&cluster, &backup.with_extension("bad"), &["/a"]).exits(2);
}

#[test]
fn a_backup_of_another_cluster_is_refused() {
    needs!("etcd", "etcdctl");
    let (one, other) = (Cluster::single(), Cluster::single());
    put(&one, &[kube_system(UID), pod("default", "web-0000", b"")]);
    let (_folder, backup) = backup_of(&one);
    let theirs = "99999999-aaaa-4bbb-8ccc-222222222222";
    put(&other, &[kube_system(theirs)]);
    let run = || put_back(&other, &backup, &[&name(0), "--yes"]);
    run().exits(2).says(&["another cluster", UID, theirs]);
    assert_eq!(other.keys_at("/registry/pods", 0), []);
    // Of the same Kubernetes cluster, on members that are new: it was restored.
    put(&other, &[kube_system(UID)]);
    let output = run().exits(0);
    assert!(!output.stderr.contains("make sure"), "{output}");
    // Not known: a warning.
    delete(&other, &["/registry/namespaces/kube-system", &name(0)]);
    run().exits(0).says(&["make sure that it is the same cluster"]);
}

#[test]
fn an_ill_cluster_is_not_written_to() {
    needs!("etcd", "etcdctl");
    let mut cluster = Cluster::start(3);
    put(&cluster, &[pod("default", "web-0000", b"")]);
    let (_folder, backup) = backup_of(&cluster);
    delete(&cluster, &[&name(0)]);
    let run = |cluster: &Cluster| put_back(cluster, &backup, &[&name(0), "--yes"]);
    // One of three may be missing.
    cluster.kill(2);
    run(&cluster).success();
    delete(&cluster, &[&name(0)]);
    cluster.kill(1);
    run(&cluster).exits(4).says(&["not healthy", "no quorum"]);
    cluster.kill(0);
    run(&cluster).exits(4);

    let full = Cluster::with(1).plain().quota(2 << 20).start();
    full.fill();
    let output = put_back(&full, &backup, &[&name(0), "--yes"]).exits(4).says(&["NOSPACE"]);
    assert!(output.stderr.contains("accepts no writes"), "{output}");
    put_back(&full, &backup, &[&name(0)]).success();

    let corrupt = Cluster::single();
    corrupt.raise_corrupt(0);
    put_back(&corrupt, &backup, &[&name(0), "--yes"]).exits(4).says(&["not healthy", "CORRUPT"]);
}

/// Deleted keys, and a way to the cluster that is slow enough to interfere.
fn slow() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::with(1).plain().proxied().start();
    let objects: Vec<_> = (0..60_u8).map(|i| pod("default", &format!("web-{i:04}"), &[i; 1000])).collect();
    put(&cluster, &objects);
    let (folder, backup) = backup_of(&cluster);
    let keys: Vec<_> = (0..60).map(name).collect();
    delete(&cluster, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.proxy(0).set(Fault::Throttle(30_000));
    (cluster, folder, backup)
}

fn until_it_writes(job: &Job) {
    eventually(SOON, "the first key", || job.stderr().contains("put back").then_some(()));
}

fn end(job: Job, exit: i32) -> Output {
    let output = job.wait(Duration::from_mins(1));
    output.assert().code(exit);
    output
}

#[test]
fn a_key_that_somebody_else_makes_meanwhile_is_theirs() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    let theirs = (name(59), b"theirs".to_vec());
    put(&cluster, std::slice::from_ref(&theirs));
    let report = end(job, 0).says(&["left alone", &name(59)]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!((count(&report, "create"), count(&report, "leave")), (59, 1));
    let kv = cluster.keys_at(&name(59), 0).remove(0);
    assert_eq!((kv.value, kv.version), (theirs.1, 1));
}

#[test]
fn a_key_that_changes_meanwhile_is_not_overwritten() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = slow();
    let old: Vec<_> = (0..60).map(|i| (name(i), b"old".to_vec())).collect();
    put(&cluster, &old);
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--overwrite", "--yes"]).spawn();
    until_it_writes(&job);
    put(&cluster, &[(name(59), b"theirs".to_vec())]);
    let report = end(job, 1).says(&["changed after they were read", "run the command again"]).report();
    assert_eq!(results(&report)[&name(59)], "overtaken");
    assert_eq!(count(&report, "replace"), 59);
    assert_eq!(cluster.keys_at(&name(59), 0)[0].value, b"theirs");
}

#[test]
fn a_cluster_that_goes_away_is_told_key_by_key_and_can_be_finished() {
    needs!("etcd", "etcdctl");
    let (mut cluster, _folder, backup) = slow();
    let job = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).spawn();
    until_it_writes(&job);
    cluster.kill(0);
    let report = end(job, 4).report();
    let results = results(&report);
    let sort = |result: &str| results.values().filter(|r| *r == result).count();
    assert_eq!(sort("unknown"), 1);
    assert!(sort("created") >= 1 && sort("not-attempted") >= 1);
    assert_eq!(sort("created") + 1 + sort("not-attempted"), 60);
    assert!(report.text("error").contains("putting keys back"));

    cluster.restart(0);
    cluster.proxy(0).set(Fault::None);
    let there: Vec<_> = cluster.keys_at("/registry/", 0).into_iter().map(|kv| kv.key).collect();
    for (key, result) in &results {
        let exists = there.contains(&key.clone().into_bytes());
        assert!(result == "unknown" || exists == (result == "created"), "{key} is {result}, and {exists}");
    }
    let rest = put_back(&cluster, &backup, &["--prefix=/registry/", "--yes"]).success();
    assert_eq!(count(&rest, "create") + count(&rest, "leave"), 60);
    assert_eq!(cluster.keys_at("/registry/", 0).len(), 60);
}
