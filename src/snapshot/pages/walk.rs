//! One pass over the pages of a database: each met once, each key where its branch says.

use std::ops::ControlFlow;

use super::page::{BucketRoot, Element, ElementBody, Header, NO_FREELIST, Node};
use crate::snapshot::bolt::{Db, Visit};
use crate::snapshot::{Damage, Error};

/// Levels of pages in one tree. A branch has at least two children, so 32 levels are past every file.
const MAX_DEPTH: usize = 32;
/// Buckets inside one another. etcd has none.
const MAX_NESTING: usize = 8;
/// Buffers above this many bytes (they come from values of megabytes) are not kept for the next page.
const SPARE_LIMIT: usize = 1 << 20;

/// The keys that a page may hold: from `lower` on and below `upper`; those below `from` are not wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span<'a> {
    from: &'a [u8],
    lower: &'a [u8],
    upper: Option<&'a [u8]>,
}

impl<'a> Span<'a> {
    pub fn from_key(from: &'a [u8]) -> Self {
        Self { from, ..Self::default() }
    }

    fn holds(&self, key: &[u8]) -> bool {
        key >= self.lower && self.upper.is_none_or(|upper| key < upper)
    }
}

pub type Flow<E> = Result<ControlFlow<()>, E>;
/// What is done with an element of a leaf, given the page that it lies on.
pub type Each<'a, E> = dyn FnMut(&mut Tree<'_>, u64, Element<'_>) -> Flow<E> + 'a;

/// One pass over the pages of a database.
pub struct Tree<'d> {
    db: &'d Db,
    /// One bit a page, set when the page, or one that it overflows into, was met.
    met: Vec<u64>,
    spare: Vec<Vec<u8>>,
    /// Whether everything will be read, so that the disk can be told in advance.
    whole: bool,
}

impl<'d> Tree<'d> {
    /// `whole` says that every page will be read, not only those towards one key.
    pub fn new(db: &'d Db, whole: bool) -> Self {
        // The number of pages is bounded by the file's size, which `Db::open` compared; a bitmap that
        // could not be addressed is refused by `mark`.
        let words = usize::try_from(db.meta.pages / 64 + 1).unwrap_or(0);
        Self { db, met: vec![0; words], spare: Vec::new(), whole }
    }

    /// Notes that `page` and its overflow were met; a page has one place in the tree.
    fn mark(&mut self, page: u64, overflow: u32) -> Result<(), Error> {
        for met in page..=page + u64::from(overflow) {
            let word = usize::try_from(met / 64).ok().and_then(|word| self.met.get_mut(word));
            let bit = 1 << (met % 64);
            match word {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => {
                    let what = "the page is referenced twice";
                    return Err(self.db.damaged(Damage::page(met, what)));
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, page: u64) -> Result<(Header, Vec<u8>), Error> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        let header = self.db.read(page, &mut buffer)?;
        self.mark(page, header.overflow)?;
        Ok((header, buffer))
    }

    /// Checks the page of the free list, where there is one. etcd never writes it.
    pub fn freelist(&mut self) -> Result<(), Error> {
        let page = self.db.meta.freelist;
        if page == NO_FREELIST {
            return Ok(());
        }
        let (header, buffer) = self.read(page)?;
        if !header.is_freelist_of(&buffer) {
            let what = "the list of free pages is not one";
            return Err(self.db.damaged(Damage::page(page, what)));
        }
        Ok(())
    }

    /// Visits the elements of all leaves under `page`, `depth` levels down.
    pub fn pages<E: From<Error>>(
        &mut self,
        page: u64,
        span: Span<'_>,
        depth: usize,
        each: &mut Each<'_, E>,
    ) -> Flow<E> {
        if depth > MAX_DEPTH {
            let damage = Damage::page(page, "the tree is too deep");
            return Err(self.db.damaged(damage).into());
        }
        let (_, buffer) = self.read(page)?;
        let flow = self.node(page, &buffer, span, depth, each)?;
        if buffer.len() <= SPARE_LIMIT {
            self.spare.push(buffer);
        }
        Ok(flow)
    }

    /// Visits the elements of one node, or of the leaves below it.
    fn node<E: From<Error>>(
        &mut self,
        page: u64,
        bytes: &[u8],
        span: Span<'_>,
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
            if !span.holds(element.key) {
                let damage = Damage::page(page, "a key lies outside the range of its branch");
                return Err(db.damaged(damage).into());
            }
            let flow = match element.body {
                ElementBody::Child(child) => {
                    let next = elements.peek().and_then(|next| next.as_ref().ok());
                    let upper = next.map(|next| next.key).or(span.upper);
                    if upper.is_some_and(|upper| upper <= span.from) {
                        continue;
                    }
                    let lower = element.key;
                    let span = Span { lower, upper, ..span };
                    self.pages(child, span, depth + 1, each)?
                }
                ElementBody::Value(_) | ElementBody::Bucket(_) if element.key < span.from => continue,
                ElementBody::Value(_) | ElementBody::Bucket(_) => each(self, page, element)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits the elements of the bucket whose value lies on `page`.
    pub fn bucket<E: From<Error>>(
        &mut self,
        page: u64,
        value: &[u8],
        span: Span<'_>,
        each: &mut Each<'_, E>,
    ) -> Flow<E> {
        let db = self.db;
        match BucketRoot::parse(page, value).map_err(|damage| db.damaged(damage))? {
            BucketRoot::Page(root) => self.pages(root, span, 0, each),
            BucketRoot::Inline(leaf) => self.node(page, leaf, span, MAX_DEPTH, each),
        }
    }

    /// Visits a bucket and everything in it, further buckets included.
    pub fn inside<E: From<Error>>(
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
        self.bucket(page, value, Span::default(), &mut |tree, page, element| match element.body {
            ElementBody::Bucket(value) => tree.inside(page, element.key, value, depth + 1, visit),
            ElementBody::Value(value) => {
                visit(Visit::Pair { depth: depth + 1, bucket: name, key: element.key, value, page })?;
                Ok(ControlFlow::Continue(()))
            }
            ElementBody::Child(_) => Ok(ControlFlow::Continue(())),
        })
    }
}
