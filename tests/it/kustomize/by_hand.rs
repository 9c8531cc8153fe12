//! The job that kustomize/README.md tells to make for one command.

use std::{fs, io::Write, process::Stdio};

use rstest::rstest;
use serde_yaml::{Mapping, Value};

use super::{
    jobs::{node, root_is_here, s3},
    pod::Pod,
    render::{PACKAGES, Render, list, root, with_component},
};
use crate::support::{etcd::Cluster, kubeadm, remote::Remote, tls::Leaf, tools};

/// Of one of the two recipes: the line that sets ARGS, and `kubectl patch` with all its arguments.
fn as_told(recipe: usize) -> (String, String) {
    let readme = fs::read_to_string(root().join("kustomize/README.md")).unwrap();
    let block = readme.split("$ ARGS=").nth(recipe + 1).expect("a recipe").to_owned();
    let patch = block.split_once("--dry-run=client -o yaml |\n").unwrap().1;
    let patch = patch.split_once(" |\n    kubectl create -f -").unwrap().0.to_owned();
    (format!("ARGS={}", block.lines().next().unwrap()), patch)
}

/// The pod of the job that `kubectl create job --from` makes, patched.
fn patched(render: &Render, args: &str, patch: &str) -> Value {
    let mut job = Mapping::new();
    job.insert("apiVersion".into(), "batch/v1".into());
    job.insert("kind".into(), "Job".into());
    job.insert("metadata".into(), Mapping::from_iter([("name".into(), "by-hand".into())]).into());
    job.insert("spec".into(), render.job().clone());
    let mut shell = tools::command("sh");
    shell.args(["-euc", &format!("{args}\n{patch}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(serde_yaml::to_string(&job).unwrap().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let job: Value = serde_yaml::from_slice(&output.stdout).unwrap();
    job["spec"]["template"]["spec"].clone()
}

#[rstest]
fn it_has_one_container_with_the_settings_and_the_secret_of_the_cron_job(
    #[values(PACKAGES[0], PACKAGES[1])] package: &str,
    #[values("", "single", "kubeadm-stacked")] component: &str,
) {
    let render = if component.is_empty() { Render::shipped(package) } else { with_component(package, component) };
    let (args, patch) = as_told(0);
    let pod = patched(&render, &args, &patch);
    assert!(pod["initContainers"].is_null() && list(&pod["containers"]).len() == 1, "{pod:?}");
    let (is, was) = (&pod["containers"][0], &render.pod()["containers"][0]);
    let words: Vec<_> = list(&is["args"]).iter().filter_map(Value::as_str).collect();
    assert_eq!(words, ["accept", "my-s3-etcd-backup-202601020304.etcdb", "--by", "alice"]);
    for field in ["image", "env", "envFrom", "volumeMounts", "securityContext"] {
        assert_eq!(is[field], was[field], "{field}");
    }
    assert_eq!(pod["volumes"], render.pod()["volumes"]);
}

/// Both packages, the etcd of kubeadm's own kind, and a key that somebody has deleted.
#[rstest]
fn put_back_has_the_cluster_and_the_store(#[values(PACKAGES[0], PACKAGES[1])] package: &str) {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/shop/", 3);
    cluster.pki().issue("etcd/healthcheck-client", Leaf::client("kube-etcd-healthcheck-client"));
    let mut node = node(&cluster);
    node.kubeadm = Some(kubeadm::stacked_list(&cluster.endpoint(0)));
    let claim = tempfile::tempdir().unwrap();
    node.claims.insert("target-pvc".to_owned(), claim.path().to_owned());
    let remote = Remote::rclone_s3();
    let stacked = "components: [BASE/components/kubeadm-stacked]";
    let render = if package == PACKAGES[0] { s3(&remote, stacked) } else { with_component(package, "kubeadm-stacked") };
    let keys = || cluster.etcdctl(&["get", "--prefix", "--keys-only", "/registry/pods/shop/"]);
    let key = keys().lines().next().unwrap().to_owned();
    let target = if package == PACKAGES[0] { "" } else { r#", "--target", "/backup""# };
    let args = format!(r#"ARGS='"put-back", "latest", "{key}", "--yes"{target}'"#);
    let mut patch = as_told(1).1;
    if package != PACKAGES[0] {
        let secret = patch
            .find("      {\"op\": \"add\", \"path\": \"/spec/template/spec/containers/0/volumeMounts/-\"")
            .unwrap();
        let end = secret + patch[secret..].find("}},\n").unwrap() + "}},\n".len();
        patch.replace_range(secret..end, "");
    }
    let by_hand = render.with_pod(patched(&render, &args, &patch));

    Pod::new(render, &node).succeeds();
    cluster.etcdctl(&["del", &key]);
    assert!(!keys().contains(&key));
    let pod = Pod::new(by_hand, &node);
    assert_eq!(pod.names(), ["backupper"]);
    pod.succeeds();
    assert!(keys().contains(&key));
}

#[test]
fn the_claim_is_where_the_readme_says() {
    let target = |component: Option<&str>| {
        let render =
            component.map_or_else(|| Render::shipped("etcd-backup-pvc"), |c| with_component("etcd-backup-pvc", c));
        let container = &render.pod()["containers"][0];
        let mount = list(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "target-pvc").unwrap();
        mount["mountPath"].as_str().unwrap().to_owned()
    };
    assert_eq!((target(None).as_str(), target(Some("single")).as_str()), ("/target", "/backup"));
}
