//! What runs that were killed have left is swept, and nothing else.

use std::process::{Child, Command};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

const DAY: Duration = Duration::from_hours(24);

/// A file of this age below a directory.
fn left(directory: &Path, place: &str, age: Duration) {
    let path = directory.join(place);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const OURS: [&str; 4] = [
    ".etcd-backup/parts/p-202601020304.etcdb.0123abcd.part",
    ".etcd-backup/parts/p-20260102030405.etcdb.json.0123abcd.part",
    ".etcd-backup/parts/p-202601020304.etcdb.20261121T010203Z.accepted.json.0123abcd.part",
    ".etcd-backup/parts/p-.since.json.0123abcd.part",
];
const NOT_OURS: [&str; 14] = [
    "p-202601020304.etcdb.0123abcd.part",
    ".etcd-backup/parts/p-202601020304.etcdb.0123abcd.part.0a1b2c3d.partial",
    ".etcd-backup/p-202601020304.etcdb.json",
    ".etcd-backup/parts/deeper/p-202601020304.etcdb.0123abcd.part",
    ".etcd-backup/parts/p-eu-.since.json.0123abcd.part",
    ".etcd-backup/parts/p-eu-202601020304.etcdb.0123abcd.part",
    ".etcd-backup/parts/p-202601020304.etcdb.0123ABCD.part",
    ".etcd-backup/parts/p-202601020304.etcdbjson.json.0123abcd.part",
    ".etcd-backup/parts/p-202601020304.etcdb.part",
    "p-202601020304.etcdb",
    "p-202601020304.etcdb.bak",
    "p-202601020304.etcdb.0123abcd.part.bak",
    "p-notes.0123abcd.part",
    "sub/p-202601020304.etcdb.0123abcd.part",
];

#[test]
fn old_parts_of_this_prefix_are_removed() {
    needs!("rclone");
    let (served, folder) = (Served::new("sftp"), Remote::folder());
    for (store, directory) in
        [(store(&folder, "p-"), Path::new(folder.target()).to_owned()), (served.store("p-"), served.data())]
    {
        for place in OURS.iter().chain(&NOT_OURS) {
            left(&directory, place, DAY + Duration::from_hours(1));
        }
        let young = ".etcd-backup/parts/p-202601020305.etcdb.0123abcd.part";
        left(&directory, young, Duration::from_hours(23));
        wait(store.sweep(DAY, chrono::Utc::now()));
        let mut expected = [&NOT_OURS[..], &[young]].concat();
        expected.sort_unstable();
        assert_eq!(files(&directory), expected);
    }
}

#[test]
fn a_sweep_where_nothing_is_does_nothing() {
    needs!("rclone");
    let folder = Remote::folder();
    wait(store(&folder, "a/p-").sweep(DAY, chrono::Utc::now()));
    assert_eq!(files(Path::new(folder.target())), [""; 0]);
    let bucket = Remote::rclone_s3();
    wait(store_at(bucket.target(), bucket.config(), "").sweep(DAY, chrono::Utc::now()));
    wait(store_at(bucket.target(), &bucket.config_by(1), "").sweep(DAY, chrono::Utc::now()));
}

/// An upload in parts, slow enough to be killed.
fn uploading(remote: &Remote, place: &str, file: &Path) -> Child {
    let mut command: Command = tools::command(tools::tool("rclone"));
    command.arg("--config").arg(remote.config()).args(["copyto", "--bwlimit=1M", "--s3-upload-cutoff=5M"]);
    command.args(["--s3-chunk-size=5M", "--s3-no-check-bucket"]).arg(file);
    command.arg(format!("{}/{place}", remote.target())).spawn().unwrap()
}

#[test]
#[ignore = "slow: make test-all"]
fn old_open_uploads_of_this_prefix_are_aborted() {
    needs!("rclone", "weed");
    let (remote, sent) = (Remote::seaweedfs(), Sent::new(&vec![7; 12 << 20]));
    let ours = ["a/prod-202601010000.etcdb", "a/.etcd-backup/prod-202601010000.etcdb.json"];
    let not_ours = [
        "a/prod-202601010001.etcdb",
        "a/prod-202601010001.etcdb.bak",
        "a/prod-202601010002.etcdb.zst",
        "a/prod-eu-202601010000.etcdb",
        "a/prod-/202601010000.etcdb",
        "a/prod-notes.etcdb",
        "a/.etcd-backup/prod-eu-202601010000.etcdb.json",
        "prod-202601010000.etcdb",
    ];
    let mut begun: Vec<_> = ours.iter().chain(&not_ours).map(|place| uploading(&remote, place, &sent.path)).collect();
    support::eventually(SOON, "open uploads", || {
        (remote.pending_uploads().matches("UploadId").count() == begun.len()).then_some(())
    });
    for child in &mut begun {
        kill_process(Pid::from_child(child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }
    let open = || {
        let listed = remote.pending_uploads();
        let mut keys: Vec<_> =
            listed.lines().filter_map(|line| line.trim().strip_prefix("\"Key\": \"")?.strip_suffix("\",")).collect();
        keys.sort_unstable();
        keys.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let swept_after = |age| wait(store(&remote, "a/prod-").sweep(age, chrono::Utc::now()));
    let all = open();
    // Nothing is old yet.
    swept_after(DAY);
    assert_eq!(open(), all);
    std::thread::sleep(Duration::from_secs(2));
    swept_after(Duration::from_secs(1));
    let mut expected = not_ours.to_vec();
    expected.sort_unstable();
    assert_eq!(open(), expected);
}
