//! The overlays that users of the originals have, unchanged but for the package's path.

use std::{fs, path::Path, process::Command};

use rstest::rstest;
use serde_yaml::Value;

use super::render::{Overlay, PACKAGES, Render, each, list, root, text};

fn overlay(package: &str, rest: &str) -> Overlay {
    Overlay::new(&format!("resources:\n  - BASE/{package}\n{rest}"))
}

/// An index patch to the CronJob, as JSON 6902 operations on the pod's spec.
fn patched(package: &str, operations: &str) -> Render {
    let operations = operations.replace("POD", "/spec/jobTemplate/spec/template/spec");
    let patch = format!("patches:\n  - target: {{kind: CronJob, name: {package}}}\n    path: patch.yaml\n");
    overlay(package, &patch).file("patch.yaml", &operations).render()
}

/// Every reference to a generated object names one that is in the render.
fn assert_linked(render: &Render, kind: &str, name: &str) {
    let full = text(&render.generated(kind, name)["metadata"]["name"]);
    let stem = format!("{name}-");
    let mut uses = 0;
    for line in render.text.lines().filter(|line| line.contains(&stem)) {
        let named = line.rsplit(' ').next().unwrap();
        assert_eq!(named, full, "{line}");
        uses += 1;
    }
    assert!(uses > 1, "{full} is used by nothing");
}

#[rstest]
fn a_schedule_is_patched_by_name(
    #[values("etcd-backup-s3", "etcd-backup-pvc")] package: &str,
    #[values("", "  namespace: kube-system\n")] namespace: &str,
) {
    let patch = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: {package}\n{namespace}spec:\n  schedule: '*/30 * * * *'\n"
    );
    let render = overlay(package, "patches:\n  - path: schedule.yaml\n").file("schedule.yaml", &patch).render();
    assert_eq!(render.cron_job()["spec"]["schedule"], "*/30 * * * *");
    assert_eq!(render.job(), Render::shipped(package).job(), "nothing else changes");
}

/// Where an overlay may say the namespace, or not.
const NAMESPACES: [(&str, &str); 3] =
    [("", ""), ("", "    namespace: kube-system\n"), ("namespace: kube-system\n", "")];

#[rstest]
#[case("etcd-backup-s3", "etcd-backup-s3-config", "merge")]
#[case("etcd-backup-s3", "etcd-backup-s3-config", "replace")]
#[case("etcd-backup-pvc", "etcd-backup-pvc-config", "merge")]
#[case("etcd-backup-pvc", "etcd-backup-pvc-config", "replace")]
fn settings_are_merged_or_replaced(#[case] package: &str, #[case] map: &str, #[case] behavior: &str) {
    for (top, own) in NAMESPACES {
        let rest = format!(
            "{top}configMapGenerator:\n  - name: {map}\n{own}    behavior: {behavior}\n    literals:\n      \
             - target=s3:bucket/backups\n      - retention=30d\n      - backup-prefix=\n      - keep-last=7\n"
        );
        let render = overlay(package, &rest).render();
        let config = render.config(map);
        assert_eq!(config["target"], "s3:bucket/backups");
        assert_eq!(config["retention"], "30d");
        assert_eq!(config["backup-prefix"], "", "an empty prefix is legal");
        assert_eq!(config["keep-last"], "7", "a new key needs no patch");
        assert_linked(&render, "ConfigMap", map);
    }
}

#[test]
fn a_merge_keeps_what_it_does_not_name_and_a_replace_does_not() {
    let with = |behavior: &str| {
        let rest = format!(
            "configMapGenerator:\n  - {{name: etcd-backup-s3-config, behavior: {behavior}, literals: [target=s3:b, retention-count=9]}}\n"
        );
        overlay("etcd-backup-s3", &rest).render()
    };
    assert_eq!(with("merge").config("etcd-backup-s3-config")["retention"], "10d");

    let replaced = with("replace");
    assert!(replaced.config("etcd-backup-s3-config")["retention"].is_null());
    for variable in list(&replaced.container("delete-old")["env"]) {
        let key = &variable["valueFrom"]["configMapKeyRef"];
        let missing = ["retention", "backup-prefix"].contains(&text(&key["key"]));
        assert_eq!(key["optional"] == true, missing, "the pod starts without {key:?}");
    }
}

