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

    /// The name to which the old data are moved.
    fn aside(&self) -> String {
        let id = self.plan.split("before-restore-").nth(1).unwrap();
        format!("etcd/before-restore-{}", &id[..8])
    }

    /// The same for a log in a directory of this name beside the data directory.
    fn log_aside(&self, name: &str) -> String {
        format!("{}-{name}", self.aside().trim_start_matches("etcd/"))
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
    assert!(flag.contains("# Assumed: it has its data and its log in /var/lib/etcd. If that is wrong, give"), "{flag}");
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
    // Some versions of etcd record this cluster's client URLs, which have no TLS.
    let plan = reading(&external, &["--plan", "--endpoints=https://10.0.0.1:2379"]).exits(0).stdout;
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
    assert_eq!(machine.read(&format!("{}/snap/db", machine.aside())), "old");
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
        let (data, log) = (machine.aside(), machine.log_aside("wal"));
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
    let moving = machine.log_aside("wal").replace("before-restore", "moving");
    machine.write(&format!("{moving}/0.wal"), "zero");
    machine.move_aside().unwrap();
    let aside = machine.log_aside("wal");
    assert_eq!([0, 1].map(|n| machine.read(&format!("{aside}/{n}.wal"))), ["zero", "one"]);
    assert_eq!(fs::read_dir(machine.path("wal")).unwrap().count(), 0);
}

#[test]
fn etcd_is_not_started_on_what_was_not_restored() {
    needs!("etcd", "etcdctl", "rclone");
    let machine =
        Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
    let start = step(&machine.plan, "Start etcd on all members").join("\n").replace("systemctl", "echo");
    let refused = |why: &str| {
        let said = paste(&[&start]).unwrap_err();
        assert!(said.contains("stop: no restored member is in") && !said.contains("--no-block"), "{why}: {said}");
    };
    refused("nothing is there");
    machine.write("etcd/member/snap/db", "restored");
    refused("without its log");
    machine.write("wal/0.wal", "restored");
    refused("it is the old one");
    fs::create_dir(machine.path(&machine.aside())).unwrap();
    refused("the log is the old one");
    fs::create_dir(machine.path(&machine.log_aside("wal"))).unwrap();
    assert_eq!(paste(&[&start]).unwrap(), "enable etcd\nstart --no-block etcd\n");
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
fn a_restore_is_refused_where_etcd_would_not_see_it() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, folder) = (stored(sample::snapshot()), tempfile::tempdir().unwrap());
    let (etc, data) = (folder.path().join("etc"), folder.path().join("data"));
    let write = |name: &str, text: &str| {
        fs::create_dir_all(etc.join(name).parent().unwrap()).unwrap();
        fs::write(etc.join(name), text).unwrap();
    };
    // A control-plane node in the middle of a plan, with a unit of a distribution that nobody uses.
    let manifest = format!("kind: Pod\nspec: {{containers: [{{command: [etcd, --data-dir={}]}}]}}", data.display());
    write("kubernetes/stopped-0a1b2c3d/etcd.yaml", &manifest);
    write("systemd/system/etcd.service", "[Service]\nExecStart=etcd --data-dir=/var/lib/etcd/default\n");
    let restore = |flag: &str, data: &Path| {
        // An /etc that only this run sees.
        let mount = "mount --bind \"$0\" /etc && exec \"$@\"";
        let run = Run::new().args(["restore", "latest", flag, "--data-dir"]).arg(data);
        let run = run.store(&remote).env("BACKUP_PREFIX", "p-").env("WORK_DIR", folder.path());
        run.through(["unshare", "--mount", "--map-root-user", "sh", "-c", mount, etc.to_str().unwrap()])
    };
    let other = folder.path().join("other");
    let refused = restore("--bump-revision=0", &other).exits(2);
    refused.says(&[
        &format!("stopped-0a1b2c3d/etcd.yaml has etcd keep its data in {}, not in {}", data.display(), other.display()),
        "--etcd-file=''",
    ]);
    restore("--etcd=external", &data).exits(2).says(&["etcd.service has etcd keep its data in /var/lib/etcd/default"]);
    restore("--etcd=stacked", &data).exits(0);
    restore("--etcd-file=", &other).exits(0);
    // A file that says nothing has no say.
    write("systemd/system/etcd.service", "");
    restore("--etcd=external", &folder.path().join("third"))
        .exits(0)
        .says(&["etcd.service may name other directories"]);
}

