//! What is stored is confirmed by evidence, and what is not is taken away only where it can be nobody else's.

use std::fs;

use super::*;
use crate::backup::evidence::Evidence;
use crate::store::Error;
use crate::store::error::{Doubt, Left};

/// Alters the stored file, but not its size, between the upload and the look at it.
const SPOIL: &str = "#!/bin/bash
case \"$1\" in lsjson) for f in DATA/*.etcdb; do [ -e \"$f\" ] && printf X | dd of=\"$f\" conv=notrunc bs=1 seek=9 2>/dev/null; done;; esac
exec REAL \"$@\"\n";

fn spoiling(sent: &Sent, data: &Path) -> PathBuf {
    sent.rclone_is(&SPOIL.replace("DATA", data.to_str().unwrap()))
}

fn not_confirmed(outcome: Result<Evidence, Error>) -> (Doubt, Left) {
    match outcome {
        Err(Error::NotConfirmed { doubt, left, .. }) => (doubt, left),
        other => panic!("{other:?}"),
    }
}

/// Stores a backup twice, the second time in vain.
fn has_evidence(store: &Store, expected: Evidence) {
    let sent = Sent::new(&[7; 5000]);
    let name = name("a/p-", "202601020304");
    let stored = wait(store.put(&sent.path, &name, &sent.content)).unwrap();
    assert_eq!(stored, expected, "{store:?}");
    assert_eq!(wait(store.confirm(&name, &sent.content)).unwrap(), expected);
    let again = wait(store.put(&sent.path, &name, &FileHash { bytes: 1, sha256: "ab".into() }.into()));
    assert!(matches!(again, Err(Error::Taken(_))), "{again:?}");
    let other = FileHash { sha256: "ab".into(), ..sent.content.hash.clone() }.into();
    let (doubt, left) = not_confirmed(wait(store.confirm(&name, &other)));
    assert!(matches!((doubt, left), (Doubt::Differs(_), Left::There)));
    let listing = wait(store.list()).unwrap();
    assert_eq!((listing.backups[0].bytes, listing.names().count(), listing.foreign), (Some(5000), 1, 0));
    let parts = wait(store.objects(&store.path_of(crate::store::PARTS), &[], true)).unwrap();
    assert!(parts.is_empty(), "{parts:?}");
}

#[test]
fn a_directory_hashes_its_files_and_a_bucket_is_read_back() {
    needs!("rclone", "weed");
    has_evidence(&store(&Remote::folder(), "a/p-"), Evidence::StoreSha256);
    has_evidence(&store(&Remote::seaweedfs(), "a/p-"), Evidence::ReadBack);
}

#[test]
#[ignore = "slow: make test-all"]
fn every_other_store_is_read_back() {
    needs!("rclone", "weed");
    for remote in [Remote::rclone_s3(), Remote::folder().encrypted(true), Remote::seaweedfs().encrypted(true)] {
        has_evidence(&store(&remote, "a/p-"), Evidence::ReadBack);
    }
    has_evidence(&Served::new("webdav").store("a/p-"), Evidence::ReadBack);
}

