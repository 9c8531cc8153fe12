//! What a store of S3 got in parts is confirmed by its `ETag`, if that is the one of the bytes that were proved.

use super::*;
use crate::backup::evidence::Evidence;
use crate::snapshot::Digesting;
use crate::store::Error;
use crate::store::error::Doubt;

const PART: usize = 5 << 20;

/// A bucket of SeaweedFS, and a configuration that sends larger files in parts of 5 MiB.
fn in_parts() -> (Remote, PathBuf) {
    let remote = Remote::seaweedfs();
    let config = remote.config_with("provider = Other", "provider = SeaweedFS\nchunk_size = 5M\nupload_cutoff = 5M");
    (remote, config)
}

/// The same file, whose digest was computed beside the proof.
pub(super) fn proved(store: &Store, bytes: &[u8]) -> Sent {
    let mut sent = Sent::new(bytes);
    let mut digesting = Digesting::new(bytes, store.digest_kind(sent.content.hash.bytes));
    std::io::copy(&mut digesting, &mut std::io::sink()).unwrap();
    sent.content.digest = digesting.digested();
    sent
}

pub(super) fn with_rclone(remote: &Remote, config: &Path, script: &str) -> (Store, Sent) {
    let holder = Sent::new(b"");
    let store = store_with(remote.target(), config, "", &holder.rclone_is(script));
    (store, holder)
}

pub(super) fn differs(outcome: Result<Evidence, Error>) {
    match outcome {
        Err(Error::NotConfirmed { doubt: Doubt::Differs(_), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_of_every_size_are_confirmed() {
    needs!("rclone", "weed");
    let (remote, config) = in_parts();
    let store = store_at(remote.target(), &config, "");
    for (minute, size, evidence) in [
        // In one piece, which is only known for certain without a limit of one's own.
        (1, PART - 1, Evidence::ReadBack),
        (2, PART, Evidence::StoreMd5OfParts),
        (3, PART + 1, Evidence::StoreMd5OfParts),
        (4, 2 * PART, Evidence::StoreMd5OfParts),
    ] {
        let sent = Sent::new(&vec![7; size]);
        let outcome = wait(store.put(&sent.path, &name("", &format!("20260102030{minute}")), &sent.content));
        assert_eq!(outcome.unwrap(), evidence, "{size}");
    }
}

#[test]
fn a_digest_that_is_known_needs_no_file() {
    needs!("rclone", "weed");
    let (remote, config) = in_parts();
    let store = store_at(remote.target(), &config, "");
    let (sent, name) = (proved(&store, &vec![7; PART + 9]), name("", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::StoreMd5OfParts);
    assert_eq!(wait(store.confirm(&name, &sent.content)).unwrap(), Evidence::StoreMd5OfParts);
    let without = Content { digest: None, ..sent.content.clone() };
    assert_eq!(wait(store.confirm(&name, &without)).unwrap(), Evidence::ReadBack);
    let other = proved(&store, &vec![8; PART + 9]).content;
    differs(wait(store.confirm(&name, &other)));
}

/// Whether the digest was computed beside the proof, or is to be computed from the file as it is now.
#[test]
fn a_file_that_is_altered_after_its_proof_is_not_confirmed() {
    needs!("rclone", "weed");
    let (remote, in_parts) = in_parts();
    let in_one_piece = remote.config_with("provider = Other", "provider = SeaweedFS");
    let script = "#!/bin/bash
if [ \"$1\" = copyto ] && [[ \"${@: -1}\" = *.etcdb ]]; then printf X | dd of=\"${@: -2:1}\" conv=notrunc bs=1 seek=9 2>/dev/null; fi
exec REAL \"$@\"\n";
    for (minute, config) in [(1, in_parts), (3, in_one_piece)] {
        let (store, _holder) = with_rclone(&remote, &config, script);
        for (more, is_known) in [(0, true), (1, false)] {
            let mut sent = proved(&store, &vec![7; PART + 9]);
            assert!(sent.content.digest.is_some());
            if !is_known {
                sent.content.digest = None;
            }
            differs(wait(store.put(&sent.path, &name("", &format!("20260102030{}", minute + more)), &sent.content)));
        }
    }
}

/// As another one's upload of the same name would be, in parts or in one piece.
#[test]
fn an_object_that_is_another_one_by_then_is_not_confirmed() {
    needs!("rclone", "weed");
    let (remote, config) = in_parts();
    for (minute, flags) in [(1, "--s3-upload-cutoff=5M"), (2, "--s3-upload-cutoff=200M")] {
        let other = Sent::new(&vec![8; PART + 9]);
        let script = "#!/bin/bash
case \"$*\" in *--dump=headers*) REAL copyto --config CONFIG --ignore-times FLAGS OTHER \"${@: -1}\" ;; esac
exec REAL \"$@\"\n";
        let script = script.replace("CONFIG", config.to_str().unwrap()).replace("FLAGS", flags);
        let (store, _holder) = with_rclone(&remote, &config, &script.replace("OTHER", other.path.to_str().unwrap()));
        let sent = proved(&store, &vec![7; PART + 9]);
        differs(wait(store.put(&sent.path, &name("", &format!("20260102030{minute}")), &sent.content)));
    }
}

/// Without the flag, the parts would have other sizes.
#[test]
fn the_parts_are_ours_unless_the_user_says_otherwise() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs();
    let argv = tempfile::NamedTempFile::new().unwrap();
    let script =
        format!("#!/bin/bash\nprintf '%s ' \"$@\" >> {0}; echo >> {0}\nexec REAL \"$@\"\n", argv.path().display());
    for (minute, options, flag) in [(1, "upload_cutoff = 5M", true), (2, "upload_cutoff = 5M\nchunk_size = 6M", false)]
    {
        let config = remote.config_with("provider = Other", &format!("provider = SeaweedFS\n{options}"));
        fs::write(argv.path(), "").unwrap();
        let (store, _holder) = with_rclone(&remote, &config, &script);
        let sent = proved(&store, &vec![7; 3 * PART]);
        let outcome = wait(store.put(&sent.path, &name("", &format!("20260102030{minute}")), &sent.content));
        assert_eq!(outcome.unwrap(), Evidence::StoreMd5OfParts, "{options}");
        let said = fs::read_to_string(argv.path()).unwrap();
        assert_eq!(said.contains("--s3-chunk-size"), flag, "{said}");
        assert!(said.contains("copyto") && said.contains("--s3-disable-checksum"), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("lsjson")).count(), 1, "{said}");
        assert!(!said.contains("\ncat "), "{said}");
    }
}

/// Some versions of rclone refuse a dump beside a level for the log.
#[test]
fn a_dump_that_is_refused_costs_only_the_evidence() {
    needs!("rclone", "weed");
    let (remote, config) = in_parts();
    for (minute, refused, evidence) in [
        (1, "*--dump*", Evidence::ReadBack),
        (2, "*--log-level*--dump*|*--dump*--log-level*", Evidence::StoreMd5OfParts),
    ] {
        let script = "#!/bin/bash
case \"$*\" in REFUSED) echo \"Can't set -v and --log-level\" >&2; exit 1 ;; esac
exec REAL \"$@\"\n";
        let (store, _holder) = with_rclone(&remote, &config, &script.replace("REFUSED", refused));
        let sent = proved(&store, &vec![7; PART + 9]);
        let outcome = wait(store.put(&sent.path, &name("", &format!("20260102030{minute}")), &sent.content));
        assert_eq!(outcome.unwrap(), evidence, "{refused}");
    }
}
