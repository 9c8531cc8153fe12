//! Compressed backups: one standard zstd frame (RFC 8878) with its content's size and checksum. The only user of the zstd
//! crate.

mod compressor;
mod content;
mod decompressor;
mod frame;

#[cfg(test)]
mod tests;

use std::io;

pub use compressor::Compressor;
pub use content::{Content, compression_of};

/// What is wrong with the bytes and not with reading them.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
