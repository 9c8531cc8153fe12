//! What runs on a node without Kubernetes: the example of a service, and the commands by hand.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::support::{etcd::Cluster, remote::Remote, run::Run, tls::Leaf, tools};

const PROGRAMS: &str = "/opt/etcd-backup/usr/local/bin";

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("container").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A node: the programs as the image has them, and the service's own directories.
struct Node {
    folder: TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        for place in [PROGRAMS, "/var/lib/etcd-backup", "/etc/etcd-backup", "/tmp"] {
            fs::create_dir_all(node.path(place)).unwrap();
        }
        let programs = node.path(PROGRAMS);
        fs::copy(env!("CARGO_BIN_EXE_etcd-backup"), programs.join("etcd-backup")).unwrap();
        fs::copy(tools::tool("rclone"), programs.join("rclone")).unwrap();
        node
    }

    /// Where the node has this absolute path.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// The text, its absolute paths those of this node.
    fn placed(&self, text: &str) -> String {
        let root = self.folder.path().to_str().unwrap();
        let places = [PROGRAMS, "/var/lib/etcd-backup", "/etc/etcd-backup/"];
        places.iter().fold(text.replace("HOME=/tmp", &format!("HOME={root}/tmp")), |text, place| {
            text.replace(place, &format!("{root}{place}"))
        })
    }

    /// The example of settings with those of this cluster and remote.
    fn settings(&self, cluster: &Cluster, remote: &Remote) -> String {
        let pki = cluster.pki().root().to_str().unwrap();
        fs::copy(remote.config(), self.path("/etc/etcd-backup/rclone.conf")).unwrap();
        let settings = shipped("systemd/environment.example");
        let replaced = [
            ("minio:my-bucket", remote.target().to_owned()),
            ("https://127.0.0.1:2379", cluster.endpoint(0)),
            ("/etc/kubernetes/pki", pki.to_owned()),
        ];
        let settings = replaced.iter().fold(settings, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        self.placed(&settings)
    }
}

/// A unit's values, by key; a list's in order.
fn unit(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut values: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, value) in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        values.entry(key).or_default().push(value);
    }
    values
}

/// As systemd starts the service: its user, capabilities, umask and environment, and nothing of this process's.
fn started(service: &str, settings: &str) -> Output {
    let unit = unit(service);
    let capabilities = unit["CapabilityBoundingSet"][0].to_lowercase().replace("cap_", "+");
    assert_eq!((unit["NoNewPrivileges"][0], unit["UMask"][0]), ("true", "0077"));
    let own = unit["Environment"].iter().flat_map(|line| line.split(' '));
    let set = settings.lines().filter(|line| !line.starts_with('#'));
    let command = format!("umask {}; exec {}", unit["UMask"][0], unit["ExecStart"][0]);
    Command::new("setpriv")
        .args(["--inh-caps=-all", &format!("--bounding-set=-all,{capabilities}"), "--no-new-privs", "env", "-i"])
        .args(own.chain(set))
        .args(["/bin/sh", "-euc", &command])
        .output()
        .expect("setpriv")
}

#[test]
fn systemd_understands_the_units() {
    needs!("systemd-analyze", "rclone");
    let node = Node::new();
    let files = ["etcd-backup.service", "etcd-backup.timer"].map(|name| {
        let path = node.path("/etc/etcd-backup").join(name);
        fs::write(&path, node.placed(&shipped(&format!("systemd/{name}")))).unwrap();
        path
    });
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It also looks at the units of this machine that these two name.
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("etcd-backup")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn the_service_backs_up_a_stacked_etcd() {
    needs!("etcd", "etcdctl", "rclone");
    if !rustix::process::geteuid().is_root() && !tools::skip("only root can drop capabilities") {
        return;
    }
    let cluster = Cluster::start(1);
    cluster.put_many(3, "/registry/pods/", 10);
    cluster.pki().issue("etcd/healthcheck-client", Leaf::client("kube-etcd-healthcheck-client"));
    let remote = Remote::rclone_s3();
    let node = Node::new();
    let output = started(&node.placed(&shipped("systemd/etcd-backup.service")), &node.settings(&cluster, &remote));
    assert!(output.status.success(), "{output:?}");
    let names = remote.names();
    assert!(names.len() == 1 && names[0].starts_with("my-s3-etcd-backup-"), "{names:?}");
    assert_eq!(fs::read_dir(node.path("/var/lib/etcd-backup")).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn every_setting_of_the_example_is_one() {
    let help = Run::new().args(["run", "--help"]).exits(0).stdout;
    let example = shipped("systemd/environment.example");
    let names: Vec<_> = unit(&example).into_keys().collect();
    assert_eq!(names.len(), 8);
    for name in names {
        assert!(help.contains(&format!("[env: {name}]")), "{name}");
    }
}

/// The command that container/README.md tells to type, on the one member of three that still runs.
#[test]
fn without_a_quorum_the_degraded_backup_is_taken_by_hand() {
    needs!("etcd", "etcdctl", "rclone");
    let mut cluster = Cluster::start(3);
    cluster.put_many(3, "/registry/pods/", 10);
    cluster.pki().issue("etcd/healthcheck-client", Leaf::client("kube-etcd-healthcheck-client"));
    cluster.kill(1);
    cluster.kill(2);
    let remote = Remote::rclone_s3();
    let readme = shipped("README.md");
    let command = readme.split("$ ").find_map(|block| block.strip_prefix("etcd-backup run ")).expect("the command");
    let command = command.split("```").next().unwrap();
    let replaced = [
        ("\\\n", String::new()),
        ("minio:my-bucket", remote.target().to_owned()),
        (" --work-dir /var/tmp", String::new()),
        ("/root/rclone.conf", remote.config().to_str().unwrap().to_owned()),
        ("https://127.0.0.1:2379", cluster.endpoint(0)),
        ("/etc/kubernetes/pki", cluster.pki().root().to_str().unwrap().to_owned()),
    ];
    let command = replaced.iter().fold(command.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let output = Run::new().arg("run").args(command.split_whitespace()).exits(8);
    assert!(output.stdout.contains("quorum"), "{output}");
    assert_eq!(remote.names().len(), 1);
}
