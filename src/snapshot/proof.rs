//! The proof that a file is a whole snapshot: its trailer, its size, and every page.

use std::path::Path;

use super::bolt::Db;
use super::contents::Contents;
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
    let (file, _) = open_regular(path).map_err(Error::io("open", path))?;
    let hash = prove_stream(path, &file)?;
    // A matching trailer is not enough: in etcd before 3.5.23 and 3.6.5, a snapshot that races with a defragmentation
    // can be garbage, and its trailer is then the right hash of that garbage.
    let contents = Contents::read(&Db::open(file, path, hash.bytes)?)?;
    Ok(Proof { file: hash, contents })
}
