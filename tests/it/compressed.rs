//! Compressed backups: told by their name at a remote, by their first bytes here, and otherwise like all others.

use std::{fs, io::Write, path::Path, process::Command};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{etcd::Cluster, remote::Remote, run::Run, sample};

const PLAIN: &str = "p-202601010000.etcdb";
const ZST: &str = "p-202601020000.etcdb.zst";

/// As `zstd FILE` writes it.
fn frame(content: &[u8]) -> Vec<u8> {
    frame_of_level(content, 5)
}

fn frame_of_level(content: &[u8], level: i32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level).unwrap();
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
        (&frame(&sample::damaged()), "sha-256 at its end does not match"),
        (b"no frame", "it is no zstd frame"),
        (b"", "it is empty"),
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

const UID: &str = "11111111-aaaa-4bbb-8ccc-000000000001";

fn job(cluster: &Cluster, remote: &Remote, compression: &str) -> Run {
    Run::job(cluster, remote).env("BACKUP_PREFIX", "p-").env("COMPRESSION", compression)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether other programs read it: `zstd`, which prints what the frame has, where it is installed.
fn assert_standard(stored: &[u8], content: &[u8]) {
    assert_eq!(zstd::decode_all(stored).unwrap(), content);
    let Ok(zstd) = which::which("zstd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.etcdb.zst");
    fs::write(&path, stored).unwrap();
    assert!(Command::new(&zstd).args(["-q", "-t"]).arg(&path).status().unwrap().success());
    let listed = Command::new(&zstd).arg("-lv").arg(&path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let number = |label: &str| listed.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("{listed}"));
    assert!(number("Check:").contains("XXH64"), "{listed}");
    assert!(number("Zstandard Frames:").ends_with(": 1"), "{listed}");
    assert!(number("Decompressed Size:").contains(&format!("({} B)", content.len())), "{listed}");
}

#[test]
fn a_night_and_the_way_back() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone", "weed");
    for remote in [Remote::seaweedfs(), Remote::folder()] {
        let cluster = Cluster::kubernetes(UID);
        cluster.put_many(300, "/registry/pods/", 500);
        let run = job(&cluster, &remote, "zstd");
        let work = run.work_dir();
        let output = run.exits(0);
        output.assert_tidy(&[work]);
        let report = output.report();
        let name = report.text("name").to_owned();
        assert!(name.starts_with("p-20") && name.ends_with(".etcdb.zst"), "{name}");
        let stored = remote.read(&name);
        let written = json!({ "bytes": stored.len(), "sha256": sha256(&stored), "compression": "zstd" });
        let record = remote.record(&format!("{name}.json"));
        assert_eq!((&record["compressed"], report.value("compressed")), (&written, &written));
        assert_eq!((&record["sha256"], &record["bytes"]), (report.value("sha256"), report.value("bytes")));

        // A plain one of another minute's second is the next of the same series.
        let plain = job(&cluster, &remote, "none").success().text("name").to_owned();
        assert!(!plain.contains(".zst"), "{plain}");
        assert_eq!(remote.record(&format!("{plain}.json")).get("compressed"), None);
        let compared = json!({ "with": name, "by": "kube-system-uid" });
        assert_eq!(remote.record(&format!("{plain}.json"))["compared"], compared);

        without_disk(on(&remote, &["verify", "--all"])).exits(0);
        on(&remote, &["verify", &name, "--deep"]).exits(0);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let fetched = on(&remote, &["fetch", &name, out.to_str().unwrap()]).success();
        let content = fs::read(&out).unwrap();
        assert_eq!((sha256(&content).as_str(), fetched.text("sha256")), (report.text("sha256"), report.text("sha256")));
        assert_standard(&stored, &content);

        let data = folder.path().join("data");
        on(&remote, &["restore", &name, "--data-dir", data.to_str().unwrap()]).exits(0);
        assert!(data.join("member/snap/db").exists());
        let keys = cluster.etcdctl(&["get", "--prefix", "/registry/pods/", "--keys-only", "--limit", "1"]);
        let key = keys.lines().find(|line| !line.is_empty()).unwrap().to_owned();
        cluster.etcdctl(&["del", &key]);
        on(&remote, &["put-back", &name, &key, "--yes"]).etcd(&cluster).exits(0);
        assert!(cluster.etcdctl(&["get", &key, "--keys-only"]).contains(&key));
        let steps = on(&remote, &["restore", &name, "--plan", "--etcd", "stacked"]).env("OUTPUT", "text").exits(0);
        assert!(steps.stdout.contains(&format!("etcd-backup restore {name} ")), "{steps}");
    }
}

