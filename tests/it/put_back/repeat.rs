//! The plan ends with the command that carries it out.

use super::*;
use crate::support::{
    kubernetes::{kube_system, pod},
    remote::Remote,
};

const OLD: &str = "a b/p-202001010000.etcdb";
const NEWER: &str = "a b/p-202001020000.etcdb";

fn words(report: &Report) -> (String, Vec<String>) {
    shell_words(report.text("carry_out"))
}

#[test]
fn the_plan_is_carried_out_from_the_same_backup_though_latest_has_moved() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::single(), Remote::folder());
    put(&cluster, &[kube_system(UID), pod("default", "web-0000", b"")]);
    remote.put(OLD, &save(&cluster));
    delete(&cluster, &[&name(0)]);
    // The typed flags alone, and what says where the backups are: not the endpoints, which are in the environment.
    let run = || Run::new().etcd(&cluster).store(&remote).env("BACKUP_PREFIX", "a b/p-");
    let flags = ["--prefix=/registry/pods/", "--overwrite", "--timeout=5m"];
    let plan = run().args(["put-back", "latest", "/registry/namespaces/kube-system"]).args(flags).success();
    let (program, words) = words(&plan);
    assert_eq!(program, "etcd-backup");
    let target = remote.target();
    let expected =
        ["put-back", OLD, "/registry/namespaces/kube-system", "--target", target, "--backup-prefix", "a b/p-"];
    assert_eq!(words[..7], expected);
    assert_eq!(words[7..], ["--prefix", "/registry/pods/", "--overwrite", "--timeout", "5m", "--yes"]);

    // A night later there is a backup with the deletion.
    remote.put(NEWER, &save(&cluster));
    run().args(["put-back", "latest"]).args(flags).exits(2).says(&[NEWER]);
    // As typed, even where the environment does not say where the backups are.
    let again = run().without_env("TARGET").without_env("BACKUP_PREFIX").args(&words).success();
    assert_eq!((again.text("backup"), results(&again)[&name(0)].as_str()), (OLD, "created"));
    assert!(again.value("carry_out").is_null());
}

#[test]
fn a_part_of_a_name_a_path_and_odd_keys_are_written_out() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::single(), Remote::folder());
    let odd = "/odd/$(touch x) 'it' \"is\"";
    put(&cluster, &[(odd.to_owned(), b"x".to_vec()), ("-dashed".to_owned(), b"x".to_vec())]);
    let (_folder, backup) = backup_of(&cluster);
    remote.put("202001010000.etcdb", &save(&cluster));
    delete(&cluster, &[odd, "-dashed"]);
    let run = |name: &str, args: &[&str]| Run::new().etcd(&cluster).store(&remote).arg("put-back").arg(name).args(args);
    let part = words(&run("20200101", &[odd]).success()).1;
    assert_eq!(part[1..3], ["202001010000.etcdb", odd]);
    let path = backup.to_str().unwrap();
    let local = words(&run(path, &["--", "-dashed"]).success()).1;
    assert_eq!(local, ["put-back", "--yes", "--", path, "-dashed"]);
    let done = Run::new().etcd(&cluster).args(&local).success();
    assert_eq!(results(&done)["-dashed"], "created");
    // There is nothing to do, and no command for it.
    assert!(run(path, &["--", "-dashed"]).success().value("carry_out").is_null());
}
