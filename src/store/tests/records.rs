//! The records' folder.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::backup::beside::{Line, Note, Ruling, ruling_file};
use crate::exit::{Exit, Failure};
use crate::store::Error;
use crate::store::records::RecordFiles;

fn beside(store: &Store) -> RecordFiles {
    wait(store.look()).unwrap().1
}

/// Writes records, once each, and reads them.
fn keeps_records(store: &Store, has_a_clock: bool) {
    assert!(beside(store).names.is_empty());
    let begun = chrono::Utc::now();
    let written = wait(store.create_record("p[1]-202601020307.etcdb.json", b"{\"n\":1}")).unwrap();
    assert_eq!(written.modified.is_some(), has_a_clock, "{written:?}");
    if let Some(modified) = written.modified {
        assert!((modified - begun).abs() < chrono::Duration::seconds(60), "{modified}");
    }
    // The same bytes again are no second record, others are refused.
    wait(store.create_record("p[1]-202601020307.etcdb.json", b"{\"n\":1}")).unwrap();
    let other = wait(store.create_record("p[1]-202601020307.etcdb.json", b"{\"n\":3}"));
    assert!(matches!(other, Err(Error::Taken(_))), "{other:?}");
    wait(store.create_record("p[1]-202601020308.etcdb.json", b"{\"n\":2}")).unwrap();
    wait(store.create_record("other.json", b"not ours")).unwrap();
    let files = beside(store);
    let mut lines: Vec<_> = files.text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [b"{\"n\":1}", b"{\"n\":2}"]);
    assert_eq!(wait(store.remove_records(&["p[1]-202601020307.etcdb.json".into()])), None);
    let mut left = beside(store).names;
    left.sort();
    assert_eq!(left, ["other.json", "p[1]-202601020308.etcdb.json"]);
    assert_eq!(wait(store.list()).unwrap().foreign, 0);
}

#[test]
fn records_are_written_once_and_read_at_once() {
    needs!("rclone");
    keeps_records(&store(&Remote::folder(), "dir/p[1]-"), false);
    keeps_records(&store(&Remote::rclone_s3(), "dir/p[1]-"), true);
}

#[test]
#[ignore = "slow: make test-all"]
fn every_other_store_keeps_records_too() {
    needs!("rclone", "weed");
    let prefix = "dir/p[1]-";
    keeps_records(&store(&Remote::folder().encrypted(true), prefix), false);
    keeps_records(&store(&Remote::seaweedfs(), prefix), true);
    keeps_records(&store(&Remote::seaweedfs().encrypted(true), prefix), true);
    keeps_records(&Served::new("webdav").store(prefix), true);
    keeps_records(&Served::new("sftp").store(prefix), false);
}

#[test]
fn the_next_step_of_the_job_reads_and_writes_there() {
    needs!("rclone");
    let remote = Remote::folder();
    fs::set_permissions(remote.target(), fs::Permissions::from_mode(0o2770)).unwrap();
    wait(store(&remote, "").create_record("202601020304.etcdb.json", b"{}")).unwrap();
    let mode =
        |place: &str| fs::metadata(Path::new(remote.target()).join(place)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(".etcd-backup/202601020304.etcdb.json"), 0o640);
    for folder in [".etcd-backup", ".etcd-backup/parts"] {
        assert_eq!(mode(folder) & 0o070, 0o070, "{folder}");
    }
    assert_eq!(files(Path::new(remote.target())), [".etcd-backup/202601020304.etcdb.json"]);
}

#[test]
fn a_record_that_cannot_be_read_costs_only_itself() {
    const A: &str = "202601020304.etcdb.json";
    const B: &str = "202601020305.etcdb.json";
    const C: &str = "202601020306.etcdb.json";
    needs!("rclone");
    let (remote, sent) = (Remote::folder(), Sent::new(b""));
    let store = store(&remote, "");
    for leaf in [A, B] {
        wait(store.create_record(leaf, leaf.as_bytes())).unwrap();
    }
    let folder = Path::new(remote.target()).join(".etcd-backup");
    fs::write(folder.join(C), "cut off").unwrap();
    fs::create_dir(folder.join("deeper")).unwrap();
    fs::write(folder.join("deeper/202601020307.etcdb.json"), "deeper\n").unwrap();
    let all = String::from_utf8(beside(&store).text).unwrap();
    let mut lines: Vec<_> = all.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [A, B, "cut off"]);
    // Root may read every file, so rclone itself has to fail.
    let half =
        "#!/bin/bash\n[ \"$1\" = cat ] && { echo a; echo 'Failed to cat: 1 error' >&2; exit 1; }\nexec REAL \"$@\"\n";
    let with = |script: &str| store_with(remote.target(), remote.config(), "", &sent.rclone_is(script));
    let files = beside(&with(half));
    let text = String::from_utf8(files.text).unwrap();
    assert_eq!(files.names.len(), 3);
    assert!(text.lines().all(|line| line.is_empty() || line == "a") && text.contains("a\n"), "{text:?}");
    // What cannot be read for a moment is read again.
    let once = format!(
        "#!/bin/bash\n[ \"$1\" = cat ] && mkdir '{0}' 2>/dev/null && exit 1\nexec REAL \"$@\"\n",
        sent.path.with_extension("seen").display()
    );
    let text = String::from_utf8(beside(&with(&once)).text).unwrap();
    assert!([A, B, "cut off"].iter().all(|line| text.lines().any(|found| found == *line)), "{text:?}");
    let error = wait(with(&half.replace("echo a; ", "")).look()).unwrap_err();
    assert!(error.to_string().contains("/.etcd-backup: "), "{error}");
    assert_eq!(Failure::from(error).exit, Exit::Store);
}

