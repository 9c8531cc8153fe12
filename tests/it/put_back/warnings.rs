//! What is missing around the keys is told in the plan and in the result, and nothing is held back for it.

use super::*;
use crate::support::kubernetes::{Meta, Owner, custom, field, kube_system, namespace, object, pod};

const NAMESPACE: &str = "/registry/namespaces/default";

/// A Deployment and what it owns, in protobuf and as JSON.
fn family() -> [(String, Vec<u8>); 3] {
    let owner = Owner { kind: "Deployment", name: "web", uid: "u-deployment", controller: true };
    let deployment = Meta { uid: owner.uid, ..Meta::new("default", "web") };
    let set = Meta { uid: "u-set", owner: Some(owner), ..Meta::new("default", "web-1") };
    let tool = Meta { uid: "u-tool", owner: Some(owner), ..Meta::new("default", "tool") };
    [
        object("deployments", "apps/v1", "Deployment", &deployment, b""),
        object("replicasets", "apps/v1", "ReplicaSet", &set, b""),
        custom("tools", &tool),
    ]
}

fn cluster() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::single();
    put(&cluster, &[kube_system(UID), namespace(&Meta::new("", "default"))]);
    put(&cluster, &family());
    let (folder, backup) = backup_of(&cluster);
    (cluster, folder, backup)
}

#[test]
fn an_owner_that_is_not_there_is_told_with_its_key() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = cluster();
    let family = family();
    let keys = family.each_ref().map(|(key, _)| key.as_str());
    delete(&cluster, &keys);
    let owned = [keys[1], keys[2]];
    for yes in [&[][..], &["--yes"]] {
        let report = put_back(&cluster, &backup, &owned).args(yes).success();
        let all = told(&report);
        assert_eq!(all.len(), 1, "one for the owner, whatever it owns: {all:?}");
        assert!(
            all[0].starts_with(&format!("owner-missing: {} and 1 more: its owner Deployment web is", keys[1])),
            "{all:?}"
        );
        assert!(all[0].ends_with(&format!("add {} to the command", keys[0])), "{all:?}");
        assert_eq!(report.value("warnings")[0]["keys"].as_array().unwrap().len(), 2);
    }
    let log = put_back(&cluster, &backup, &[keys[1], "--overwrite", "--yes", "--output=text"]).exits(0);
    assert!(!log.stdout.contains("WARNING"), "it exists: {log}");

    // The command that it advises, and one in which the owner is live.
    delete(&cluster, &owned);
    let plan = put_back(&cluster, &backup, &[&owned[..], &[keys[0]]].concat()).success();
    assert_eq!((told(&plan), count(&plan, "create")), (vec![], 3));
    put_back(&cluster, &backup, &[keys[0], "--yes"]).success();
    assert_eq!(told(&put_back(&cluster, &backup, &owned).success()), [""; 0]);
    // Somebody made another one of the same name.
    let another = Meta { uid: "u-another", ..Meta::new("default", "web") };
    put(&cluster, &[object("deployments", "apps/v1", "Deployment", &another, b"")]);
    let plan = put_back(&cluster, &backup, &["--prefix=/registry/replicasets/"]).success();
    assert!(told(&plan)[0].contains("made anew in the cluster with another UID"), "{:?}", told(&plan));
    let plan = put_back(&cluster, &backup, &["--prefix=/registry/replicasets/", keys[0]]).success();
    assert!(told(&plan)[0].contains("with another UID"), "left alone in the same plan: {:?}", told(&plan));
    let plan = put_back(&cluster, &backup, &["--prefix=/registry/replicasets/", keys[0], "--overwrite"]).success();
    assert_eq!(told(&plan), [""; 0]);
}

#[test]
fn a_missing_namespace_is_told_and_comes_with_its_key() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = cluster();
    let deployment = &family()[0].0;
    delete(&cluster, &[deployment, NAMESPACE]);
    let plan = put_back(&cluster, &backup, &[deployment, "--output=text"]).exits(0).stdout;
    assert!(
        plan.contains("WARNING       /registry/deployments/default/web: the namespace default is neither"),
        "{plan}"
    );
    assert!(plan.contains("add /registry/namespaces/default to the command, or --namespace default"), "{plan}");
    let plan = put_back(&cluster, &backup, &[deployment, NAMESPACE]).success();
    assert_eq!(told(&plan), [""; 0]);
    put_back(&cluster, &backup, &[deployment, "--yes"]).exits(0).says(&["Kubernetes starts nothing in it"]);
    assert_eq!(cluster.keys_at(deployment, 0).len(), 1, "it is a warning");
}

