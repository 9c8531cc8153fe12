//! The packages' pods at work: a real etcd, a real object store, and every container as it is rendered.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use super::{
    pod::{Pod, Surroundings, ownership},
    render::{Overlay, Render},
};
use crate::support::{LONG_AGO, etcd::Cluster, kubeadm, remote::Remote, sample, tls::Leaf, tools};

const RECORD: &str = ".etcd-backup.json";
/// Where they are if backups stay in the claim.
const RECORDS: &str = ".etcd-backup";
const OLD: &str = "my-s3-etcd-backup-202001010000.etcdb";

/// Namespaces and other users are root's to make.
pub fn root_is_here() -> bool {
    rustix::process::geteuid().is_root() || tools::skip("only root can run a pod's containers")
}

/// A node of this cluster, its keys as an on-premises installer leaves them: a user `etcd`'s, with mode 0400.
pub fn node(cluster: &Cluster) -> Surroundings {
    let pki = cluster.pki().root();
    hand_to_etcd(pki);
    let mut around = Surroundings::default();
    for path in ["/etc/etcd/pki", "/etc/kubernetes/pki"] {
        around.host.insert(path.to_owned(), pki.to_owned());
    }
    around.kubeadm = Some(fs::read_to_string(cluster.kubeadm_config()).unwrap());
    around
}

fn hand_to_etcd(path: &Path) {
    const ETCD: u32 = 4321;
    let mode = if path.is_dir() { 0o700 } else { 0o400 };
    for entry in fs::read_dir(path).into_iter().flatten() {
        hand_to_etcd(&entry.unwrap().path());
    }
    chown(path, Some(ETCD), Some(ETCD)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The S3 package with this remote, and whatever else the overlay has.
pub fn s3(remote: &Remote, rest: &str) -> Render {
    let target = remote.target();
    let overlay = format!(
        "resources: [BASE/etcd-backup-s3]
configMapGenerator:
  - {{name: etcd-backup-s3-config, behavior: merge, literals: ['target={target}', keep-last=1]}}
secretGenerator:
  - {{name: etcd-backup-s3-rclone-conf, behavior: replace, files: [rclone.conf]}}
{rest}"
    );
    Overlay::new(&overlay).file("rclone.conf", &fs::read_to_string(remote.config()).unwrap()).render()
}

/// The names that begin like the S3 package's, other than the old one.
fn new_backups(remote: &Remote) -> Vec<String> {
    remote.names().into_iter().filter(|name| name.starts_with("my-s3-etcd-backup-20") && name != OLD).collect()
}

#[test]
fn the_s3_package_backs_up_and_prunes_in_three_steps() {
    needs!("etcd", "etcdctl", "rclone", "kubectl", "weed");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/", 100);
    let remote = Remote::seaweedfs();
    remote.put_aged(OLD, sample::old(), LONG_AGO);
    remote.put_aged("my-s3-etcd-backup-eu-202001010000.etcdb", b"another cluster's", LONG_AGO);
    let pod = Pod::new(s3(&remote, ""), &node(&cluster));
    assert_eq!(pod.names(), ["backupper", "move-to-s3", "delete-old"]);

    pod.run("backupper").exits(0);
    let staged = pod.path("persistence");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(staged.join(RECORD)).unwrap()).unwrap();
    let name = record["file"].as_str().unwrap();
    for file in [RECORD, name] {
        assert_eq!(ownership(&staged.join(file)), "0:65532 640", "{file}");
    }
    assert!(new_backups(&remote).is_empty());

    pod.run("move-to-s3").exits(0);
    assert_eq!(new_backups(&remote), [name]);
    assert_eq!(remote.read(name), fs::read(staged.join(name)).unwrap());

    let done = pod.run("delete-old").exits(0);
    assert_eq!(remote.names(), [name, "my-s3-etcd-backup-eu-202001010000.etcdb"]);
    assert!(done.last_words.contains(name), "the pod's termination message: {:?}", done.last_words);
}

#[test]
fn a_pod_without_a_stored_backup_prunes_nothing() {
    needs!("etcd", "etcdctl", "rclone", "kubectl", "weed");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(1, "/registry/pods/", 10);
    let remote = Remote::seaweedfs();
    remote.put_aged(OLD, sample::old(), LONG_AGO);
    let pod = Pod::new(s3(&remote, ""), &node(&cluster));
    pod.run("backupper").exits(0);
    // Kubernetes would not start it before `move-to-s3` has succeeded; a container put in its place might have lied.
    pod.run("delete-old").exits(6);
    assert_eq!(remote.names(), [OLD]);
}

/// The package with one mistake, until a container fails: which one that is, and what its message says.
fn ends_at(remote: &Remote, node: &Surroundings, settings: &str, conf: &str, last: &str, words: &[&str]) {
    let overlay = format!(
        "resources: [BASE/etcd-backup-s3]
configMapGenerator:
  - {{name: etcd-backup-s3-config, behavior: merge, literals: [{settings}]}}
secretGenerator:
  - {{name: etcd-backup-s3-rclone-conf, behavior: replace, files: [rclone.conf]}}
"
    );
    let render = Overlay::new(&overlay).file("rclone.conf", conf).render();
    let policy = serde_yaml::to_string(&render.job()["podFailurePolicy"]["rules"]).unwrap();
    assert!(policy.contains("FailJob") && policy.contains("- 2\n"), "one pod ends the job: {policy}");
    let pod = Pod::new(render, node);
    let names = pod.names();
    for name in names.iter().take_while(|name| *name != last) {
        pod.run(name).exits(0);
    }
    let failed = pod.run(last).exits(2);
    for words in words {
        assert!(failed.last_words.contains(words), "{settings}: {:?}", failed.last_words);
    }
    assert_eq!(new_backups(remote).len(), usize::from(last == "delete-old"), "{settings}");
}

#[test]
fn each_mistake_ends_the_job_in_the_step_that_the_readme_names() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(1, "/registry/pods/", 10);
    let (remote, node) = (Remote::rclone_s3(), node(&cluster));
    let conf = fs::read_to_string(remote.config()).unwrap();
    let shipped = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/rclone/rclone.conf"));
    let target = format!("'target={}'", remote.target());
    ends_at(
        &remote,
        &node,
        "backup-prefix=../x",
        &conf,
        "backupper",
        &["etcd-backup snapshot: failed", "--backup-prefix", "`..`"],
    );
    ends_at(
        &remote,
        &node,
        "target=minio:bucketname",
        shipped,
        "move-to-s3",
        &["placeholder", "[minio]", "rclone/rclone.conf"],
    );
    ends_at(&remote, &node, "'target=nosuch:bucket'", &conf, "move-to-s3", &["there is no section [nosuch]"]);
    ends_at(&remote, &node, "'target=bucket'", &conf, "move-to-s3", &["target: `bucket` names no remote"]);
    let flags = format!("{target}, rclone-flags=--dry-run");
    ends_at(&remote, &node, &flags, &conf, "move-to-s3", &["rclone-flags: `--dry-run`"]);
    ends_at(&remote, &node, "'target=store:missing'", &conf, "move-to-s3", &["there is no bucket at store:missing"]);
    let retention = format!("{target}, retention=10");
    ends_at(&remote, &node, &retention, &conf, "delete-old", &["retention", "`10d`"]);
}

