//! A bbolt database file, read one page at a time.
//!
//! The file is not mapped into memory: mapped pages count as the process's own memory, and a file that shrinks while it
//! is mapped kills the process. In memory are one page for each level of the tree, together at most [`MOST_OF_A_PAGE`], and
//! one bit for each page.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::meta::MetaPage;
use super::page::PageHeader;
use crate::snapshot::error::{Damage, Error};
use crate::snapshot::trailer::without_trailer;
use crate::system::fs::open_regular;

/// In bytes. etcd takes requests of 1.5 MiB, and advises against more than 10; a page holds at most four such values.
pub const MOST_OF_A_PAGE: u64 = 128 << 20;
/// In bytes.
const LIST_BUFFER: usize = 64 << 10;
// Pages up to this far apart are announced to the kernel as one range.
const READ_THROUGH: u64 = 8;

/// An open database whose meta page is sound and whose size is what that page says.
#[derive(Debug)]
pub struct Db {
    file: File,
    path: PathBuf,
    pub(super) meta: MetaPage,
}

impl Db {
    /// Opens `file`, of `len` bytes: a snapshot with its trailer, or a bare database. Errors call it `path`. The trailer
    /// is not compared here; [`prove_file`](crate::snapshot::prove_file) does that.
    pub fn open(file: File, path: &Path, len: u64) -> Result<Self, Error> {
        let pages = without_trailer(len);
        // etcd writes both meta pages into a snapshot, so neither of them was cut short.
        let both = pages != len;
        let len = pages;
        let meta = MetaPage::newest(&file, path, len, both)?;
        // From here on a page number below `meta.pages` lies in the file.
        meta.check_size(len).map_err(Error::damaged(path))?;
        Ok(Self { file, path: path.to_owned(), meta })
    }

    pub fn open_path(path: &Path) -> Result<Self, Error> {
        let (file, len) = open_regular(path).map_err(Error::io("open", path))?;
        Self::open(file, path, len)
    }

    /// Bytes of all pages, the free ones included: the size that etcd reports as `dbSize`.
    pub fn bytes(&self) -> u64 {
        self.meta.bytes()
    }

    pub(in crate::snapshot) fn damaged(&self, damage: Damage) -> Error {
        Error::damaged(&self.path)(damage)
    }

    /// Reads the first page of `page` into `buffer`, after checking that all of it, its overflow too, lies in the file.
    pub(super) fn read_first(&self, page: u64, buffer: &mut Vec<u8>) -> Result<PageHeader, Error> {
        let out_of_range = || {
            let what = format!("it lies outside the {} pages of the file", self.meta.pages);
            self.damaged(Damage::page(page, what))
        };
        // Pages 0 and 1 are the meta pages, which nothing in the tree leads to.
        if page < 2 || page >= self.meta.pages {
            return Err(out_of_range());
        }
        self.read_to(page, 0, u64::from(self.meta.page_size), buffer)?;
        let header = PageHeader::parse(buffer).ok_or_else(out_of_range)?;
        if header.id != page {
            let what = format!("its header says that it is page {}", header.id);
            return Err(self.damaged(Damage::page(page, what)));
        }
        if u64::from(header.overflow) >= self.meta.pages - page {
            return Err(out_of_range());
        }
        Ok(header)
    }

    /// Bytes of a page with its overflow.
    pub(super) fn room(&self, header: PageHeader) -> u64 {
        (u64::from(header.overflow) + 1) * u64::from(self.meta.page_size)
    }

