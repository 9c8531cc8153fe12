//! Real snapshots, received, proved and refused.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{file_of, fixture, fixture_bytes, with_trailer};
use crate::snapshot::{Alarm, Db, Error, Workspace, alarms, members, prove_file, prove_stream};

fn refusal(bytes: &[u8]) -> String {
    match prove_file(file_of(bytes).path(), &[]) {
        Err(Error::Damaged { damage, .. }) => damage.to_string(),
        other => panic!("not refused as damaged: {other:?}"),
    }
}

/// `etcdutl snapshot status` of 3.5.1 printed the hash, the last key's revision, the total keys and the size;
/// `etcdctl get "" --prefix --count-only` and the header of a get the live keys and the revision.
#[test]
fn contents_are_those_of_etcds_own_tools() {
    let new = prove_file(&fixture("etcd-3.5.1"), &[]).unwrap();
    assert_eq!(new.file.bytes, 45_088);
    assert_eq!(new.file.sha256, "008dd808a927371b172fe27a3d455148f03db112d1664d251fd28f9ef9adbc03");
    let contents = new.contents;
    assert_eq!(
        (contents.hash, contents.last_key_revision, contents.total_keys, contents.db_bytes),
        (2_944_283_460, 8, 91, 45_056)
    );
    assert_eq!((contents.revision, contents.compact_revision, contents.revisions, contents.live_keys), (8, 3, 82, 54));
    assert_eq!((contents.consistent_index, contents.term), (Some(13), Some(2)));
    assert_eq!((contents.storage_version.as_str(), contents.cluster_version.as_deref()), ("3.5", Some("3.5.0")));

    let old = prove_file(&fixture("etcd-3.4.23"), &[]).unwrap().contents;
    assert_eq!((old.hash, old.last_key_revision, old.total_keys, old.db_bytes), (1_620_605_729, 7, 12, 32_768));
    assert_eq!((old.revision, old.compact_revision, old.live_keys, old.term), (7, 0, 6, None));
    assert_eq!((old.storage_version.as_str(), old.cluster_version.as_deref()), ("3.4", Some("3.4.0")));
}

#[test]
fn members_and_alarms_are_read() {
    let db = Db::open_path(&fixture("etcd-3.4.23")).unwrap();
    let members = members(&db).unwrap();
    assert_eq!(members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["m1", ""]);
    assert_eq!(members[0].client_urls, ["http://127.0.0.1:23790"]);
    assert!(members[1].is_learner);
    assert_eq!(alarms(&db).unwrap(), [Alarm { member: members[0].id, kind: 1 }]);
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let whole = fixture_bytes("etcd-3.5.1");
    let pages = &whole[..whole.len() - 32];
    assert_eq!(refusal(b""), "it is empty");
    assert!(refusal(b"<html>403</html>").contains("16 bytes cannot be whole pages"));
    assert!(refusal(pages).contains("45056 bytes cannot be whole pages"));
    assert!(refusal(&whole[..4096 * 3]).contains("cannot be whole pages"));
    assert!(refusal(&whole[..512 * 20 + 32]).contains("does not match"));
    assert!(refusal(&vec![0; 20_512]).contains("does not match"));
    assert!(refusal(&with_trailer(&pages[..4096 * 5])).contains("the meta page says 11 pages"));
    assert!(refusal(&with_trailer(&[0; 4096])).contains("magic number"));
    // A byte of a meta page, of a key, of a free page, of the trailer.
    for at in [40, 4096 * 5 + 300, whole.len() - 33, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        assert!(refusal(&bytes).contains("does not match"), "byte {at}");
    }
}

