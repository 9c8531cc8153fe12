//! `restore --plan`: where it learns how etcd is run, and what its commands do on a machine, pasted once and again.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{
    etcd::Cluster,
    kubeadm,
    kubernetes::{Meta, field, protobuf},
    ports,
    remote::Remote,
    run::Run,
    sample, tools,
};

const NAME: &str = "p-202601010000.etcdb";
const MOVE: &str = "Wait for etcd to end, then move its data aside";

fn reading(remote: &Remote, args: &[&str]) -> Run {
    let run = Run::new().args(["restore", "latest", "--output=text", "--etcd-file="]).args(args);
    run.store(remote).env("BACKUP_PREFIX", "p-")
}

fn stored(snapshot: &[u8]) -> Remote {
    let remote = Remote::folder();
    remote.put(NAME, snapshot);
    remote
}

/// The commands of one step of a plan for one member.
fn step<'a>(plan: &'a str, title: &str) -> Vec<&'a str> {
    let (_, step) = plan.split_once(title).unwrap_or_else(|| panic!("no {title:?} in {plan}"));
    let step = step.split("\n## ").next().unwrap();
    step.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What a shell makes of pasted lines, of which it goes on with the next one when one has failed.
fn paste(lines: &[&str]) -> Result<String, String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_etcd-backup")).parent().unwrap().to_owned();
    let path = std::env::join_paths([binary].into_iter().chain(std::env::split_paths(&tools::path()))).unwrap();
    // What is waited for here does not come.
    let text = lines.join("\n").replace("timeout 60", "timeout 1").replace("--timeout 60", "--timeout 1");
    let output = Command::new("bash").args(["-c", &text]).env("PATH", path).output().expect("bash");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}\n--- {}\n{said}", output.status);
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// A member's machine, with the plan for it.
struct Machine {
    folder: TempDir,
    peer: u16,
    client: u16,
    plan: String,
}