#[test]
fn manifests_that_an_earlier_plan_has_moved_are_found() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = stored(sample::snapshot());
    let plan = reading(&remote, &["--plan", "--etcd=stacked", "--member=m=https://10.0.0.1:2380"]).exits(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    let here = |title: &str| step(&plan, title).join("\n").replace("/etc/kubernetes", folder.path().to_str().unwrap());
    let stop = here("Stop the control plane and etcd");
    assert!(paste(&[&stop]).unwrap().contains("etcd.yaml is not on this machine"));
    let earlier = folder.path().join("stopped-earlier");
    fs::create_dir(&earlier).unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    fs::write(earlier.join("etcd.yaml"), "image: images.example/etcd:3\n").unwrap();
    let stopped = stop.lines().next().unwrap().strip_prefix("mkdir -p ").unwrap();
    for text in [&stop, &here("Start the control plane").replace("kube-scheduler;", "etcd;")] {
        let said = paste(&[text]).unwrap_err();
        let advice = format!("has moved etcd.yaml to {}/etcd.yaml: move it to {stopped}", earlier.display());
        assert!(said.contains(&advice) && !said.contains("etcd.yaml is not on"), "{said}");
    }
    let mount = plan.lines().find_map(|line| line.split_once("images mount $(")).unwrap().1;
    let image = format!("echo $({}", mount.rsplit_once(" /run/").unwrap().0);
    let image = image.replace("/etc/kubernetes", folder.path().to_str().unwrap());
    assert_eq!(paste(&[&image]).unwrap(), "images.example/etcd:3\n");
    fs::rename(earlier.join("etcd.yaml"), Path::new(stopped).join("etcd.yaml")).unwrap();
    assert!(paste(&[&stop]).unwrap().contains("etcd.yaml is in "));
}

#[test]
fn a_log_behind_a_link_is_moved() {
    needs!("etcd", "etcdctl", "rclone");
    let machine =
        Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
    machine.write("etcd/member/snap/db", "old");
    machine.write("fast/0.wal", "old");
    std::os::unix::fs::symlink("fast", machine.path("wal")).unwrap();
    machine.move_aside().unwrap();
    assert_eq!(machine.read(&format!("{}/0.wal", machine.log_aside("wal"))), "old");
    assert_eq!(fs::read_dir(machine.path("fast")).unwrap().count(), 0);
    machine.write("etcd/member/snap/db", "restored");
    machine.write("fast/0.wal", "restored");
    let start = step(&machine.plan, "Start etcd on all members").join("\n").replace("systemctl", "echo");
    assert!(paste(&[&start]).unwrap().contains("--no-block"));
}

#[test]
fn a_log_on_another_disk_is_not_copied() {
    needs!("etcd", "etcdctl", "rclone");
    let machine =
        Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/wal", folder.display())]);
    machine.write("etcd/member/snap/db", "old");
    // A disk of its own.
    let disk = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(disk.path().join("0.wal"), "old").unwrap();
    std::os::unix::fs::symlink(disk.path(), machine.path("wal")).unwrap();
    let said = machine.move_aside().unwrap_err();
    assert!(said.contains("to another disk, where nothing can be renamed to"), "{said}");
    assert!(said.contains("the old log is not in"), "{said}");
    assert_eq!((machine.read("wal/0.wal"), machine.read("etcd/member/snap/db")), ("old".into(), "old".into()));
    assert_eq!(fs::read_dir(machine.folder.path()).unwrap().count(), 2);

    // As it says.
    let copy = said.split('`').nth(1).unwrap();
    paste(&[copy]).unwrap();
    assert!(machine.move_aside().unwrap().contains("both are left alone"));
    fs::remove_file(machine.path("wal/0.wal")).unwrap();
    machine.move_aside().unwrap();
    assert_eq!(machine.read(&format!("{}/0.wal", machine.log_aside("wal"))), "old");
    assert_eq!(machine.read(&format!("{}/snap/db", machine.aside())), "old");
}

#[test]
fn an_etcd_that_starts_too_soon_takes_nothing_of_the_old() {
    needs!("etcd", "etcdctl", "rclone");
    for wal in ["wal", "etcd/wal"] {
        let machine =
            Machine::new(&stored(sample::snapshot()), |folder| vec![format!("--wal-dir={}/{wal}", folder.display())]);
        machine.write("etcd/member/snap/db", "old");
        machine.write(&format!("{wal}/0.wal"), "old");
        machine.move_aside().unwrap();
        // It has neither data nor a log, and makes both anew.
        let mut etcd = tools::command(tools::tool("etcd"))
            .arg("--data-dir")
            .arg(machine.path("etcd"))
            .arg("--wal-dir")
            .arg(machine.path(wal))
            .args([
                format!("--listen-client-urls=http://127.0.0.1:{}", machine.client),
                format!("--advertise-client-urls=http://127.0.0.1:{}", machine.client),
                format!("--listen-peer-urls=http://127.0.0.1:{}", machine.peer),
            ])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        crate::support::eventually(crate::support::SOON, "a new log", || {
            let files = fs::read_dir(machine.path(wal)).ok()?;
            files.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "wal")).then_some(())
        });
        etcd.kill().unwrap();
        etcd.wait().unwrap();
        let log = if wal == "wal" { machine.log_aside("wal") } else { format!("etcd/{}", machine.log_aside("wal")) };
        assert_eq!(machine.read(&format!("{log}/0.wal")), "old", "{wal}");
        assert_eq!(machine.read(&format!("{}/snap/db", machine.aside())), "old", "{wal}");
    }
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
    let elsewhere = run(&["--data-dir", folder.path().join("elsewhere").to_str().unwrap()]).exits(2);
    elsewhere.says(&[&format!("has etcd keep its data in {0}, not in", data.display()), "--etcd-file=''"]);
    let plan = run(&["--plan", "--etcd=external", "--endpoints", &cluster.endpoint(0)]).exits(0).stdout;
    let source = format!("according to {}", unit.display());
    let head = format!("# It has its data in {}, and its log in {log}, {source}.\n", data.display());
    assert!(plan.contains(&head), "{plan}");

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
