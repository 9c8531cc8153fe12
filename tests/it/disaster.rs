//! The way back: a cluster of three is destroyed and restored by following `restore --plan` to the letter.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use etcd_client::{Client, PutOptions};
use tempfile::TempDir;

use crate::support::{etcd::Cluster, kubeadm, remote::Remote, run::Run, tools};

/// Enough for the lease to be there all the time.
const LEASE_SECONDS: i64 = 3_600;

#[test]
fn a_stacked_cluster_comes_back() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone", "weed");
    let cluster = Cluster::start(3);
    let remote = Remote::seaweedfs();
    let machines = Machines::stacked(&cluster);
    come_back(cluster, &remote, &machines, false);
}

#[test]
fn an_external_cluster_comes_back_at_the_second_attempt() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let cluster = Cluster::start(3);
    let remote = Remote::folder();
    let machines = Machines::external(&cluster);
    come_back(cluster, &remote, &machines, true);
}

fn come_back(mut cluster: Cluster, remote: &Remote, machines: &Machines, at_second: bool) {
    fill(&cluster);
    let before = cluster.every_key(0);
    let revision_before = cluster.client(0, revision);
    Run::job(&cluster, remote).env("BACKUP_PREFIX", "prod-").success();
    cluster.put_many(20, "/registry/written/too/late/", 10);

    let plan = Run::new()
        .args(["restore", "latest", "--plan", "--bump-revision=0", "--output=text", "--etcd-file="])
        .arg("--kubeadm-config")
        .arg(&machines.kubeadm)
        .store(remote)
        .env("BACKUP_PREFIX", "prod-");
    // kubeadm's members all listen on one port; these share a machine.
    let plan = if machines.stacked { plan.arg("--endpoints").arg(cluster.endpoints().join(",")) } else { plan };
    let plan = plan.exits(0).stdout;
    println!("{plan}");

    // One disk is lost, one is garbage, and one member still runs, without a quorum.
    cluster.kill(0);
    fs::remove_dir_all(cluster.data_dir(0)).unwrap();
    cluster.kill(1);
    fs::write(cluster.data_dir(1).join("member/snap/db"), "garbage").unwrap();
    if at_second {
        // Two of the three were restored, and then the shell was closed.
        machines
            .follow(&plan, &mut cluster, |on, block| on.starts_with("m2") && block.contains("etcd-backup restore "));
        let refused = machines.follow(&plan, &mut cluster, |_, _| false);
        let of =
            |what: &str| refused.iter().filter(|(_, said)| said.contains(what)).map(|(i, _)| *i).collect::<Vec<_>>();
        assert_eq!((of("both are left alone"), of("is not empty (member)")), (vec![0, 1], vec![0, 1]), "{refused:?}");
        assert_eq!(refused.len(), 4, "{refused:?}");
    } else {
        let refused = machines.follow(&plan, &mut cluster, |_, _| false);
        assert!(refused.is_empty(), "{refused:?}");
    }
    machines.are_as_before();

    assert_eq!(cluster.living(), [0, 1, 2]);
    for i in 0..3 {
        assert_eq!(cluster.every_key(i), before, "member {i}");
    }
    assert_eq!(cluster.client(1, revision), revision_before);
    let leases = cluster.etcdctl(&["lease", "list"]);
    assert!(leases.contains("found 1 leases"), "{leases}");
    cluster.put_many(1, "/registry/after/", 10);
    for (i, old) in [(0, None), (1, Some(true)), (2, Some(false))] {
        let names: Vec<_> = fs::read_dir(cluster.data_dir(i)).unwrap().map(|e| e.unwrap().path()).collect();
        let is_aside = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("before-restore-");
        let aside: Vec<_> = names.iter().filter(is_aside).collect();
        assert_eq!((names.len(), aside.len()), (2, 1), "the old data are kept, and nothing else: {names:?}");
        let database = fs::read(aside[0].join("snap/db")).ok();
        assert_eq!(database.map(|bytes| bytes == b"garbage"), old, "member {i}");
    }
}

