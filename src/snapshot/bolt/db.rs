//! A bbolt database file, read one page at a time.
//!
//! The file is not mapped into memory: mapped pages count as the process's own memory, and a file that shrinks while it
//! is mapped kills the process. In memory are one page for each level of the tree and one bit for each page.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::meta::MetaPage;
use super::page::PageHeader;
use crate::snapshot::error::{Damage, Error};
use crate::snapshot::trailer::without_trailer;
use crate::system::fs::open_regular;

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
        let len = without_trailer(len);
        let meta = MetaPage::newest(&file, path, len)?;
        // From here on a page number below `meta.pages` lies in the file.
        let expected = meta.pages.checked_mul(u64::from(meta.page_size));
        if expected != Some(len) {
            let (pages, size) = (meta.pages, meta.page_size);
            let what = format!("{len} bytes of pages, but the meta page says {pages} pages of {size} bytes");
            return Err(Error::damaged(path)(Damage::file(what)));
        }
        Ok(Self { file, path: path.to_owned(), meta })
    }

    pub fn open_path(path: &Path) -> Result<Self, Error> {
        let (file, len) = open_regular(path).map_err(Error::io("open", path))?;
        Self::open(file, path, len)
    }

    /// Bytes of all pages, the free ones included: the size that etcd reports as `dbSize`.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_size)
    }

    pub(in crate::snapshot) fn damaged(&self, damage: Damage) -> Error {
        Error::damaged(&self.path)(damage)
    }

    /// Reads `page` with its overflow into `buffer`, after checking that all of it lies in the file.
    pub(super) fn read(&self, page: u64, buffer: &mut Vec<u8>) -> Result<PageHeader, Error> {
        let out_of_range = || {
            let what = format!("it lies outside the {} pages of the file", self.meta.pages);
            self.damaged(Damage::page(page, what))
        };
        // Pages 0 and 1 are the meta pages, which nothing in the tree leads to.
        if page < 2 || page >= self.meta.pages {
            return Err(out_of_range());
        }
        let size = usize::try_from(self.meta.page_size).map_err(|_| out_of_range())?;
        // This cannot overflow: the page is in the file, and the size of the file is a u64.
        let at = page * u64::from(self.meta.page_size);
        resize(buffer, size).map_err(Error::io("allocate memory for a page of", &self.path))?;
        self.read_at(buffer, at)?;
        let header = PageHeader::parse(buffer).ok_or_else(out_of_range)?;
        if header.id != page {
            let what = format!("its header says that it is page {}", header.id);
            return Err(self.damaged(Damage::page(page, what)));
        }
        if u64::from(header.overflow) >= self.meta.pages - page {
            return Err(out_of_range());
        }
        if header.overflow > 0 {
            let more = usize::try_from(header.overflow).map_err(|_| out_of_range())?;
            let all = more.checked_add(1).and_then(|pages| pages.checked_mul(size)).ok_or_else(out_of_range)?;
            resize(buffer, all).map_err(Error::io("allocate memory for a page of", &self.path))?;
            let (_, rest) = buffer.split_at_mut(size);
            self.read_at(rest, at + u64::from(self.meta.page_size))?;
        }
        Ok(header)
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

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, at).map_err(Error::io("read", &self.path))
    }
}

fn resize(buffer: &mut Vec<u8>, len: usize) -> std::io::Result<()> {
    // A damaged header can ask for as many bytes as the file has. `Vec::resize` alone would abort the process when there
    // is not that much memory.
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more)?;
    buffer.resize(len, 0);
    Ok(())
}
