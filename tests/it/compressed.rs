//! Compressed backups: told by their name at a remote, by their first bytes here, and otherwise like all others.

use std::{fs, io::Write, process::Command};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{LONG_AGO, etcd::Cluster, remote::Remote, run::Run, sample};

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

        // Nothing tells yet that it is not another program's.
        assert_eq!((&lines[0]["class"], &lines[1]["class"]), (&"foreign".into(), &"legacy".into()));
        let text = on(&remote, &["list"]).env("OUTPUT", "text").exits(0);
        assert!(
            text.stdout.contains("\n1 backup in ") && text.stdout.contains(", 1 foreign, and 1 other file\n"),
            "{text}"
        );
        let quick = on(&remote, &["list", "--quick"]).success();
        assert_eq!(
            (&quick.value("backups")[0]["name"], &quick.value("backups")[0]["class"]),
            (&ZST.into(), &json!(null))
        );
        let report = without_disk(on(&remote, &["verify", "--all"])).success();
        assert_eq!(report.value("backups").as_array().unwrap().len(), 1);
        assert_eq!(without_disk(on(&remote, &["verify"])).success().value("backups")[0]["name"], PLAIN);
        on(&remote, &["verify", "20260102"])
            .exits(2)
            .says(&["perhaps another program's: to use it, give its full name"]);
        for args in [&["verify", ZST][..], &["inspect", ZST], &["restore", ZST, "--plan", "--etcd", "stacked"]] {
            on(&remote, args).exits(0).says(&["this backup is compressed and without a record"]);
        }
        on(&remote, &["accept", ZST, "--by", "alice"]).exits(0);

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

/// Of two runs of one minute, of which one compresses, neither sees the other's name: both get it.
#[test]
fn two_of_one_time_are_two_backups() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::kubernetes(UID);
    let minute = |name: &str| name["p-".len()..][..12].to_owned();
    // Each stores where the other's cannot be seen, in the same minute, and then both stand in one place.
    let (remote, zst, plain) = loop {
        let (remote, other) = (Remote::folder(), Remote::folder());
        let zst = job(&cluster, &remote, "zstd").success().text("name").to_owned();
        cluster.etcdctl(&["put", "a", "b"]);
        let plain = job(&cluster, &other, "none").success().text("name").to_owned();
        if minute(&zst) == minute(&plain) {
            remote.put(&plain, &other.read(&plain));
            let record = format!(".etcd-backup/{plain}.json");
            remote.put(&record, &other.read(&record));
            break (remote, zst, plain);
        }
    };
    assert_eq!(zst, format!("{plain}.zst"));
    let list = on(&remote, &["list"]).success();
    let newest_first: Vec<_> = list.value("backups").as_array().unwrap().iter().map(|line| &line["name"]).collect();
    // By their records' seconds; of one second, always in the same order.
    assert!(newest_first == [&plain, &zst] || newest_first == [&zst, &plain], "{list:?}");
    without_disk(on(&remote, &["verify", "--all", "--deep"])).exits(0);
    for name in [&plain, &zst] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let fetched = on(&remote, &["fetch", name, out.to_str().unwrap()]).success();
        assert_eq!(fetched.text("sha256"), remote.record(&format!("{name}.json"))["sha256"].as_str().unwrap());
    }
    on(&remote, &["verify", &minute(&plain)]).exits(2).says(&["is ambiguous", &plain, &zst]);
    // A decision about the one says nothing of the other, and what goes takes nothing of the other along.
    let (newest, oldest) = (newest_first[0].as_str().unwrap(), newest_first[1].as_str().unwrap());
    assert_eq!(on(&remote, &["dismiss", oldest, "--by", "alice"]).success().value("covers"), &json!([oldest]));
    let pruned = on(&remote, &["prune", "--retention-count", "1", "--keep-last", "1"]).success();
    assert_eq!(pruned.value("removed")[0]["name"], oldest);
    assert_eq!(remote.names(), [newest]);
    assert!(remote.records().contains(&format!("{newest}.json")), "{:?}", remote.records());
    assert!(
        !remote
            .records()
            .iter()
            .any(|file| file.starts_with(&format!("{oldest}.2")) || *file == format!("{oldest}.json"))
    );
    on(&remote, &["verify"]).exits(0);
}

