//! The walk through a database: every bucket and pair, or the pairs of one bucket from a key on.

use std::ops::ControlFlow;

use super::db::{Db, MOST_OF_A_PAGE};
use super::meta::NO_FREELIST;
use super::page::{BucketRoot, Element, ElementBody, Node};
use super::page_set::PageSet;
use crate::snapshot::error::{Damage, Error};

// Levels of pages in one tree. The walk recurses, so a damaged file must not decide how deep. With two children to each
// branch, 32 levels make 16 TiB of pages.
pub const MAX_DEPTH: usize = 32;
// Buckets inside one another. etcd has none.
pub const MAX_NESTING: usize = 8;
// Bytes. Larger buffers, which come from values of megabytes, are freed instead of kept for the next page.
const SPARE_LIMIT: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit<'a> {
    Bucket {
        /// How many buckets enclose it: 0 for etcd's own.
        depth: usize,
        name: &'a [u8],
    },
    Pair {
        /// At least 1.
        depth: usize,
        /// The name of the innermost bucket.
        bucket: &'a [u8],
        key: &'a [u8],
        value: &'a [u8],
        /// For errors.
        page: u64,
    },
}

impl Db {
    /// Visits every bucket and pair in key order, and checks every page that can be reached.
    pub fn walk<E: From<Error>>(&self, mut visit: impl FnMut(Visit<'_>) -> Result<(), E>) -> Result<(), E> {
        // Pages that are never reached are no damage: they are free, and etcd does not write its list of free pages.
        let mut walker = Walker::new(self, true);
        // First, so that a page of a written list counts as damage when the tree refers to it too.
        walker.check_freelist()?;
        let root = self.meta.root;
        walker
            .visit_tree(root, KeyRange::default(), 0, &mut |walker, page, element| match element.body {
                ElementBody::Bucket(value) => walker.visit_nested(page, element.key, value, 0, &mut visit),
                ElementBody::Value(_) | ElementBody::Child(_) => {
                    Err(self.damaged(Damage::page(page, "a pair outside every bucket")).into())
                }
            })
            .map(|_| ())
    }

    /// Visits the pairs of the top bucket `bucket` from key `from` on, until `visit` breaks off. Checks only the pages that
    /// it reads. A bucket that does not exist has no pairs; buckets inside it are skipped.
    pub fn scan<E: From<Error>>(
        &self,
        bucket: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut each = |_: &mut Walker<'_>, _: u64, element: Element<'_>| match element.body {
            ElementBody::Value(value) => visit(element.key, value),
            ElementBody::Child(_) | ElementBody::Bucket(_) => Ok(ControlFlow::Continue(())),
        };
        let mut walker = Walker::new(self, false);
        let (root, range) = (self.meta.root, KeyRange::from_key(bucket));
        walker
            .visit_tree(root, range, 0, &mut |walker, page, element| {
                if let (ElementBody::Bucket(value), true) = (element.body, element.key == bucket) {
                    let _ = walker.visit_bucket(page, value, KeyRange::from_key(from), &mut each)?;
                }
                // The first element from `bucket` on is that bucket, or there is none of its name.
                Ok::<_, E>(ControlFlow::Break(()))
            })
            .map(|_| ())
    }

    /// The value of `key` in the top bucket `bucket`.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        self.scan(bucket, key, |at, value| {
            found = (at == key).then(|| value.to_vec());
            Ok::<_, Error>(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// The keys that a page may hold, from `lower` on and below `upper`.
#[derive(Debug, Clone, Copy, Default)]
struct KeyRange<'a> {
    /// Where the visit begins: keys below this are skipped.
    from: &'a [u8],
    lower: &'a [u8],
    upper: Option<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    fn from_key(from: &'a [u8]) -> Self {
        Self { from, ..Self::default() }
    }

    fn holds(&self, key: &[u8]) -> bool {
        key >= self.lower && self.upper.is_none_or(|upper| key < upper)
    }
}

type Flow<E> = Result<ControlFlow<()>, E>;
/// What is done with each element of a leaf, given the page that it lies on.
type Each<'a, E> = dyn FnMut(&mut Walker<'_>, u64, Element<'_>) -> Flow<E> + 'a;

/// One pass over the pages of a database.
struct Walker<'d> {
    db: &'d Db,
    /// One bit for each page, set when the page is read, also as the overflow of another.
    seen: PageSet,
    /// Bytes of the pages between the root and the page that is being visited.
    held: u64,
    // Buffers to use again: a walk reads as many pages as the file has, but holds only one for each level of the tree.
    spare: Vec<Vec<u8>>,
    /// Whether the walk reads every page, so that the kernel can be told in advance.
    whole: bool,
}

impl<'d> Walker<'d> {
    fn new(db: &'d Db, whole: bool) -> Self {
        // `Db::open` has compared the number of pages with the size of the file, so a damaged number cannot make this
        // bitmap huge. One that is too large for the memory stays empty, and `mark_seen` refuses every page.
        Self { db, seen: PageSet::new(db.meta.pages), held: 0, spare: Vec::new(), whole }
    }

