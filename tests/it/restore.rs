//! `restore`: a data folder that is whole, or none.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    remote::Remote,
    run::{Job, Run},
    sample, tools,
};

const NEW: &str = "p-202601020000.etcdb";
const OLD: &str = "p-202601010000.etcdb";

/// A folder that stands for the disk: nothing but `data` may be in it in the end.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store with the sample in it; its `WORK_DIR` is the disk itself, as without one.
fn restore(remote: &Remote, disk: &Disk, name: &str) -> Run {
    restore_to(remote, &disk.data(), name).env("WORK_DIR", disk.0.path())
}

fn restore_to(remote: &Remote, data: &Path, name: &str) -> Run {
    Run::new().args(["restore", name, "--etcd-file=", "--data-dir"]).arg(data).store(remote).env("BACKUP_PREFIX", "p-")
}

fn stored() -> Remote {
    let remote = Remote::folder();
    remote.put(OLD, sample::snapshot());
    remote.put(NEW, sample::snapshot());
    remote
}

fn database(data: &Path) -> Vec<u8> {
    fs::read(data.join("member/snap/db")).unwrap()
}

/// Whether this etcdutl can raise the revision; only newer ones can.
fn can_bump() -> bool {
    let help = tools::command(tools::tool("etcdutl")).args(["snapshot", "restore", "--help"]).output().unwrap();
    String::from_utf8(help.stdout).unwrap().contains("--bump-revision")
}

#[test]
fn one_member_by_its_own_record() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    let output = restore(&remote, &disk, "latest").exits(0);
    let report = output.report();
    assert_eq!((report.text("name"), report.text("member")), (NEW, "m0"));
    assert_eq!(report.number("keys"), 200);
    assert!(report.text("initial_cluster").starts_with("m0=http://127.0.0.1:"));
    let token = format!("etcd-restore-{}", &report.text("sha256")[..8]);
    assert_eq!(report.text("initial_cluster_token"), token);
    assert_eq!(disk.names(), ["data"]);
    assert_eq!(fs::metadata(disk.data()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(names(&disk.data().join("member")).contains(&"wal".to_owned()));

    // The informers of Kubernetes must not see the revision go back.
    if can_bump() {
        assert!(report.number("bumped_by") > 0 && report.number("revision") > report.number("bumped_by"));
    } else {
        assert_eq!(report.number("bumped_by"), 0);
        output.says(&["the revision stays what it was", "cannot raise it", "restart all API servers"]);
        let disk = Disk::new();
        let asked = restore(&remote, &disk, "latest").arg("--bump-revision=5");
        asked.exits(2).says(&["bump-revision", "cannot do that"]);
        assert_eq!(disk.names(), [""; 0]);
    }
}

#[test]
fn an_older_one_by_time() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    let before = |time: &str| {
        let run = Run::new().args(["restore", "--before", time, "--etcd-file=", "--data-dir"]).arg(disk.data());
        run.store(&remote).env("BACKUP_PREFIX", "p-").env("WORK_DIR", disk.0.path())
    };
    before("2025-12-31").exits(2).says(&["no good backup was taken at 2025-12-31T00:00:00Z or before", OLD]);
    before("sometime").exits(2).says(&["allowed is 2026-01-02T03:04:05Z"]);
    assert_eq!(before("2026-01-01T12:00").success().text("name"), OLD);
}

#[test]
fn an_identity_that_is_no_members_is_refused() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    let with = |args: &[&str]| restore(&remote, &disk, "latest").args(args);
    with(&["--name=other"]).exits(2).says(&["`other` is none of the members m0", "--initial-cluster"]);
    with(&["--initial-advertise-peer-urls=http://h:1"]).exits(2).says(&["is not what the cluster has for m0"]);
    with(&["--initial-cluster=a=http://h:1,b=http://h:2"]).exits(2).says(&["name: is not set", "a, b"]);
    with(&["--initial-cluster=a"]).exits(2).says(&["initial-cluster: `a` has no `=`"]);
    assert_eq!(disk.names(), [""; 0]);
    let cluster = "--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2";
    let new = with(&[cluster, "--name=b", "--initial-cluster-token=t"]);
    let report = new.success();
    assert_eq!((report.text("member"), report.text("initial_advertise_peer_urls")), ("b", "http://127.0.0.1:2"));
    assert_eq!(report.text("initial_cluster_token"), "t");
}

#[test]
fn a_taken_place_is_left_alone() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let remote = stored();
    let cluster = Cluster::single();
    restore_to(&remote, &cluster.data_dir(0), "latest").exits(2).says(&["an etcd is running on"]);
    cluster.put_many(1, "/still/alive/", 1);

    let disk = Disk::new();
    fs::create_dir_all(disk.data().join("member/snap")).unwrap();
    fs::write(disk.data().join("member/snap/db"), "precious").unwrap();
    restore(&remote, &disk, "latest").exits(2).says(&["is not empty (member)", "never overwritten"]);
    assert_eq!(database(&disk.data()), b"precious");
    let file = disk.data().join("member/snap/db");
    restore_to(&remote, &file, "latest").exits(2).says(&["is not a directory"]);
}

