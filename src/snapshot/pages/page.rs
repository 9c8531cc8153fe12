//! One bbolt page as bytes: its header, its elements, the meta page; every number is checked before it is used.
//!
//! The layout is bbolt's (`internal/common/page.go`, `meta.go` and `inode.go`), little endian as every
//! platform that etcd supports writes it.

use crate::snapshot::Damage;

/// Bytes of a page header.
pub const HEADER: usize = 16;
/// Bytes of one entry in the element table of a branch or a leaf.
const ELEMENT: usize = 16;
/// Bytes of the bucket header that starts a bucket's value.
const BUCKET: usize = 16;
/// Bytes from the start of a meta page to its end.
pub const META_END: usize = HEADER + 64;
/// What `freelist` holds when the list is not written, as etcd always has it.
pub const NO_FREELIST: u64 = u64::MAX;

const BRANCH_FLAG: u16 = 0x01;
const LEAF_FLAG: u16 = 0x02;
const META_FLAG: u16 = 0x04;
const FREELIST_FLAG: u16 = 0x10;
const BUCKET_ELEMENT: u32 = 0x01;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// The first bytes of a page.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub id: u64,
    flags: u16,
    count: u16,
    /// How many more pages follow that belong to this one.
    pub overflow: u32,
}

impl Header {
    /// Reads the header; `None` when there are fewer than 16 bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    /// Whether this page, with its overflow in `bytes`, holds a list of free pages.
    pub fn is_freelist_of(self, bytes: &[u8]) -> bool {
        let room = u64::try_from(bytes.len().saturating_sub(HEADER) / 8).unwrap_or(0);
        // A count that 16 bits cannot hold takes the place of the first entry.
        let entries = match self.count {
            u16::MAX => u64_at(bytes, HEADER).and_then(|count| count.checked_add(1)),
            count => Some(u64::from(count)),
        };
        self.flags == FREELIST_FLAG && entries.is_some_and(|entries| entries <= room)
    }
}

/// The root of everything, as one of the two meta pages gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of a page.
    pub page_size: u32,
    /// The page where the tree of buckets begins.
    pub root: u64,
    /// The page of the free list, or [`NO_FREELIST`].
    pub freelist: u64,
    /// How many pages the file has: the high-water mark.
    pub pages: u64,
    /// The transaction that wrote it.
    pub txid: u64,
}

impl Meta {
    /// Reads and checks meta page `page` (0 or 1) from its first 80 bytes.
    pub fn parse(page: u64, bytes: &[u8]) -> Result<Self, Damage> {
        let damage = |what: &str| Damage::page(page, what);
        let short = || Damage::page(page, "the meta page is cut off");
        let header = Header::parse(bytes).ok_or_else(short)?;
        let body = slice(bytes, HEADER, META_END - HEADER).ok_or_else(short)?;
        let word = |at| u64_at(body, at).ok_or_else(short);
        let half = |at| u32_at(body, at).ok_or_else(short);

        if half(0)? != MAGIC {
            return Err(damage("not a bbolt database: the magic number is missing"));
        }
        let version = half(4)?;
        if version != VERSION {
            return Err(Damage::page(page, format!("bbolt format version {version} is unknown")));
        }
        if word(56)? != fnv1a(body.get(..56).ok_or_else(short)?) {
            return Err(damage("the meta page's checksum does not match"));
        }
        if header.flags != META_FLAG || header.id != page {
            return Err(damage("the meta page's header does not say so"));
        }
        let page_size = half(8)?;
        if !page_size.is_power_of_two() || !PAGE_SIZES.contains(&page_size) {
            return Err(Damage::page(page, format!("a page size of {page_size} bytes is impossible")));
        }
        Ok(Self { page_size, root: word(16)?, freelist: word(32)?, pages: word(40)?, txid: word(48)? })
    }
}

/// The page sizes that an operating system of etcd's can have, with room below and none above.
pub const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// What an element of a branch or a leaf leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementBody<'a> {
    /// A branch element: the page with the keys from this one on.
    Child(u64),
    /// A leaf element: a stored value.
    Value(&'a [u8]),
    /// A leaf element: a bucket's header and, for an inline bucket, its page.
    Bucket(&'a [u8]),
}

/// One element of a branch or a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub key: &'a [u8],
    pub body: ElementBody<'a>,
}

/// A branch or a leaf, the two kinds of page that make a tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    bytes: &'a [u8],
    page: u64,
    leaf: bool,
    count: usize,
}