impl Machine {
    fn new(remote: &Remote, more: impl Fn(&Path) -> Vec<String>) -> Self {
        let (folder, peer, client) = (tempfile::tempdir().unwrap(), ports::free(), ports::free());
        let data = folder.path().join("etcd");
        let args = [
            "--plan".to_owned(),
            "--etcd=external".to_owned(),
            format!("--member=m=http://127.0.0.1:{peer}"),
            format!("--endpoints=http://127.0.0.1:{client}"),
            format!("--data-dir={}", data.display()),
        ];
        let args: Vec<_> = args.into_iter().chain(more(folder.path())).collect();
        let plan = reading(remote, &args.iter().map(String::as_str).collect::<Vec<_>>()).exits(0).stdout;
        Self { folder, peer, client, plan }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The name to which a directory of this folder moves what is in it.
    fn aside(&self, dir: &str) -> String {
        let id = self.plan.split("before-restore-").nth(1).unwrap();
        format!("{dir}/before-restore-{}", &id[..8])
    }

    fn move_aside(&self) -> Result<String, String> {
        paste(&step(&self.plan, MOVE))
    }
}

#[test]
fn stacked_or_external_is_never_guessed() {
    needs!("etcd", "etcdctl", "rclone");
    let unknown = stored(sample::snapshot());
    reading(&unknown, &["--plan"]).exits(2).says(&[
        "etcd: the backup has no ConfigMap of kubeadm",
        "--etcd=stacked",
        "--etcd=external",
    ]);
    let flag = reading(&unknown, &["--plan", "--etcd=stacked"]).exits(0).stdout;
    assert!(flag.contains("# etcd is stacked (static pods), according to --etcd.\n"), "{flag}");

    let cluster = Cluster::small();
    let put = |value: Vec<u8>| {
        cluster.client(0, async |client| {
            client.put("/registry/configmaps/kube-system/kubeadm-config", value, None).await.unwrap()
        });
        stored(&crate::support::kubernetes::save(&cluster))
    };
    let map = |configuration: &str| {
        let entry = [field(1, b"ClusterConfiguration"), field(2, configuration.as_bytes())].concat();
        protobuf("v1", "ConfigMap", &Meta::new("kube-system", "kubeadm-config"), &entry)
    };
    let of_kubeadm = "according to kubeadm's ConfigMap in the backup.\n";
    let external = put(map(&kubeadm::external(&["https://10.0.0.1:2379".to_owned()])));
    let plan = reading(&external, &["--plan"]).exits(0).stdout;
    assert!(plan.contains(&format!("# etcd is external (a systemd service), {of_kubeadm}")), "{plan}");
    assert!(plan.contains("ETCDCTL_CACERT=/etc/etcd/pki/etcd/ca.crt "), "{plan}");

    let stacked = put(map(&kubeadm::stacked_list("https://0.0.0.0:2379").replace("/var/lib/etcd", "/data")));
    let plan = reading(&stacked, &["--plan"]).exits(0).stdout;
    assert!(plan.contains(&format!("# etcd is stacked (static pods), {of_kubeadm}")), "{plan}");
    assert!(plan.contains(" --data-dir=/data ") && plan.contains("own image, images.example/etcd,"), "{plan}");
    // A file, and the flag above it, know better.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), kubeadm::external(&[])).unwrap();
    let file = ["--plan", "--kubeadm-config", file.path().to_str().unwrap()];
    assert!(
        reading(&stacked, &file).exits(0).stdout.contains("# etcd is external (a systemd service), according to /")
    );

    let sealed = put(b"k8s:enc:aescbc:v1:key1:\0\xff".to_vec());
    reading(&sealed, &["--plan"]).exits(2).says(&["is encrypted with aescbc", "--etcd=stacked"]);
}

#[test]
fn data_are_not_moved_while_something_listens() {
    needs!("etcd", "etcdctl", "rclone");
    let machine = Machine::new(&stored(sample::snapshot()), |_| vec![]);
    machine.write("etcd/member/snap/db", "old");
    for address in [("127.0.0.1", machine.peer), ("0.0.0.0", machine.client), ("::1", machine.client)] {
        let Ok(_listener) = TcpListener::bind(address) else {
            assert_eq!(address.0, "::1", "a machine can lack IPv6, but no loopback address");
            continue;
        };
        let said = machine.move_aside().unwrap_err();
        assert!(said.contains("stop: something still listens on port ") && said.contains("ss -ltnp"), "{said}");
        assert_eq!(machine.read("etcd/member/snap/db"), "old");
    }
    // The check is one line, and the move another.
    let commands = step(&machine.plan, MOVE);
    assert!(paste(&commands[1..]).unwrap_err().contains("etcd_has_ended"));
    assert_eq!(machine.read("etcd/member/snap/db"), "old");

    let db = File::open(machine.path("etcd/member/snap/db")).unwrap();
    db.lock().unwrap();
    let said = machine.move_aside().unwrap_err();
    assert!(said.contains("still has") && said.contains("fuser -v"), "{said}");
    assert_eq!(machine.read("etcd/member/snap/db"), "old");
    drop(db);
    machine.move_aside().unwrap();
    assert_eq!(machine.read(&format!("{}/snap/db", machine.aside("etcd"))), "old");
}

#[test]
fn a_second_attempt_moves_nothing_twice() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = stored(sample::snapshot());
    for is_lost in [false, true] {
        let machine = Machine::new(&remote, |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
        if !is_lost {
            machine.write("etcd/member/snap/db", "old");
            machine.write("wal/0.wal", "old 0");
            machine.write("wal/1.wal", "old 1");
        }
        let said = machine.move_aside().unwrap();
        assert_eq!(said.contains("nothing has to be moved"), is_lost, "{said}");
        let said = machine.move_aside().unwrap();
        assert_eq!(said.matches("an earlier attempt has moved").count(), 2, "{said}");

        machine.write("etcd/member/snap/db", "restored");
        machine.write("wal/0.wal", "restored");
        let said = machine.move_aside().unwrap_err();
        assert_eq!(said.matches("both are left alone").count(), 2, "{said}");
        assert_eq!(
            (machine.read("etcd/member/snap/db"), machine.read("wal/0.wal")),
            ("restored".into(), "restored".into())
        );
        let (data, log) = (machine.aside("etcd"), machine.aside("wal"));
        if is_lost {
            assert_eq!([&data, &log].map(|dir| fs::read_dir(machine.path(dir)).unwrap().count()), [0, 0]);
        } else {
            assert_eq!(machine.read(&format!("{data}/snap/db")), "old");
            assert_eq!([0, 1].map(|n| machine.read(&format!("{log}/{n}.wal"))), ["old 0", "old 1"]);
        }
    }
}

#[test]
fn a_log_that_was_half_moved_is_moved_on() {
    needs!("etcd", "etcdctl", "rclone");
    let machine =
        Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
    machine.write("etcd/member/snap/db", "old");
    machine.write("wal/1.wal", "one");
    let moving = machine.aside("wal").replace("before-restore", "moving");
    machine.write(&format!("{moving}/0.wal"), "zero");
    machine.move_aside().unwrap();
    let aside = machine.aside("wal");
    assert_eq!([0, 1].map(|n| machine.read(&format!("{aside}/{n}.wal"))), ["zero", "one"]);
    assert_eq!(fs::read_dir(machine.path("wal")).unwrap().count(), 1);
}

#[test]
fn etcd_is_not_started_on_what_was_not_restored() {
    needs!("etcd", "etcdctl", "rclone");
    let machine =
        Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
    let start = step(&machine.plan, "Start etcd on all members").join("\n").replace("systemctl start", "echo started");
    let refused = |why: &str| {
        let said = paste(&[&start]).unwrap_err();
        assert!(said.contains("stop: no restored member is in") && !said.contains("started"), "{why}: {said}");
    };
    refused("nothing is there");
    machine.write("etcd/member/snap/db", "restored");
    refused("without its log");
    machine.write("wal/0.wal", "restored");
    assert!(paste(&[&start]).unwrap().contains("started"));
}

#[test]
fn no_manifest_is_moved_over_another() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = stored(sample::snapshot());
    let plan = reading(&remote, &["--plan", "--etcd=stacked", "--member=m=https://10.0.0.1:2380"]).exits(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    let stop = step(&plan, "Stop the control plane and etcd").join("\n");
    let stop = stop.replace("/etc/kubernetes", folder.path().to_str().unwrap());
    let stopped = stop.lines().next().unwrap().strip_prefix("mkdir -p ").unwrap().to_owned();
    let manifest = folder.path().join("manifests/etcd.yaml");
    fs::create_dir(manifest.parent().unwrap()).unwrap();
    fs::write(&manifest, "first").unwrap();
    paste(&[&stop]).unwrap();
    assert!(paste(&[&stop]).unwrap().contains("etcd.yaml is in "), "twice");
    fs::write(&manifest, "second").unwrap();
    assert!(paste(&[&stop]).unwrap_err().contains("compare the two"));
    let aside = Path::new(&stopped).join("etcd.yaml");
    assert_eq!([&manifest, &aside].map(|path| fs::read_to_string(path).unwrap()), ["second", "first"]);
}

#[test]
fn a_log_of_its_own_comes_back() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let folder = tempfile::tempdir().unwrap();
    let wal = folder.path().join("wal");
    let mut cluster = Cluster::with(1).plain().flag(&format!("--wal-dir={}", wal.display())).start();
    cluster.put_many(50, "/registry/pods/", 100);
    let before = cluster.every_key(0);
    let remote = Remote::folder();
    Run::job(&cluster, &remote).env("BACKUP_PREFIX", "p-").success();
    cluster.put_many(10, "/registry/too/late/", 10);

