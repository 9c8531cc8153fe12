//! Snapshots that one pass has no memory for: the rest is proved by reading back, before anything counts.

use std::{fs, path::Path};

use rstest::rstest;

use super::{assert_stored, job};
use crate::support::{
    etcd::Cluster,
    kubernetes::save,
    liar::{Honest, Liar},
    output::Output,
    pages::Pages,
    remote::Remote,
    run::Run,
};

/// A value of 8 MiB, of which a page is too long to be kept while it passes.
fn with_a_long_page() -> Cluster {
    let cluster = Cluster::with(1).plain().flag("--max-request-bytes=16777216").start();
    cluster.put_many(3, "/a/", 10);
    cluster.put_many(1, "/long/", 8 << 20);
    cluster
}

/// What rclone is called for, with its last argument.
fn calls(run: Run, folder: &Path) -> Run {
    run.rclone_is(&format!("#!/bin/bash\necho \"$1 ${{@: -1}}\" >>'{}/calls'\nexec REAL \"$@\"\n", folder.display()))
}

fn made(folder: &Path) -> Vec<String> {
    let calls = fs::read_to_string(folder.join("calls")).unwrap();
    calls.lines().map(str::to_owned).collect()
}

/// The place of the first call for which this holds.
fn place(calls: &[String], is_meant: impl Fn(&str) -> bool) -> Option<usize> {
    calls.iter().position(|call| is_meant(call))
}

fn is_of(call: &str, command: &str, ending: &str) -> bool {
    call.split(' ').next() == Some(command) && call.rsplit('.').next() == Some(ending)
}

fn reads_a_part(call: &str) -> bool {
    is_of(call, "cat", "part")
}

fn names_a_backup(call: &str) -> bool {
    is_of(call, "moveto", "etcdb")
}

fn says_so(output: &Output) {
    assert!(output.stderr.contains("reading the backup back, to prove what there was no memory for"), "{output}");
}

#[rstest]
#[case::s3(Remote::seaweedfs, false)]
#[case::folder(Remote::folder, true)]
#[case::sftp(Remote::sftp, true)]
fn what_does_not_fit_is_proved_before_it_counts(#[case] remote: fn() -> Remote, #[case] in_parts: bool) {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote, folder) = (with_a_long_page(), remote(), tempfile::tempdir().unwrap());
    let output = calls(job(&cluster, &remote), folder.path()).exits(0);
    says_so(&output);
    assert_stored(&remote, &output);
    let calls = made(folder.path());
    let (read, moved) = (place(&calls, reads_a_part), place(&calls, names_a_backup));
    assert_eq!(read.is_some(), in_parts, "{calls:?}");
    // In a folder, this program moves it itself.
    assert!(moved.is_none_or(|moved| read.is_some_and(|read| read < moved)), "{calls:?}");
}

/// A member whose snapshot is bad in its long page.
fn with_a_bad_long_page(cluster: &Cluster) -> Liar {
    let mut pages = Pages::of(&save(cluster));
    // The value of a key, and its length of 8 MiB.
    let value = [0x2a, 0x80, 0x80, 0x80, 0x04];
    let places: Vec<_> = (0..pages.bytes.len()).filter(|at| pages.bytes[*at..].starts_with(&value)).collect();
    let [at] = places[..] else { panic!("{places:?}") };
    pages.bytes[at] ^= 1;
    let mut honest = Honest::new(cluster, pages.sealed());
    honest.members.clear();
    Liar::start(honest.script())
}

#[rstest]
#[case::s3(Remote::seaweedfs, "was removed")]
#[case::s3_without_conditions(Remote::rclone_s3, "its record says that it is damaged")]
#[case::folder(Remote::folder, "")]
#[case::sftp(Remote::sftp, "")]
fn what_is_bad_where_it_did_not_fit_does_not_count(#[case] remote: fn() -> Remote, #[case] words: &str) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (cluster, remote, folder) = (with_a_long_page(), remote(), tempfile::tempdir().unwrap());
    let before = job(&cluster, &remote).success();
    let liar = with_a_bad_long_page(&cluster);
    let run = job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", liar.endpoint());
    let output = calls(run, folder.path()).exits(5);
    says_so(&output);
    assert!(output.stderr.contains(words), "{output}");
    let calls = made(folder.path());
    assert_eq!(place(&calls, names_a_backup), None, "{calls:?}");
    let names: Vec<_> = remote.names().into_iter().filter(|name| name != before.text("name")).collect();
    let is_left = words.contains("damaged");
    assert_eq!(names.len(), usize::from(is_left), "{names:?}\n{output}");
    let list = Run::new().arg("list").store(&remote).success();
    if is_left {
        assert_eq!(remote.record(&format!("{}.json", names[0]))["verdict"]["is"], "damaged");
        let listed = list.value("backups").to_string();
        assert!(listed.contains("damaged") && listed.contains(&names[0]), "{listed}");
    }
    // The next night is compared with what is good, and retention counts no other one.
    let next = job(&cluster, &remote).args(["--retention-count", "1", "--keep-last", "1"]).exits(0);
    assert_stored(&remote, &next);
    assert_eq!(next.report().value("verdict")["is"], "good", "{next}");
    assert_eq!(remote.names(), [next.report().text("name")], "{next}");
}
