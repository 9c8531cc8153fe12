//! What the originals left out: deadlines, rights, resources, and the separation of secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use super::render::{Overlay, PACKAGES, Render, each, everything, list, text, with_component};
use crate::support::run::Run;

/// Every package, alone and with every component, and every example.
fn for_each(check: impl Fn(&str, &Render)) {
    for (name, render) in everything() {
        check(name, render);
    }
}

#[test]
fn a_job_ends_and_is_retried_only_where_that_can_help() {
    for_each(|name, render| {
        let spec = &render.cron_job()["spec"];
        assert_eq!(spec["timeZone"], "Etc/UTC", "{name}");
        assert_eq!(spec["startingDeadlineSeconds"], 3600, "{name}");
        let job = render.job();
        assert_eq!(job["backoffLimit"], 3, "{name}");
        let rules = &job["podFailurePolicy"]["rules"];
        assert_eq!(each(rules, "action"), ["Ignore", "FailJob"], "{name}");
        assert_eq!(rules[0]["onPodConditions"][0]["type"], "DisruptionTarget", "{name}");
        let exits: Vec<_> = list(&rules[1]["onExitCodes"]["values"]).iter().filter_map(Value::as_u64).collect();
        assert_eq!(exits, [2, 3, 8, 9], "{name}");
        // The policy covers init containers too, as long as no container is named.
        assert!(rules[1]["onExitCodes"]["containerName"].is_null(), "{name}");
        assert_eq!(render.pod()["restartPolicy"], "Never", "{name}: the API wants it with the policy");
    });
}

/// The deadline that a command's help names, in seconds.
fn own_deadline(command: &str) -> u64 {
    let help = Run::new().args([command, "--help"]).exits(0).stdout;
    let told = help.split_once("Give up after this long [default: ").expect(command).1;
    humantime::parse_duration(told.split_once(']').unwrap().0).unwrap().as_secs()
}

#[test]
fn each_step_ends_by_itself_before_the_jobs_deadline() {
    const PULL: u64 = 600;
    for_each(|name, render| {
        let commands = render.containers().into_iter().map(|container| text(&container["args"][0]));
        // `copy-tls` copies three files.
        let steps: u64 = commands.filter(|command| *command != "copy-tls").map(own_deadline).sum();
        let deadline = render.job()["activeDeadlineSeconds"].as_u64().unwrap();
        assert!(deadline >= steps + PULL, "{name}: {deadline} s for steps of {steps} s");
        // A pod that cannot start blocks the schedule for as long.
        assert!(deadline <= 5400, "{name}: {deadline} s");
    });
}

#[test]
fn the_pod_has_no_more_rights_than_it_needs() {
    for_each(|name, render| {
        let pod = render.pod();
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        assert_eq!(pod["priorityClassName"], "system-cluster-critical", "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(10), "{name}");
        for container in render.containers() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
            assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError", "{name}");
            for bound in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    assert!(container["resources"][bound][resource].is_string(), "{name} {bound} {resource}");
                }
            }
        }
    });
}

fn runs_as_root(render: &Render, container: &Value) -> bool {
    let own = &container["securityContext"]["runAsUser"];
    let user = own.as_u64().or_else(|| render.pod()["securityContext"]["runAsUser"].as_u64());
    user.expect("a user") == 0
}

#[test]
fn only_root_has_a_capability_and_only_one() {
    for_each(|name, render| {
        for container in render.containers() {
            let added = list(&container["securityContext"]["capabilities"]["add"]);
            if runs_as_root(render, container) {
                assert_eq!(added, ["DAC_OVERRIDE"], "{name}");
            } else {
                assert!(added.is_empty(), "{name}");
                assert_eq!(render.pod()["securityContext"]["runAsNonRoot"], true, "{name}");
            }
        }
    });
}

#[test]
fn root_is_only_who_must_be() {
    let roots = |render: &Render| -> Vec<String> {
        let of = render.containers().into_iter().filter(|container| runs_as_root(render, container));
        of.map(|container| text(&container["name"]).to_owned()).collect()
    };
    assert_eq!(roots(&Render::shipped("etcd-backup-s3")), ["backupper"]);
    assert_eq!(roots(&Render::shipped("etcd-backup-pvc")), ["backupper", "delete-old"]);
    assert_eq!(roots(&with_component("etcd-backup-s3", "single")), ["copy-tls"]);
    assert_eq!(roots(&with_component("etcd-backup-pvc", "single")), ["copy-tls", "etcd-backup"]);
}

