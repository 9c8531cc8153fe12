//! A bbolt database, read with positioned reads of one page at a time.
//!
//! Nothing is mapped: a mapped page counts as the process's own memory, and a file that shrinks under a
//! mapping kills the process. What is held is one page for each level of the tree and one bit for each page.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::pages::page::{Element, ElementBody, Header, META_END, Meta, PAGE_SIZES};
use super::pages::walk::{Span, Tree};
use super::proof::pages_len;
use super::{Damage, Error};
use crate::system::fs::open_regular;

/// Gaps of up to this many pages are read with their neighbours.
const READ_THROUGH: u64 = 8;

/// What a walk meets, in the order of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit<'a> {
    /// A bucket begins.
    Bucket {
        /// How many buckets it lies in: 0 for those of etcd.
        depth: usize,
        /// Its name.
        name: &'a [u8],
    },
    /// A key and its value.
    Pair {
        /// How many buckets enclose it: at least 1.
        depth: usize,
        /// The name of the innermost of them.
        bucket: &'a [u8],
        /// The key, never empty.
        key: &'a [u8],
        /// The value, perhaps empty.
        value: &'a [u8],
        /// The page it was read from, for messages.
        page: u64,
    },
}

/// An open database whose meta page is sound and whose size is what that page says.
#[derive(Debug)]
pub struct Db {
    file: File,
    path: PathBuf,
    pub(super) meta: Meta,
}

impl Db {
    /// Opens the database in the first `len` bytes of `file`; `path` is its name in errors.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no meta page is sound or `len` is not pages × page size.
    pub fn open(file: File, path: &Path, len: u64) -> Result<Self, Error> {
        let meta = newest_meta(&file, path, len)?;
        let expected = meta.pages.checked_mul(u64::from(meta.page_size));
        if expected != Some(len) {
            let what = format!(
                "{len} bytes of pages where the meta page says {} pages of {} bytes",
                meta.pages, meta.page_size
            );
            return Err(Error::damaged(path)(Damage::file(what)));
        }
        let path = path.to_owned();
        Ok(Self { file, path, meta })
    }

    /// Opens a file of the disk: a snapshot with its trailer, or a bare database.
    ///
    /// The trailer is not looked at: [`super::prove_file`] does that.
    ///
    /// # Errors
    /// As [`Db::open`], or [`Error::Io`] when the file cannot be opened.
    pub fn open_path(path: &Path) -> Result<Self, Error> {
        let (file, len) = open_regular(path).map_err(Error::io("open", path))?;
        Self::open(file, path, pages_len(len))
    }

