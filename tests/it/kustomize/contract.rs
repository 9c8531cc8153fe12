//! What overlays of the packages that these replace rely on: names, keys, and places in lists.

use serde_yaml::Value;

use super::render::{PACKAGES, Render, each, list, text};

fn s3() -> Render {
    Render::shipped("etcd-backup-s3")
}

fn pvc() -> Render {
    Render::shipped("etcd-backup-pvc")
}

/// Mounts as `path=volume`, with `:ro` where read-only.
fn mounts(container: &Value) -> Vec<String> {
    let mount = |mount: &Value| {
        let read_only = if mount["readOnly"] == true { ":ro" } else { "" };
        format!("{}={}{read_only}", text(&mount["mountPath"]), text(&mount["name"]))
    };
    list(&container["volumeMounts"]).iter().map(mount).collect()
}

/// Variables that come from a ConfigMap, as `NAME=key`.
fn from_config(container: &Value) -> Vec<String> {
    let variable = |variable: &Value| {
        let key = variable["valueFrom"]["configMapKeyRef"]["key"].as_str()?;
        Some(format!("{}={key}", text(&variable["name"])))
    };
    list(&container["env"]).iter().filter_map(variable).collect()
}

#[test]
fn settings_have_their_defaults() {
    let (s3, pvc) = (s3(), pvc());
    let config = s3.config("etcd-backup-s3-config");
    assert_eq!(config["target"], "minio:bucketname");
    assert_eq!(config["retention"], "10d");
    assert_eq!(config["backup-prefix"], "my-s3-etcd-backup-");
    let config = pvc.config("etcd-backup-pvc-config");
    assert_eq!(config["retention"], "10d");
    assert_eq!(config["backup-prefix"], "my-pvc-etcd-backup-");
    for (render, name) in [(&s3, PACKAGES[0]), (&pvc, PACKAGES[1])] {
        let paths = render.config(&format!("{name}-certificates-location"));
        assert_eq!(paths["ETCDCTL_CACERT"], "/etcd/etcd/ca.crt");
        assert_eq!(paths["ETCDCTL_CERT"], "/etcd/apiserver-etcd-client.crt");
        assert_eq!(paths["ETCDCTL_KEY"], "/etcd/apiserver-etcd-client.key");
    }
}

#[test]
fn the_secret_is_one_file_and_only_where_a_remote_is_used() {
    let render = s3();
    let secret = render.generated("Secret", "etcd-backup-s3-rclone-conf");
    let keys: Vec<_> = secret["data"].as_mapping().unwrap().keys().map(text).collect();
    assert_eq!(keys, ["rclone.conf"]);
    assert!(pvc().of_kind("Secret").is_empty());
}

#[test]
fn everything_is_in_kube_system_and_nothing_grants_rights() {
    for render in [s3(), pvc()] {
        for kind in ["ConfigMap", "CronJob", "Secret"] {
            for object in render.of_kind(kind) {
                assert_eq!(object["metadata"]["namespace"], "kube-system");
            }
        }
        for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"] {
            assert!(render.of_kind(kind).is_empty(), "{kind}");
        }
    }
}

#[test]
fn the_schedule_is_one_in_the_morning_for_both() {
    for render in [s3(), pvc()] {
        let spec = &render.cron_job()["spec"];
        assert_eq!(spec["schedule"], "0 1 * * *");
        assert_eq!(spec["concurrencyPolicy"], "Forbid");
        assert_eq!(spec["successfulJobsHistoryLimit"], 3);
        assert_eq!(spec["failedJobsHistoryLimit"], 5);
    }
}