/// Keys with a history: written twice, deleted, with a lease.
fn fill(cluster: &Cluster) {
    cluster.put_many(300, "/registry/pods/", 500);
    cluster.put_many(100, "/registry/pods/", 100);
    cluster.etcdctl(&["del", "--prefix", "/registry/pods/0000001"]);
    cluster.client(0, async |client: &mut Client| {
        let lease = client.lease_grant(LEASE_SECONDS, None).await.unwrap().id();
        let options = PutOptions::new().with_lease(lease);
        client.put("/registry/events/leased", [0, 255, 10], Some(options)).await.unwrap();
    });
}

async fn revision(client: &mut Client) -> i64 {
    client.get("x", None).await.unwrap().header().unwrap().revision()
}

/// The machines of a cluster. What they have of their own is a folder for each: the test puts the names of their files
/// and folders in place of those in the plan, and acts as their kubelet and their systemd. All else is as printed.
struct Machines {
    roots: Vec<PathBuf>,
    kubeadm: PathBuf,
    stacked: bool,
    folder: TempDir,
}

impl Machines {
    /// Control-plane nodes with etcd as a static pod.
    fn stacked(cluster: &Cluster) -> Self {
        let machines = Self::new(&kubeadm::stacked_map(&cluster.endpoint(0)), true);
        for (i, root) in machines.roots.iter().enumerate() {
            fs::write(root.join("etc/kubernetes/manifests/etcd.yaml"), "kind: Pod").unwrap();
            let pki = root.join("etc/kubernetes/pki/etcd");
            fs::create_dir_all(&pki).unwrap();
            let client = &cluster.pki().client;
            fs::copy(cluster.pki().ca(), pki.join("ca.crt")).unwrap();
            fs::copy(&client.cert, pki.join("healthcheck-client.crt")).unwrap();
            fs::copy(&client.key, pki.join("healthcheck-client.key")).unwrap();
            assert!(cluster.data_dir(i).ends_with(format!("m{i}")));
        }
        machines
    }

    /// Members under systemd, and control-plane nodes beside them.
    fn external(cluster: &Cluster) -> Self {
        let machines = Self::new(&kubeadm::external(&cluster.endpoints()), false);
        for root in &machines.roots {
            fs::write(root.join("etcd.service"), "runs").unwrap();
            fs::create_dir_all(root.join("etc/etcd")).unwrap();
            std::os::unix::fs::symlink(cluster.pki().root(), root.join("etc/etcd/pki")).unwrap();
        }
        machines
    }

    fn new(configuration: &str, stacked: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeadm = folder.path().join("config.yaml");
        fs::write(&kubeadm, configuration).unwrap();
        let roots: Vec<_> = (0..3).map(|i| folder.path().join(format!("m{i}"))).collect();
        for root in &roots {
            let manifests = root.join("etc/kubernetes/manifests");
            fs::create_dir_all(&manifests).unwrap();
            for pod in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
                fs::write(manifests.join(format!("{pod}.yaml")), "kind: Pod").unwrap();
            }
        }
        let machines = Self { roots, kubeadm, stacked, folder };
        // A unit that is told to start or stop has a file or none; the machine's part of it follows.
        machines.program("systemctl", "echo \"$*\" >> \"$ROOT/systemctl\"\ncase \"$*\" in\n'disable --now etcd') rm -f \"$ROOT/etcd.service\" ;;\n'enable etcd') touch \"$ROOT/enabled\" ;;\n'start --no-block etcd') test -e \"$ROOT/enabled\"; touch \"$ROOT/etcd.service\" ;;\n'restart kubelet') ;;\n*) exit 1 ;;\nesac\n");
        // There is no API server here; one would be ready once its manifest is back.
        machines.program("kubectl", "test \"$*\" = \"--kubeconfig $ROOT/etc/kubernetes/admin.conf get --raw /readyz\"\ntest -e \"$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml\"\n");
        machines
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\nset -e\n{text}")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Runs the plan's blocks one after the other, each in one shell on its machine, up to one of them. Tells the machines
    /// on which one was refused, and what it said.
    fn follow(&self, plan: &str, cluster: &mut Cluster, until: impl Fn(&str, &str) -> bool) -> Vec<(usize, String)> {
        let (mut blocks, mut refused) = (0, Vec::new());
        for (on, block) in parse(plan) {
            if until(on, &block) {
                return refused;
            }
            for i in Self::named(on) {
                let output = self.run(i, &block, &cluster.data_dir(i));
                let (stdout, stderr) = (&output.stdout, &output.stderr);
                let said = format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
                println!("--- on {on}\n{block}{said}");
                if !output.status.success() {
                    refused.push((i, said));
                }
                blocks += 1;
                self.keep_house(cluster);
            }
        }
        let all = if self.stacked { 6 * 3 + 1 + 1 + 1 + 3 + 1 } else { 6 * 3 + 1 + 1 + 3 + 1 + 3 + 1 };
        assert_eq!(blocks, all, "every step was met");
        refused
    }