#[test]
fn the_pvc_package_backs_up_and_prunes_in_place() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/", 100);
    let claim = tempfile::tempdir().unwrap();
    let old = claim.path().join("my-pvc-etcd-backup-202001010000.etcdb");
    fs::write(&old, sample::old()).unwrap();
    fs::File::open(&old).unwrap().set_modified(std::time::SystemTime::now() - LONG_AGO).unwrap();
    let mut node = node(&cluster);
    node.claims.insert("target-pvc".to_owned(), claim.path().to_owned());
    let keep_one = "resources: [BASE/etcd-backup-pvc]
configMapGenerator:
  - {name: etcd-backup-pvc-config, behavior: merge, literals: [keep-last=1]}
";
    let pod = Pod::new(Overlay::new(keep_one).render(), &node);
    assert_eq!(pod.names(), ["backupper", "delete-old"]);
    pod.succeeds();
    assert!(!old.exists());
    let files = tree(claim.path());
    let name = files.last().unwrap();
    assert!(name.starts_with("my-pvc-etcd-backup-2"), "{files:?}");
    let of_the_prefix = |file| format!("{RECORDS}/my-pvc-etcd-backup-{file}");
    let record = format!("{RECORDS}/{name}.json");
    assert_eq!(files, [of_the_prefix(".handover"), of_the_prefix(".since.json"), record, name.clone()]);
}

#[test]
fn endpoints_given_to_backupper_replace_kubeadms_file() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(1, "/registry/pods/", 10);
    let remote = Remote::rclone_s3();
    let rest = format!(
        "patches:
  - target: {{kind: CronJob}}
    patch: |-
      - {{op: remove, path: /spec/jobTemplate/spec/template/spec/volumes/2}}
      - {{op: remove, path: /spec/jobTemplate/spec/template/spec/initContainers/0/volumeMounts/2}}
      - op: add
        path: /spec/jobTemplate/spec/template/spec/initContainers/0/env/-
        value: {{name: ETCDCTL_ENDPOINTS, value: '{}'}}
",
        cluster.endpoint(0)
    );
    Pod::new(s3(&remote, &rest), &node(&cluster)).succeeds();
    assert_eq!(new_backups(&remote).len(), 1);
}