/// The server hashes the file. Without the file that was sent, there is no such hash to compare with.
#[test]
#[ignore = "slow: make test-all"]
fn an_sftp_server_computes_a_hash() {
    needs!("rclone");
    let served = Served::new("sftp");
    let (store, sent, name) = (served.store("a/p-"), Sent::new(&[7; 5000]), name("a/p-", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::StoreMd5);
    assert_eq!(wait(store.confirm(&name, &sent.content)).unwrap(), Evidence::ReadBack);
}

#[test]
fn an_altered_file_that_the_system_renamed_for_us_is_removed() {
    needs!("rclone");
    let (remote, sent) = (Remote::folder(), Sent::new(&[7; 5000]));
    let rclone = spoiling(&sent, Path::new(remote.target()));
    let store = store_with(remote.target(), remote.config(), "", &rclone);
    let name = name("", "202601020304");
    let (doubt, left) = not_confirmed(wait(store.put(&sent.path, &name, &sent.content)));
    assert!(matches!((&doubt, &left), (Doubt::Differs(_), Left::Removed)), "{doubt:?} {left:?}");
    assert_eq!(files(Path::new(remote.target())), [""; 0]);
}

#[test]
fn an_altered_file_of_a_store_that_looks_and_then_moves_is_left() {
    needs!("rclone");
    for protocol in ["webdav", "sftp"] {
        let (served, sent) = (Served::new(protocol), Sent::new(&[7; 5000]));
        let store = served.store_with("", &spoiling(&sent, &served.data()));
        let outcome = wait(store.put(&sent.path, &name("", "202601020304"), &sent.content));
        let (doubt, left) = not_confirmed(outcome);
        assert!(matches!((&doubt, &left), (Doubt::Differs(_), Left::There)), "{doubt:?} {left:?}");
        assert_eq!(files(&served.data()), ["202601020304.etcdb"]);
    }
}

/// SeaweedFS keeps the condition of an upload, rclone's own server does not know it.
#[test]
fn an_altered_object_is_removed_if_the_store_keeps_conditions() {
    needs!("rclone", "weed");
    for (remote, removed) in [(Remote::seaweedfs(), true), (Remote::rclone_s3(), false)] {
        let sent = Sent::new(&[7; 5000]);
        // The right name with other bytes, as if they had been altered on their way.
        let script = "#!/bin/bash
if [ \"$1\" = copyto ] && [[ \"${@: -1}\" = *.etcdb ]]; then printf '%05000d' 0 > \"${@: -2:1}\"; fi
exec REAL \"$@\"\n";
        let rclone = sent.rclone_is(script);
        let store = store_with(remote.target(), remote.config(), "", &rclone);
        let (doubt, left) = not_confirmed(wait(store.put(&sent.path, &name("", "202601020304"), &sent.content)));
        assert!(matches!(doubt, Doubt::Differs(_)), "{doubt:?}");
        assert_eq!(matches!(left, Left::Removed), removed, "{left:?}");
        assert_eq!(remote.names().len(), usize::from(!removed), "{:?}", remote.names());
    }
}

#[test]
fn a_read_back_that_fails_removes_nothing() {
    needs!("rclone", "weed");
    let (remote, sent) = (Remote::seaweedfs(), Sent::new(&[7; 5000]));
    let rclone = sent
        .rclone_is("#!/bin/bash\n[ \"$1\" = cat ] && { echo 'Failed to cat: gone' >&2; exit 1; }\nexec REAL \"$@\"\n");
    let store = store_with(remote.target(), remote.config(), "", &rclone);
    let error = wait(store.put(&sent.path, &name("", "202601020304"), &sent.content)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is left as it is"), "{text}");
    assert_eq!(crate::exit::Failure::from(error).exit, crate::exit::Exit::Store);
    assert_eq!(remote.names(), ["202601020304.etcdb"]);
}

#[test]
fn damage_behind_crypt_is_seen() {
    needs!("rclone");
    let (remote, sent) = (Remote::folder().encrypted(true), Sent::new(&[7; 5000]));
    let store = store(&remote, "");
    let name = name("", "202601020304");
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::ReadBack);
    let raw = remote.raw_names();
    let mut bytes = remote.read_raw(&raw[0]);
    bytes[1000] ^= 1;
    remote.put_raw(&raw[0], &bytes);
    let (doubt, left) = not_confirmed(wait(store.confirm(&name, &sent.content)));
    assert!(matches!((&doubt, &left), (Doubt::Unread(_), Left::There)), "{doubt:?} {left:?}");
}

#[test]
fn a_file_of_this_machine_is_placed() {
    needs!("rclone");
    let remote = Remote::folder();
    let (store, name) = (store(&remote, "a/p-"), name("a/p-", "202601020304"));
    let directory = store.local_directory().unwrap();
    assert_eq!(directory, Path::new(remote.target()).join("a"));
    let sent = Sent::new(b"a snapshot");
    let place = |text: &str| {
        let from = Path::new(remote.target()).join("waiting");
        fs::write(&from, text).unwrap();
        wait(store.place(&from, &name, &sent.content))
    };
    let (doubt, left) = not_confirmed(place("b snapshot"));
    assert!(matches!((doubt, left), (Doubt::Differs(_), Left::Removed)));
    assert_eq!(place("a snapshot").unwrap(), Evidence::StoreSha256);
    assert!(matches!(place("c snapshot"), Err(Error::Taken(_))));
    assert_eq!(fs::read_to_string(directory.join("p-202601020304.etcdb")).unwrap(), "a snapshot");
    assert!(
        store_at("srv:x", &Served::new("webdav").folder.path().join("rclone.conf"), "").local_directory().is_none()
    );
}