#[rstest]
fn certificate_paths_are_merged_or_replaced(
    #[values("etcd-backup-s3", "etcd-backup-pvc")] package: &str,
    #[values("merge", "replace")] behavior: &str,
) {
    let map = format!("{package}-certificates-location");
    for (top, own) in NAMESPACES {
        let rest = format!(
            "{top}configMapGenerator:\n  - name: {map}\n{own}    behavior: {behavior}\n    literals:\n      \
             - ETCDCTL_CACERT=/etcd/ca.pem\n      - ETCDCTL_CERT=/etcd/c.pem\n      - ETCDCTL_KEY=/etcd/k.pem\n      \
             - ETCDCTL_ENDPOINTS=https://10.0.0.1:2379,https://10.0.0.2:2379\n"
        );
        let render = overlay(package, &rest).render();
        assert_eq!(render.config(&map)["ETCDCTL_CACERT"], "/etcd/ca.pem");
        assert_eq!(render.config(&map)["ETCDCTL_ENDPOINTS"], "https://10.0.0.1:2379,https://10.0.0.2:2379");
        assert_linked(&render, "ConfigMap", &map);
    }
}

#[test]
fn the_secret_is_replaced() {
    for (top, own) in NAMESPACES {
        let rest = format!(
            "{top}secretGenerator:\n  - name: etcd-backup-s3-rclone-conf\n{own}    behavior: replace\n    files: [rclone.conf]\n"
        );
        let render = overlay("etcd-backup-s3", &rest).file("rclone.conf", "[mine]\ntype = s3\n").render();
        let secret = render.generated("Secret", "etcd-backup-s3-rclone-conf");
        assert_eq!(secret["data"]["rclone.conf"], "W21pbmVdCnR5cGUgPSBzMwo=");
        assert_linked(&render, "Secret", "etcd-backup-s3-rclone-conf");
    }
}

#[test]
fn the_secret_is_edited_in_the_rclone_folder() {
    let copy = tempfile::tempdir().unwrap();
    for folder in ["kustomize", "rclone"] {
        copy_tree(&root().join(folder), copy.path());
    }
    fs::write(copy.path().join("rclone/rclone.conf"), "[mine]\ntype = s3\n").unwrap();
    let render = Render::folder(&copy.path().join("kustomize/etcd-backup-s3"));
    let secret = render.generated("Secret", "etcd-backup-s3-rclone-conf");
    assert_eq!(secret["data"]["rclone.conf"], "W21pbmVdCnR5cGUgPSBzMwo=");
    assert_linked(&render, "Secret", "etcd-backup-s3-rclone-conf");
}

fn copy_tree(from: &Path, into: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(into).status().unwrap();
    assert!(status.success());
}

#[rstest]
#[case("etcd-backup-s3", 2, 2)]
#[case("etcd-backup-pvc", 1, 1)]
fn kubeadms_file_is_taken_out_by_index(#[case] package: &str, #[case] volume: usize, #[case] mount: usize) {
    let render = patched(
        package,
        &format!(
            "- {{op: remove, path: POD/volumes/{volume}}}\n- {{op: remove, path: POD/initContainers/0/volumeMounts/{mount}}}\n\
             - {{op: add, path: POD/initContainers/0/env/-, value: {{name: ETCDCTL_ENDPOINTS, value: 'https://10.0.0.1:2379'}}}}\n"
        ),
    );
    let before = Render::shipped(package);
    let without = |names: Vec<&str>| -> Vec<String> {
        names.into_iter().filter(|name| *name != "kubeadm-config").map(str::to_owned).collect()
    };
    assert_eq!(each(&render.pod()["volumes"], "name"), without(each(&before.pod()["volumes"], "name")));
    let mounts = |render: &Render| without(each(&render.container("backupper")["volumeMounts"], "name"));
    assert_eq!(each(&render.container("backupper")["volumeMounts"], "name"), mounts(&before));
    let variable = list(&render.container("backupper")["env"]).last().unwrap();
    assert_eq!(variable["value"], "https://10.0.0.1:2379");
}

