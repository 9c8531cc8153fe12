//! What S3 could get in parts is sent in one piece, as a stream, if rclone can do that. The evidence is the MD5 of the whole.

use super::parts::{differs, proved, with_rclone};
use super::*;
use crate::backup::evidence::Evidence;
use crate::store::Error;
use crate::store::faster::S3_PIECE_OF_RCLONE;

/// The smallest file that is sent so, on a store whose MD5 is evidence.
fn large(store: &Store) -> Sent {
    proved(store, &vec![7; S3_PIECE_OF_RCLONE.try_into().unwrap()])
}

fn seaweedfs() -> (Remote, PathBuf) {
    let remote = Remote::seaweedfs();
    let config = remote.config_with("provider = Other", "provider = SeaweedFS");
    (remote, config)
}

/// Also writes down how rclone is called.
fn noting(remote: &Remote, config: &Path, script: &str) -> (Store, Sent) {
    let script = format!("#!/bin/bash\nprintf '%s ' \"$1\" >> \"$0.said\"\n{script}\nexec REAL \"$@\"\n");
    with_rclone(remote, config, &script)
}

fn said(holder: &Sent) -> String {
    fs::read_to_string(holder.folder.path().join("rclone.said")).unwrap()
}

#[test]
#[ignore = "slow: make test-all"]
fn a_large_file_is_sent_in_one_piece() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let (store, holder) = noting(&remote, &config, "");
    let (sent, name) = (large(&store), name("", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::StoreMd5);
    assert!(said(&holder).ends_with("lsjson rcat lsjson "), "{}", said(&holder));
    fs::write(&sent.path, vec![8; S3_PIECE_OF_RCLONE.try_into().unwrap()]).unwrap();
    let again = wait(store.put(&sent.path, &name, &FileHash { bytes: 1, sha256: "ab".into() }.into()));
    assert!(matches!(again, Err(Error::Taken(_))), "{again:?}");
    assert_eq!(wait(store.confirm(&name, &sent.content)).unwrap(), Evidence::StoreMd5);
}

#[test]
#[ignore = "slow: make test-all"]
fn what_is_refused_in_one_piece_is_sent_in_parts() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let refusal = r#"[ "$1" = rcat ] && { head -c 9000000 > "$0.fed"; echo '{"level":"error","msg":"EntityTooLarge"}' >&2; exit 1; }"#;
    let (store, holder) = noting(&remote, &config, refusal);
    let (sent, name) = (large(&store), name("", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::StoreMd5OfParts);
    assert!(said(&holder).ends_with("rcat copyto lsjson "), "{}", said(&holder));
    // The next one is not tried so again.
    wait(store.put(&sent.path, &super::name("", "202601020305"), &sent.content)).unwrap();
    assert_eq!(said(&holder).matches("rcat").count(), 1, "{}", said(&holder));
    assert_eq!(fs::metadata(holder.folder.path().join("rclone.fed")).unwrap().len(), 9_000_000);
}

/// After the look, so that only the store can refuse it.
#[test]
#[ignore = "slow: make test-all"]
fn a_name_that_is_taken_meanwhile_is_not_replaced() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let other = Sent::new(b"another's");
    let taking = r#"[ "$1" = rcat ] && REAL copyto --config CONFIG --ignore-times OTHER "${@: -1}""#;
    let taking = taking.replace("CONFIG", config.to_str().unwrap()).replace("OTHER", other.path.to_str().unwrap());
    let (store, holder) = noting(&remote, &config, &taking);
    let sent = large(&store);
    let outcome = wait(store.put(&sent.path, &name("", "202601020304"), &sent.content));
    assert!(matches!(outcome, Err(Error::Taken(_))), "{outcome:?}");
    assert!(!said(&holder).contains("copyto"), "{}", said(&holder));
    assert_eq!(remote.read("202601020304.etcdb"), b"another's");
}

/// What is not implemented may be the stream, so the parts keep the condition.
#[test]
#[ignore = "slow: make test-all"]
fn parts_are_conditional_though_the_piece_was_not_understood() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let refusing = r#"[ "$1" = rcat ] && { echo '{"level":"error","msg":"NotImplemented"}' >&2; exit 1; }
[ "$1" = copyto ] && printf '%s ' "$@" >> "$0.said""#;
    let (store, holder) = noting(&remote, &config, refusing);
    let sent = large(&store);
    wait(store.put(&sent.path, &name("", "202601020304"), &sent.content)).unwrap();
    assert!(said(&holder).contains("If-None-Match: *"), "{}", said(&holder));
}

#[test]
#[ignore = "slow: make test-all"]
fn only_the_answer_may_be_lost() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let losing =
        r#"[ "$1" = rcat ] && { REAL "$@"; echo '{"level":"error","msg":"connection reset by peer"}' >&2; exit 1; }"#;
    let (store, holder) = noting(&remote, &config, losing);
    let (sent, name) = (large(&store), name("", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::ReadBack);
    assert!(said(&holder).contains("rcat copyto lsjson "), "{}", said(&holder));
}

#[test]
#[ignore = "slow: make test-all"]
fn an_rclone_that_stores_what_is_cut_short_gets_a_file() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let old = r#"[ "$1" = version ] && { echo "rclone v1.74.3"; exit 0; }"#;
    let (store, holder) = noting(&remote, &config, old);
    let (sent, name) = (large(&store), name("", "202601020304"));
    assert_eq!(wait(store.put(&sent.path, &name, &sent.content)).unwrap(), Evidence::StoreMd5OfParts);
    assert!(!said(&holder).contains("rcat"), "{}", said(&holder));
}

#[test]
#[ignore = "slow: make test-all"]
fn a_large_file_that_is_altered_after_its_proof_is_not_confirmed() {
    needs!("rclone", "weed");
    let (remote, config) = seaweedfs();
    let altering =
        r#"[ "$1" = rcat ] && printf X | dd of="$(readlink /proc/$$/fd/0)" conv=notrunc bs=1 seek=9 2>/dev/null"#;
    let (store, _holder) = noting(&remote, &config, altering);
    let sent = large(&store);
    differs(wait(store.put(&sent.path, &name("", "202601020304"), &sent.content)));
}