fn lines(files: &RecordFiles) -> Vec<&str> {
    let mut lines: Vec<_> = std::str::from_utf8(&files.text).unwrap().lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

/// The line of a backup that was accepted, which names its own file.
fn accepted(digits: &str) -> (String, String) {
    let (name, at) = (name("p-", digits), chrono::DateTime::UNIX_EPOCH);
    let line = Line::Accepted(Note::new(&name, at, "jo")).encode();
    (ruling_file(&name, at, Ruling::Accepted), String::from_utf8(line).unwrap())
}

#[test]
fn a_record_is_read_once() {
    needs!("rclone");
    let (remote, sent) = (Remote::folder(), Sent::new(b""));
    let calls = sent.path.with_extension("calls");
    let script = format!("#!/bin/sh\necho \"$1\" >>'{}'\nexec REAL \"$@\"\n", calls.display());
    let cats = || fs::read_to_string(&calls).unwrap().lines().filter(|call| *call == "cat").count();
    let [(first, one), (second, two), (third, three)] = ["202601020304", "202601020305", "202601020306"].map(accepted);
    let writer = store(&remote, "p-");
    wait(writer.create_record(&first, one.as_bytes())).unwrap();
    let store = store_with(remote.target(), remote.config(), "p-", &sent.rclone_is(&script));
    for _ in 0..2 {
        assert_eq!((lines(&beside(&store)), cats()), (vec![one.as_str()], 1));
    }
    // Nor is one that this process has written, and what it has read is known with one that came later.
    wait(store.create_record(&second, two.as_bytes())).unwrap();
    assert_eq!((lines(&beside(&store)), cats()), (vec![one.as_str(), &two], 1));
    wait(writer.create_record(&third, three.as_bytes())).unwrap();
    assert_eq!((lines(&beside(&store)), cats()), (vec![one.as_str(), &two, &three], 2));
}

#[test]
fn a_later_record_that_cannot_be_read_costs_only_itself() {
    needs!("rclone");
    let (remote, sent) = (Remote::folder(), Sent::new(b""));
    let fails = sent.path.with_extension("fails");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = cat ] && [ -e '{}' ] && {{ echo 'Failed to cat: 1 error' >&2; exit 1; }}\nexec REAL \"$@\"\n",
        fails.display()
    );
    let [(first, one), (second, two)] = ["202601020304", "202601020305"].map(accepted);
    let writer = store(&remote, "p-");
    wait(writer.create_record(&first, one.as_bytes())).unwrap();
    let rclone = sent.rclone_is(&script);
    let store = || store_with(remote.target(), remote.config(), "p-", &rclone);
    let knows_one = store();
    assert_eq!(lines(&beside(&knows_one)), [one.as_str()]);
    wait(writer.create_record(&second, two.as_bytes())).unwrap();
    fs::write(&fails, "").unwrap();
    let files = beside(&knows_one);
    assert_eq!((lines(&files), files.names.len()), (vec![one.as_str()], 2));
    // Whoever has read none cannot tell one such record from a store that gives none.
    assert!(wait(store().look()).is_err());
}

/// What rclone asked the store, with the user's own `--fast-list`.
fn asked_of(remote: &Remote, subcommand: &str) -> Vec<String> {
    let sent = Sent::new(b"");
    let log = sent.path.with_extension("log");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = {subcommand} ]; then shift; exec REAL {subcommand} --dump=headers \"$@\" 2>>'{}'; fi\nexec REAL \"$@\"\n",
        log.display()
    );
    let store = store_with_flags(remote.target(), remote.config(), "p-", &sent.rclone_is(&script), "--fast-list");
    assert_eq!(lines(&beside(&store)).len(), 3);
    let log = fs::read_to_string(log).unwrap();
    let requests = log.split("HTTP REQUEST").skip(1).filter_map(|request| {
        let request = request.split("HTTP/1.1").next()?;
        ["GET ", "HEAD "].iter().find_map(|verb| Some(request[request.find(verb)?..].trim().to_owned()))
    });
    requests.collect()
}

