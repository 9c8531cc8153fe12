//! A backup's bytes, compressed or not, read as the snapshot that they are.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::decompressor::Decompressor;
use super::frame::MAGIC;
use crate::backup::name::Compression;
use crate::snapshot::FileHash;

pub enum Content<R> {
    Plain(R),
    Zstd(Box<Decompressor<R>>),
}

impl<R: Read> Content<R> {
    /// Fails with [`io::ErrorKind::InvalidData`] if the source is damaged, as reading does.
    pub fn new(source: R, compression: Option<Compression>) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain(source),
            Some(Compression::Zstd) => Self::Zstd(Box::new(Decompressor::new(source)?)),
        })
    }

    /// The size of the snapshot in bytes, if what is stored announces it.
    pub const fn announced(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Zstd(zstd) => Some(zstd.announced()),
        }
    }

    /// What is stored of a compressed backup that was read to its end.
    pub fn stored(self) -> Option<FileHash> {
        match self {
            Self::Plain(_) => None,
            Self::Zstd(zstd) => Some(zstd.stored()),
        }
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Zstd(zstd) => zstd.read(buffer),
        }
    }
}

/// How a file is compressed, by what it begins with.
pub fn compression_of(file: &File) -> io::Result<Option<Compression>> {
    let mut start = [0; MAGIC.len()];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok((start == MAGIC).then_some(Compression::Zstd)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
