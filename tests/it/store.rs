//! The remote: what fails before the snapshot, what is stored and confirmed, and what is left when it goes wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::support::processes::is_alive;
use crate::support::{
    etcd::Cluster,
    eventually,
    proxy::{Fault, Proxy},
    remote::Remote,
    run::{Job, Run},
    tools,
};

const SOON: Duration = Duration::from_secs(10);

fn cluster() -> Cluster {
    let cluster = Cluster::with(1).plain().start();
    cluster.put_many(3, "/a/", 10);
    cluster
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A remote that is wrong fails at once, and etcd has sent nothing by then.
fn fails_before_the_snapshot(run: Run, code: i32, words: &[&str]) {
    let begun = Instant::now();
    let output = run.exits(code);
    assert!(begun.elapsed() < SOON, "{output}");
    assert!(!output.stderr.contains("proved the snapshot"), "{output}");
    output.says(words);
}

#[test]
fn a_wrong_remote_fails_within_seconds() {
    needs!("etcd", "rclone", "weed");
    let cluster = cluster();
    let remote = Remote::seaweedfs();
    let job = || Run::job(&cluster, &remote);
    let secret = remote.secret().unwrap();
    let wrong = "wrongwrongwrongwrong";
    let run = job().env("RCLONE_CONFIG", remote.config_with(secret, wrong)).secret(wrong);
    fails_before_the_snapshot(run, 9, &["SignatureDoesNotMatch"]);
    let text = fs::read_to_string(remote.config()).unwrap();
    let id = text.lines().find(|l| l.starts_with("access_key_id")).unwrap();
    let run = job().env("RCLONE_CONFIG", remote.config_with(id, "access_key_id = nobodynobody"));
    fails_before_the_snapshot(run, 9, &["InvalidAccessKeyId"]);
    fails_before_the_snapshot(
        job().env("TARGET", "nosuch:bucket"),
        2,
        &["didn't find section in config file", "nosuch"],
    );
    let name = remote.target().split(':').next().unwrap();
    fails_before_the_snapshot(job().env("TARGET", format!("{name}:")), 2, &["names a whole remote"]);
    let missing = format!("{name}:no-such-bucket/dir");
    fails_before_the_snapshot(job().env("TARGET", &missing), 2, &["there is no bucket at", "no-such-bucket"]);
    let there = remote.rclone_with(remote.config(), &["lsf", &missing]);
    assert!(!there.status.success(), "the bucket was made");
    // A folder that is not there yet is an empty one.
    let inside = format!("{}/new/folder", remote.target());
    job().env("TARGET", &inside).success();
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn a_broken_configuration_is_never_quoted() {
    needs!("etcd", "rclone");
    let cluster = cluster();
    let remote = Remote::rclone_s3();
    let config = remote.config_with("[", "broken hunter2hunter2 line\n[");
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", config).secret("hunter2hunter2");
    fails_before_the_snapshot(
        run,
        2,
        &["failed to load config", "***"].map(|w| if w == "***" { w } else { "Failed to load config" }),
    );
}

#[test]
fn a_store_that_is_down_or_silent_is_six() {
    needs!("etcd", "rclone");
    let cluster = cluster();
    let remote = Remote::rclone_s3();
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(1));
    let output = run.limit(Duration::from_mins(1)).exits(6);
    assert!(output.stderr.contains("refused"), "{output}");
    let silent = Proxy::silent();
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(silent.port()));
    // The whole-job deadline ends what rclone would wait a minute for.
    let output = run.env("TIMEOUT", "3s").limit(Duration::from_secs(15)).exits(7);
    assert!(output.stderr.contains("the deadline of 3s passed"), "{output}");
}

/// A script in the place of rclone, in a PATH of its own.
fn stand_in(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("rclone");
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn rclone_missing_or_old_is_said() {
    needs!("etcd");
    let cluster = cluster();
    let remote = Remote::folder();
    let empty = tempfile::tempdir().unwrap();
    let run = Run::job(&cluster, &remote).env("PATH", empty.path());
    fails_before_the_snapshot(run, 2, &["cannot find rclone in PATH", empty.path().to_str().unwrap()]);
    let old = stand_in("#!/bin/sh\necho 'rclone v1.59.2'\n");
    let run = Run::job(&cluster, &remote).env("PATH", path_with(old.path()));
    fails_before_the_snapshot(run, 2, &["is rclone 1.59.2, too old", old.path().to_str().unwrap()]);
    fs::set_permissions(old.path().join("rclone"), fs::Permissions::from_mode(0o644)).unwrap();
    let run = Run::job(&cluster, &remote).env("PATH", old.path());
    fails_before_the_snapshot(run, 2, &["cannot find rclone in PATH"]);
    let broken = stand_in("#!/nonexistent/interpreter\n");
    let run = Run::job(&cluster, &remote).env("PATH", path_with(broken.path()));
    fails_before_the_snapshot(run, 2, &["cannot start", broken.path().to_str().unwrap()]);
}

#[test]
fn flags_in_the_environment_do_not_reach_rclone() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    remote.put_aged("202001010000.etcdb", b"x", Duration::from_hours(24 * 2000));
    let cluster = cluster();
    let run = Run::job(&cluster, &remote).env("RCLONE_DRY_RUN", "true").env("RCLONE_INCLUDE", "*.txt");
    let run = run.env("RCLONE_MIN_AGE", "5y").env("RCLONE_MAX_SIZE", "1").env("RETENTION", "10d").env("KEEP_LAST", "1");
    let report = run.success();
    assert_eq!(remote.names(), [report.text("name")]);
}

