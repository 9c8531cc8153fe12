//! A whole namespace.

use super::*;
use crate::support::{
    kubernetes::{Meta, Owner, custom, field, kube_system, namespace, object, pod, protobuf},
    remote::Remote,
};

const SHOP: &str = "/registry/namespaces/shop";

fn uid_of(name: &str) -> String {
    format!("{name}-4bbb-8ccc-222222222222")
}

/// An object of the namespace `shop`, whose UID comes from `id`, as that of its owner does.
fn in_shop(
    resource: &str,
    (version, kind): (&str, &str),
    name: &str,
    id: &str,
    owner: Option<&str>,
) -> (String, Vec<u8>) {
    let (uid, owner_uid) = (uid_of(id), owner.map(uid_of).unwrap_or_default());
    let owner = owner.map(|name| Owner { kind: "Owner", name, uid: &owner_uid, controller: true });
    object(resource, version, kind, &Meta { uid: &uid, owner, ..Meta::new("shop", name) }, b"")
}

/// In the order in which they come back. Each was created in another one.
fn kept() -> Vec<(String, Vec<u8>)> {
    let apps = |kind| ("apps/v1", kind);
    let claim = Meta { uid: "claim", ..Meta::new("shop", "data") };
    vec![
        namespace(&Meta { uid: "n", ..Meta::new("", "shop") }),
        in_shop("serviceaccounts", ("v1", "ServiceAccount"), "default", "account", None),
        custom("certificates", &Meta { uid: &uid_of("certificate"), ..Meta::new("shop", "tls") }),
        in_shop("secrets", ("v1", "Secret"), "tls", "secret", Some("certificate")),
        in_shop("configmaps", ("v1", "ConfigMap"), "web", "config", None),
        object("persistentvolumeclaims", "v1", "PersistentVolumeClaim", &claim, &field(3, b"pv-1")),
        in_shop("networkpolicies", ("networking.k8s.io/v1", "NetworkPolicy"), "none", "policy", None),
        in_shop("services/specs", ("v1", "Service"), "web", "service", None),
        in_shop("deployments", apps("Deployment"), "web", "deployment", None),
        in_shop("replicasets", apps("ReplicaSet"), "web-1", "set", Some("deployment")),
        in_shop("controllerrevisions", apps("ControllerRevision"), "web-1", "revision", None),
        in_shop("jobs", ("batch/v1", "Job"), "import", "job", None),
        in_shop("cronjobs", ("batch/v1", "CronJob"), "nightly", "cronjob", None),
        in_shop("pods", ("v1", "Pod"), "alone", "alone", None),
    ]
}

fn made_anew() -> Vec<(String, Vec<u8>)> {
    vec![
        in_shop("configmaps", ("v1", "ConfigMap"), "kube-root-ca.crt", "root", None),
        in_shop("pods", ("v1", "Pod"), "web-1-a", "pod", Some("set")),
        in_shop("pods", ("v1", "Pod"), "web-1-b", "pod-b", Some("set")),
        in_shop("events", ("v1", "Event"), "web.1", "event", None),
        in_shop("leases", ("coordination.k8s.io/v1", "Lease"), "leader", "lease", None),
        in_shop("services/endpoints", ("v1", "Endpoints"), "web", "endpoints", None),
        in_shop("endpointslices", ("discovery.k8s.io/v1", "EndpointSlice"), "web-x", "slice", Some("service")),
        custom(
            "ciliumendpoints",
            &Meta {
                owner: Some(Owner { kind: "Pod", name: "web-1-a", uid: &uid_of("pod"), controller: false }),
                ..Meta::new("shop", "web-1-a")
            },
        ),
    ]
}

/// What is not in the namespace, although it has its name.
fn others() -> Vec<(String, Vec<u8>)> {
    vec![
        kube_system(UID),
        namespace(&Meta::new("", "shop-2")),
        pod("shop-2", "web", b""),
        custom("sites", &Meta { uid: "site", ..Meta::new("", "shop") }),
        object("clusterroles", "rbac.authorization.k8s.io/v1", "ClusterRole", &Meta::new("", "shop"), b""),
        object("persistentvolumes", "v1", "PersistentVolume", &Meta::new("", "pv-1"), b""),
    ]
}

fn keys(objects: &[(String, Vec<u8>)]) -> Vec<&str> {
    objects.iter().map(|(key, _)| key.as_str()).collect()
}

/// A cluster with the namespace, and its backup.
fn shop() -> (Cluster, TempDir, PathBuf) {
    let cluster = Cluster::single();
    put(&cluster, &others());
    // Owners before what they own, as in a real cluster; otherwise in the opposite order.
    let mut first = kept();
    let (workloads, others) = (first.split_off(8), first.split_off(2));
    put(&cluster, &workloads);
    put(&cluster, &made_anew());
    put(&cluster, &others);
    first.reverse();
    put(&cluster, &first);
    let (folder, backup) = backup_of(&cluster);
    (cluster, folder, backup)
}

