//! One bbolt page as bytes: its header and its elements. Every number is checked before it is used.
//!
//! The layout is that of bbolt's `internal/common/page.go` and `inode.go`. bbolt writes numbers in the byte order of
//! the machine. Only little endian is read here, so a database of an s390x machine is refused for its magic number.

use crate::snapshot::error::Damage;

// Sizes in bytes.
pub const PAGE_HEADER: usize = 16;
/// One entry in the table of elements that follows the header of a branch or a leaf.
const TABLE_ENTRY: usize = 16;
const BUCKET_HEADER: usize = 16;

const BRANCH_FLAG: u16 = 0x01;
const LEAF_FLAG: u16 = 0x02;
pub const META_FLAG: u16 = 0x04;
const FREELIST_FLAG: u16 = 0x10;
const BUCKET_ELEMENT: u32 = 0x01;

#[derive(Debug, Clone, Copy)]
pub struct PageHeader {
    pub id: u64,
    pub flags: u16,
    count: u16,
    /// How many of the pages that follow belong to this one.
    pub overflow: u32,
}

impl PageHeader {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    /// Where the entries of a list of free pages begin, and how many they are; `None` if this page is no such list, or they
    /// do not fit into the `room` bytes that it has with its overflow. `bytes` are the first page.
    pub fn free_pages(self, bytes: &[u8], room: u64) -> Option<(usize, u64)> {
        // bbolt writes a count that does not fit into 16 bits as the first entry.
        let (at, count) = match self.count {
            u16::MAX => (PAGE_HEADER + 8, u64_at(bytes, PAGE_HEADER)?),
            count => (PAGE_HEADER, u64::from(count)),
        };
        let end = count.checked_mul(8)?.checked_add(u64::try_from(at).ok()?)?;
        (self.flags == FREELIST_FLAG && end <= room).then_some((at, count))
    }

    pub fn is_branch(self) -> bool {
        self.flags == BRANCH_FLAG
    }

    /// The bytes of the header and of the table of elements; `None` for a page without elements.
    pub fn table_end(self) -> Option<usize> {
        let has_elements = self.flags == LEAF_FLAG || self.flags == BRANCH_FLAG;
        has_elements.then(|| PAGE_HEADER + usize::from(self.count) * TABLE_ENTRY)
    }

    /// Where the data of the elements end, by the table in `bytes`. With its overflow the page has `room` bytes.
    pub fn data_end(self, bytes: &[u8], room: u64) -> Result<u64, Damage> {
        let mut end = 0;
        for index in 0..usize::from(self.count) {
            let at = |field: usize| u32_at(bytes, PAGE_HEADER + index * TABLE_ENTRY + field).map(u64::from);
            let lengths = if self.flags == LEAF_FLAG { [at(4), at(8), at(12)] } else { [at(0), at(4), Some(0)] };
            let start = u64::try_from(PAGE_HEADER + index * TABLE_ENTRY).ok();
            let own_end = lengths.into_iter().chain([start]).sum::<Option<u64>>().filter(|end| *end <= room);
            end = own_end.ok_or_else(|| out_of_page(self.id, index))?.max(end);
        }
        Ok(end)
    }
}