#[test]
fn endpoints_are_given_to_backupper_by_its_name() {
    let patch =
        merge_patch("initContainers", "backupper", "env: [{name: ETCDCTL_ENDPOINTS, value: 'https://10.0.0.1:2379'}]");
    let render = overlay("etcd-backup-s3", "patches: [{path: patch.yaml}]\n").file("patch.yaml", &patch).render();
    let backupper = render.container("backupper");
    assert!(each(&backupper["env"], "name").contains(&"ETCDCTL_ENDPOINTS"));
    assert!(each(&backupper["env"], "name").contains(&"BACKUP_PREFIX"));
}

#[test]
fn the_claim_is_renamed_by_index() {
    let claim = "- {op: replace, path: POD/volumes/2/persistentVolumeClaim/claimName, value: mine}\n";
    let render = patched("etcd-backup-pvc", claim);
    assert_eq!(render.pod()["volumes"][2]["persistentVolumeClaim"]["claimName"], "mine");
}

#[rstest]
fn the_claim_is_renamed_by_index_under_every_component(
    #[values("cluster-dns", "kubeadm-stacked", "no-host-network", "single")] component: &str,
) {
    let patch = "- op: replace\n  path: /spec/jobTemplate/spec/template/spec/volumes/2/persistentVolumeClaim/claimName\n  value: mine\n";
    let rest = format!(
        "components: [BASE/components/{component}]\npatches:\n  - target: {{kind: CronJob}}\n    path: patch.yaml\n"
    );
    let render = overlay("etcd-backup-pvc", &rest).file("patch.yaml", patch).render();
    assert_eq!(render.pod()["volumes"][2]["persistentVolumeClaim"]["claimName"], "mine");
}

fn merge_patch(list: &str, container: &str, fields: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: etcd-backup-s3}}\nspec:\n  jobTemplate:\n    spec:\n      \
         template:\n        spec:\n          {list}:\n            - name: {container}\n              {fields}\n"
    )
}

#[rstest]
#[case("initContainers", "backupper")]
#[case("initContainers", "move-to-s3")]
#[case("containers", "delete-old")]
fn a_container_gets_resources_and_variables_by_its_name(#[case] list: &str, #[case] container: &str) {
    let fields = "env: [{name: EXTRA, value: '1'}]\n              resources: {limits: {memory: 2Gi}}";
    let patch = merge_patch(list, container, fields);
    let render = overlay("etcd-backup-s3", "patches: [{path: patch.yaml}]\n").file("patch.yaml", &patch).render();
    let (is, was) = (render.container(container), Render::shipped("etcd-backup-s3"));
    let was = was.container(container);
    assert_eq!(is["resources"]["limits"]["memory"], "2Gi");
    assert_eq!(is["resources"]["limits"]["cpu"], was["resources"]["limits"]["cpu"]);
    let names = each(&is["env"], "name");
    assert!(names.contains(&"EXTRA") && names.len() == each(&was["env"], "name").len() + 1, "{names:?}");
    assert_eq!(is["volumeMounts"], was["volumeMounts"]);
}