#[test]
fn an_empty_folder_keeps_its_owner() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    if !rustix::process::geteuid().is_root() {
        tools::skip("only root gives files away");
        return;
    }
    let (remote, disk) = (stored(), Disk::new());
    fs::create_dir(disk.data()).unwrap();
    chown(disk.data(), Some(4321), Some(1234)).unwrap();
    // A mount point cannot be replaced, so it must be this very folder that is filled.
    let inode = fs::metadata(disk.data()).unwrap().ino();
    restore(&remote, &disk, "latest").success();
    assert_eq!(fs::metadata(disk.data()).unwrap().ino(), inode);
    assert_eq!(names(&disk.data()), ["member"]);
    for path in ["", "member", "member/snap/db", "member/wal"] {
        let kind = fs::metadata(disk.data().join(path)).unwrap();
        assert_eq!((kind.uid(), kind.gid()), (4321, 1234), "{path:?}");
    }
}

#[test]
fn a_bad_backup_restores_nothing() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    let good = sample::snapshot();
    for bytes in [&*sample::damaged(), &good[..good.len() - 512 * 8]] {
        remote.put(NEW, bytes);
        restore(&remote, &disk, "latest").exits(5).says(&[NEW, "sha-256"]);
        assert_eq!(disk.names(), [""; 0]);
    }
    restore(&remote, &disk, "nothing").exits(2).says(&["no backup has `nothing` in its name"]);
    assert_eq!(restore(&remote, &disk, OLD).success().text("name"), OLD);
}

#[test]
fn no_etcdutl_is_said_before_anything_is_read() {
    needs!("etcd", "etcdctl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    let bin = disk.0.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(tools::tool("rclone"), bin.join("rclone")).unwrap();
    let output = restore_to(&remote, &disk.data(), "latest").env("PATH", &bin).exits(2);
    output.says(&["cannot find etcdutl in PATH", bin.to_str().unwrap(), "etcd-backup fetch"]);
    assert_eq!(disk.names(), ["bin"]);
}

#[test]
fn no_room_is_said_with_figures() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let remote = stored();
    let disk = Disk::new();
    // A disk of its own, which only this run sees. The 100 MB would do for the database, not for etcd's log.
    let mount = "mount -t tmpfs -o size=100m disk \"$0\" && \"$@\"; code=$?; ls -A \"$0\" >&2; exit $code";
    let small = |name: &str| {
        let run = restore_to(&remote, &disk.data(), name);
        run.through(["unshare", "--mount", "--map-root-user", "sh", "-c", mount, disk.0.path().to_str().unwrap()])
    };
    let output = small("latest").exits(10);
    let line = output.stderr.lines().find(|line| line.contains("no room in")).unwrap_or_else(|| panic!("{output}"));
    let figure = |before: &str| {
        let text = line.split(before).next().unwrap().split_whitespace().next_back().unwrap();
        text.parse::<u64>().unwrap_or_else(|_| panic!("{line}"))
    };
    assert_eq!(figure(" free"), 100 << 20, "{line}");
    let needed = figure(" bytes needed");
    let size = u64::try_from(sample::snapshot().len()).unwrap();
    assert!(((128 << 20) + size..(129 << 20) + 2 * size).contains(&needed), "{line}");
    let left = output.stderr.lines().last().unwrap();
    assert!(left.contains("no room in"), "left behind: {output}");
}

#[test]
fn no_room_for_a_log_of_its_own_is_said() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk, small) = (stored(), Disk::new(), tempfile::tempdir().unwrap());
    let run = restore(&remote, &disk, "latest").arg("--wal-dir").arg(small.path());
    let mount = "mount -t tmpfs -o size=100m disk \"$0\" && exec \"$@\"";
    let run = run.through(["unshare", "--mount", "--map-root-user", "sh", "-c", mount, small.path().to_str().unwrap()]);
    run.exits(10).says(&["wal-dir: no room in", "134217728 bytes needed"]);
    assert_eq!(disk.names(), [""; 0]);
}

/// A restore whose etcdutl has just begun and stands still.
fn stopped_in_the_middle(remote: &Remote, disk: &Disk) -> (Job, Pid) {
    let job = restore(remote, disk, "latest").spawn();
    let etcdutl = eventually(SOON, "an etcdutl at work", || {
        let begun = fs::read_dir(disk.0.path()).unwrap().any(|e| e.unwrap().path().join("data").exists());
        let child = job.children().into_iter().find(|pid| is_etcdutl(*pid)).filter(|_| begun)?;
        Pid::from_raw(child.try_into().unwrap())
    });
    kill_process(etcdutl, Signal::STOP).unwrap();
    (job, etcdutl)
}

fn is_etcdutl(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    line.contains("etcdutl\0snapshot\0restore\0") && line.contains("--data-dir")
}

#[test]
fn sigterm_leaves_nothing() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (big(), Disk::new());
    let (job, etcdutl) = stopped_in_the_middle(&remote, &disk);
    job.signal(Signal::TERM);
    kill_process(etcdutl, Signal::CONT).unwrap();
    job.wait(SOON).assert().code(143);
    assert_eq!(disk.names(), [""; 0]);
    assert!(!is_etcdutl(etcdutl.as_raw_nonzero().get().unsigned_abs()), "etcdutl outlived us");
}