    /// Reads what the elements of a page use of its overflow; `buffer` holds its first page.
    pub(super) fn read_overflow(&self, header: PageHeader, buffer: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            let wanted = node_bytes(header, self.meta.page_size, buffer).map_err(|damage| self.damaged(damage))?;
            if u64::try_from(buffer.len()).is_ok_and(|have| have >= wanted) {
                return Ok(());
            }
            self.read_to(header.id, buffer.len(), wanted, buffer)?;
        }
    }

    /// Reads `page` into `buffer`, which has its first `have` bytes, until it holds `bytes` of it.
    fn read_to(&self, page: u64, have: usize, bytes: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let too_much = || self.damaged(Damage::page(page, format!("cannot hold a page of {bytes} bytes in memory")));
        let want = usize::try_from(bytes).map_err(|_| too_much())?.max(have);
        if bytes > MOST_OF_A_PAGE {
            return Err(too_much());
        }
        // `Vec::resize` alone would abort the process when there is not that much memory.
        buffer.try_reserve_exact(want.saturating_sub(buffer.len())).map_err(|_| too_much())?;
        buffer.resize(want, 0);
        let (_, new) = buffer.split_at_mut(have);
        // This cannot overflow: the page is in the file, and the size of the file is a u64.
        let at = page * u64::from(self.meta.page_size) + u64::try_from(have).map_err(|_| too_much())?;
        self.file.read_exact_at(new, at).map_err(Error::io("read", &self.path))
    }

    /// Reads the numbers of the free pages that are listed in the page of this header, whose first page is `first`. `None`
    /// when it holds no such list.
    pub(super) fn free_pages(
        &self,
        header: PageHeader,
        first: &[u8],
        mut each: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        let Some((at, count)) = header.free_pages(first, self.room(header)) else { return Ok(None) };
        let start = header.id * u64::from(self.meta.page_size) + u64::try_from(at).unwrap_or(0);
        let mut list = BufReader::with_capacity(LIST_BUFFER, ReadAt { file: &self.file, at: start });
        for _ in 0..count {
            let mut number = [0; 8];
            list.read_exact(&mut number).map_err(Error::io("read", &self.path))?;
            each(u64::from_le_bytes(number))?;
        }
        Ok(Some(()))
    }

    /// Tells the kernel which pages will be read soon.
    pub(super) fn will_read(&self, pages: &mut [u64]) {
        // The walk goes in the order of keys, which is not that of pages, so the kernel's own read-ahead is no help. In a
        // pod whose memory limit evicts the file from the page cache, every page would be a small read that waits for the
        // disk: 3.3 s instead of 2.2 s for 1.4 GB.
        pages.sort_unstable();
        let size = u64::from(self.meta.page_size);
        for near in pages.chunk_by(|one, next| next - one <= READ_THROUGH) {
            if let (Some(first), Some(last)) = (near.first(), near.last().filter(|last| **last < self.meta.pages)) {
                let len = NonZeroU64::new((last - first + 1) * size);
                // Only advice: if the kernel refuses it, reading is slower.
                let _ = rustix::fs::fadvise(&self.file, first * size, len, rustix::fs::Advice::WillNeed);
            }
        }
    }
}

/// How many bytes of a branch or a leaf its elements use, as far as `have` tells, which are its bytes from the first on: with
/// as many as that, ask again. Pages of `size` bytes; there is at least one of them.
pub fn node_bytes(header: PageHeader, size: u32, have: &[u8]) -> Result<u64, Damage> {
    let size = u64::from(size);
    let room = (u64::from(header.overflow) + 1) * size;
    let table = header.table_end().and_then(|end| u64::try_from(end).ok()).filter(|end| *end <= room);
    // What is wrong with one that has no table is found in the first page.
    let Some(table) = table.filter(|_| header.overflow != 0) else { return Ok(size) };
    let table = table.max(size);
    if u64::try_from(have.len()).is_ok_and(|have| have < table) {
        return Ok(table);
    }
    // A count of pages is only a number: bbolt gives a page as much overflow as its elements need, so it is they that say how
    // much memory it takes.
    let end = header.data_end(have, room)?;
    // Older versions of bbolt allocate one page more for elements that fill their pages to the last byte.
    if u64::from(header.overflow) > end / size {
        let what = format!("it claims {} more pages, but its elements end after {end} bytes", header.overflow);
        return Err(Damage::page(header.id, what));
    }
    Ok(end.max(table))
}

/// A part of a file, from a byte on.
struct ReadAt<'f> {
    file: &'f File,
    at: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}