/// `zstd FILE` beside a backup: the file has the name that a run would give it.
#[test]
#[ignore = "slow: make test-all"]
fn what_people_compress_by_hand_is_never_deleted() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    for (remote, limit) in [(Remote::folder(), ("RETENTION", "10d")), (Remote::seaweedfs(), ("RETENTION_COUNT", "1"))] {
        let cluster = Cluster::kubernetes(UID);
        let night = |compression: &str| {
            job(&cluster, &remote, compression).env(limit.0, limit.1).env("KEEP_LAST", "1").success()
        };
        let mut by_hand = vec!["p-202001010000.etcdb.zst".to_owned(), "p-20200102000000.etcdb.zst".to_owned()];
        // One that its name dates in the future, one that is none, and one with a file beside it that looks like a record.
        by_hand.extend(
            ["p-209901010000.etcdb.zst", "p-202001030000.etcdb.zst", "p-202001040000.etcdb.zst"].map(str::to_owned),
        );
        for name in &by_hand {
            let content = if name.contains("0103") { b"none".to_vec() } else { frame(sample::snapshot()) };
            remote.put_aged(name, &content, LONG_AGO);
        }
        remote.put_aged("p-202001040000.etcdb.zst.json", b"{}", LONG_AGO);
        let stay = |by_hand: &[String]| {
            let names = remote.names();
            for name in by_hand {
                assert!(names.contains(name), "{name} is gone: {names:?}");
            }
        };
        for nights in 1..=10_u64 {
            let report = night("none");
            let name = report.text("name").to_owned();
            assert!(nights > 1 || report.value("verdict")["is"] == "good", "{report:?}");
            stay(&by_hand);
            if nights == 1 {
                remote.put_aged(".etcd-backup/p-202001040000.etcdb.zst.json", b"{}\n", LONG_AGO);
            }
            if nights % 3 == 0 {
                // A young one, of a backup that goes by the count.
                by_hand.push(format!("{name}.zst"));
                remote.put_aged(&format!("{name}.zst"), &frame(&remote.read(&name)), LONG_AGO);
            }
            let list = on(&remote, &["list"]).success();
            let class = |name: &String| {
                let lines = list.value("backups").as_array().unwrap();
                lines.iter().find(|line| line["name"] == name.as_str()).unwrap()["class"].clone()
            };
            assert!(
                by_hand.iter().filter(|name| !name.contains("0104")).all(|name| class(name) == "foreign"),
                "{list:?}"
            );
            assert_eq!(on(&remote, &["verify"]).success().value("backups")[0]["name"], name);
        }
        // It may be of a run that compressed, whose clock was wrong, and so would hold retention back.
        remote.delete("p-209901010000.etcdb.zst");
        by_hand.retain(|name| !name.contains("2099"));
        let compressed = night("zstd").text("name").to_owned();
        let last = night("none").text("name").to_owned();
        stay(&by_hand);
        by_hand.push("p-202001040000.etcdb.zst.json".to_owned());
        let others: Vec<_> = remote.names().into_iter().filter(|name| !by_hand.contains(name)).collect();
        if limit.0 == "RETENTION_COUNT" {
            assert_eq!(others, [last], "{compressed} goes as any other");
        }
    }
}

#[test]
fn how_long_a_name_gets_is_known_to_the_step_that_stores() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    // With it, the name of a plain backup's part is just short enough.
    let prefix = "x".repeat(189);
    for (compression, exit) in [("none", 0), ("zstd", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let step = |word: &str| {
            Run::new().args([word, "--work-dir", folder.path().to_str().unwrap()]).env("BACKUP_PREFIX", &prefix)
        };
        let taken = step("snapshot").etcd(&cluster).env("TARGET", "elsewhere:x").env("COMPRESSION", compression);
        taken.success();
        let stored = step("store").store(&remote).exits(exit);
        if exit == 2 {
            stored.says(&["backup-prefix: the longest name that would be stored, ", "has 259 bytes"]);
        }
    }
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
            without_disk(Run::new().args(["verify", "--deep"]).arg(&local)).exits(5).says(&["local", why]);
        }
    }
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