#[test]
fn sigkill_leaves_nothing_that_looks_finished() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (big(), Disk::new());
    let (job, etcdutl) = stopped_in_the_middle(&remote, &disk);
    job.signal(Signal::KILL);
    eventually(SOON, "an end", || (!crate::support::processes::is_alive(job.id())).then_some(()));
    kill_process(etcdutl, Signal::KILL).unwrap();
    let left = disk.names();
    assert!(!left.is_empty() && left.iter().all(|name| name.starts_with(".etcd-backup-")), "{left:?}");
    restore(&remote, &disk, "latest").success();
    assert_eq!(disk.names(), ["data"], "the leftover is swept");
}

/// A backup that keeps etcdutl busy for long enough to be caught.
fn big() -> Remote {
    let remote = Remote::folder();
    Run::job(&Cluster::large(), &remote).env("BACKUP_PREFIX", "p-").success();
    remote
}

#[test]
fn a_plan_has_no_effects() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let (remote, disk) = (stored(), Disk::new());
    fs::create_dir_all(disk.data().join("member")).unwrap();
    let plan = |args: &[&str]| {
        let run = Run::new().args(["restore", "--plan", "--output=text", "--etcd-file="]).args(args);
        run.store(&remote).env("BACKUP_PREFIX", "p-").exits(0).stdout
    };
    let text = plan(&["--etcd=stacked", "--data-dir", disk.data().to_str().unwrap()]);
    assert!(text.contains(&format!("etcd-backup restore {NEW} --target=")), "the name is pinned: {text}");
    assert!(text.contains("taken at 2026-01-02T00:00:00Z") && text.contains("stacked"), "{text}");
    assert_eq!((remote.names(), disk.names()), (vec![OLD.to_owned(), NEW.to_owned()], vec!["data".to_owned()]));
    assert_eq!(names(&disk.data()), ["member"]);

    // New machines, and one that stays away.
    let text =
        plan(&[OLD, "--etcd=external", "--member=x=https://10.0.0.1:2380", "--member", "y=https://10.0.0.2:2380"]);
    assert!(text.contains("--initial-cluster='x=https://10.0.0.1:2380,y=https://10.0.0.2:2380'"), "{text}");
    assert!(text.contains("# Not restored: m0.") && text.contains("# x has a new name"), "{text}");
    assert!(text.contains("ETCDCTL_ENDPOINTS='https://10.0.0.1:2379,https://10.0.0.2:2379'\n"), "{text}");
    assert!(
        text.contains("# first set ETCDCTL_CACERT") && text.contains("  systemctl start --no-block etcd\n"),
        "{text}"
    );

    let json = Run::new()
        .args(["restore", OLD, "--plan", "--etcd=stacked"])
        .store(&remote)
        .env("BACKUP_PREFIX", "p-")
        .success();
    assert_eq!(json.text("name"), OLD);
    let steps = json.value("steps").as_array().unwrap();
    assert!(steps.iter().all(|step| step["title"].is_string() && step["blocks"][0]["commands"][0].is_string()));

    remote.put(NEW, &sample::damaged());
    let bad = Run::new().args(["restore", "latest", "--plan"]).store(&remote).env("BACKUP_PREFIX", "p-");
    bad.exits(5).says(&[NEW]);
}

#[test]
fn what_is_needed_is_asked_for() {
    needs!("rclone");
    Run::new().arg("restore").exits(2);
    Run::new().args(["restore", "latest"]).exits(2).says(&["--data-dir"]);
    Run::new().args(["restore", "--data-dir=/nonexistent/x"]).exits(2).says(&["NAME"]);
    Run::new().args(["restore", "x", "--before=2026-01-01", "--data-dir=/tmp/x"]).exits(2);
    Run::new().args(["restore", "x", "--member=a=https://h:1", "--data-dir=/tmp/x"]).exits(2).says(&["--plan"]);
    Run::new().args(["restore", "x", "--plan", "--member=a", "--target=/x"]).exits(2).says(&["member: `a` has no `=`"]);
    for dir in ["data-dir", "wal-dir"] {
        let relative =
            Run::new().args(["restore", "x", "--plan", "--target=/x", "--etcd-file=", &format!("--{dir}=rel")]);
        relative.exits(2).says(&[&format!("{dir}: rel is relative"), "whole path"]);
    }
}

#[test]
fn a_local_file_of_etcd_3_4() {
    needs!("etcdutl", "rclone");
    let disk = Disk::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/etcd-3.4.23.etcdb");
    // Its other member is a learner that never started, and has no name to be restored by.
    let report = Run::new().args(["restore", "--etcd-file="]).arg(&file).arg("--data-dir").arg(disk.data()).success();
    assert_eq!((report.text("member"), report.number("keys")), ("m1", 6));
    assert_eq!((report.text("initial_cluster"), disk.names()), ("m1=http://127.0.0.1:23800", vec!["data".to_owned()]));
}
