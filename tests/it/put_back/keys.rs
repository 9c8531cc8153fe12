//! Single keys and prefixes.

use std::time::Duration;

use etcd_client::{PutOptions, Txn, TxnOp};

use super::*;
use crate::support::{
    kubernetes::{Meta, kube_system, pod, protobuf},
    processes::peak_rss,
    remote::Remote,
};

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
#[ignore = "slow: make test-all"]
fn the_memory_for_many_keys_is_small() {
    const KEYS: u64 = 50_000;
    needs!("etcd", "etcdctl");
    let cluster = Cluster::with(1).plain().start();
    cluster.client(0, async |client| {
        for hundred in 0..KEYS / 100 {
            let put = |i: u64| {
                let meta = Meta { uid: &format!("uid-of-{i:025}"), ..Meta::new("shop", "web") };
                let (key, value) = (
                    format!("/registry/configmaps/shop/of-the-usual-length-{i}"),
                    protobuf("v1", "ConfigMap", &meta, b""),
                );
                TxnOp::put(key, value, None)
            };
            let puts: Vec<_> = (hundred * 100..(hundred + 1) * 100).map(put).collect();
            client.txn(Txn::new().and_then(puts)).await.unwrap();
        }
    });
    let (_folder, backup) = backup_of(&cluster);
    let job = put_back(&cluster, &backup, &["--prefix=/registry/"]).spawn();
    let mut peak = 0;
    while let Some(now) = peak_rss(job.id()) {
        peak = now;
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = job.wait(Duration::from_mins(5)).report();
    assert_eq!(count(&report, "leave"), KEYS);
    // It was 2.8 KiB for each key.
    println!("{peak} KiB for {KEYS} keys");
    assert!(peak < 24 * 1024 + KEYS, "{peak} KiB");
}
