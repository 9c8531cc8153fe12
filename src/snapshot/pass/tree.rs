//! The tree of the pages that have passed, from the root on, by their records.

use super::keeper::Keeper;
use super::record::{Children, Leaf, Record, Wanted};
use super::sums::Sums;
use crate::snapshot::bolt::meta::NO_FREELIST;
use crate::snapshot::bolt::{BucketRoot, ElementBody, MAX_DEPTH, MAX_NESTING, MOST_OF_A_PAGE, Node, PageSet};
use crate::snapshot::error::Damage;
use crate::snapshot::mvcc::buckets;

/// The keys that a page may hold, from the first on and below the second.
#[derive(Debug, Clone, Copy)]
struct Range<'a>(&'a [u8], Option<&'a [u8]>);

const ALL: Range<'_> = Range(&[], None);

impl Range<'_> {
    fn check(self, page: u64, key: &[u8]) -> Result<(), Damage> {
        if key >= self.0 && self.1.is_none_or(|upper| key < upper) {
            return Ok(());
        }
        Err(Damage::page(page, "a key lies outside the range that its branch gives"))
    }
}

/// Where in the tree a page is.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    /// Among etcd's own buckets.
    Top,
    /// In this bucket, so many levels down: 1 in one of etcd's own.
    Bucket(usize, &'a [u8]),
}

/// A visit of all pages that the tree reaches, in key order, by their records.
pub struct Tree<'k> {
    keeper: &'k Keeper,
    sums: Sums,
    seen: PageSet,
    /// Pages of the tree whose record is not there, or does not tell enough.
    missing: PageSet,
    /// The leaves of the history, if each key of them is wanted.
    history: PageSet,
    /// Bytes of the pages between the root and the page that is being visited.
    held: u64,
    /// The buckets that are read, if it is not all.
    only: Option<&'static [&'static [u8]]>,
}

/// What was found, and the pages that are missing for it.
pub struct Checked {
    pub sums: Sums,
    pub missing: PageSet,
    pub history: PageSet,
}

/// Checks every page that can be reached. Other pages are `missing` already.
pub fn whole(keeper: &Keeper, sums: Sums, missing: PageSet) -> Result<Checked, Damage> {
    let mut tree = Tree { missing, ..Tree::new(keeper, sums, None) };
    // First, so that a page of a written list counts as damage when the tree refers to it too.
    tree.free_pages()?;
    tree.page(keeper.meta.root, ALL, 0, Place::Top)?;
    Ok(Checked { sums: tree.sums, missing: tree.missing, history: tree.history })
}

/// Reads the buckets of etcd's own records alone.
pub fn records(keeper: &Keeper, sums: Sums) -> Result<Checked, Damage> {
    let mut tree = Tree::new(keeper, sums, Some(&[buckets::META, buckets::CLUSTER]));
    tree.page(keeper.meta.root, ALL, 0, Place::Top)?;
    Ok(Checked { sums: tree.sums, missing: tree.missing, history: tree.history })
}

impl<'k> Tree<'k> {
    fn new(keeper: &'k Keeper, sums: Sums, only: Option<&'static [&'static [u8]]>) -> Self {
        let [seen, missing, history] = [(); 3].map(|()| PageSet::new(keeper.meta.pages));
        Self { keeper, sums, seen, missing, history, held: 0, only }
    }

    fn see(&mut self, page: u64, overflow: u32) -> Result<(), Damage> {
        for number in page..=page.saturating_add(overflow.into()) {
            if !self.seen.insert(number) {
                return Err(Damage::page(number, "the page is referenced twice"));
            }
        }
        Ok(())
    }

    fn record(&mut self, page: u64) -> Result<Option<Record<'k>>, Damage> {
        // Pages 0 and 1 are the meta pages, which nothing in the tree leads to.
        if page < 2 || page >= self.keeper.meta.pages {
            return Err(Damage::page(
                page,
                format!("it lies outside the {} pages of the file", self.keeper.meta.pages),
            ));
        }
        let record = self.keeper.record(page);
        match &record {
            None => {
                self.see(page, 0)?;
                self.missing.insert(page);
            }
            Some(Record::Other(id)) => {
                return Err(Damage::page(page, format!("its header says that it is page {id}")));
            }
            Some(Record::Damaged(damage)) => return Err(damage.clone()),
            Some(Record::Branch(extent, _) | Record::Leaf(extent, _) | Record::Raw(extent, _)) => {
                self.see(page, extent.overflow)?;
            }
        }
        Ok(record)
    }

    fn free_pages(&mut self) -> Result<(), Damage> {
        let page = self.keeper.meta.freelist;
        if page == NO_FREELIST {
            return Ok(());
        }
        let Some(Record::Raw(_, list)) = self.record(page)? else { return Ok(()) };
        // bbolt would write over a page that is listed as free, so none of them may be used.
        for number in list.as_chunks::<8>().0 {
            let free = u64::from_le_bytes(*number);
            if free < 2 {
                return Err(Damage::page(page, "it lists a meta page as free"));
            }
            if free >= self.keeper.meta.pages {
                let what = format!("it lies outside the {} pages of the file", self.keeper.meta.pages);
                return Err(Damage::page(free, what));
            }
            self.see(free, 0)?;
        }
        Ok(())
    }

