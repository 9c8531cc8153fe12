//! SIGKILL, which no program can handle: nothing that was started goes on.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    processes::{descendants, is_alive},
    remote::Remote,
    run::{Job, Run},
    sample, tools,
};

/// Kills the job once it has this many descendants, and they are all to end at once.
fn assert_all_end_with(job: Job, count: usize) {
    let pid = job.id();
    let alive = || descendants(pid).into_iter().filter(|child| is_alive(*child)).collect::<Vec<_>>();
    let children =
        eventually(SOON, "the programs that it starts", || Some(alive()).filter(|alive| alive.len() == count));
    let names: Vec<_> = children.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/comm"))).collect();
    // Kills it.
    drop(job);
    let killed = Instant::now();
    eventually(SOON, "their end", || (!children.iter().any(|child| is_alive(*child))).then_some(()));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?} for {names:?}", killed.elapsed());
}

#[test]
fn an_upload_ends_and_so_does_what_rclone_has_started() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::with(1).mib(4).start(), Remote::folder());
    let folder = tempfile::tempdir().unwrap();
    let ssh = folder.path().join("ssh");
    let rclone = tools::tool("rclone");
    // Not in the place of the shell, so that there is one more process.
    let script = format!("#!/bin/sh\n{} --config= serve sftp --stdio {}\nexit $?\n", rclone.display(), remote.target());
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).unwrap();
    let config = folder.path().join("rclone.conf");
    fs::write(&config, format!("[over]\ntype = sftp\nssh = {}\n", ssh.display())).unwrap();
    let run = Run::job(&cluster, &remote).env("TARGET", "over:/").env("RCLONE_CONFIG", config);
    let job = run.env("RCLONE_FLAGS", "--bwlimit 64k").spawn();
    let parts = remote.on_disk(".etcd-backup/parts");
    eventually(SOON, "an upload", || {
        let size = fs::read_dir(&parts).ok()?.flatten().next()?.metadata().ok()?.len();
        (size > 64 << 10).then_some(())
    });
    assert_all_end_with(job, 3);
}

/// One that hangs, and heeds no other signal.
#[test]
fn an_etcdutl_ends() {
    needs!("rclone", "etcdutl");
    let remote = Remote::folder();
    remote.put("p-202601010000.etcdb", sample::snapshot());
    let disk = tempfile::tempdir().unwrap();
    let hangs = "#!/bin/bash\n[[ $* = *--data-dir* ]] && trap '' HUP TERM && exec sleep 60\nexec REAL \"$@\"\n";
    let run = Run::new().args(["restore", "p-202601010000.etcdb", "--etcd-file=", "--data-dir"]);
    let run = run.arg(disk.path().join("data")).store(&remote).env("BACKUP_PREFIX", "p-").program_is("etcdutl", hangs);
    let job = run.spawn();
    eventually(SOON, "an etcdutl that hangs", || {
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        job.children().iter().any(|pid| name(pid) == "sleep\n").then_some(())
    });
    assert_all_end_with(job, 1);
}