#[test]
fn harmless_flags_reach_rclone() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let cluster = cluster();
    let report =
        Run::job(&cluster, &remote).args(["--rclone-flags", "--header-upload 'x-amz-meta-owner: us'"]).success();
    let object = remote.lsjson().pop().unwrap();
    assert_eq!(object["Name"], report.text("name"));
    Run::job(&cluster, &remote)
        .args(["--rclone-flags", "--no-such-flag"])
        .exits(2)
        .says(&["unknown flag: --no-such-flag"]);
}

#[test]
fn nothing_is_overwritten() {
    needs!("etcd", "rclone");
    let cluster = cluster();
    let remote = Remote::rclone_s3();
    // Whatever minute it is when the job runs, its name is taken.
    let now = chrono::Utc::now();
    let minutes = [0, 1, 2].map(|m| (now + chrono::Duration::minutes(m)).format("%Y%m%d%H%M.etcdb").to_string());
    for name in &minutes {
        remote.put(name, b"there before");
    }
    let report = Run::job(&cluster, &remote).success();
    let name = report.text("name");
    assert_eq!(name.len(), "20261121010203.etcdb".len(), "{name}");
    for name in &minutes {
        assert_eq!(remote.read(name), b"there before");
    }
    assert_eq!(sha256(&remote.read(name)), report.text("sha256"));
}

#[test]
fn two_jobs_at_once_store_two_backups_or_say_so() {
    needs!("etcd", "rclone");
    let cluster = cluster();
    for remote in [Remote::rclone_s3(), Remote::folder()] {
        let jobs: Vec<Job> = (0..3).map(|_| Run::job(&cluster, &remote).spawn()).collect();
        let outputs: Vec<_> = jobs.into_iter().map(|job| job.wait(SOON)).collect();
        let mut stored = Vec::new();
        for output in &outputs {
            match output.status.code() {
                Some(0) => {
                    stored.push((output.report().text("name").to_owned(), output.report().text("sha256").to_owned()));
                }
                // A name that another job took in the same moment is a failure to store, and a retry takes another name.
                Some(6) => {}
                _ => panic!("{output}"),
            }
        }
        assert!(!stored.is_empty());
        for (name, hash) in stored {
            assert_eq!(sha256(&remote.read(&name)), hash, "{name} was reported as stored");
        }
    }
}

#[test]
fn encrypted_at_rest() {
    needs!("etcd", "rclone");
    let cluster = cluster();
    let remote = Remote::rclone_s3();
    let obscured = String::from_utf8(remote.rclone(&["obscure", "correct horse"]).stdout).unwrap();
    let text = fs::read_to_string(remote.config()).unwrap();
    let crypt = format!("{text}\n[sealed]\ntype = crypt\nremote = {}\npassword = {obscured}\n", remote.target());
    let config = remote.config_with(&text, &crypt);
    let run =
        || Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).env("TARGET", "sealed:x").secret(obscured.trim());
    let output = run().exits(0);
    assert!(output.stderr.contains("compared=\"sha256 in its metadata\""), "{output}");
    let read = remote.rclone_with(&config, &["cat", &format!("sealed:x/{}", output.report().text("name"))]).stdout;
    assert_eq!(sha256(&read), output.report().text("sha256"));
    assert!(!remote.names()[0].contains("etcdb"), "the name is not sealed");
}

#[test]
fn a_configuration_that_cannot_be_written_to_is_copied() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let mounted = tempfile::tempdir().unwrap();
    let config = mounted.path().join("rclone.conf");
    fs::copy(remote.config(), &config).unwrap();
    // As the kubelet mounts a Secret.
    let run = |args: &[&str]| assert!(tools::command(args[0]).args(&args[1..]).status().unwrap().success());
    let folder = mounted.path().to_str().unwrap();
    run(&["mount", "--bind", folder, folder]);
    run(&["mount", "-o", "remount,bind,ro", folder]);
    let cluster = cluster();
    let output = Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).spawn().wait(SOON);
    run(&["umount", folder]);
    assert_eq!(output.status.code(), Some(0), "{output}");
}

