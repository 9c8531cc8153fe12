//! The proof that a file is a whole snapshot: its trailer, its size, and every page.

use std::path::Path;

use super::bolt::Db;
use super::contents::Contents;
use super::digest::{DigestKind, Digested, Digesting};
use super::error::Error;
use super::trailer::{FileHash, prove_stream};
use crate::system::fs::open_regular;

/// Exists only for a file whose trailer matched and all of whose pages are sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub file: FileHash,
    pub contents: Contents,
}

pub fn prove_file(path: &Path) -> Result<Proof, Error> {
    prove_file_with_digest(path, |_| None).map(|(proof, _)| proof)
}

/// `wanted` says which digest is wanted of a file of so many bytes. It is of the same bytes as the proof.
pub fn prove_file_with_digest(
    path: &Path,
    wanted: impl Fn(u64) -> Option<DigestKind>,
) -> Result<(Proof, Option<Digested>), Error> {
    let (file, size) = open_regular(path).map_err(Error::io("open", path))?;
    let mut bytes = Digesting::new(&file, wanted(size));
    let hash = prove_stream(path, &mut bytes)?;
    let digest = bytes.digested();
    // A matching trailer is not enough: in etcd before 3.5.23 and 3.6.5, a snapshot that races with a defragmentation
    // can be garbage, and its trailer is then the right hash of that garbage.
    let contents = Contents::read(&Db::open(file, path, hash.bytes)?)?;
    Ok((Proof { file: hash, contents }, digest))
}
