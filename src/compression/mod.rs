//! Compressed backups: one standard zstd frame (RFC 8878). This program writes it with its content's size and a checksum, and
//! reads it without them, too. The only user of the zstd crate.

mod compressor;
mod decompressor;
mod frame;
mod unpacked;

#[cfg(test)]
mod tests;

use std::io;

pub use compressor::Compressor;
pub use unpacked::{Known, Unpacked, compression_of};

/// What is wrong with the bytes and not with reading them.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// What may be sound, and is not read here.
fn of_other_shape(what: &str, advice: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{what}; {advice}"))
}
