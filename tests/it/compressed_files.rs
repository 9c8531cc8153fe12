//! Compressed files as others make, cut, alter and forge them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{CWD, Mode, mkfifoat};
use sha2::{Digest, Sha256};
use zstd::stream::raw::CParameter;

use crate::support::{etcd::Cluster, output::Output, processes::peak_rss, remote::Remote, run::Run, sample};

const GOOD: &str = "p-202601010000.etcdb";
const NAME: &str = "p-202601020000.etcdb.zst";

fn frame(content: &[u8], size: bool, checksum: bool, more: &[CParameter]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(checksum).unwrap();
    encoder.set_pledged_src_size(size.then(|| content.len().try_into().unwrap())).unwrap();
    for parameter in more {
        encoder.set_parameter(*parameter).unwrap();
    }
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn good() -> Vec<u8> {
    frame(sample::snapshot(), true, true, &[])
}

/// Sound files that `zstd` makes and this program does not, and why they are not read.
fn other_shapes() -> Vec<(Vec<u8>, &'static str)> {
    let (head, tail) = sample::snapshot().split_at(100_000);
    let frames = [frame(head, true, true, &[]), frame(tail, true, true, &[])];
    vec![
        (
            frame(sample::snapshot(), false, true, &[CParameter::WindowLog(24)]),
            "its frame needs a window of 16777216 bytes",
        ),
        (frames.concat(), "it has more than one frame"),
        ([&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &good()].concat(), "it has more than one frame"),
    ]
}

/// What `zstd` leaves out, of a pipe and with `--no-check`.
fn without_size_or_checksum() -> [Vec<u8>; 3] {
    [(false, true), (true, false), (false, false)]
        .map(|(size, checksum)| frame(sample::snapshot(), size, checksum, &[]))
}

fn on(remote: &Remote, args: &[&str]) -> Run {
    Run::new().args(args).store(remote).env("BACKUP_PREFIX", "p-")
}

/// Each command that reads a local file, with a folder for what it writes.
fn commands(file: &Path, folder: &Path) -> Vec<Run> {
    let (file, out, data) = (file.to_str().unwrap(), folder.join("out"), folder.join("data"));
    let (out, data) = (out.to_str().unwrap(), data.to_str().unwrap());
    let mut commands: Vec<_> = [
        &["verify", file][..],
        &["verify", "--deep", file],
        &["inspect", file],
        &["inspect", file, "--diff", file],
        &["get", file, "/registry/pods/0"],
        &["export", file],
        &["fetch", file, out],
        &["restore", file, "--data-dir", data],
        &["restore", file, "--plan", "--etcd", "stacked"],
    ]
    .map(|args| Run::new().args(args))
    .into();
    // The backup is looked at before the cluster is.
    commands.push(Run::new().args(["put-back", file, "/x"]).env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1"));
    commands
}

#[test]
fn every_command_says_what_is_wrong_with_a_local_file() {
    needs!("etcd", "etcdctl", "etcdutl");
    let folder = tempfile::tempdir().unwrap();
    let (file, pipe) = (folder.path().join("x.etcdb.zst"), folder.path().join("pipe.etcdb.zst"));
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let good = good();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut kinds = vec![
        (good[..good.len() / 2].to_vec(), 5, "is not a valid snapshot: it ends in the midst of its frame"),
        (good[..7].to_vec(), 5, "is not a valid snapshot: it ends in the midst of its frame"),
        (flipped, 5, "is not a valid snapshot: "),
        (Vec::new(), 5, "is not a valid snapshot: it is empty"),
        (frame(&sample::damaged(), true, true, &[]), 5, "the sha-256 at its end does not match"),
    ];
    kinds.extend(other_shapes().into_iter().map(|(bytes, why)| (bytes, 2, why)));
    let refused = |file: &PathBuf, code: i32, why: &str| {
        for command in commands(file, folder.path()) {
            let output = command.exits(code).says(&[file.to_str().unwrap(), why]);
            let says = |words: &str| output.stderr.contains(words);
            assert_eq!(says("not a valid snapshot"), code == 5, "{output}");
            assert_eq!(
                says("; unpack it with `zstd -d` and use the file"),
                says("cannot be read as it is"),
                "{output}"
            );
            assert!(!folder.path().join("out").exists() && !folder.path().join("data").exists(), "{output}");
        }
    };
    for (bytes, code, why) in kinds {
        fs::write(&file, bytes).unwrap();
        refused(&file, code, why);
    }
    refused(&pipe, 2, "is not a regular file");
    if !rustix::process::geteuid().is_root() {
        fs::write(&file, &good).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        refused(&file, 10, "Permission denied");
    }
}

#[test]
fn the_content_of_a_local_file_counts_and_not_its_name() {
    needs!("etcd", "etcdctl");
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![("plain.etcdb.zst", sample::snapshot().to_vec()), ("compressed.etcdb", good())];
    files.extend(without_size_or_checksum().into_iter().map(|bytes| ("x.etcdb.zst", bytes)));
    for (name, bytes) in files {
        let (file, out) = (folder.path().join(name), folder.path().join("out"));
        fs::write(&file, bytes).unwrap();
        for args in [&["verify"][..], &["verify", "--deep"], &["inspect"]] {
            Run::new().args(args).arg(&file).exits(0);
        }
        Run::new().arg("fetch").arg(&file).arg(&out).exits(0);
        assert_eq!(fs::read(&out).unwrap(), sample::snapshot());
        fs::remove_file(out).unwrap();
    }
}

#[test]
#[ignore = "slow: make test-all"]
fn another_shape_is_never_recorded_as_damage() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::small();
    let mut shapes = other_shapes();
    shapes.push((sample::snapshot().to_vec(), "it is not compressed, although its name says so"));
    for (bytes, why) in shapes {
        let remote = Remote::folder();
        remote.put(NAME, &bytes);
        on(&remote, &["verify", NAME]).exits(2).says(&[NAME, why]);
        remote.put(GOOD, sample::snapshot());
        // It is no backup of the series, and holds up nothing that concerns all of them.
        on(&remote, &["verify", "--all", "--deep"]).exits(0);
        on(&remote, &["verify", NAME, "--deep"]).exits(2).says(&[NAME, why]);
    }
    // What can be read is read, and counts once it is accepted.
    for bytes in without_size_or_checksum() {
        let remote = Remote::folder();
        remote.put(NAME, &bytes);
        on(&remote, &["accept", NAME, "--by", "alice"]).success();
        on(&remote, &["verify", NAME]).exits(0);
        on(&remote, &["verify", NAME, "--deep"]).exits(0);
        // Once it is known what it was, another shape is not what was stored.
        let (other, why) = other_shapes().swap_remove(2);
        remote.put(NAME, &other);
        on(&remote, &["verify", NAME]).exits(5).says(&[NAME, why]);
    }
    let remote = Remote::folder();
    remote.put(GOOD, &good());
    on(&remote, &["verify", GOOD]).exits(2).says(&[GOOD, "although its name does not say so"]);
    // The night reads it back, to compare with it, and does not record that it is damaged.
    Run::job(&cluster, &remote).env("BACKUP_PREFIX", "p-").spawn().wait(Duration::from_mins(1));
    assert!(!remote.records().contains(&format!("{GOOD}.json")), "{:?}", remote.records());
}

/// A frame of as many zeros as come out of so few bytes: 128 KiB of four.
fn zeros(mib: u64, announced: u64) -> Vec<u8> {
    // Magic number, a size of eight bytes and no checksum, a window of 128 KiB.
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 0x38][..], &announced.to_le_bytes()].concat();
    for block in 1..=8 * mib {
        let header = (128 << 10 << 3) | (1 << 1) | u32::from(block == 8 * mib);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// What it says, and the most memory that it took, in KiB.
fn watched(run: Run, code: i32) -> (Output, u64) {
    let job = run.spawn();
    let mut peak = 0;
    while let Some(now) = peak_rss(job.id()) {
        peak = now.max(peak);
        thread::sleep(Duration::from_millis(2));
    }
    let output = job.wait(Duration::from_mins(2));
    output.assert().code(code);
    (output, peak)
}

#[test]
#[ignore = "slow: make test-all"]
fn a_bomb_takes_neither_memory_nor_disk() {
    needs!("rclone", "unshare");
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("bomb"), folder.path().join("out"));
    let bomb = zeros(1024, 1 << 30);
    assert!(bomb.len() < 33 << 10, "{}", bomb.len());
    fs::write(&file, &bomb).unwrap();
    let verify = |file: &Path| Run::new().args(["verify", "--deep"]).arg(file);
    let (output, peak) = watched(verify(&file), 5);
    assert!(output.stderr.contains("cannot be whole pages") && (1000..48 << 10).contains(&peak), "{peak} KiB {output}");

    // Lies about the size are told before anything is read.
    for (announced, code, why) in [
        (65 << 30, 5, "no more than 1074200576 can come out of it"),
        (u64::MAX, 5, "no more than 1074200576 can come out of it"),
        (1 << 20, 5, "its frame announces 1048576 bytes"),
    ] {
        let mut lie = bomb.clone();
        lie[6..14].copy_from_slice(&u64::to_le_bytes(announced));
        fs::write(&file, &lie).unwrap();
        for run in [verify(&file), Run::new().arg("fetch").arg(&file).arg(&out)] {
            let output = run.exits(code).says(&[why]);
            assert!(output.took < Duration::from_secs(5), "{output}");
        }
    }
    // On a disk that has no room for it, with and without an announced size.
    let unannounced = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x38][..], &bomb[14..]].concat();
    let small = r#"mount -t tmpfs -o size=20m disk "$TMPDIR" || exit 99; "$@"; code=$?; ls -A "$TMPDIR" | sed 's/^/LEFT: /' >&2; exit $code"#;
    for bytes in [&bomb, &unannounced] {
        let remote = Remote::folder();
        remote.put(NAME, bytes);
        for run in [on(&remote, &["inspect", NAME]), on(&remote, &["get", NAME, "x"])] {
            let work = run.work_dir();
            let run = run.env("TMPDIR", &work).without_env("WORK_DIR").env("WORK_DIR", &work);
            let output = run.through(["unshare", "--mount", "--map-root-user", "sh", "-c", small, "sh"]).exits(10);
            assert!(output.stderr.contains("no room in") && !output.stderr.contains("LEFT: ."), "{output}");
        }
    }
}