#[test]
fn root_never_sees_the_credentials_of_the_store() {
    for_each(|name, render| {
        for container in render.containers() {
            let mounts = each(&container["volumeMounts"], "name");
            let both = mounts.contains(&"etcd-certs") && mounts.contains(&"etcd-backup-s3-rclone-conf");
            assert!(!both, "{name}: {mounts:?}");
        }
    });
}

#[test]
fn the_snapshot_has_room_for_the_largest_database() {
    let render = Render::shipped("etcd-backup-s3");
    assert_eq!(render.pod()["volumes"][1]["emptyDir"]["sizeLimit"], "10Gi");
}

#[test]
fn copies_of_secrets_stay_in_memory() {
    for_each(|name, render| {
        for volume in list(&render.pod()["volumes"]) {
            if ["tmp", "etcd-tls"].contains(&text(&volume["name"])) {
                assert_eq!(volume["emptyDir"]["medium"], "Memory", "{name}");
                assert!(volume["emptyDir"]["sizeLimit"].is_string(), "{name}");
            }
        }
    });
}

#[test]
fn a_user_namespace_replaces_the_hosts_network() {
    for package in PACKAGES {
        let render = with_component(package, "no-host-network");
        assert_eq!(render.pod()["hostNetwork"], false);
        assert_eq!(render.pod()["hostUsers"], false);
    }
}

#[test]
fn a_stacked_etcd_is_found_without_the_hosts_network() {
    for_each(|name, render| {
        let asks = |container: &&Value| {
            each(&container["volumeMounts"], "mountPath").contains(&"/k8s")
                && list(&container["env"]).iter().any(|variable| {
                    variable["name"] == "HOST_IP" && variable["valueFrom"]["fieldRef"]["fieldPath"] == "status.hostIP"
                })
        };
        let reaches_etcd = render.containers().into_iter().filter(asks).count();
        // The example without kubeadm has taken the file out.
        assert_eq!(reaches_etcd, usize::from(name != "example-without-kubeadm"), "{name}");
    });
}

/// The files that the three variables name, and nothing else: the keys of the certificate authorities lie beside them.
#[test]
fn a_stacked_etcds_files_are_mounted_one_by_one() {
    for package in PACKAGES {
        for components in [&["kubeadm-stacked"][..], &["kubeadm-stacked", "single"], &["single", "kubeadm-stacked"]] {
            let list_of: Vec<_> = components.iter().map(|name| format!("BASE/components/{name}")).collect();
            let overlay = format!("resources: [BASE/{package}]\ncomponents: [{}]\n", list_of.join(", "));
            let render = Overlay::new(&overlay).render();
            let volumes = list(&render.pod()["volumes"]);
            let of_the_node: Vec<_> = volumes.iter().filter(|volume| volume["hostPath"].is_mapping()).collect();
            assert!(of_the_node.iter().all(|volume| volume["hostPath"]["type"] == "File"), "{of_the_node:?}");
            let container = render.containers()[0];
            let path_of = |mount: &Value| {
                let volume = of_the_node.iter().find(|volume| volume["name"] == mount["name"])?;
                let path = text(&volume["hostPath"]["path"]).strip_prefix("/etc/kubernetes/pki/")?;
                Some((text(&mount["mountPath"]).strip_prefix("/etcd/")?.to_owned(), path.to_owned()))
            };
            let mounted: BTreeMap<_, _> = list(&container["volumeMounts"]).iter().filter_map(path_of).collect();
            let settings = render.config(&format!("{package}-certificates-location"));
            let named = ["ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"].map(|key| text(&settings[key]).to_owned());
            let named: BTreeMap<_, _> =
                named.iter().map(|path| path.strip_prefix("/etcd/").unwrap()).map(|p| (p.into(), p.into())).collect();
            assert_eq!(mounted, named, "{package} {components:?}");
            let ours = render.containers().into_iter().skip(1);
            let of_host: BTreeSet<_> = of_the_node.iter().map(|volume| text(&volume["name"])).collect();
            for other in ours {
                assert!(each(&other["volumeMounts"], "name").iter().all(|name| !of_host.contains(name)), "{other:?}");
            }
        }
    }
}

#[test]
fn one_image_serves_all_steps() {
    for_each(|name, render| {
        let mut images: Vec<_> = render.containers().into_iter().map(|container| text(&container["image"])).collect();
        images.dedup();
        let own = format!("etcd-backup:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(images.len(), 1, "{name}: {images:?}");
        assert!(images[0] == own || name == "example-own-image", "{name}: {images:?}");
    });
}
