//! Compressed backups: told by their name at a remote, by their first bytes here, and otherwise like all others.

use std::{fs, io::Write, path::Path};

use crate::support::{remote::Remote, run::Run, sample};

const PLAIN: &str = "p-202601010000.etcdb";
const ZST: &str = "p-202601020000.etcdb.zst";

/// As `zstd FILE` writes it.
fn frame(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.set_pledged_src_size(Some(content.len().try_into().unwrap())).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn on(remote: &Remote, args: &[&str]) -> Run {
    Run::new().args(args).store(remote).env("BACKUP_PREFIX", "p-")
}

/// A work folder that is not there: whoever stages something fails.
fn without_disk(run: Run) -> Run {
    run.env("WORK_DIR", "/nonexistent").env("TMPDIR", "/nonexistent")
}

#[test]
fn a_local_file_is_read_compressed_or_not() {
    needs!("etcd", "etcdctl", "etcdutl");
    let folder = tempfile::tempdir().unwrap();
    // The name tells nothing of a local file.
    for file in ["x.etcdb.zst", "any"] {
        let path = folder.path().join(file);
        fs::write(&path, frame(sample::snapshot())).unwrap();
        let path = path.to_str().unwrap();
        let local = |args: &[&str]| Run::new().args(args);
        let report = without_disk(local(&["verify", path])).success();
        assert_eq!(report.value("backups")[0]["bytes"], sample::snapshot().len());
        assert_eq!(
            without_disk(local(&["verify", path, "--deep"])).success().value("backups")[0]["keys"],
            sample::KEYS
        );
        assert_eq!(local(&["inspect", path]).success().value("keys"), sample::KEYS);
        let out = folder.path().join("out");
        let report = local(&["fetch", path, out.to_str().unwrap()]).success();
        assert_eq!(report.number("bytes"), u64::try_from(sample::snapshot().len()).unwrap());
        assert_eq!(fs::read(&out).unwrap(), sample::snapshot());
        fs::remove_file(&out).unwrap();
        let data = folder.path().join("data");
        local(&["restore", path, "--data-dir", data.to_str().unwrap()]).exits(0);
        assert!(data.join("member/snap/db").exists());
        fs::remove_dir_all(&data).unwrap();
        let plan = local(&["restore", path, "--plan", "--etcd", "stacked", "--output", "text"]).exits(0);
        assert!(plan.stdout.contains("compressed with zstd, which `etcd-backup restore` unpacks"), "{plan}");
        assert!(plan.stdout.contains(&format!("etcd-backup restore {path} ")), "{plan}");
    }
}

#[test]
fn a_stored_one_is_taken_like_any_other() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    for remote in [Remote::seaweedfs(), Remote::folder()] {
        let stored = frame(sample::snapshot());
        remote.put(PLAIN, sample::snapshot());
        remote.put(ZST, &stored);
        remote.put("p-202601030000.etcdb.gz", b"another program's");
        let list = on(&remote, &["list"]).success();
        let lines = list.value("backups").as_array().unwrap();
        assert_eq!((&lines[0]["name"], &lines[1]["name"]), (&ZST.into(), &PLAIN.into()));
        assert_eq!((&lines[0]["stored_bytes"], list.number("foreign")), (&stored.len().into(), 1));
        assert!(lines[0]["bytes"].is_null(), "no record tells it");
        assert_eq!(lines[1]["bytes"], sample::snapshot().len());

        let report = without_disk(on(&remote, &["verify", "--all"])).success();
        assert_eq!((report.number("good"), report.number("bad")), (2, 0));
        assert_eq!(report.value("backups")[0]["bytes"], sample::snapshot().len());
        without_disk(on(&remote, &["verify", "--all", "--deep"])).exits(0);
        for name in ["latest", ZST, "20260102", "p-202601020000.etcdb"] {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            let report = on(&remote, &["fetch", name, out.to_str().unwrap()]).success();
            assert_eq!(report.text("name"), ZST);
            assert_eq!(fs::read(&out).unwrap(), sample::snapshot());
        }
    }
}

#[test]
fn two_of_one_minute_are_two_backups() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let twin = format!("{PLAIN}.zst");
    remote.put(PLAIN, sample::old());
    remote.put(&twin, &frame(sample::snapshot()));
    let revision = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let report = on(&remote, &["fetch", name, folder.path().join("out").to_str().unwrap()]).success();
        (report.text("name").to_owned(), report.number("keys"))
    };
    assert_eq!(revision(PLAIN), (PLAIN.to_owned(), 1));
    assert_eq!(revision(&twin), (twin.clone(), 200));
    // Which is the newer one nobody knows, but it is always the same.
    assert_eq!(revision("latest"), (twin.clone(), 200));
    on(&remote, &["verify", "202601010000"]).exits(2).says(&["is ambiguous", PLAIN, &twin]);
    let prune =
        |args: &[&str]| on(&remote, &["prune", "--retention-count", "1", "--keep-last", "1"]).args(args).success();
    assert_eq!(prune(&["--dry-run"]).value("planned")[0]["name"], PLAIN);
    prune(&[]);
    assert_eq!(remote.names(), [twin]);
}

#[test]
fn each_kind_of_damage_is_found_and_named() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let good = frame(sample::snapshot());
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let remote = Remote::seaweedfs();
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    for (bytes, why) in [
        (&good[..good.len() / 2], "it ends in the midst of its frame"),
        (&good[..good.len() - 4], "it ends in the midst of its frame"),
        (&flipped(good.len() / 2), "is not a valid snapshot"),
        (&flipped(good.len() - 1), "it cannot be unpacked: "),
        (&flipped(5), "is not a valid snapshot"),
        (&[&good[..], b"\0"].concat(), "more bytes after the end of its frame"),
        (&[&good[..], &good[..]].concat(), "more bytes after the end of its frame"),
        (&frame(&sample::damaged()), "sha-256 at its end does not match"),
        (sample::snapshot(), "it is no zstd frame"),
        (b"", "it is no zstd frame"),
    ] {
        remote.put(ZST, bytes);
        without_disk(on(&remote, &["verify", ZST])).exits(5).says(&[ZST, why]);
        on(&remote, &["verify", ZST, "--deep"]).exits(5).says(&[ZST, why]);
        on(&remote, &["fetch", ZST, folder.path().join("out").to_str().unwrap()]).exits(5).says(&[ZST, why]);
        if bytes.starts_with(&good[..4]) {
            fs::write(&local, bytes).unwrap();
            Run::new().arg("verify").arg(&local).exits(5).says(&["local", why]);
            assert_no_room_taken(&local);
        }
    }
}

/// A damaged file is found in a directory that stays empty.
fn assert_no_room_taken(local: &Path) {
    let run = Run::new().arg("verify").arg("--deep").arg(local);
    let work = run.work_dir();
    let output = run.exits(5);
    output.assert_tidy(&[work]);
}