    /// Visits `page`, `depth` levels down in its own tree.
    fn page(&mut self, page: u64, range: Range<'_>, depth: usize, place: Place<'_>) -> Result<(), Damage> {
        if depth > MAX_DEPTH {
            return Err(Damage::page(page, "the tree is too deep"));
        }
        let Some(record) = self.record(page)? else { return Ok(()) };
        let held = match &record {
            Record::Branch(extent, _) | Record::Leaf(extent, _) | Record::Raw(extent, _) => extent.bytes,
            Record::Other(_) | Record::Damaged(_) => 0,
        };
        let held = held.max(self.keeper.meta.page_size.into());
        self.held = self.held.saturating_add(held);
        // A pass does not hold them, but who reads a part of the database later does, and it refuses them.
        if self.held > MOST_OF_A_PAGE {
            return Err(Damage::page(page, format!("cannot hold {} bytes of pages in memory", self.held)));
        }
        match record {
            Record::Branch(_, children) => self.branch(page, children, range, depth, place)?,
            Record::Leaf(_, leaf) => self.leaf(page, &leaf, range, place)?,
            Record::Raw(_, bytes) => self.elements(page, bytes, range, place)?,
            Record::Other(_) | Record::Damaged(_) => {}
        }
        self.held -= held;
        Ok(())
    }

    fn branch(
        &mut self,
        page: u64,
        children: Children<'_>,
        range: Range<'_>,
        depth: usize,
        place: Place<'_>,
    ) -> Result<(), Damage> {
        let mut children = children.peekable();
        while let Some((key, child)) = children.next() {
            range.check(page, &key)?;
            // A child holds the keys up to the next child's first; the last child, up to the end of this page's range.
            let upper = children.peek().map(|(key, _)| key.as_slice()).or(range.1);
            self.page(child, Range(&key, upper), depth + 1, place)?;
        }
        Ok(())
    }

    fn leaf(&mut self, page: u64, leaf: &Leaf<'_>, range: Range<'_>, place: Place<'_>) -> Result<(), Damage> {
        if let Some((first, last)) = &leaf.ends {
            range.check(page, first)?;
            range.check(page, last)?;
            if let Place::Top = place {
                return Err(Damage::page(page, "a pair outside every bucket"));
            }
        }
        let Place::Bucket(1, bucket) = place else { return Ok(()) };
        if !self.sums.leaf(page, bucket, leaf)? {
            self.missing.insert(page);
        }
        if bucket == buckets::KEY && self.sums.live.needs_leaves() {
            self.history.insert(page);
        }
        if bucket == buckets::KEY && leaf.wanted == Wanted::Noted {
            let noted = self.keeper.wanted.iter().filter(|(noted, _)| *noted == page);
            noted.for_each(|(_, change)| self.sums.wanted(change.clone()));
        }
        Ok(())
    }

    /// Visits the elements of a leaf by its own bytes.
    fn elements(&mut self, page: u64, bytes: &[u8], range: Range<'_>, place: Place<'_>) -> Result<(), Damage> {
        for element in Node::parse(page, bytes)?.elements() {
            let element = element?;
            range.check(page, element.key)?;
            match (element.body, place) {
                (ElementBody::Bucket(value), Place::Top) => self.bucket(page, element.key, value, 0)?,
                (ElementBody::Bucket(value), Place::Bucket(depth, _)) => {
                    self.bucket(page, element.key, value, depth)?;
                }
                (ElementBody::Value(_), Place::Top) => return Err(Damage::page(page, "a pair outside every bucket")),
                (ElementBody::Value(value), Place::Bucket(1, bucket)) => {
                    let pair = self.sums.pair(self.keeper.keys(), bucket, element.key, value);
                    pair.map_err(|what| Damage::page(page, what))?;
                }
                (ElementBody::Value(_) | ElementBody::Child(_), _) => {}
            }
        }
        Ok(())
    }

    /// Visits a bucket inside `depth` others, and everything in it.
    fn bucket(&mut self, page: u64, name: &[u8], value: &[u8], depth: usize) -> Result<(), Damage> {
        if depth == 0 && self.only.is_some_and(|only| !only.contains(&name)) {
            return Ok(());
        }
        if depth > MAX_NESTING {
            return Err(Damage::page(page, "buckets are nested too deep"));
        }
        self.sums.bucket(depth, name);
        let place = Place::Bucket(depth + 1, name);
        match BucketRoot::parse(page, value)? {
            BucketRoot::Page(root) => self.page(root, ALL, 0, place),
            // An inline bucket is one leaf: nothing may lie below it.
            BucketRoot::Inline(leaf) => self.elements(page, leaf, ALL, place),
        }
    }
}