#[rstest]
fn the_pod_gets_selectors_tolerations_and_pull_secrets(#[values("etcd-backup-s3", "etcd-backup-pvc")] package: &str) {
    let render = patched(
        package,
        "- {op: add, path: POD/nodeSelector, value: {disk: fast}}\n\
         - {op: add, path: POD/tolerations/-, value: {key: mine, operator: Exists}}\n\
         - {op: add, path: POD/imagePullSecrets, value: [{name: registry}]}\n",
    );
    assert_eq!(render.pod()["nodeSelector"]["disk"], "fast");
    assert_eq!(each(&render.pod()["tolerations"], "key")[2], "mine");
    assert_eq!(render.pod()["imagePullSecrets"][0]["name"], "registry");
}

#[rstest]
fn leftover_image_names_do_no_harm(#[values("etcd-backup-s3", "etcd-backup-pvc")] package: &str) {
    let images =
        "images:\n  - {name: etcd-backupper, newName: r.example.com/b, newTag: v1}\n  - {name: rclone, newTag: v2}\n";
    assert_eq!(overlay(package, images).render().text, Render::shipped(package).text);
}

#[rstest]
fn one_entry_sets_the_image_of_every_step_and_components_keep_it(
    #[values("etcd-backup-s3", "etcd-backup-pvc")] package: &str,
    #[values("cluster-dns", "kubeadm-stacked", "no-host-network", "single")] component: &str,
) {
    let inner = overlay(package, "images: [{name: etcd-backup, newName: r.example.com/etcd-backup, newTag: v9}]\n");
    let name = inner.folder_name();
    let rest = format!("resources: [../{name}]\ncomponents: [BASE/components/{component}]\n");
    let render = Overlay::new(&rest).render();
    for container in render.containers() {
        assert_eq!(container["image"], "r.example.com/etcd-backup:v9");
    }
}

#[test]
fn both_packages_live_in_one_overlay() {
    let [s3, pvc] = PACKAGES;
    let render = Overlay::new(&format!(
        "resources: [BASE/{s3}, BASE/{pvc}]\ncomponents: [BASE/components/single, BASE/components/kubeadm-stacked]\n"
    ))
    .render();
    let jobs = render.of_kind("CronJob");
    let names: Vec<_> = jobs.iter().map(|job| text(&job["metadata"]["name"])).collect();
    assert_eq!(names, [pvc, s3]);
    for job in jobs {
        let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(each(&pod["containers"], "name"), ["etcd-backup"]);
        assert_eq!(pod["volumes"][0]["hostPath"]["path"], "/etc/kubernetes/pki/etcd/ca.crt");
    }
}

#[test]
fn a_component_leaves_other_cron_jobs_alone() {
    let other = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: other}\nspec: {jobTemplate: {spec: {template: {spec: {containers: []}}}}}\n";
    let all = "[BASE/components/single, BASE/components/cluster-dns, BASE/components/kubeadm-stacked, BASE/components/no-host-network]";
    let render = Overlay::new(&format!("resources: [BASE/etcd-backup-s3, other.yaml]\ncomponents: {all}\n"))
        .file("other.yaml", other)
        .render();
    let jobs = render.of_kind("CronJob");
    let untouched: &Value = jobs.iter().find(|job| job["metadata"]["name"] == "other").unwrap();
    let pod = &untouched["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod.as_mapping().unwrap().len(), 1, "{pod:?}");
}

#[test]
fn the_overlay_that_the_readme_tells_to_write_builds() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let overlay = readme.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let render = Overlay::new(&overlay.replace("[../", "[BASE/")).render();
    let image = text(&render.container("backupper")["image"]);
    assert_eq!(image, "registry.example.com/etcd-backup:0.1.0", "the one that `make image` is told to make");
    assert!(readme.contains(&format!("make image IMAGE={image}\n")), "{image}");
    assert_eq!(render.config("etcd-backup-s3-config")["target"], "minio:my-bucket");
    assert_eq!(render.config("etcd-backup-s3-certificates-location")["ETCDCTL_CACERT"], "/etcd/etcd/ca.crt");
}