#[test]
fn the_step_that_stores_proves_every_page_again() {
    needs!("etcd", "etcdctl", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::folder());
    let folder = tempfile::tempdir().unwrap();
    let step = |word: &str| Run::new().arg(word).arg("--work-dir").arg(folder.path()).env("BACKUP_PREFIX", "p-");
    step("snapshot").etcd(&cluster).env("TARGET", "elsewhere:x").env("COMPRESSION", "zstd").success();
    let paths = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let (files, handovers): (Vec<_>, Vec<_>) = paths.partition(|path| path.extension().is_some_and(|end| end == "zst"));
    // Whoever can write there can make everything agree but the pages.
    let wiped = sample::wiped();
    let bytes = frame(&wiped, true, true, &[]);
    let text = fs::read_to_string(&handovers[0]).unwrap();
    let mut handover: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    handover["bytes"] = wiped.len().into();
    handover["sha256"] = hash(&wiped).into();
    handover["compressed"]["bytes"] = bytes.len().into();
    handover["compressed"]["sha256"] = hash(&bytes).into();
    fs::write(&handovers[0], handover.to_string()).unwrap();
    fs::write(&files[0], bytes).unwrap();
    step("store").store(&remote).exits(5).says(&["is not a valid snapshot: page "]);
    assert!(remote.names().is_empty());
}