#[test]
fn a_stream_is_proved_however_it_is_cut() {
    let whole = fixture_bytes("etcd-3.4.23");
    let name = Path::new("remote:etcd/a.etcdb");
    let hash = prove_stream(name, Cursor::new(&whole)).unwrap();
    assert_eq!(hash, prove_file(&fixture("etcd-3.4.23"), &[]).unwrap().file);
    let error = prove_stream(name, Cursor::new(&whole[1..])).unwrap_err();
    assert!(error.to_string().contains("remote:etcd/a.etcdb"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    for size in [1, 7, 31, 32, 33, 511, 4096, 32 << 10, whole.len()] {
        let workspace = Workspace::create(dir.path()).unwrap();
        let mut part = workspace.part_file("a", &[]).unwrap();
        for blob in whole.chunks(size) {
            part.push(blob).unwrap();
            part.push(b"").unwrap();
        }
        assert_eq!(part.finish(0).unwrap().proof.file, hash, "blobs of {size}");
    }
}

#[test]
fn a_part_becomes_a_private_file_and_ends_with_its_workspace() {
    let whole = fixture_bytes("etcd-3.5.1");
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::create(dir.path()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut part = workspace.part_file("a.etcdb", &[]).unwrap();
    part.expect_database(45_056).unwrap();
    part.push(&whole).unwrap();
    let snapshot = part.finish(8).unwrap();
    assert_eq!(snapshot.path, workspace.path().join("a.etcdb"));
    assert_eq!((mode(workspace.path()), mode(&snapshot.path)), (0o700, 0o600));
    assert_eq!(fs::read(&snapshot.path).unwrap(), whole);
    drop(workspace);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_proof_leaves_no_file() {
    let whole = fixture_bytes("etcd-3.5.1");
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::create(dir.path()).unwrap();
    let receive = |expected: u64, bytes: &[u8], floor| {
        let mut part = workspace.part_file("a", &[]).unwrap();
        part.expect_database(expected).and_then(|()| part.push(bytes)).and_then(|()| part.finish(floor))
    };
    let cases = [
        (receive(45_056, &whole, 9), "it is at revision 8, but the cluster was already at 9"),
        (receive(45_057, &whole, 0), "45088 bytes arrived, 45089 were announced"),
        (receive(45_055, &whole, 0), "more bytes arrived than the 45087 that were announced"),
        (receive(44_544, &whole[512..], 0), "the sha-256 at its end does not match"),
    ];
    for (result, expected) in cases {
        let Err(Error::Damaged { damage, .. }) = result else { panic!("not refused: {result:?}") };
        assert!(damage.to_string().contains(expected), "{damage}");
    }
    let full = receive(u64::MAX, &whole, 0);
    assert!(matches!(full, Err(Error::NoSpace { needed: u64::MAX, free: 1.., .. })), "{full:?}");
    let names: Vec<_> = fs::read_dir(workspace.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"]);
}

#[test]
fn a_crashed_run_is_swept_and_a_running_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let alive = Workspace::create(dir.path()).unwrap();
    let kept = alive.part_file("kept", &[]).unwrap();

    let crashed = dir.path().join(".etcd-backup-crash1");
    fs::create_dir(&crashed).unwrap();
    fs::write(crashed.join("lock"), "").unwrap();
    fs::write(crashed.join("a.part"), "bytes").unwrap();
    let no_lock_yet = dir.path().join(".etcd-backup-crash2");
    fs::create_dir(&no_lock_yet).unwrap();

    // Not ours, although the names begin as ours do.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("lock"), "").unwrap();
    let link = dir.path().join(".etcd-backup-link");
    symlink(elsewhere.path(), &link).unwrap();
    fs::write(dir.path().join(".etcd-backup-file"), "").unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();

    let next = Workspace::create(dir.path()).unwrap();
    assert!(!crashed.exists() && !no_lock_yet.exists());
    assert!(elsewhere.path().join("lock").exists() && link.is_symlink());
    assert!(alive.path().join("kept.part").exists());
    drop(kept);
    drop((alive, next));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_work_directory_that_is_not_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match Workspace::create(path) {
        Err(Error::Io { source, .. }) => source.to_string(),
        other => panic!("not refused: {other:?}"),
    };
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(refused(&file), "it is not a directory");
    let link = dir.path().join("link/");
    symlink(dir.path(), dir.path().join("link")).unwrap();
    assert_eq!(refused(&link), "it is a symbolic link");
    assert!(refused(&dir.path().join("missing")).contains("No such file"));
}