#[test]
fn three_steps_hand_on_the_compressed_file_alone() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::rclone_s3());
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().to_str().unwrap();
    let step = |word: &str| Run::new().args([word, "--work-dir", work]).env("BACKUP_PREFIX", "p-");
    let snapshot = || step("snapshot").etcd(&cluster).env("TARGET", "elsewhere:x");
    snapshot().config_dir(&[("compression", "zstd:1")]).success();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(work).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let [handover, file] = &names()[..] else { panic!("{:?}", names()) };
    assert!(file.ends_with(".etcdb.zst"), "{file}");
    let path = folder.path().join(file);
    let good = fs::read(&path).unwrap();
    // The same snapshot in another frame is not what was handed on, and neither is an altered frame.
    let mut altered = good.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for other in [&altered, &frame(&zstd::decode_all(&good[..]).unwrap()), &good[..good.len() - 1].to_vec()] {
        fs::write(&path, other).unwrap();
        step("store").store(&remote).exits(5);
    }
    fs::write(&path, &good).unwrap();
    let stored = step("store").store(&remote).success();
    assert_eq!((stored.text("name"), remote.read(file)), (file.as_str(), good));
    let record = folder.path().join(handover);
    let pruned = Run::new().arg("prune").arg("--after").arg(record).store(&remote).env("BACKUP_PREFIX", "p-").success();
    assert_eq!(pruned.value("compressed"), stored.value("compressed"));

    // Where backups stay, too.
    let claim = Remote::folder();
    let in_place = Run::new().args(["snapshot", "--work-dir", claim.target()]).etcd(&cluster);
    let report = in_place.env("TARGET", claim.target()).env("BACKUP_PREFIX", "p-").env("COMPRESSION", "zstd").success();
    assert!(report.text("name").ends_with(".etcdb.zst"));
    assert_eq!(claim.names(), [report.text("name")]);
    on(&claim, &["verify", "--all", "--deep"]).exits(0);
}

#[test]
fn one_series_over_both_kinds() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(UID);
    let limited = |compression: &str| {
        job(&cluster, &remote, compression)
            .env("RETENTION_COUNT", "2")
            .env("KEEP_LAST", "2")
            .success()
            .text("name")
            .to_owned()
    };
    let nights = ["zstd:1", "none", "zstd:9", "none", "zstd"].map(limited);
    // The newest two, one of each kind, and no record of the others.
    let mut last = nights[3..].to_vec();
    last.sort();
    assert_eq!(remote.names(), last);
    let others =
        |file: &&String| !file.starts_with("p-.since") && !last.iter().any(|name| file.starts_with(name.as_str()));
    assert_eq!(remote.records().iter().find(others), None);

    // A stray one holds retention back by its full name, and goes as any other.
    let stray = Cluster::kubernetes("22222222-aaaa-4bbb-8ccc-000000000002");
    let report = job(&stray, &remote, "zstd").env("RETENTION_COUNT", "2").exits(3).report();
    let name = report.text("name").to_owned();
    assert!(report.text("held_back").contains(&name) && name.ends_with(".etcdb.zst"), "{report:?}");
    let latest = on(&remote, &["verify"]).success();
    assert_eq!(latest.value("backups")[0]["name"], nights[4]);
    let dismissed = on(&remote, &["dismiss", &name, "--by", "alice"]).success();
    assert_eq!(dismissed.value("covers"), &json!([name]));
    assert_eq!(on(&remote, &["prune", "--dry-run"]).success().value("holds"), &json!([]));
    let cut = name.trim_end_matches(".zst");
    on(&remote, &["accept", cut, "--by", "alice"]).exits(2).says(&["there is no backup"]);
}

#[test]
fn what_the_record_says_is_compared() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    let name = job(&cluster, &remote, "zstd").success().text("name").to_owned();
    let good = remote.read(&name);
    let content = zstd::decode_all(&good[..]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let fetch = || on(&remote, &["fetch", &name, out.to_str().unwrap()]);
    // Another snapshot, and one that would fill the disk beyond what the record says.
    for (other, why) in [
        (frame(sample::snapshot()), "its record says"),
        (frame(&vec![0; 64 << 20]), "its frame announces 67108864 bytes"),
    ] {
        remote.put(&name, &other);
        on(&remote, &["verify"]).exits(5).says(&[&name, why]);
        on(&remote, &["verify", "--deep"]).exits(5).says(&[&name, why]);
        fetch().exits(5).says(&[&name, why]);
    }
    // The same snapshot, compressed by somebody else: not what was stored, and all that a restore needs.
    let again = frame_of_level(&content, 9);
    assert_ne!(again, good);
    remote.put(&name, &again);
    on(&remote, &["verify"]).exits(5).says(&[&name, "is not the file that was stored, although it unpacks"]);
    on(&remote, &["verify", "--deep"]).exits(5).says(&[&name, "is not the file that was stored"]);
    fetch().exits(0).says(&["is not the file that was stored"]);
    assert_eq!(fs::read(&out).unwrap(), content);
}
