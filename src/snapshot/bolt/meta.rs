//! The two meta pages: bbolt writes them by turns, so that one of them is sound whenever a write is cut short.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::page::{META_FLAG, PAGE_HEADER, PageHeader, slice, u32_at, u64_at};
use crate::snapshot::error::{Damage, Error};

/// Bytes from the start of a meta page to its end.
const META_END: usize = PAGE_HEADER + 64;
/// The page number of the free list when it is not written, as etcd always has it.
pub const NO_FREELIST: u64 = u64::MAX;
// bbolt takes the page size of the operating system. etcd's platforms have 4, 16 or 64 KiB.
const PAGE_SIZES: RangeInclusive<u32> = 512..=65_536;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaPage {
    /// Bytes of a page.
    pub page_size: u32,
    /// The page where the tree of buckets begins.
    pub root: u64,
    /// The page of the free list, or [`NO_FREELIST`].
    pub freelist: u64,
    /// How many pages the file has: the high-water mark.
    pub pages: u64,
    pub txid: u64,
}

impl MetaPage {
    /// The sound meta page with the larger transaction number, in a database of `len` bytes. `both` of them must be sound,
    /// or one is enough.
    pub fn newest(file: &File, path: &Path, len: u64, both: bool) -> Result<Self, Error> {
        let first = Self::parse(0, &read(file, path, len, 0)?);
        let second = match &first {
            Ok(meta) => Self::parse(1, &read(file, path, len, meta.page_size)?).and_then(|second| second.like(*meta)),
            Err(_) => Self::search_second(file, path, len)?,
        };
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(if second.txid > first.txid { second } else { first }),
            // One that is not sound is no damage: a commit that was cut short leaves it so.
            (Ok(meta), Err(_)) | (Err(_), Ok(meta)) if !both => Ok(meta),
            (Err(damage), _) | (Ok(_), Err(damage)) => Err(Error::damaged(path)(damage)),
        }
    }

    /// The same of the first bytes of a snapshot, in which both are sound; `None` if they are too few to tell.
    pub fn of_snapshot(start: &[u8]) -> Result<Option<Self>, Damage> {
        if start.len() < META_END {
            return Ok(None);
        }
        let first = Self::parse(0, start)?;
        let size = usize::try_from(first.page_size).unwrap_or(usize::MAX);
        let Some(second) = start.get(size..).filter(|second| second.len() >= META_END) else { return Ok(None) };
        let second = Self::parse(1, second)?.like(first)?;
        Ok(Some(if second.txid > first.txid { second } else { first }))
    }

    /// Why these are no first bytes of a snapshot, of which there are no more.
    pub fn cut_off(start: &[u8]) -> Damage {
        Self::of_snapshot(start).err().unwrap_or_else(|| {
            let page = u64::from(Self::parse(0, start).is_ok());
            Damage::page(page, "the file ends before its meta page")
        })
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(self.page_size.into())
    }

    /// Refuses a database that has not as many bytes as its pages.
    pub fn check_size(&self, len: u64) -> Result<(), Damage> {
        if self.pages.checked_mul(self.page_size.into()) == Some(len) {
            return Ok(());
        }
        let (pages, size) = (self.pages, self.page_size);
        Err(Damage::file(format!("{len} bytes of pages, but the meta page says {pages} pages of {size} bytes")))
    }

    /// bbolt takes the page size from either of them.
    fn like(self, first: Self) -> Result<Self, Damage> {
        if self.page_size == first.page_size {
            return Ok(self);
        }
        let (size, other) = (self.page_size, first.page_size);
        Err(Damage::page(1, format!("a page size of {size} bytes, but {other} in page 0")))
    }

    fn search_second(file: &File, path: &Path, len: u64) -> Result<Result<Self, Damage>, Error> {
        // Without a sound page 0 the page size is unknown, so page 1 is looked for where each size would put it.
        let mut size = *PAGE_SIZES.start();
        while size <= *PAGE_SIZES.end() {
            let meta = Self::parse(1, &read(file, path, len, size)?);
            if let Some(meta) = meta.ok().filter(|meta| meta.page_size == size) {
                return Ok(Ok(meta));
            }
            size *= 2;
        }
        Ok(Err(Damage::page(1, "no sound meta page")))
    }

    /// Reads and checks meta page `page` (0 or 1) from its first 80 bytes.
    fn parse(page: u64, bytes: &[u8]) -> Result<Self, Damage> {
        let damage = |what: &str| Damage::page(page, what);
        let short = || Damage::page(page, "the file ends before its meta page");
        let header = PageHeader::parse(bytes).ok_or_else(short)?;
        let body = slice(bytes, PAGE_HEADER, META_END - PAGE_HEADER).ok_or_else(short)?;
        let u64_field = |at| u64_at(body, at).ok_or_else(short);
        let u32_field = |at| u32_at(body, at).ok_or_else(short);

        if u32_field(0)? != MAGIC {
            return Err(damage("not a bbolt database: the magic number is missing"));
        }
        let version = u32_field(4)?;
        if version != VERSION {
            return Err(Damage::page(page, format!("bbolt format version {version} is unknown")));
        }
        if u64_field(56)? != fnv1a(body.get(..56).ok_or_else(short)?) {
            return Err(damage("the checksum of the meta page does not match"));
        }
        if header.flags != META_FLAG || header.id != page {
            return Err(damage("the header is not that of this meta page"));
        }
        let page_size = u32_field(8)?;
        if !page_size.is_power_of_two() || !PAGE_SIZES.contains(&page_size) {
            return Err(Damage::page(page, format!("a page size of {page_size} bytes is impossible")));
        }
        Ok(Self {
            page_size,
            root: u64_field(16)?,
            freelist: u64_field(32)?,
            pages: u64_field(40)?,
            txid: u64_field(48)?,
        })
    }
}

/// Whether these are first bytes of a database, sound or not.
pub fn is_database(start: &[u8]) -> bool {
    u32_at(start, PAGE_HEADER) == Some(MAGIC)
}

/// FNV-1a with 64 bits, bbolt's checksum of a meta page.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The bytes of the meta page at byte `at`; fewer if the database of `len` bytes ends before.
fn read(file: &File, path: &Path, len: u64, at: u32) -> Result<Vec<u8>, Error> {
    let at = u64::from(at);
    let mut bytes = vec![0; META_END];
    bytes.truncate(usize::try_from(len.saturating_sub(at)).unwrap_or(META_END));
    file.read_exact_at(&mut bytes, at).map_err(Error::io("read", path))?;
    Ok(bytes)
}
