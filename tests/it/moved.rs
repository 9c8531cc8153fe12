//! Two runs at once on remotes where rclone looks whether a name is free and then moves a file there: the second move
//! replaces what the first has brought. Every record says what stands under its name, or is dismissed.

use std::{fs, path::PathBuf};

use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    etcd::Cluster,
    http_proxy::{Action, HttpProxy},
    output::Output,
    remote::Remote,
    run::Run,
    sha256,
};

/// What another run stores: the backup of another cluster, and its record, in which this stands for the name.
struct Other {
    folder: TempDir,
    sha256: String,
}

const NAME: &str = "NAME";

impl Other {
    fn new() -> Self {
        let remote = Remote::folder();
        let report = Run::job(&Cluster::small(), &remote).success();
        let name = report.text("name");
        let other = Self { folder: tempfile::tempdir().unwrap(), sha256: report.text("sha256").to_owned() };
        fs::write(other.backup(), remote.read(name)).unwrap();
        let record = String::from_utf8(remote.read(&format!(".etcd-backup/{name}.json"))).unwrap();
        fs::write(other.record(), record.replace(name, NAME)).unwrap();
        other
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The other's backup was replaced by this run's.
    Replaced,
    Stands,
}

/// This run's backup has a name and a record of its own, beside the name and the record of the other.
fn assert_told_apart(remote: &Remote, output: &Output, other: &Other, is: First) {
    output.assert().code(0);
    let (report, names) = (output.report(), remote.names());
    let [first, second] = &names[..] else { panic!("{names:?}\n{output}") };
    assert_eq!(report.text("name"), second, "{output}");
    let own = report.text("sha256");
    assert_eq!(sha256(&remote.read(second)), own);
    assert_eq!(remote.record(&format!("{second}.json"))["sha256"], own);
    assert_eq!(remote.record(&format!("{first}.json"))["sha256"], other.sha256, "a record is never overwritten");
    let (stands, class) = match is {
        First::Replaced => (own, "dismissed"),
        First::Stands => (other.sha256.as_str(), "good"),
    };
    assert_eq!(sha256(&remote.read(first)), stands, "{output}");
    assert_eq!(
        classes(remote),
        [(second.as_str(), "good"), (first, class)].map(|(name, class)| [name, class].map(str::to_owned))
    );
}

/// Name and class of each backup, or the doubt about it, the newest first.
fn classes(remote: &Remote) -> Vec<[String; 2]> {
    let report = Run::new().arg("list").store(remote).success();
    let class = |line: &Value| {
        [&line["name"], if line["doubt"].is_null() { &line["class"] } else { &line["doubt"] }]
            .map(|word| word.as_str().unwrap().to_owned())
    };
    report.value("backups").as_array().unwrap().iter().map(class).collect()
}

#[test]
fn a_backup_that_a_delayed_move_replaces_is_dismissed() {
    needs!("etcd", "etcdctl", "rclone");
    let (other, remote) = (Other::new(), Remote::webdav());
    let (backup, record, folder) =
        (fs::read(other.backup()).unwrap(), fs::read_to_string(other.record()).unwrap(), remote.on_disk(""));
    let mut is_first = true;
    let proxy = HttpProxy::to(remote.port(), move |request| {
        let to = request.header("destination").and_then(|url| url.rsplit('/').next());
        let to = to.filter(|name| request.method == "MOVE" && name.strip_suffix(".etcdb").is_some());
        // rclone has looked. The other run is faster, and done before the move arrives.
        if let Some(name) = to.filter(|_| std::mem::take(&mut is_first)) {
            fs::write(folder.join(name), &backup).unwrap();
            fs::write(folder.join(format!(".etcd-backup/{name}.json")), record.replace(NAME, name)).unwrap();
        }
        Action::Forward
    });
    let cluster = Cluster::small();
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    let output = run.exits(0).says(&["another run has stored a backup of this name"]);
    assert_told_apart(&remote, &output, &other, First::Replaced);
}

/// The other comes in before or after the move of the backup or of its record.
#[rstest]
#[case::after_the_backup("*.etcdb", "", "record", First::Replaced)]
#[case::before_the_record("*.etcdb.json", "backup; record", "", First::Stands)]
#[case::after_the_record("*.etcdb.json", "", "backup; record", First::Stands)]
#[case::after_the_record_without_its_backup("*.etcdb.json", "", "record", First::Replaced)]
fn what_another_run_moves_meanwhile_is_told_apart(
    #[case] what: &str,
    #[case] before: &str,
    #[case] after: &str,
    #[case] is: First,
) {
    needs!("etcd", "etcdctl", "rclone");
    let (other, remote) = (Other::new(), Remote::sftp());
    let script = r#"#!/bin/bash
leaf=$(basename "${@: -1}")
name=${leaf%.json}
backup() { cp OTHER/backup "DATA/$name"; }
record() { sed "s/NAME/$name/" OTHER/record > "DATA/.etcd-backup/$name.json"; }
if [ "$1" = moveto ] && [[ $leaf == WHAT ]] && [ ! -e OTHER/done ]; then
    touch OTHER/done
    BEFORE
    REAL "$@"
    code=$?
    AFTER
    exit $code
fi
exec REAL "$@"
"#;
    let or_nothing = |commands: &str| if commands.is_empty() { ":" } else { commands }.to_owned();
    let script = script
        .replace("WHAT", what)
        .replace("BEFORE", &or_nothing(before))
        .replace("AFTER", &or_nothing(after))
        .replace("OTHER", other.folder.path().to_str().unwrap())
        .replace("DATA", remote.on_disk("").to_str().unwrap());
    let output = Run::job(&Cluster::small(), &remote).rclone_is(&script).exits(0);
    assert_told_apart(&remote, &output.says(&["another run has stored a backup of this name"]), &other, is);
}