#[test]
fn a_deleted_namespace_comes_back_in_an_order_that_works() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = shop();
    let before = by_key(cluster.keys_at("", 0));
    delete(&cluster, &keys(&kept()));
    delete(&cluster, &keys(&made_anew()));
    delete(
        &cluster,
        &["/registry/namespaces/shop-2", "/registry/example.com/sites/shop", "/registry/clusterroles/shop"],
    );
    let deleted = by_key(cluster.keys_at("", 0));

    let plan = put_back(&cluster, &backup, &["--namespace=shop"]).success();
    assert_eq!((count(&plan, "create"), count(&plan, "left_out"), count(&plan, "refuse")), (14, 8, 0));
    assert_eq!(by_key(cluster.keys_at("", 0)), deleted, "a plan writes nothing");
    assert_eq!(told(&plan), [""; 0]);
    let left_out: Vec<_> = plan
        .value("left_out")
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["what"].as_str().unwrap(), l["count"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("events", 1),
        ("Leases", 1),
        ("endpoints", 2),
        ("pods", 2),
        ("objects that belong to what is left out", 1),
        ("root certificates", 1),
    ];
    assert_eq!(left_out, expected);

    let done = put_back(&cluster, &backup, &["--namespace=shop", "--yes"]).success();
    assert_eq!(count(&done, "create"), 14);
    let mut after = by_key(cluster.keys_at("", 0));
    let mut came = Vec::new();
    for (key, value) in kept() {
        let kv = after.remove(key.as_bytes()).unwrap();
        assert_eq!((&kv.value, &before[key.as_bytes()].value), (&value, &value));
        came.push((kv.create_revision, key));
    }
    assert!(came.is_sorted(), "{came:?}");
    assert_eq!(after, deleted, "nothing else was touched");
    let notes: Vec<_> =
        done.value("keys").as_array().unwrap().iter().filter_map(|line| line["note"].as_str()).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("it runs again") && notes[1].contains("time of its schedule"), "{notes:?}");

    let again = put_back(&cluster, &backup, &["--namespace=shop", "--yes"]).success();
    assert_eq!((count(&again, "create"), count(&again, "leave")), (0, 14));
    let nothing = put_back(&cluster, &backup, &["--namespace=shop", "--output=text"]).exits(0).stdout;
    assert!(nothing.contains("left out      pods: 2, their controllers make them anew"), "{nothing}");
    assert!(nothing.ends_with("8 left out: there is nothing to do\n"), "{nothing}");
}

#[test]
fn namespaces_keys_and_prefixes_add_up() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = shop();
    delete(
        &cluster,
        &[SHOP, "/registry/pods/shop/web-1-a", "/registry/namespaces/shop-2", "/registry/pods/shop-2/web"],
    );
    delete(&cluster, &["/registry/persistentvolumes/pv-1"]);
    let args = [
        "--namespace=shop",
        "/registry/pods/shop/web-1-a",
        "--namespace=shop-2",
        "--prefix=/registry/persistentvolumes/",
    ];
    let done = put_back(&cluster, &backup, &args).arg("--yes").success();
    assert_eq!((count(&done, "create"), count(&done, "left_out")), (5, 6));
    // Named, and so brought back, with what belongs to it.
    assert_eq!(results(&done)["/registry/pods/shop/web-1-a"], "created");
    let kv = |key| cluster.keys_at(key, 0)[0].create_revision;
    assert!(kv(SHOP) < kv("/registry/persistentvolumes/pv-1"));
    assert!(kv("/registry/persistentvolumes/pv-1") < kv("/registry/pods/shop/web-1-a"));
}