#[test]
fn backupper_without_its_capability_cannot_read_etcds_keys() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    let remote = Remote::rclone_s3();
    let rest = "patches:
  - target: {kind: CronJob}
    patch: |-
      - op: remove
        path: /spec/jobTemplate/spec/template/spec/initContainers/0/securityContext/capabilities/add
";
    let done = Pod::new(s3(&remote, rest), &node(&cluster)).run("backupper").exits(2);
    assert!(done.said().contains("/etcd/etcd/ca.crt"), "{}", done.said());
}

#[test]
fn the_single_container_does_the_whole_job_as_a_plain_user() {
    needs!("etcd", "etcdctl", "rclone", "kubectl", "weed");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/", 100);
    let remote = Remote::seaweedfs();
    remote.put_aged(OLD, sample::old(), LONG_AGO);
    let pod = Pod::new(s3(&remote, "components: [BASE/components/single]"), &node(&cluster));
    assert_eq!(pod.names(), ["copy-tls", "etcd-backup"]);
    pod.run("copy-tls").exits(0);
    let copies = pod.path("etcd-tls");
    assert_eq!(tree(copies), ["apiserver-etcd-client.crt", "apiserver-etcd-client.key", "etcd/ca.crt"]);
    for file in tree(copies) {
        assert_eq!(ownership(&copies.join(&file)), "0:65532 440", "{file}");
    }
    pod.run("etcd-backup").exits(0);
    let stored = new_backups(&remote);
    assert_eq!(remote.names(), stored, "the old one is pruned");
    assert_eq!(tree(pod.path("persistence")), Vec::<String>::new());
}

/// A claim of root, as a hostPath or NFS volume leaves it, with what the steps have stored there.
#[test]
fn the_single_container_goes_on_in_a_claim_that_belongs_to_root() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(7, "/registry/pods/", 100);
    let claim = tempfile::tempdir().unwrap();
    fs::set_permissions(claim.path(), Permissions::from_mode(0o755)).unwrap();
    let mut node = node(&cluster);
    node.claims.insert("target-pvc".to_owned(), claim.path().to_owned());
    let limit = "configMapGenerator:\n  - {name: etcd-backup-pvc-config, behavior: merge, literals: [keep-last=1, retention-count=1]}\n";
    let backups = || -> Vec<_> {
        tree(claim.path()).into_iter().filter(|name| name.starts_with("my-pvc-etcd-backup-")).collect()
    };
    let package = |components: &str| {
        let overlay = format!("resources: [BASE/etcd-backup-pvc]\ncomponents: [{components}]\n{limit}");
        Pod::new(Overlay::new(&overlay).render(), &node)
    };
    package("").succeeds();
    let by_the_steps = backups();
    assert_eq!(by_the_steps.len(), 1, "{by_the_steps:?}");
    let pod = package("BASE/components/single");
    assert_eq!(pod.names(), ["copy-tls", "etcd-backup"]);
    pod.succeeds();
    let names = backups();
    assert!(names.len() == 1 && names != by_the_steps, "{names:?}");
    assert_eq!(ownership(&claim.path().join(&names[0])), "0:0 640");
}

#[test]
fn a_stacked_etcd_is_backed_up_with_its_health_checks_certificate() {
    needs!("etcd", "etcdctl", "rclone", "kubectl");
    if !root_is_here() {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(1, "/registry/pods/", 10);
    cluster.pki().issue("etcd/healthcheck-client", Leaf::client("kube-etcd-healthcheck-client"));
    let mut node = node(&cluster);
    fs::remove_file(cluster.pki().root().join("apiserver-etcd-client.key")).unwrap();
    node.kubeadm = Some(kubeadm::stacked_list(&cluster.endpoint(0)));
    let remote = Remote::rclone_s3();
    Pod::new(s3(&remote, "components: [BASE/components/kubeadm-stacked]"), &node).succeeds();
    assert_eq!(new_backups(&remote).len(), 1);

    // A pod of its own network finds nobody at its loopback address, here [::1], but a member at the node's.
    node.kubeadm = Some(kubeadm::stacked_list(&cluster.endpoint(0).replace("127.0.0.1", "[::1]")));
    let components =
        "components: [BASE/components/kubeadm-stacked, BASE/components/single, BASE/components/no-host-network]";
    let remote = Remote::rclone_s3();
    Pod::new(s3(&remote, components), &node).succeeds();
    assert_eq!(new_backups(&remote).len(), 1);
}

/// Every file below, in order.
fn tree(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            files.extend(tree(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            files.push(name);
        }
    }
    files.sort();
    files
}