impl<'a> Node<'a> {
    /// Takes the bytes of a page with all its overflow; `page` is the number for messages.
    pub fn parse(page: u64, bytes: &'a [u8]) -> Result<Self, Damage> {
        let header = Header::parse(bytes).ok_or_else(|| Damage::page(page, "the page is cut off"))?;
        let leaf = match header.flags {
            LEAF_FLAG => true,
            BRANCH_FLAG => false,
            other => {
                return Err(Damage::page(
                    page,
                    format!("a page of the tree has type {other:#x}, neither branch nor leaf"),
                ));
            }
        };
        let count = usize::from(header.count);
        if HEADER + count * ELEMENT > bytes.len() {
            return Err(Damage::page(page, format!("{count} elements do not fit into the page")));
        }
        if !leaf && count == 0 {
            return Err(Damage::page(page, "a branch without children"));
        }
        Ok(Self { bytes, page, leaf, count })
    }

    /// Whether the elements hold values rather than lead to further pages.
    pub fn is_leaf(&self) -> bool {
        self.leaf
    }

    /// The pages that the elements of a branch lead to, unchecked.
    pub fn children(&self) -> Vec<u64> {
        let places = (0..self.count).map(|index| HEADER + index * ELEMENT + 8);
        places.filter_map(|at| u64_at(self.bytes, at)).collect()
    }

    /// The elements in order, each checked for its bounds and against the key before it.
    pub fn elements(&self) -> Elements<'a> {
        Elements { node: *self, index: 0, floor: HEADER + self.count * ELEMENT, last: &[] }
    }
}

/// See [`Node::elements`].
pub struct Elements<'a> {
    node: Node<'a>,
    index: usize,
    /// Where the data of the next element may begin: bbolt writes them one behind the other.
    floor: usize,
    last: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The numbers of the element at `self.index`, and its data in bounds.
    fn read(&mut self) -> Option<Element<'a>> {
        let bytes = self.node.bytes;
        let start = HEADER + self.index * ELEMENT;
        let word = |at| u32_at(bytes, start + at);
        let (pos, key_len, value_len) =
            if self.node.leaf { (word(4)?, word(8)?, word(12)?) } else { (word(0)?, word(4)?, 0) };
        let key_at = start.checked_add(usize::try_from(pos).ok()?)?;
        let key = slice(bytes, key_at, usize::try_from(key_len).ok()?)?;
        let value_at = key_at.checked_add(key.len())?;
        let value = slice(bytes, value_at, usize::try_from(value_len).ok()?)?;
        if key_at < self.floor {
            return None;
        }
        self.floor = value_at.checked_add(value.len())?;
        let body = match (self.node.leaf, word(0)?) {
            (false, _) => ElementBody::Child(u64_at(bytes, start + 8)?),
            (true, 0) => ElementBody::Value(value),
            (true, BUCKET_ELEMENT) => ElementBody::Bucket(value),
            (true, _) => return None,
        };
        Some(Element { key, body })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.node.count {
            return None;
        }
        let index = self.index;
        let page = self.node.page;
        let damage = |what| Some(Err(Damage::page(page, format!("element {index} {what}"))));
        let Some(element) = self.read() else {
            return damage("points outside its place");
        };
        if element.key.is_empty() {
            return damage("has no key");
        }
        if element.key <= self.last {
            return damage("is out of order");
        }
        self.index += 1;
        self.last = element.key;
        Some(Ok(element))
    }
}

/// Where a bucket's pairs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketRoot<'a> {
    /// In a tree of pages of its own.
    Page(u64),
    /// In a leaf that lies inside the bucket's value.
    Inline(&'a [u8]),
}

impl<'a> BucketRoot<'a> {
    /// Reads a bucket's value; `page` is where it lies, for messages.
    pub fn parse(page: u64, value: &'a [u8]) -> Result<Self, Damage> {
        let cut = || Damage::page(page, "a bucket's header is cut off");
        let root = u64_at(value, 0).ok_or_else(cut)?;
        let rest = value.get(BUCKET..).ok_or_else(cut)?;
        if root != 0 {
            return Ok(Self::Page(root));
        }
        let header = Header::parse(rest).ok_or_else(|| Damage::page(page, "an inline bucket without its page"))?;
        if header.id != 0 || header.overflow != 0 || header.flags != LEAF_FLAG {
            return Err(Damage::page(page, "an inline bucket whose page is not a leaf"));
        }
        Ok(Self::Inline(rest))
    }
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(slice(bytes, at, 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(slice(bytes, at, 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(slice(bytes, at, 8)?.try_into().ok()?))
}

/// FNV-1a with 64 bits, bbolt's checksum of a meta page.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