    // As etcd's own unit says, with which a restore that is not told of the log disagrees.
    let unit = folder.path().join("etcd.service");
    let (data, log) = (cluster.data_dir(0), wal.display());
    fs::write(
        &unit,
        format!("[Service]\nExecStart=/usr/bin/etcd --data-dir={} \\\n  --wal-dir={log}\n", data.display()),
    )
    .unwrap();
    let run = |args: &[&str]| {
        let run = Run::new().args(["restore", "latest", "--output=text", "--etcd-file"]).arg(&unit).args(args);
        run.store(&remote).env("BACKUP_PREFIX", "p-")
    };
    let wrong = run(&["--data-dir", data.to_str().unwrap()]).exits(2);
    wrong.says(&[&format!("has etcd keep its log in {log}: give --wal-dir={log}")]);
    let plan = run(&["--plan", "--etcd=external", "--endpoints", &cluster.endpoint(0)]).exits(0).stdout;
    assert!(plan.contains(&format!("# It has its data in {}, and its log in {log}.\n", data.display())), "{plan}");

    let (moving, restoring) = (step(&plan, MOVE), step(&plan, "Restore the same backup on every member"));
    assert!(paste(&moving).unwrap_err().contains("something still listens"));
    cluster.kill(0);
    paste(&moving).unwrap();
    let said = paste(&restoring).unwrap();
    assert!(said.contains(&format!(", its log to {log}")), "{said}");
    assert!(data.join("member/snap/db").exists() && !data.join("member/wal").exists());
    let left: Vec<_> = [&data, &wal].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap()).collect();
    let left: Vec<_> = left.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with('.')), "left behind: {left:?}");
    cluster.power_on(0);
    crate::support::eventually(crate::support::SOON, "the restored keys", || {
        let answer = cluster.etcdctl_at(&[0], &["get", "", "--prefix", "--keys-only"]);
        answer.status.success().then_some(())
    });
    assert_eq!(cluster.every_key(0), before);

    // Once more, with etcd alive: nothing is touched.
    assert!(paste(&moving).unwrap_err().contains("both are left alone"));
    assert!(paste(&restoring).unwrap_err().contains("an etcd is running on"));
    assert_eq!(cluster.every_key(0), before);
}
