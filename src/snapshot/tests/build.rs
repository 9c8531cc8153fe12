//! Builds pages by hand.

use std::path::Path;

use crate::snapshot::bolt::meta::{NO_FREELIST, fnv1a};
use crate::snapshot::{Db, Error};

pub const SIZE: usize = 512;
pub const BRANCH: u16 = 1;
pub const LEAF: u16 = 2;
pub const FREELIST: u16 = 16;

/// A database of pages of 512 bytes; the first page given is number 2 and the root.
pub fn db(pages: &[Vec<u8>]) -> Vec<u8> {
    db_with(pages, 2, NO_FREELIST)
}

pub fn db_with(pages: &[Vec<u8>], root: u64, freelist: u64) -> Vec<u8> {
    let body = pages.concat();
    let count = u64::try_from(body.len() / SIZE).unwrap() + 2;
    [meta(0, root, freelist, count, 8), meta(1, root, freelist, count, 7), body].concat()
}

pub fn meta(page: u64, root: u64, freelist: u64, count: u64, txid: u64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0xED0C_DAED_u32.to_le_bytes());
    body.extend(2_u32.to_le_bytes());
    body.extend(u32::try_from(SIZE).unwrap().to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    for word in [root, 0, freelist, count, txid] {
        body.extend(word.to_le_bytes());
    }
    body.extend(fnv1a(&body).to_le_bytes());
    padded([header(page, 4, 0, 0), body].concat())
}

pub fn header(id: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(u16::try_from(count).unwrap().to_le_bytes());
    bytes.extend(overflow.to_le_bytes());
    bytes
}

/// A leaf of `(key, value)` pairs; a value that [`bucket`] or [`inline`] made is marked as a bucket.
pub fn leaf(id: u64, pairs: &[(&str, Value)]) -> Vec<u8> {
    padded(leaf_bytes(id, pairs))
}

pub type Value = (u32, Vec<u8>);

pub fn value(text: &str) -> Value {
    (0, text.into())
}

pub fn bucket(root: u64) -> Value {
    (1, [root.to_le_bytes(), 0_u64.to_le_bytes()].concat())
}

pub fn inline(pairs: &[(&str, Value)]) -> Value {
    (1, [vec![0; 16], leaf_bytes(0, pairs)].concat())
}

fn leaf_bytes(id: u64, pairs: &[(&str, Value)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data = Vec::new();
    for (index, (key, (flags, value))) in pairs.iter().enumerate() {
        let position = (pairs.len() - index) * 16 + data.len();
        for number in [usize::try_from(*flags).unwrap(), position, key.len(), value.len()] {
            table.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        data.extend(key.bytes());
        data.extend(value);
    }
    [header(id, LEAF, pairs.len(), 0), table, data].concat()
}

pub fn branch(id: u64, children: &[(&str, u64)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data = Vec::new();
    for (index, (key, child)) in children.iter().enumerate() {
        let position = (children.len() - index) * 16 + data.len();
        for number in [position, key.len()] {
            table.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        table.extend(child.to_le_bytes());
        data.extend(key.bytes());
    }
    padded([header(id, BRANCH, children.len(), 0), table, data].concat())
}

pub fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(SIZE), 0);
    bytes
}

/// `page` with `bytes` written over it from `at` on.
pub fn patched(mut page: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    page[at..at + bytes.len()].copy_from_slice(bytes);
    page
}

pub fn open(bytes: &[u8]) -> Result<Db, Error> {
    let file = super::file_of(bytes).into_file();
    Db::open(file, Path::new("made"), bytes.len().try_into().unwrap())
}

/// The text of the damage that opening or walking finds.
pub fn damage(bytes: &[u8]) -> String {
    match open(bytes).and_then(|db| db.walk(|_| Ok::<_, Error>(()))) {
        Err(Error::Damaged { damage, .. }) => damage.to_string(),
        other => panic!("not refused as damaged: {other:?}"),
    }
}