    fn are_as_before(&self) {
        for root in &self.roots {
            let manifests = fs::read_dir(root.join("etc/kubernetes/manifests")).unwrap().count();
            assert_eq!(manifests, if self.stacked { 4 } else { 3 }, "every manifest is back");
            let said = fs::read_to_string(root.join("systemctl")).unwrap();
            assert!(said.ends_with("restart kubelet\n"), "{said}");
        }
    }

    fn named(on: &str) -> Vec<usize> {
        match on {
            "every node" | "every control-plane node" => vec![0, 1, 2],
            "a control-plane node" => vec![0],
            member => {
                let at = member.strip_suffix(" (127.0.0.1)").and_then(|name| name.strip_prefix('m'));
                vec![at.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("where is {on:?}?"))]
            }
        }
    }

    fn run(&self, i: usize, block: &str, data_dir: &Path) -> Output {
        let root = self.roots[i].display();
        let block = block
            .replace("/etc/kubernetes", &format!("{root}/etc/kubernetes"))
            .replace("/etc/etcd", &format!("{root}/etc/etcd"))
            .replace("/var/lib/etcd", data_dir.to_str().unwrap());
        let binary = Path::new(env!("CARGO_BIN_EXE_etcd-backup")).parent().unwrap().to_owned();
        let own = [self.folder.path().to_owned(), binary];
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&tools::path()))).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-euc", &block]).env_clear().env("PATH", path).env("ROOT", &self.roots[i]);
        shell.env("HOME", self.folder.path()).output().expect("a shell")
    }

    /// What kubelet and systemd do: etcd runs where it is wanted, and only there.
    fn keep_house(&self, cluster: &mut Cluster) {
        for (i, root) in self.roots.iter().enumerate() {
            let sign = if self.stacked { "etc/kubernetes/manifests/etcd.yaml" } else { "etcd.service" };
            let (wanted, runs) = (root.join(sign).exists(), cluster.living().contains(&i));
            // The members that were killed are not to come back before the plan says so.
            if wanted && !runs && root.join("stopped").exists() {
                cluster.power_on(i);
            }
            if !wanted {
                fs::write(root.join("stopped"), "").unwrap();
                cluster.kill(i);
            }
        }
    }
}

/// Which machine runs what. Everything that is no comment is a command below a heading.
fn parse(plan: &str) -> Vec<(&str, String)> {
    let mut blocks: Vec<(&str, String)> = Vec::new();
    for line in plan.lines() {
        if let Some(on) = line.strip_prefix("# on ") {
            blocks.push((on, String::new()));
        } else if !line.is_empty() && !line.starts_with('#') {
            let (_, block) = blocks.last_mut().expect("a heading above every command");
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}
