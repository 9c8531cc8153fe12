//! What passes on its way to a store, and what does not.

use std::path::Path;

use super::fixture_bytes;
use crate::snapshot::digest::{Digest, DigestKind};
use crate::snapshot::pass::Prover;
use crate::snapshot::piped::Piped;

/// What the writer was given, by a proof that wants this revision.
fn piped(bytes: &[u8], announced: usize, floor: u64) -> (Vec<u8>, Result<(), String>) {
    let (mut out, name) = (Vec::new(), Path::new("x"));
    let announced = u64::try_from(announced).unwrap();
    let mut piped = Piped::new(name, &mut out, announced, Prover::new(name, &[]), Some(DigestKind::Md5));
    let taken = bytes.chunks(777).try_for_each(|blob| piped.push(blob));
    let outcome = taken.and_then(|()| piped.finish(floor)).map(|passed| {
        assert_eq!(passed.file.bytes, announced);
        let mut md5 = Digest::new(DigestKind::Md5);
        md5.push(bytes);
        assert_eq!(passed.digest.unwrap(), md5.digested());
        // What is proved passes only if its caller still wants it.
        assert_eq!(passed.out.len(), bytes.len() - 32);
        passed.out.extend(passed.last);
    });
    (out, outcome.map_err(|error| format!("{:#}", anyhow::Error::new(error))))
}

#[test]
fn what_is_good_passes_whole() {
    let file = fixture_bytes("etcd-3.5.1");
    let (out, outcome) = piped(&file, file.len(), 0);
    outcome.unwrap();
    assert!(out == file);
}

#[test]
fn of_what_is_not_good_the_end_does_not_pass() {
    let file = fixture_bytes("etcd-3.5.1");
    let len = file.len();
    let mut flipped = file.clone();
    flipped[len / 2] ^= 1;
    for (bytes, announced, floor, why) in [
        (&flipped[..], len, 0, "does not match"),
        (&file, len, u64::MAX, "already at"),
        (&file[..len - 1], len, 0, "were announced"),
        (&file[..len - 32], len, 0, "were announced"),
        (&file, len - 512, 0, "more bytes arrived"),
        (&file, len - 32, 0, "more bytes arrived"),
    ] {
        let (out, outcome) = piped(bytes, announced, floor);
        assert!(outcome.as_ref().is_err_and(|error| error.contains(why)), "{why}: {outcome:?}");
        assert!(out.len() <= announced - 32, "{why}: {} of {announced} bytes passed", out.len());
    }
}
