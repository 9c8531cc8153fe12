//! What the originals left out: deadlines, rights, resources, and the separation of secrets.

use serde_yaml::Value;

use super::render::{PACKAGES, Render, each, everything, list, text, with_component};

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

#[test]
fn the_jobs_deadline_leaves_each_step_its_hour() {
    const HOUR: u64 = 3600;
    for_each(|name, render| {
        let steps = u64::try_from(render.containers().len()).unwrap();
        let deadline = render.job()["activeDeadlineSeconds"].as_u64().unwrap();
        assert!(deadline > steps * HOUR, "{name}: {deadline} s for {steps} steps");
        assert!(deadline < 24 * HOUR, "{name}: the next night's job is not blocked");
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
    for package in PACKAGES {
        assert_eq!(roots(&with_component(package, "single")), ["copy-tls"]);
    }
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