#[test]
fn a_namespace_that_is_being_deleted_is_not_filled() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = shop();
    let deleting = namespace(&Meta { uid: "n", deleting: true, ..Meta::new("", "shop") });
    put(&cluster, std::slice::from_ref(&deleting));
    delete(&cluster, &["/registry/secrets/shop/tls"]);
    for yes in [&[][..], &["--yes"]] {
        let output = put_back(&cluster, &backup, &["--namespace=shop"]).args(yes).exits(2);
        output.says(&[
            "namespace: shop is being deleted in the cluster",
            "cancel the deletion with `etcd-backup put-back",
        ]);
    }
    assert_eq!(cluster.keys_at("/registry/secrets/shop/", 0), []);
    // The place where another API server once kept it, and left it, does not count.
    let (left, value) = ("/kubernetes.io/namespaces/shop", kept().remove(0).1);
    put(&cluster, &[(left.to_owned(), value)]);
    put_back(&cluster, &backup, &["--namespace=shop"]).exits(2).says(&["namespace: shop is being deleted"]);
    delete(&cluster, &[left]);
    // What it advises.
    put_back(&cluster, &backup, &[SHOP, "--overwrite", "--yes"]).success();
    assert_eq!(cluster.keys_at(SHOP, 0)[0].value, kept()[0].1);
    put_back(&cluster, &backup, &["--namespace=shop", "--yes"]).success();
    assert_eq!(cluster.keys_at("/registry/secrets/shop/", 0).len(), 1);

    // Or at once, the namespace first.
    put(&cluster, &[deleting]);
    delete(&cluster, &["/registry/secrets/shop/tls"]);
    let done = put_back(&cluster, &backup, &["--namespace=shop", "--overwrite", "--yes"]).success();
    assert_eq!((count(&done, "replace"), count(&done, "create")), (1, 1));
    assert!(cluster.keys_at(SHOP, 0)[0].mod_revision < cluster.keys_at("/registry/secrets/shop/", 0)[0].mod_revision);
    assert_eq!(told(&done), [""; 0]);
}

#[test]
fn the_command_that_cancels_the_deletion_works_as_it_is_told() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::single(), Remote::folder());
    let shop = |deleting| {
        let (_, value) = namespace(&Meta { uid: "n", deleting, ..Meta::new("", "shop") });
        ("/kubernetes.io/namespaces/shop".to_owned(), value)
    };
    put(&cluster, &[shop(false), pod("shop", "web", b""), shop(true)]);
    remote.put("a b/202001010000.etcdb", &save(&cluster));
    delete(&cluster, &["/registry/pods/shop/web"]);
    let run = || Run::new().etcd(&cluster).store(&remote).env("BACKUP_PREFIX", "a b/");
    let args = ["put-back", "latest", "--namespace=shop", "--prefix=/registry/pods/", "--revision=3", "--timeout=5m"];
    let refused = run().args(args).arg("--yes").exits(2);
    let advised = refused.stderr.split('`').nth(1).unwrap();
    let (program, words) = shell_words(advised);
    assert_eq!(program, "etcd-backup");
    assert!(words.contains(&"/kubernetes.io/namespaces/shop".to_owned()), "{words:?}");
    let done = run().without_env("TARGET").without_env("BACKUP_PREFIX").args(&words).success();
    assert_eq!((count(&done, "replace"), count(&done, "create")), (1, 0));
    assert_eq!(cluster.keys_at("/kubernetes.io/namespaces/shop", 0)[0].value, shop(false).1);
    run().args(args).arg("--yes").success();
    assert_eq!(cluster.keys_at("/registry/pods/shop/web", 0).len(), 1);
}

#[test]
fn a_backup_of_a_dying_namespace_is_not_put_back() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    let alive = namespace(&Meta { uid: "n", ..Meta::new("", "shop") });
    let dying = namespace(&Meta { uid: "n", deleting: true, ..Meta::new("", "shop") });
    let secret = in_shop("secrets", ("v1", "Secret"), "tls", "secret", None);
    put(&cluster, &[kube_system(UID), alive.clone(), secret.clone(), dying]);
    let (_folder, backup) = backup_of(&cluster);
    // A namespace that lives is not replaced by a dying one.
    put(&cluster, std::slice::from_ref(&alive));
    let plan = put_back(&cluster, &backup, &["--prefix=/registry/", "--overwrite"]).success();
    assert_eq!(results(&plan)[SHOP], "refused");

    delete(&cluster, &[SHOP, &secret.0]);
    let refused = put_back(&cluster, &backup, &["--namespace=shop", "--yes"]).exits(2);
    refused.says(&["was being deleted when", "--revision"]);
    put_back(&cluster, &backup, &[SHOP, "--yes"]).exits(2).says(&["never put back", "all that is in it"]);
    assert_eq!(cluster.keys_at("/registry/namespaces/shop", 0), []);
    // As it says: an earlier revision.
    put_back(&cluster, &backup, &["--namespace=shop", "--revision=4", "--yes"]).success();
    assert_eq!(cluster.keys_at(SHOP, 0)[0].value, alive.1);
}

#[test]
fn a_namespace_that_nobody_has_is_refused() {
    needs!("etcd", "etcdctl");
    let (cluster, _folder, backup) = shop();
    put_back(&cluster, &backup, &["--namespace=shp", "--yes"]).exits(2).says(&["nor the cluster has shp", "inspect"]);
    // Another kind of the same name is no namespace.
    let (key, value) =
        ("/registry/example.com/sites/only".to_owned(), protobuf("v1", "Site", &Meta::new("", "only"), b""));
    put(&cluster, &[(key, value)]);
    put_back(&cluster, &backup_of(&cluster).1, &["--namespace=only"]).exits(2);
}