    /// Marks `page` and its overflow.
    fn mark_seen(&mut self, page: u64, overflow: u32) -> Result<(), Error> {
        // A page has one place in the tree. Two references are damage, and a reference to a page higher up would make the
        // walk endless.
        for number in page..=page + u64::from(overflow) {
            if number >= self.db.meta.pages {
                let what = format!("it lies outside the {} pages of the file", self.db.meta.pages);
                return Err(self.db.damaged(Damage::page(number, what)));
            }
            if !self.seen.insert(number) {
                return Err(self.db.damaged(Damage::page(number, "the page is referenced twice")));
            }
        }
        Ok(())
    }

    fn read(&mut self, page: u64) -> Result<Vec<u8>, Error> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        let header = self.db.read_first(page, &mut buffer)?;
        // Before the overflow is read, so that no page is read twice.
        self.mark_seen(page, header.overflow)?;
        self.db.read_overflow(header, &mut buffer)?;
        Ok(buffer)
    }

    fn check_freelist(&mut self) -> Result<(), Error> {
        let (db, page) = (self.db, self.db.meta.freelist);
        if page == NO_FREELIST {
            return Ok(());
        }
        let mut first = Vec::new();
        let header = db.read_first(page, &mut first)?;
        self.mark_seen(page, header.overflow)?;
        // bbolt would write over a page that is listed as free, so none of them may be used.
        let listed = db.free_pages(header, &first, |free| match free {
            0 | 1 => Err(db.damaged(Damage::page(page, "it lists a meta page as free"))),
            _ => self.mark_seen(free, 0),
        })?;
        listed.ok_or_else(|| {
            let what = "the meta page says that the free pages are listed here, but they are not";
            db.damaged(Damage::page(page, what))
        })
    }

    /// Visits the elements of all leaves below `page`, which is `depth` levels down.
    fn visit_tree<E: From<Error>>(
        &mut self,
        page: u64,
        range: KeyRange<'_>,
        depth: usize,
        each: &mut Each<'_, E>,
    ) -> Flow<E> {
        if depth > MAX_DEPTH {
            let damage = Damage::page(page, "the tree is too deep");
            return Err(self.db.damaged(damage).into());
        }
        let buffer = self.read(page)?;
        let held = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        self.held = self.held.saturating_add(held);
        if self.held > MOST_OF_A_PAGE {
            let damage = Damage::page(page, format!("cannot hold {} bytes of pages in memory", self.held));
            return Err(self.db.damaged(damage).into());
        }
        let flow = self.visit_node(page, &buffer, range, depth, each)?;
        self.held -= held;
        if buffer.len() <= SPARE_LIMIT {
            self.spare.push(buffer);
        }
        Ok(flow)
    }

    fn visit_node<E: From<Error>>(
        &mut self,
        page: u64,
        bytes: &[u8],
        range: KeyRange<'_>,
        depth: usize,
        each: &mut Each<'_, E>,
    ) -> Flow<E> {
        let db = self.db;
        let node = Node::parse(page, bytes).map_err(|damage| db.damaged(damage))?;
        if self.whole && !node.is_leaf() {
            db.will_read(&mut node.children());
        }
        let mut elements = node.elements().peekable();
        while let Some(element) = elements.next() {
            let element = element.map_err(|damage| db.damaged(damage))?;
            if !range.holds(element.key) {
                let damage = Damage::page(page, "a key lies outside the range that its branch gives");
                return Err(db.damaged(damage).into());
            }
            let flow = match element.body {
                ElementBody::Child(child) => {
                    // A child holds the keys up to the next child's first; the last child, up to the end of this page's range.
                    let next = elements.peek().and_then(|next| next.as_ref().ok());
                    let upper = next.map(|next| next.key).or(range.upper);
                    if upper.is_some_and(|upper| upper <= range.from) {
                        continue;
                    }
                    let range = KeyRange { lower: element.key, upper, ..range };
                    self.visit_tree(child, range, depth + 1, each)?
                }
                ElementBody::Value(_) | ElementBody::Bucket(_) if element.key < range.from => continue,
                ElementBody::Value(_) | ElementBody::Bucket(_) => each(self, page, element)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_bucket<E: From<Error>>(
        &mut self,
        page: u64,
        value: &[u8],
        range: KeyRange<'_>,
        each: &mut Each<'_, E>,
    ) -> Flow<E> {
        let db = self.db;
        match BucketRoot::parse(page, value).map_err(|damage| db.damaged(damage))? {
            BucketRoot::Page(root) => self.visit_tree(root, range, 0, each),
            // An inline bucket is one leaf: nothing may lie below it.
            BucketRoot::Inline(leaf) => self.visit_node(page, leaf, range, MAX_DEPTH, each),
        }
    }

    /// Visits a bucket and everything in it, further buckets included.
    fn visit_nested<E: From<Error>>(
        &mut self,
        page: u64,
        name: &[u8],
        value: &[u8],
        depth: usize,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<(), E>,
    ) -> Flow<E> {
        if depth > MAX_NESTING {
            return Err(self.db.damaged(Damage::page(page, "buckets are nested too deep")).into());
        }
        visit(Visit::Bucket { depth, name })?;
        self.visit_bucket(page, value, KeyRange::default(), &mut |walker, page, element| match element.body {
            ElementBody::Bucket(value) => walker.visit_nested(page, element.key, value, depth + 1, visit),
            ElementBody::Value(value) => {
                visit(Visit::Pair { depth: depth + 1, bucket: name, key: element.key, value, page })?;
                Ok(ControlFlow::Continue(()))
            }
            ElementBody::Child(_) => Ok(ControlFlow::Continue(())),
        })
    }
}
