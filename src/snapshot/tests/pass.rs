//! One pass gives what the walk gives, however the bytes are split and however little memory there is.

use std::path::Path;

use super::{file_of, fixture_bytes};
use crate::snapshot::contents::Contents;
use crate::snapshot::pass::{Finished, Limits, Prover};
use crate::snapshot::trailer::prove_stream;
use crate::snapshot::{Db, Error, Newest, Proof};

const KEYS: &[&[u8]] = &[b"/registry/namespaces/kube-system", b"a", b"k1"];
const LITTLE: Limits = Limits { fixed: 0, per_page: 0, one_page: 0, wanted: 0 };

/// The proof by the trailer and the walk.
fn walked(bytes: &[u8]) -> Result<Proof, Error> {
    let file = file_of(bytes);
    let hash = prove_stream(Path::new("x"), bytes)?;
    let db = Db::open(file.into_file(), Path::new("x"), hash.bytes)?;
    let contents = Contents::read(&db)?;
    Ok(Proof { file: hash, contents, newest: Newest::read(&db, KEYS)? })
}

/// The proof by as many passes as are needed, and how many that were.
fn passed(bytes: &[u8], limits: Limits, blob: usize) -> (Result<Proof, Error>, usize) {
    let mut prover = Prover::limited(Path::new("x"), KEYS, limits);
    for pass in 1.. {
        bytes.chunks(blob).for_each(|blob| prover.push(blob));
        prover = match prover.finish(0) {
            Ok(Finished::Proved(proof)) => return (Ok(proof), pass),
            Err(error) => return (Err(error), pass),
            Ok(Finished::More(prover)) => prover,
        };
        assert!(pass < 40, "it goes on for ever");
    }
    unreachable!()
}

fn text(proof: Result<Proof, Error>) -> Result<Proof, String> {
    proof.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

/// Both proofs, which are the same; with one fault in the bytes, so are the messages.
fn same(bytes: &[u8], is_text_same: bool) -> Result<Proof, String> {
    let expected = text(walked(bytes));
    for (limits, blob) in [(Limits::USUAL, 32 << 10), (Limits::USUAL, 777), (LITTLE, 4096)] {
        let (found, passes) = passed(bytes, limits, blob);
        let found = text(found);
        match (&found, &expected) {
            (Err(found), Err(expected)) if is_text_same => assert_eq!(found, expected),
            (Err(_), Err(_)) => {}
            _ => assert_eq!(found, expected, "{limits:?}"),
        }
        assert!(found.is_err() || limits.fixed == 0 || passes == 1);
    }
    expected
}

#[test]
fn fixtures_are_proved_in_one_pass() {
    for name in ["etcd-3.5.1", "etcd-3.4.23"] {
        let whole = fixture_bytes(name);
        let proof = same(&whole, true).unwrap();
        for blob in [1, 7, 31, 32, 33, 511, 4095, 4096, 4097, 8192, whole.len()] {
            let (found, passes) = passed(&whole, Limits::USUAL, blob);
            assert_eq!((text(found).as_ref(), passes), (Ok(&proof), 1), "blobs of {blob}");
        }
    }
}
