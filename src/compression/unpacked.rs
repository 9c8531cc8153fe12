//! A backup's bytes, compressed or not, read as the snapshot that they are.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;

use super::decompressor::Decompressor;
use super::frame::{self, Fault, MAGIC};
use super::{damaged, of_other_shape};
use crate::backup::name::Compression;
use crate::snapshot::{FileHash, is_database};

/// As many first bytes as tell what a file is.
const START: u64 = 32;
/// The most bytes that come out of one compressed byte. A block has at least four, a header of three and the byte that is
/// repeated, and at most 128 KiB come out of it (RFC 8878, 3.1.1.2).
const MOST_OF_A_BYTE: u64 = 32 << 10;
/// The most bytes that are unpacked where no record tells how many there are. etcd warns of a database that may have more than
/// 8 GiB, and this is eight times as much.
const MOST: u64 = 64 << 30;

/// What is known of a backup before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// By its name, or by how it begins.
    pub compression: Option<Compression>,
    /// Bytes of what is stored.
    pub stored: Option<u64>,
    /// Bytes of the snapshot, by its record. What has a record was read or written by this program before, so that another
    /// shape is damage.
    pub recorded: Option<u64>,
}

impl Known {
    pub(super) fn error(self, fault: Fault) -> io::Error {
        match fault {
            Fault::OtherShape { what, advice } if self.recorded.is_none() => of_other_shape(&what, advice),
            Fault::OtherShape { what, .. } | Fault::Damaged(what) => damaged(what),
        }
    }

    /// How many bytes may come out at most. `announced` by the frame; it is believed only where it is possible.
    pub(super) fn most(self, announced: Option<u64>) -> Result<u64, Fault> {
        let possible = self.stored.map_or(u64::MAX, |stored| stored.saturating_mul(MOST_OF_A_BYTE));
        let limit = self.recorded.unwrap_or(MOST);
        match (announced, self.recorded) {
            (Some(announced), Some(recorded)) if announced != recorded => {
                Err(Fault::Damaged(format!("its frame announces {announced} bytes, and its record says {recorded}")))
            }
            (Some(announced), _) if announced > possible => Err(Fault::Damaged(format!(
                "its frame announces {announced} bytes, and no more than {possible} can come out of it"
            ))),
            (Some(announced), _) if announced > limit => Err(frame::too_large(announced, limit)),
            (Some(announced), _) => Ok(announced),
            (None, _) => Ok(limit.min(possible)),
        }
    }
}

pub enum Unpacked<R> {
    /// The first bytes, and the others.
    Plain(Cursor<Vec<u8>>, R),
    Zstd(Box<Decompressor<R>>),
}

impl<R: Read> Unpacked<R> {
    /// Fails, as reading does, with [`io::ErrorKind::InvalidData`] if the source is damaged, and with
    /// [`io::ErrorKind::Unsupported`] if it may be sound, and is not read here.
    pub fn new(mut source: R, known: Known) -> io::Result<Self> {
        let mut start = Vec::new();
        source.by_ref().take(START).read_to_end(&mut start)?;
        match known.compression {
            None if start.starts_with(&MAGIC) => Err(known.error(Fault::OtherShape {
                what: "it is compressed with zstd, although its name does not say so".into(),
                advice: "give it a name that ends in `.etcdb.zst`, or unpack it with `zstd -d` and use the file",
            })),
            None => Ok(Self::Plain(Cursor::new(start), source)),
            // A short header of a frame may have the same bytes behind it.
            Some(Compression::Zstd) if !start.starts_with(&MAGIC) && is_database(&start) => {
                Err(known.error(Fault::OtherShape {
                    what: "it is not compressed, although its name says so".into(),
                    advice: "give it a name that ends in `.etcdb`",
                }))
            }
            Some(Compression::Zstd) => Ok(Self::Zstd(Box::new(Decompressor::new(start, source, known)?))),
        }
    }

    pub const fn is_compressed(&self) -> bool {
        matches!(self, Self::Zstd(_))
    }

    /// The size of the snapshot in bytes, if what is stored announces it.
    pub const fn announced(&self) -> Option<u64> {
        match self {
            Self::Plain(..) => None,
            Self::Zstd(zstd) => zstd.announced(),
        }
    }

    /// What is stored of a compressed backup that was read to its end.
    pub fn stored(self) -> Option<FileHash> {
        match self {
            Self::Plain(..) => None,
            Self::Zstd(zstd) => Some(zstd.stored()),
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(start, source) => match start.read(buffer)? {
                0 => source.read(buffer),
                read => Ok(read),
            },
            Self::Zstd(zstd) => zstd.read(buffer),
        }
    }
}

/// How a file is compressed, by what it begins with.
pub fn compression_of(file: &File) -> io::Result<Option<Compression>> {
    let mut start = [0; MAGIC.len()];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok((start == MAGIC || frame::is_skipped(&start)).then_some(Compression::Zstd)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