fn out_of_page(page: u64, element: usize) -> Damage {
    Damage::page(page, format!("element {element} points outside its page"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementBody<'a> {
    /// In a branch: the page with the keys from this one on.
    Child(u64),
    /// In a leaf.
    Value(&'a [u8]),
    /// In a leaf: the header of a bucket, followed by its page if it is inline.
    Bucket(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub key: &'a [u8],
    pub body: ElementBody<'a>,
}

/// A branch or a leaf, the two types of page that make up a tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    bytes: &'a [u8],
    page: u64,
    leaf: bool,
    count: usize,
}

impl<'a> Node<'a> {
    /// `bytes` are the page with all its overflow; `page` is its number, for errors.
    pub fn parse(page: u64, bytes: &'a [u8]) -> Result<Self, Damage> {
        let header = PageHeader::parse(bytes).ok_or_else(|| Damage::page(page, "the page is cut off"))?;
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
        if PAGE_HEADER + count * TABLE_ENTRY > bytes.len() {
            return Err(Damage::page(page, format!("{count} elements do not fit into the page")));
        }
        if !leaf && count == 0 {
            return Err(Damage::page(page, "a branch without children"));
        }
        Ok(Self { bytes, page, leaf, count })
    }

    pub fn is_leaf(&self) -> bool {
        self.leaf
    }

    /// How many elements there are.
    pub fn count(&self) -> u64 {
        self.count.try_into().unwrap_or(u64::MAX)
    }

    /// The pages that the elements of a branch lead to, unchecked.
    pub fn children(&self) -> Vec<u64> {
        let positions = (0..self.count).map(|index| PAGE_HEADER + index * TABLE_ENTRY + 8);
        positions.filter_map(|at| u64_at(self.bytes, at)).collect()
    }

    /// The elements in order, each checked for its bounds and against the key before it.
    pub fn elements(&self) -> Elements<'a> {
        Elements { node: *self, index: 0, floor: PAGE_HEADER + self.count * TABLE_ENTRY, last_key: &[] }
    }
}

pub struct Elements<'a> {
    node: Node<'a>,
    index: usize,
    // Where the data of the next element may begin. bbolt writes the data in the order of the elements, so one that points
    // to an earlier place is damaged. This keeps the data of two elements from overlapping.
    floor: usize,
    last_key: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Reads the element at `self.index`; `None` when a number in it is out of bounds.
    fn read(&mut self) -> Option<Element<'a>> {
        let bytes = self.node.bytes;
        let start = PAGE_HEADER + self.index * TABLE_ENTRY;
        let u32_field = |at| u32_at(bytes, start + at);
        let (pos, key_len, value_len) = if self.node.leaf {
            (u32_field(4)?, u32_field(8)?, u32_field(12)?)
        } else {
            (u32_field(0)?, u32_field(4)?, 0)
        };
        let key_at = start.checked_add(usize::try_from(pos).ok()?)?;
        let key = slice(bytes, key_at, usize::try_from(key_len).ok()?)?;
        let value_at = key_at.checked_add(key.len())?;
        let value = slice(bytes, value_at, usize::try_from(value_len).ok()?)?;
        if key_at < self.floor {
            return None;
        }
        self.floor = value_at.checked_add(value.len())?;
        let body = match (self.node.leaf, u32_field(0)?) {
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
            return Some(Err(out_of_page(page, index)));
        };
        // bbolt refuses to store an empty key.
        if element.key.is_empty() {
            return damage("has no key");
        }
        if element.key <= self.last_key {
            return damage("is out of order");
        }
        self.index += 1;
        self.last_key = element.key;
        Some(Ok(element))
    }
}

/// Where the pairs of a bucket are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketRoot<'a> {
    /// In a tree of its own, which begins at this page.
    Page(u64),
    /// In a leaf inside the value of the bucket itself, as bbolt stores small buckets.
    Inline(&'a [u8]),
}

impl<'a> BucketRoot<'a> {
    /// `value` is that of the bucket, read from page `page`.
    pub fn parse(page: u64, value: &'a [u8]) -> Result<Self, Damage> {
        let cut = || Damage::page(page, "a bucket's header is cut off");
        let root = u64_at(value, 0).ok_or_else(cut)?;
        let rest = value.get(BUCKET_HEADER..).ok_or_else(cut)?;
        if root != 0 {
            return Ok(Self::Page(root));
        }
        let header = PageHeader::parse(rest).ok_or_else(|| Damage::page(page, "an inline bucket without its page"))?;
        if header.id != 0 || header.overflow != 0 || header.flags != LEAF_FLAG {
            return Err(Damage::page(page, "an inline bucket whose page is not a leaf"));
        }
        Ok(Self::Inline(rest))
    }
}

pub fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(slice(bytes, at, 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(slice(bytes, at, 4)?.try_into().ok()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(slice(bytes, at, 8)?.try_into().ok()?))
}
