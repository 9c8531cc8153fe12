//! Files that settings name and that are no files: nothing waits for them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::Signal,
};
use tempfile::TempDir;

use crate::support::{SOON, eventually, output::Output, remote::Remote, run::Run, tls::Pki};

/// A folder with a named pipe that nobody writes to.
fn pipe() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    (folder, path)
}

fn with_endpoint(pki: &Pki) -> Run {
    let run =
        Run::new().arg("snapshot").env("ETCDCTL_ENDPOINTS", "https://127.0.0.1:1").env("ETCDCTL_CACERT", pki.ca());
    run.env("ETCDCTL_CERT", &pki.client.cert).env("ETCDCTL_KEY", &pki.client.key)
}

fn refused(run: Run, setting: &str, why: &str) -> Output {
    let output = run.spawn().wait(Duration::from_secs(20));
    output.assert().code(2);
    assert!(output.took < Duration::from_secs(5), "{output}");
    output.says(&[setting, why])
}

#[test]
fn a_named_pipe_is_refused_wherever_a_file_is_read() {
    needs!("rclone", "etcdutl");
    let (_folder, pipe) = pipe();
    let pipe = pipe.to_str().unwrap();
    let (pki, remote) = (Pki::new(), Remote::folder());
    let why = format!("{pipe}: it is a named pipe, not a regular file");
    for (variable, setting) in [("ETCDCTL_CACERT", "cacert"), ("ETCDCTL_CERT", "cert"), ("ETCDCTL_KEY", "key")] {
        refused(with_endpoint(&pki).env(variable, pipe), &format!("{setting}: "), &why);
    }
    refused(Run::new().args(["snapshot", "--kubeadm-config", pipe]), "kubeadm-config: ", &why);
    refused(Run::new().arg("list").store(&remote).env("RCLONE_CONFIG", pipe), "rclone-config: ", &why);
    // The places where rclone looks by itself.
    for (variable, place) in [("HOME", ".config/rclone"), ("XDG_CONFIG_HOME", "rclone")] {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join(place).join("rclone.conf");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        mkfifoat(CWD, &own, Mode::RUSR | Mode::WUSR).unwrap();
        let run = Run::new().arg("list").store(&remote).without_env("RCLONE_CONFIG").env(variable, home.path());
        refused(run, "rclone-config: ", &format!("{}: it is a named pipe, not a regular file", own.display()));
    }
    let restore = Run::new().args(["restore", "x/y", "--data-dir=/nowhere/d", "--etcd-file", pipe]).store(&remote);
    refused(restore, "etcd-file: ", "it is a named pipe, not a regular file");
    refused(Run::new().args(["inspect", pipe]), pipe, "is not a regular file");
    refused(Run::new().args(["copy-tls", "--from=/", "--to=/nowhere", "--cacert", pipe]), "cacert: ", &why);

    let run = Run::new().arg("list").store(&remote).config_dir(&[]);
    mkfifoat(CWD, run.work_dir().with_file_name("config").join("retry-for"), Mode::RUSR | Mode::WUSR).unwrap();
    refused(run, "config-dir: ", "it is a named pipe, not a regular file");
    let work_dir = tempfile::tempdir().unwrap();
    mkfifoat(CWD, work_dir.path().join(".etcd-backup.json"), Mode::RUSR | Mode::WUSR).unwrap();
    let output = Run::new().arg("store").store(&remote).env("WORK_DIR", work_dir.path()).exits(2);
    output.says(&["cannot read the record", "it is a named pipe"]);
}

#[test]
fn what_is_far_too_large_is_refused_and_so_is_a_device() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    File::create(&large).unwrap().set_len(1 << 30).unwrap();
    refused(with_endpoint(&pki).env("ETCDCTL_CACERT", &large), "cacert: ", "it is larger than 4 MiB");
    refused(with_endpoint(&pki).env("ETCDCTL_CACERT", "/dev/zero"), "cacert: ", "it is a device");
    refused(with_endpoint(&pki).env("ETCDCTL_KEY", folder.path()), "key: ", "it is a directory");
}

/// Reads the authorities from the pipe of a shell's `<(…)`.
fn through_a_shell(command: &str, pki: &Pki) -> Run {
    let script = format!(r#"exec "$@" --cacert <({command})"#);
    with_endpoint(pki).without_env("ETCDCTL_CACERT").through(["bash", "-c", &script, "bash"])
}

#[test]
fn what_a_shell_pipes_is_read() {
    let pki = Pki::new();
    let ca = pki.ca().display().to_string();
    let output = through_a_shell(&format!("sleep 0.3; cat {ca}"), &pki).spawn().wait(Duration::from_secs(20));
    output.assert().code(4);
    output.says(&["https://127.0.0.1:1", "onnection refused"]);
}

#[test]
fn a_read_that_never_ends_is_ended_by_a_signal_and_by_the_deadline() {
    let pki = Pki::new();
    for (signal, exit) in [(Some(Signal::TERM), 143), (Some(Signal::INT), 130), (None, 7)] {
        // The writer is there, and says nothing: as a disk that hangs.
        let job = through_a_shell("sleep 20", &pki).arg("--timeout=1s").spawn();
        if let Some(signal) = signal {
            eventually(SOON, "the read", || reads_a_pipe(job.id()).then_some(()));
            job.signal(signal);
        }
        let output = job.wait(Duration::from_secs(15));
        output.assert().code(exit);
        assert!(output.took < Duration::from_secs(5), "{output}");
    }
}

fn reads_a_pipe(pid: u32) -> bool {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    let waits = |task: PathBuf| fs::read_to_string(task.join("syscall")).unwrap_or_default();
    // The number of the system call, on x86-64 and on arm64.
    let is_read = |call: String| ["0 ", "63 "].iter().any(|read| call.starts_with(read));
    tasks.into_iter().flatten().flatten().any(|task| is_read(waits(task.path())))
}
