//! A page editor: changes single numbers of a snapshot's pages, and makes every checksum fit again, so that a reader has
//! nothing but the numbers themselves to find the change by.

use sha2::{Digest as _, Sha256};

/// Bytes of the header of a page, and of an entry in its table of elements.
pub const HEADER: usize = 16;
pub const ENTRY: usize = 16;

/// Where the numbers of a page's header are.
pub mod header {
    pub const ID: usize = 0;
    pub const FLAGS: usize = 8;
    pub const COUNT: usize = 10;
    pub const OVERFLOW: usize = 12;
}

/// Where the numbers of a meta page are.
pub mod meta {
    pub const MAGIC: usize = 16;
    pub const VERSION: usize = 20;
    pub const PAGE_SIZE: usize = 24;
    pub const ROOT: usize = 32;
    pub const FREELIST: usize = 48;
    pub const PAGES: usize = 56;
    pub const TXID: usize = 64;
    pub const CHECKSUM: usize = 72;
}

/// A snapshot without its trailer.
#[derive(Clone)]
pub struct Pages {
    pub bytes: Vec<u8>,
}

impl Pages {
    pub const SIZE: usize = 4096;

    pub fn of(snapshot: &[u8]) -> Self {
        let pages = Self { bytes: snapshot[..snapshot.len() - 32].to_vec() };
        assert_eq!(pages.u32(0, meta::PAGE_SIZE), 4096);
        pages
    }

    /// With the trailer that fits.
    pub fn sealed(&self) -> Vec<u8> {
        [&self.bytes[..], &Sha256::digest(&self.bytes)].concat()
    }

    pub fn count(&self) -> u64 {
        u64::try_from(self.bytes.len() / Self::SIZE).unwrap()
    }

    pub fn set(&mut self, page: u64, at: usize, number: &[u8]) {
        let at = place(page) + at;
        self.bytes[at..at + number.len()].copy_from_slice(number);
    }

    pub fn set_u16(&mut self, page: u64, at: usize, number: u16) {
        self.set(page, at, &number.to_le_bytes());
    }

    pub fn set_u32(&mut self, page: u64, at: usize, number: u32) {
        self.set(page, at, &number.to_le_bytes());
    }

    pub fn set_u64(&mut self, page: u64, at: usize, number: u64) {
        self.set(page, at, &number.to_le_bytes());
    }

    /// Sets a number of meta page 0 or 1, and the checksum of that page.
    pub fn set_meta(&mut self, page: u64, at: usize, number: &[u8]) {
        self.set(page, at, number);
        let start = place(page) + HEADER;
        let sum = self.bytes[start..start + 56]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        self.set_u64(page, meta::CHECKSUM, sum);
    }

    pub fn set_metas(&mut self, at: usize, number: &[u8]) {
        self.set_meta(0, at, number);
        self.set_meta(1, at, number);
    }

    /// Adds pages of zeros, and says so in the meta pages.
    pub fn grow(&mut self, pages: u64) {
        let count = self.count() + pages;
        self.bytes.resize(usize::try_from(count).unwrap() * Self::SIZE, 0);
        self.set_metas(meta::PAGES, &count.to_le_bytes());
    }

    pub fn u16(&self, page: u64, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[place(page) + at..][..2].try_into().unwrap())
    }

    pub fn u32(&self, page: u64, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[place(page) + at..][..4].try_into().unwrap())
    }

    pub fn u64(&self, page: u64, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[place(page) + at..][..8].try_into().unwrap())
    }

    /// The leaf of the buckets.
    pub fn root(&self) -> u64 {
        self.u64(0, meta::ROOT)
    }

    /// Where the elements of a page are in it: of the entry, of the key and of what follows it.
    pub fn elements(&self, page: u64) -> Vec<(usize, usize, usize)> {
        let leaf = self.u16(page, header::FLAGS) == 2;
        let one = |index: u16| {
            let entry = HEADER + usize::from(index) * ENTRY;
            let number = |at: usize| usize::try_from(self.u32(page, entry + at)).unwrap();
            let (pos, length) = if leaf { (number(4), number(8)) } else { (number(0), number(4)) };
            (entry, entry + pos, entry + pos + length)
        };
        (0..self.u16(page, header::COUNT)).map(one).collect()
    }

    /// The entry of a bucket in the root leaf, and where its value is.
    pub fn bucket(&self, name: &str) -> (usize, usize) {
        let root = self.root();
        let named = |(_, key, value): &(usize, usize, usize)| {
            &self.bytes[place(root) + key..place(root) + value] == name.as_bytes()
        };
        let (entry, _, value) = self.elements(root).into_iter().find(named).expect("a bucket of this name");
        (entry, value)
    }

    /// The page where a bucket that is not inline begins.
    pub fn bucket_root(&self, name: &str) -> u64 {
        self.u64(self.root(), self.bucket(name).1)
    }

    /// The children of a branch.
    pub fn children(&self, branch: u64) -> Vec<u64> {
        self.elements(branch).iter().map(|(entry, ..)| self.u64(branch, entry + 8)).collect()
    }
}

fn place(page: u64) -> usize {
    usize::try_from(page).unwrap() * Pages::SIZE
}