/// A cluster with enough to upload for a while at the given limit.
fn large() -> Cluster {
    let cluster = Cluster::with(1).plain().start();
    cluster.put_many(100, "/big/", 100_000);
    cluster
}

const SLOWLY: [&str; 2] = ["--rclone-flags", "--bwlimit 1M --s3-upload-cutoff 5M --s3-chunk-size 5M"];

fn uploading(job: &Job) -> u32 {
    eventually(Duration::from_secs(20), "the upload", || {
        let begun = job.stderr().contains("storing name=");
        job.children().into_iter().find(|pid| {
            begun && fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|argv| argv.contains("copyto"))
        })
    })
}

/// Nothing of a cut upload is visible, not even in part.
fn assert_nothing_stored(remote: &Remote) {
    assert!(remote.names().is_empty(), "{:?}", remote.names());
    if remote.secret().is_some() {
        let pending = remote.pending_uploads();
        assert!(!pending.contains("UploadId") && !pending.contains("Key"), "{pending}");
    }
}

#[test]
fn a_signal_during_the_upload_leaves_nothing() {
    needs!("etcd", "rclone", "weed");
    let cluster = large();
    for remote in [Remote::seaweedfs(), Remote::folder()] {
        let job = Run::job(&cluster, &remote).args(SLOWLY).spawn();
        let child = uploading(&job);
        job.signal(rustix::process::Signal::TERM);
        let output = job.wait(SOON);
        assert_eq!(output.status.code(), Some(143), "{output}");
        assert!(!is_alive(child));
        assert_nothing_stored(&remote);
    }
}

#[test]
fn the_deadline_during_the_upload_leaves_nothing() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    let cluster = large();
    let output = Run::job(&cluster, &remote).args(SLOWLY).env("TIMEOUT", "3s").exits(7);
    assert!(output.took < Duration::from_secs(12), "{output}");
    assert_nothing_stored(&remote);
}

#[test]
fn rclone_killed_during_the_upload_is_six() {
    needs!("etcd", "rclone");
    let cluster = large();
    for remote in [Remote::rclone_s3(), Remote::folder()] {
        let job = Run::job(&cluster, &remote).args(SLOWLY).spawn();
        let child = uploading(&job);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let output = job.wait(SOON);
        assert_eq!(output.status.code(), Some(6), "{output}");
        assert!(output.stderr.contains("killed by signal 9"), "{output}");
        // rclone had no chance to remove the part of a file; it has a name that is no backup's.
        assert!(remote.names().iter().all(|name| name.strip_suffix(".etcdb").is_none()), "{:?}", remote.names());
    }
}

#[test]
fn a_child_that_does_not_listen_is_killed() {
    needs!("etcd", "rclone");
    let real = tools::tool("rclone");
    let deaf = stand_in(&format!(
        "#!/bin/bash\nif [ \"$1\" = copyto ]; then trap '' TERM; while :; do read -r -t 1 <> <(:); done; fi\nexec {} \"$@\"\n",
        real.display()
    ));
    let cluster = cluster();
    let remote = Remote::folder();
    let job = Run::job(&cluster, &remote).env("PATH", path_with(deaf.path())).spawn();
    let child = uploading(&job);
    job.signal(rustix::process::Signal::TERM);
    let output = job.wait(SOON);
    assert_eq!(output.status.code(), Some(143), "{output}");
    assert!(!is_alive(child), "{output}");
}

#[test]
fn a_connection_cut_while_uploading_is_tried_again() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let proxy = Proxy::to(remote.port());
    proxy.set(Fault::CutAfter(2 << 20));
    let cluster = large();
    let job = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port())).spawn();
    eventually(Duration::from_secs(20), "the cut", || (proxy.passed() >= 2 << 20).then_some(()));
    proxy.set(Fault::None);
    let output = job.wait(Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(0), "{output}");
    assert_eq!(sha256(&remote.read(output.report().text("name"))), output.report().text("sha256"));
}

#[test]
fn a_key_that_may_not_write_is_nine() {
    needs!("etcd", "rclone");
    // A folder that is read-only for everybody stands for a key without the right to write.
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("ro");
    fs::create_dir(&path).unwrap();
    let run = |args: &[&str]| assert!(tools::command(args[0]).args(&args[1..]).status().unwrap().success());
    let text = path.to_str().unwrap();
    assert!(tools::command("chattr").args(["+i", text]).status().unwrap().success());
    let cluster = cluster();
    let output = Run::new().arg("run").etcd(&cluster).env("TARGET", text).spawn().wait(SOON);
    run(&["chattr", "-i", text]);
    assert_eq!(output.status.code(), Some(9), "{output}");
    assert!(output.stderr.contains("operation not permitted"), "{output}");
}
