//! What a command prints is its product: exit 10 where it is lost, 0 where its reader has seen enough.

use std::{fs::File, time::Duration};

use crate::support::{
    etcd::Cluster,
    kubernetes::{pod, save},
    output::Output,
    remote::Remote,
    run::Run,
};

const NAME: &str = "p-202601010000.etcdb";

fn lost(run: Run) -> Output {
    let full = File::options().write(true).open("/dev/full").unwrap();
    run.spawn_into(full).wait(Duration::from_secs(30))
}

fn closed(run: Run) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    run.spawn_into(writer).wait(Duration::from_secs(30))
}

fn assert_lost(run: &dyn Fn() -> Run) {
    for form in ["text", "json"] {
        let output = lost(run().env("OUTPUT", form));
        output.assert().code(10);
        let output = output.says(&["cannot write to stdout: No space left on device"]);
        assert!(!output.stderr.contains("WARN cannot"), "{output}");
        let output = closed(run().env("OUTPUT", form));
        output.assert().code(0);
        assert!(!output.stderr.contains("stdout"), "{output}");
    }
}

#[test]
fn commands_without_settings_say_that_their_output_is_lost() {
    for args in [
        ["--help"].as_slice(),
        &["--version"],
        &["help"],
        &["help", "run"],
        &["restore", "--help"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["man"],
        &["man", "restore"],
    ] {
        assert_lost(&|| Run::new().args(args));
    }
}

#[test]
fn commands_that_read_backups_say_that_their_output_is_lost() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::with(1).plain().start();
    let (key, value) = pod("shop", "web", b"x");
    cluster.client(0, async |client| client.put(key.as_str(), value, None).await.unwrap());
    let remote = Remote::folder();
    remote.put(NAME, &save(&cluster));
    cluster.client(0, async |client| client.delete(key.as_str(), None).await.unwrap());
    let run = |args: &[&str]| Run::new().args(args).store(&remote).env("BACKUP_PREFIX", "p-").env("USER", "alice");
    for args in [
        ["list"].as_slice(),
        &["list", "--quick"],
        &["verify"],
        &["verify", "--all", "--deep"],
        &["inspect", "latest"],
        &["inspect", "latest", "--diff", "latest"],
        &["get", "latest", &key],
        &["get", "latest", &key, "--raw"],
        &["export", "latest"],
        &["restore", "--plan", "--etcd=stacked", "--etcd-file="],
        &["prune", "--dry-run", "--retention=1d"],
    ] {
        assert_lost(&|| run(args));
    }
    assert_lost(&|| run(&["put-back", "latest", &key]).etcd(&cluster));
}

/// Their product is the backup: a Job that was red would take and store it once more.
#[test]
fn a_backup_that_is_stored_is_stored_whatever_becomes_of_the_report() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::folder();
    let output = lost(Run::job(&cluster, &remote));
    output.assert().code(0);
    output.says(&["WARN", "cannot write to stdout"]);
    // Another failure is the one that counts.
    let output = lost(Run::new().args(["list", "--target", "nosuch:b"]));
    output.assert().code(2);
}