#[test]
fn of_no_directory_is_anything_listed_that_lies_below() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let writer = store(&remote, "p-");
    for digits in ["202601020304", "202601020305", "202601020306"] {
        let (file, line) = accepted(digits);
        wait(writer.create_record(&file, line.as_bytes())).unwrap();
    }
    for subcommand in ["lsjson", "cat"] {
        let asked = asked_of(&remote, subcommand);
        let listings: Vec<_> = asked.iter().filter(|request| request.contains("prefix=")).collect();
        assert!(!listings.is_empty(), "{asked:?}");
        assert!(listings.iter().all(|listing| listing.contains("delimiter=%2F")), "{asked:?}");
        let of_records = asked.iter().filter(|request| request.contains(".json")).count();
        assert_eq!(of_records, if subcommand == "cat" { 3 } else { 0 }, "{asked:?}");
    }
}

#[test]
fn a_key_that_may_not_read_the_records_is_told_so() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs();
    wait(store(&remote, "").create_record("202601020304.etcdb.json", b"{}")).unwrap();
    let config = remote.config_that_may(&["s3:ListBucket"]);
    let error = wait(store_at(remote.target(), &config, "").look()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(".etcd-backup") && text.contains("may list and read there"), "{text}");
    assert_eq!(Failure::from(error).exit, Exit::Denied);
}

#[test]
#[ignore = "slow: make test-all"]
fn three_thousand_records_are_read_in_seconds() {
    needs!("rclone", "weed");
    let (remote, folder) = (Remote::seaweedfs(), tempfile::tempdir().unwrap());
    for n in 0..3000 {
        fs::write(
            folder.path().join(format!("p-2026010203{:02}{:02}.etcdb.json", n / 60, n % 60)),
            format!("{{\"n\":{n}}}\n"),
        )
        .unwrap();
    }
    let to = format!("{}/.etcd-backup", remote.target());
    remote.rclone(&["copy", "--transfers=32", folder.path().to_str().unwrap(), &to]);
    let begun = std::time::Instant::now();
    let files = beside(&store(&remote, "p-"));
    let took = begun.elapsed();
    eprintln!("3000 records: {took:?}");
    assert_eq!((files.names.len(), files.text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count()), (3000, 3000));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// One backup is there, two are not.
fn knows_what_is_absent(store: &Store) {
    let sent = Sent::new(b"a snapshot");
    let leaves: Vec<String> = ["1", "2", "3"].map(|n| format!("p[1]-20260102030{n}.etcdb")).into();
    wait(store.put(&sent.path, &name("a/p[1]-", "202601020302"), &sent.content)).unwrap();
    assert_eq!(wait(store.orphans(&leaves)).unwrap(), [leaves[0].clone(), leaves[2].clone()]);
}

#[test]
fn an_exact_look_finds_what_is_absent() {
    needs!("rclone", "weed");
    for remote in [Remote::folder(), Remote::seaweedfs()] {
        knows_what_is_absent(&store(&remote, "a/p[1]-"));
    }
}

#[test]
#[ignore = "slow: make test-all"]
fn an_exact_look_finds_it_everywhere() {
    needs!("rclone", "weed");
    knows_what_is_absent(&store(&Remote::seaweedfs().encrypted(true), "a/p[1]-"));
    knows_what_is_absent(&Served::new("webdav").store("a/p[1]-"));
    knows_what_is_absent(&Served::new("sftp").store("a/p[1]-"));
}

/// A store that cannot be asked is not one in which nothing is.
#[test]
fn an_exact_look_that_fails_is_an_error() {
    needs!("rclone", "weed");
    let leaves = ["p-202601020304.etcdb".to_owned()];
    let remote = Remote::seaweedfs();
    let may_list = remote.config_that_may(&["s3:ListBucket"]);
    wait(store(&remote, "p-").put(&Sent::new(b"x").path, &name("p-", "202601020304"), &Sent::new(b"x").content))
        .unwrap();
    for config in [may_list, remote.config_by(1)] {
        let found = wait(store_at(remote.target(), &config, "p-").orphans(&leaves));
        assert!(!found.as_ref().is_ok_and(|absent| !absent.is_empty()), "{found:?}");
    }
    let folder = Remote::folder();
    let missing = format!("{}/missing", folder.target());
    assert!(wait(store_at(&missing, folder.config(), "p-").orphans(&leaves)).is_err());
}