#[test]
fn labels_are_kept() {
    for package in PACKAGES {
        let render = Render::shipped(package);
        let job = render.cron_job();
        let template = &job["spec"]["jobTemplate"];
        let pod = &template["spec"]["template"]["metadata"]["labels"];
        assert_eq!(job["metadata"]["name"], package);
        for labels in [&job["metadata"]["labels"], pod] {
            assert_eq!(labels["app.kubernetes.io/name"], package);
            assert_eq!(labels["app.kubernetes.io/instance"], format!("{package}-dr"));
            assert_eq!(labels["app.kubernetes.io/version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(labels["app.kubernetes.io/component"], "disaster-recovery");
            assert!(labels["app.kubernetes.io/part-of"].is_string());
        }
        for labels in [&template["metadata"]["labels"], pod] {
            assert_eq!(labels["velero.io/exclude-from-backup"], "true");
        }
    }
}

#[test]
fn volumes_keep_their_places() {
    let render = s3();
    let volumes = &render.pod()["volumes"];
    assert_eq!(
        each(volumes, "name")[..4],
        ["etcd-certs", "persistence", "kubeadm-config", "etcd-backup-s3-rclone-conf"]
    );
    assert_eq!(volumes[0]["hostPath"]["path"], "/etc/etcd/pki");
    assert!(volumes[1]["emptyDir"].is_mapping());
    assert_kubeadm(&volumes[2]);

    let render = pvc();
    let volumes = &render.pod()["volumes"];
    assert_eq!(each(volumes, "name")[..3], ["etcd-certs", "kubeadm-config", "target-pvc"]);
    assert_eq!(volumes[0]["hostPath"]["path"], "/etc/etcd/pki");
    assert_kubeadm(&volumes[1]);
    assert_eq!(volumes[2]["persistentVolumeClaim"]["claimName"], "target-pvc");
}

fn assert_kubeadm(volume: &Value) {
    let map = &volume["configMap"];
    assert_eq!(map["name"], "kubeadm-config");
    assert_eq!(map["items"][0]["key"], "ClusterConfiguration");
    assert_eq!(map["items"][0]["path"], "config.yaml");
    assert_eq!(map["optional"], true, "a cluster without kubeadm needs no patch");
}

#[test]
fn the_containers_of_the_s3_package_keep_order_mounts_and_variables() {
    let render = s3();
    let pod = render.pod();
    assert_eq!(each(&pod["initContainers"], "name"), ["backupper", "move-to-s3"]);
    assert_eq!(each(&pod["containers"], "name"), ["delete-old"]);

    let backupper = render.container("backupper");
    assert_eq!(mounts(backupper)[..3], ["/etcd=etcd-certs:ro", "/backup=persistence", "/k8s=kubeadm-config"]);
    assert_eq!(from_config(backupper), ["BACKUP_PREFIX=backup-prefix"]);

    let store = render.container("move-to-s3");
    assert_eq!(mounts(store)[..2], ["/config/rclone=etcd-backup-s3-rclone-conf:ro", "/etcd-backup=persistence"]);
    assert_eq!(from_config(store), ["TARGET=target"]);

    let prune = render.container("delete-old");
    assert_eq!(mounts(prune)[..1], ["/config/rclone=etcd-backup-s3-rclone-conf:ro"]);
    assert_eq!(from_config(prune), ["TARGET=target", "RETENTION=retention", "BACKUP_PREFIX=backup-prefix"]);
}

#[test]
fn the_containers_of_the_pvc_package_keep_order_mounts_and_variables() {
    let render = pvc();
    let pod = render.pod();
    assert_eq!(each(&pod["initContainers"], "name"), ["backupper"]);
    assert_eq!(each(&pod["containers"], "name"), ["delete-old"]);

    let backupper = render.container("backupper");
    assert_eq!(mounts(backupper)[..3], ["/etcd=etcd-certs:ro", "/k8s=kubeadm-config", "/backup=target-pvc"]);
    assert_eq!(from_config(backupper), ["BACKUP_PREFIX=backup-prefix"]);

    let prune = render.container("delete-old");
    assert_eq!(mounts(prune)[..1], ["/target=target-pvc"]);
    assert_eq!(from_config(prune), ["RETENTION=retention", "BACKUP_PREFIX=backup-prefix"]);
}

#[test]
fn backupper_takes_the_certificates_map_as_its_environment() {
    for package in PACKAGES {
        let render = Render::shipped(package);
        let map = render.generated("ConfigMap", &format!("{package}-certificates-location"));
        let from = &render.container("backupper")["envFrom"][0]["configMapRef"]["name"];
        assert_eq!(from, &map["metadata"]["name"]);
    }
}

#[test]
fn the_settings_map_is_also_the_settings_directory_of_every_step() {
    for package in PACKAGES {
        let render = Render::shipped(package);
        let map = render.generated("ConfigMap", &format!("{package}-config"));
        let volumes = list(&render.pod()["volumes"]);
        let settings = volumes.iter().find(|volume| volume["name"] == "settings").unwrap();
        assert_eq!(settings["configMap"]["name"], map["metadata"]["name"]);
        for container in render.containers() {
            assert!(mounts(container).contains(&"/config/etcd-backup=settings:ro".to_owned()));
        }
    }
}

#[test]
fn the_pod_is_bound_to_control_plane_nodes() {
    for render in [s3(), pvc()] {
        let pod = render.pod();
        let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let expression = &terms["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!(expression["key"], "node-role.kubernetes.io/control-plane");
        assert_eq!(expression["operator"], "Exists");
        let tolerated = ["node-role.kubernetes.io/control-plane", "node.kubernetes.io/memory-pressure"];
        assert_eq!(each(&pod["tolerations"], "key"), tolerated);
        assert_eq!(each(&pod["tolerations"], "effect"), ["NoSchedule", "NoSchedule"]);
        assert_eq!(pod["hostNetwork"], true);
    }
}
