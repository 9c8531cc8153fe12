//! `fetch`: the proved file, or nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    processes::is_alive,
    proxy::{Fault, Proxy},
    remote::Remote,
    run::Run,
    sample,
};

const OLD: &str = "p-202601010000.etcdb";
const NEW: &str = "p-202601020000.etcdb";

fn fetch(remote: &Remote, name: &str, path: &Path) -> Run {
    Run::new().arg("fetch").arg(name).arg(path).store(remote).env("BACKUP_PREFIX", "p-")
}

fn destination() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.db");
    (folder, path)
}

fn assert_empty(folder: &TempDir) {
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn each_way_to_name_a_backup() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    for remote in [Remote::seaweedfs(), Remote::folder()] {
        remote.put(OLD, sample::snapshot());
        remote.put(NEW, sample::snapshot());
        remote.put("p-eu-202701010000.etcdb", b"foreign");
        for (asked, meant) in [("latest", NEW), (OLD, OLD), ("20260101", OLD)] {
            let (folder, path) = destination();
            let report = fetch(&remote, asked, &path).success();
            assert_eq!((report.text("name"), report.number("keys")), (meant, 200), "{asked}");
            assert_eq!(fs::read(&path).unwrap(), sample::snapshot());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");
        }
        let (folder, path) = destination();
        fetch(&remote, "2026", &path).exits(2).says(&["ambiguous", &format!("{NEW}, {OLD}")]);
        fetch(&remote, "eu", &path).exits(2).says(&["there are 2", NEW]);
        assert_empty(&folder);
    }
}

#[test]
fn a_local_file_wants_no_store() {
    needs!("etcd", "etcdctl", "rclone");
    let (_folder, path) = destination();
    fs::write(&path, sample::snapshot()).unwrap();
    let (_other, copy) = destination();
    Run::new().arg("fetch").arg(&path).arg(&copy).success();
    assert_eq!(fs::read(&copy).unwrap(), sample::snapshot());
}

#[test]
fn what_exists_is_not_overwritten() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put(NEW, sample::snapshot());
    let (_folder, path) = destination();
    fs::write(&path, "precious").unwrap();
    fetch(&remote, "latest", &path).exits(2).says(&["exists and is not overwritten"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_bad_backup_leaves_nothing() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let (folder, path) = destination();
    let good = sample::snapshot();
    remote.put(NEW, &sample::damaged());
    fetch(&remote, "latest", &path).exits(5).says(&[NEW, "sha-256"]);
    remote.put(NEW, &good[..good.len() / 2 / 512 * 512]);
    fetch(&remote, "latest", &path).exits(5).says(&[NEW, "cannot be whole pages"]);
    remote.put(NEW, b"x");
    fetch(&remote, "latest", &path).exits(5).says(&[NEW, "1 bytes cannot be"]);
    remote.put(NEW, b"");
    fetch(&remote, "latest", &path).exits(5).says(&[NEW, "it is empty"]);
    assert_empty(&folder);
}

#[test]
fn a_folder_behind_a_link_is_a_folder() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    remote.put(NEW, sample::snapshot());
    let (folder, _) = destination();
    fs::create_dir(folder.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    fetch(&remote, "latest", &folder.path().join("link/snapshot.db")).success();
    assert_eq!(fs::read(folder.path().join("real/snapshot.db")).unwrap(), sample::snapshot());
    let nowhere = folder.path().join("missing/snapshot.db");
    fetch(&remote, "latest", &nowhere).exits(2).says(&["cannot write", "missing/snapshot.db"]);
}

#[test]
fn an_empty_store_says_so() {
    needs!("rclone", "weed");
    let (folder, path) = destination();
    fetch(&Remote::seaweedfs(), "latest", &path).exits(2).says(&["there are no backups"]);
    assert_empty(&folder);
}

/// A backup of some megabytes behind a proxy that can break the way to it.
fn big_behind(proxied: impl FnOnce(&Proxy)) -> (Remote, Proxy) {
    let remote = Remote::seaweedfs();
    Run::job(&Cluster::large(), &remote).env("BACKUP_PREFIX", "p-").success();
    let proxy = Proxy::to(remote.port());
    proxied(&proxy);
    (remote, proxy)
}

#[test]
fn sigterm_leaves_nothing() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (remote, proxy) = big_behind(|proxy| proxy.set(Fault::Throttle(1 << 20)));
    let (folder, path) = destination();
    let job = fetch(&remote, "latest", &path).env("RCLONE_CONFIG", remote.config_by(proxy.port())).spawn();
    eventually(SOON, "some bytes of it", || (parts_in(folder.path()) > 0).then_some(()));
    let rclone = job.children();
    assert!(!rclone.is_empty());
    job.signal(Signal::TERM);
    job.wait(SOON).assert().code(143);
    assert_empty(&folder);
    assert!(!rclone.into_iter().any(is_alive), "rclone outlived us");
}

#[test]
fn a_broken_way_is_not_called_damage() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (remote, proxy) = big_behind(|proxy| proxy.set(Fault::CutAfter(1 << 20)));
    let (folder, path) = destination();
    let config = remote.config_by(proxy.port());
    let output = fetch(&remote, "latest", &path).env("RCLONE_CONFIG", &config).exits(6);
    output.says(&["rclone cat"]);
    assert_empty(&folder);
    Run::new().arg("verify").store(&remote).env("BACKUP_PREFIX", "p-").env("RCLONE_CONFIG", &config).exits(6);
    proxy.set(Fault::None);
    fetch(&remote, "latest", &path).env("RCLONE_CONFIG", &config).success();
}

/// Bytes of unfinished files in the folders of this one.
fn parts_in(folder: &Path) -> u64 {
    let folders = fs::read_dir(folder).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