    /// Bytes of all pages, those that are free included: what etcd calls the database's size.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_size)
    }

    /// Walks every bucket and pair in key order, checking every page that can be reached.
    ///
    /// Pages that nothing leads to are normal: etcd does not write its list of free pages.
    ///
    /// # Errors
    /// The first damage found, a failed read, or what `visit` returns.
    pub fn walk<E: From<Error>>(&self, mut visit: impl FnMut(Visit<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut tree = Tree::new(self, true);
        tree.freelist()?;
        let root = self.meta.root;
        tree.pages(root, Span::default(), 0, &mut |tree, page, element| match element.body {
            ElementBody::Bucket(value) => tree.inside(page, element.key, value, 0, &mut visit),
            ElementBody::Value(_) | ElementBody::Child(_) => {
                Err(self.damaged(Damage::page(page, "a pair outside every bucket")).into())
            }
        })
        .map(|_| ())
    }

    /// Visits the pairs of the top bucket `bucket` from key `from` on, until `visit` breaks off.
    ///
    /// A bucket that does not exist has no pairs. Buckets inside it are passed over.
    ///
    /// # Errors
    /// As [`Db::walk`], for the pages on the way.
    pub fn scan<E: From<Error>>(
        &self,
        bucket: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut each = |_: &mut Tree<'_>, _: u64, element: Element<'_>| match element.body {
            ElementBody::Value(value) => visit(element.key, value),
            ElementBody::Child(_) | ElementBody::Bucket(_) => Ok(ControlFlow::Continue(())),
        };
        let mut tree = Tree::new(self, false);
        let span = Span::from_key(bucket);
        let root = self.meta.root;
        tree.pages(root, span, 0, &mut |tree, page, element| {
            if let (ElementBody::Bucket(value), true) = (element.body, element.key == bucket) {
                let _ = tree.bucket(page, value, Span::from_key(from), &mut each)?;
            }
            Ok::<_, E>(ControlFlow::Break(()))
        })
        .map(|_| ())
    }

    /// The value of `key` in the top bucket `bucket`.
    ///
    /// # Errors
    /// As [`Db::scan`].
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        self.scan(bucket, key, |at, value| {
            found = (at == key).then(|| value.to_vec());
            Ok::<_, Error>(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Turns a finding about this file into an error.
    pub(super) fn damaged(&self, damage: Damage) -> Error {
        Error::damaged(&self.path)(damage)
    }

    /// Reads `page` with its overflow into `buffer`, after checking that it lies in the file.
    pub(super) fn read(&self, page: u64, buffer: &mut Vec<u8>) -> Result<Header, Error> {
        let out_of_range = || {
            let what = format!("lies outside the {} pages of the file", self.meta.pages);
            self.damaged(Damage::page(page, what))
        };
        if page < 2 || page >= self.meta.pages {
            return Err(out_of_range());
        }
        let size = usize::try_from(self.meta.page_size).map_err(|_| out_of_range())?;
        // No overflow from here on: the page is in the file, and the file's size is a u64.
        let at = page * u64::from(self.meta.page_size);
        fill(buffer, size).map_err(Error::io("hold a page of", &self.path))?;
        self.read_at(buffer, at)?;
        let header = Header::parse(buffer).ok_or_else(out_of_range)?;
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
            fill(buffer, all).map_err(Error::io("hold a page of", &self.path))?;
            let (_, rest) = buffer.split_at_mut(size);
            self.read_at(rest, at + u64::from(self.meta.page_size))?;
        }
        Ok(header)
    }

    /// Tells the system that `pages` will be read soon. The order of keys is not that of pages: without this
    /// a disk that is not in memory (a pod's limit counts what is cached) answers one small read at a time.
    pub(super) fn will_read(&self, pages: &mut [u64]) {
        pages.sort_unstable();
        let size = u64::from(self.meta.page_size);
        for near in pages.chunk_by(|one, next| next - one <= READ_THROUGH) {
            if let (Some(first), Some(last)) = (near.first(), near.last().filter(|last| **last < self.meta.pages)) {
                let len = NonZeroU64::new((last - first + 1) * size);
                // Advice only: a system that does not take it reads a little slower.
                let _ = rustix::fs::fadvise(&self.file, first * size, len, rustix::fs::Advice::WillNeed);
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, at).map_err(Error::io("read", &self.path))
    }
}

/// Makes `buffer` `len` bytes long without ending the process when there is no memory for it.
fn fill(buffer: &mut Vec<u8>, len: usize) -> std::io::Result<()> {
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more)?;
    buffer.resize(len, 0);
    Ok(())
}

/// The sound meta page with the larger transaction number.
fn newest_meta(file: &File, path: &Path, len: u64) -> Result<Meta, Error> {
    let first = read_meta(file, path, len, 0, 0)?;
    let second = match &first {
        Ok(meta) => read_meta(file, path, len, 1, u64::from(meta.page_size))?.ok(),
        Err(_) => second_meta(file, path, len)?,
    };
    match (first, second) {
        (Ok(first), Some(second)) if second.txid > first.txid => Ok(second),
        (Ok(first), _) => Ok(first),
        (Err(_), Some(second)) => Ok(second),
        (Err(damage), None) => Err(Error::damaged(path)(damage)),
    }
}

/// Looks for meta page 1 where each page size would put it, when page 0 cannot say.
fn second_meta(file: &File, path: &Path, len: u64) -> Result<Option<Meta>, Error> {
    let mut size = *PAGE_SIZES.start();
    while size <= *PAGE_SIZES.end() {
        let meta = read_meta(file, path, len, 1, u64::from(size))?;
        if let Some(meta) = meta.ok().filter(|meta| meta.page_size == size) {
            return Ok(Some(meta));
        }
        size *= 2;
    }
    Ok(None)
}

fn read_meta(file: &File, path: &Path, len: u64, page: u64, at: u64) -> Result<Result<Meta, Damage>, Error> {
    let mut bytes = [0; META_END];
    let fits = u64::try_from(META_END).is_ok_and(|need| at.saturating_add(need) <= len);
    if !fits {
        return Ok(Err(Damage::page(page, "the file ends before its meta page")));
    }
    file.read_exact_at(&mut bytes, at).map_err(Error::io("read", path))?;
    Ok(Meta::parse(page, &bytes))
}
