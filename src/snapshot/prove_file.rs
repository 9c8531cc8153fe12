//! The proof of a file that is here: it is read once, in its order.

use std::path::Path;

use super::digest::{DigestKind, Digested, Digesting};
use super::error::Error;
use super::pass::{Finished, Prover};
use super::proof::Proof;
use crate::system::fs::open_regular;

/// Of `keys`, the proof tells the newest state.
pub fn prove_file(path: &Path, keys: &'static [&'static [u8]]) -> Result<Proof, Error> {
    prove_file_with_digest(path, keys, |_| None).map(|(proof, _)| proof)
}

/// `wanted` says which digest is wanted of a file of so many bytes. It is of the same bytes as the proof.
pub fn prove_file_with_digest(
    path: &Path,
    keys: &'static [&'static [u8]],
    wanted: impl Fn(u64) -> Option<DigestKind>,
) -> Result<(Proof, Option<Digested>), Error> {
    let (file, size) = open_regular(path).map_err(Error::io("open", path))?;
    let mut prover = Prover::new(path, keys);
    let mut bytes = Digesting::new(&file, wanted(size));
    prover.push_all(path, &mut bytes)?;
    let digest = bytes.digested();
    let proof = match prover.finish(0)? {
        Finished::Proved(proof) => proof,
        Finished::More(prover) => prover.walk(file, 0)?,
    };
    Ok((proof, digest))
}