#[test]
fn volumes_nodes_and_what_cannot_be_read() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let claim = object(
        "persistentvolumeclaims",
        "v1",
        "PersistentVolumeClaim",
        &Meta::new("default", "data"),
        &field(3, b"pv-1"),
    );
    let alone = pod("default", "alone", &field(10, b"node-1"));
    let volume = object("persistentvolumes", "v1", "PersistentVolume", &Meta::new("", "pv-1"), b"");
    let node = object("minions", "v1", "Node", &Meta::new("", "node-1"), b"");
    let sealed =
        ("/registry/secrets/default/sealed".to_owned(), format!("k8s:enc:aescbc:v1:key1:{SECRET}").into_bytes());
    put(&cluster, &[kube_system(UID), namespace(&Meta::new("", "default"))]);
    put(&cluster, &[claim.clone(), alone.clone(), volume.clone(), node.clone(), sealed.clone()]);
    let (_folder, backup) = backup_of(&cluster);
    delete(&cluster, &[&claim.0, &alone.0, &sealed.0]);
    let plan = |args: &[&str]| told(&put_back(&cluster, &backup, args).success());
    let all = plan(&["--namespace=default"]);
    assert!(all.len() == 1 && all[0].starts_with("not-checked: 1 of the keys are encrypted"), "{all:?}");
    delete(&cluster, &[&volume.0, &node.0]);
    let all = plan(&["--namespace=default"]);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("its PersistentVolume pv-1 is neither") && all[0].contains(&volume.0), "{all:?}");
    assert!(all[1].contains("the node node-1, which the cluster does not have"), "{all:?}");
    assert_eq!(plan(&["--namespace=default", &volume.0, &node.0]).len(), 1);
}

#[test]
fn what_is_being_deleted_does_not_count_as_there() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = cluster();
    let [_, set, tool] = family();
    let dying = Meta { uid: "u-deployment", deleting: true, ..Meta::new("default", "web") };
    let deployment = object("deployments", "apps/v1", "Deployment", &dying, b"");
    put(&cluster, std::slice::from_ref(&deployment));
    delete(&cluster, &[&set.0, &tool.0]);
    // The owner is live, or live and left alone by the same plan; or its deletion is cancelled.
    for args in [&[set.0.as_str(), &tool.0][..], &[&set.0, &tool.0, &deployment.0]] {
        let all = told(&put_back(&cluster, &backup, args).success());
        assert!(all.len() == 1 && all[0].starts_with("owner-deleting: "), "{all:?}");
        assert!(all[0].contains("its owner Deployment web is being deleted in the cluster"), "{all:?}");
    }
    let cancelled = put_back(&cluster, &backup, &[&set.0, &deployment.0, "--overwrite"]).success();
    assert_eq!(told(&cancelled), [""; 0]);
}

#[test]
fn volumes_and_nodes_that_are_being_deleted_are_told() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let claim = object(
        "persistentvolumeclaims",
        "v1",
        "PersistentVolumeClaim",
        &Meta::new("default", "data"),
        &field(3, b"pv-1"),
    );
    let alone = pod("default", "alone", &field(10, b"node-1"));
    let around = |deleting| {
        let named = |name| Meta { deleting, ..Meta::new("", name) };
        [
            object("persistentvolumes", "v1", "PersistentVolume", &named("pv-1"), b""),
            object("minions", "v1", "Node", &named("node-1"), b""),
        ]
    };
    put(&cluster, &[kube_system(UID), namespace(&Meta::new("", "default")), claim.clone(), alone.clone()]);
    put(&cluster, &around(false));
    let (_folder, backup) = backup_of(&cluster);
    delete(&cluster, &[&claim.0, &alone.0]);
    put(&cluster, &around(true));
    let all = told(&put_back(&cluster, &backup, &["--namespace=default"]).success());
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("volume-deleting: ") && all[0].contains("mark the claim as lost"), "{all:?}");
    assert!(all[1].starts_with("node-deleting: ") && all[1].contains("the node node-1, which is being"), "{all:?}");
    let args = ["--namespace=default", "/registry/persistentvolumes/pv-1", "/registry/minions/node-1", "--overwrite"];
    assert_eq!(told(&put_back(&cluster, &backup, &args).success()), [""; 0]);
}
