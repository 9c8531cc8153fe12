//! What is kept of the pages that pass, within a budget.

use std::mem;

use super::last_changes::LastChanges;
use super::look::{Looked, Looker, Room, WantedChange};
use super::record::{Extent, Record};
use super::refuted::is_refuted;
use super::step::Step;
use super::table::Table;
use crate::snapshot::bolt::meta::MetaPage;
use crate::snapshot::bolt::{MOST_OF_A_PAGE, PageHeader, PageSet};
use crate::snapshot::error::Damage;

/// How much memory a pass may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of records, whatever the size of the file, and for each page that has passed.
    pub fixed: u64,
    pub per_page: u64,
    /// Bytes of a page with its overflow. etcd takes requests of 1.5 MiB, and bbolt puts up to four such values on a page.
    pub one_page: u64,
    /// Bytes of the values of the wanted keys.
    pub wanted: u64,
}

impl Limits {
    pub const USUAL: Self = Self { fixed: 3 << 20, per_page: 56, one_page: 13 << 19, wanted: 256 << 10 };

    /// For pages of this size. What finds a page takes up to eight bytes of each, however small it is; so a file of small pages,
    /// of which none of etcd's platforms makes one, gets as much memory in all as one of the usual pages.
    pub fn of(self, page_size: u32) -> Self {
        let all = (self.per_page + FINDING) * u64::from(page_size.min(USUAL_PAGE)) / u64::from(USUAL_PAGE);
        Self { per_page: all.saturating_sub(FINDING), ..self }
    }
}

/// Bytes of memory that find a page.
const FINDING: u64 = 8;
/// In bytes: the smallest page of etcd's platforms.
const USUAL_PAGE: u32 = 4096;

/// So many pages that have not ended yet are waited for. In a sound file it is one; what nothing leads to may claim anything.
const MOST_OPEN: usize = 16;
/// Bytes of the records that one round keeps whatever the room. A page's own is at most a little longer than the page.
const MOST_OF_A_ROUND: u64 = MOST_OF_A_PAGE + 64;
/// Bytes of values by the names of etcd's own records, of one page; the real ones have a few hundred.
const MOST_NAMED: usize = 64 << 10;

/// What is kept if there is less and less room. The pages that the tree does not reach cannot be told from those that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Of every page.
    Basic,
    /// Branches are long, and of those that the tree does not reach there may be many.
    Branch,
    /// A leaf's changes are needed only where the history was compacted; few files have a list of free pages.
    Detail,
}

#[derive(Debug)]
pub struct Keeper {
    pub meta: MetaPage,
    limits: Limits,
    table: Table,
    looker: Looker,
    /// The pages that this round is for; in the first one all.
    round: Option<PageSet>,
    /// By page.
    pub wanted: Vec<(u64, WantedChange)>,
    wanted_bytes: u64,
    /// Pages that have passed.
    passed: u64,
    /// Bytes that were kept in this round whatever the room.
    forced: u64,
    /// How many of the pages that this round is for were kept.
    kept: u64,
    /// When so many pages have passed, it is worth to look once more for what can be removed.
    next_sweep: u64,
}

impl Keeper {
    pub fn new(meta: MetaPage, limits: Limits, keys: &'static [&'static [u8]]) -> Self {
        Self {
            meta,
            limits: limits.of(meta.page_size),
            table: Table::new(meta.pages),
            looker: Looker::new(keys),
            round: None,
            wanted: Vec::new(),
            wanted_bytes: 0,
            passed: 0,
            forced: 0,
            kept: 0,
            next_sweep: 0,
        }
    }

    /// For the same bytes once more: of them only these pages. With `last_changes` they are the leaves of the history, in which the
    /// last change of each key is found; nothing else is kept of them.
    pub fn again(self, round: PageSet, last_changes: Option<LastChanges>) -> Self {
        let mut again = Self { round: Some(round), forced: 0, kept: 0, ..self };
        again.looker.last_changes = last_changes;
        again
    }

    /// Whether another round for pages would be like this one.
    pub fn is_stuck(&self) -> bool {
        self.round.is_some() && self.kept == 0
    }

    /// The pages of this round.
    pub fn asked(&mut self) -> Option<PageSet> {
        self.round.take()
    }

    /// Bytes for the last changes of keys, of the memory that is not taken by records.
    pub fn room_for_keys(&self) -> u64 {
        let all = self.meta.pages.saturating_mul(self.limits.per_page).saturating_add(self.limits.fixed);
        all.saturating_sub(self.table.used())
    }

    /// Those of which the newest state is wanted.
    pub fn keys(&self) -> &'static [&'static [u8]] {
        self.looker.keys
    }

    /// What a round for keys has counted; it is given once.
    pub fn last_changes(&mut self) -> Option<LastChanges> {
        self.looker.last_changes.take()
    }

    fn was_asked(&self, page: u64) -> bool {
        self.round.as_ref().is_some_and(|round| round.contains(page))
    }

    /// `None` of a page that has not passed, for which there was no room, or that was removed to make some.
    pub fn record(&self, page: u64) -> Option<Record<'_>> {
        Record::read(page, self.table.get(page)?)
    }

    /// Looks at page `page`, of which there are the bytes `have`: at least its first page. When it arrived, so many others were
    /// waited for. Returns how many bytes of it are needed, if it has to be looked at again with more.
    pub fn look(&mut self, page: u64, have: &[u8], open: usize) -> Option<u64> {
        let forced = match &self.round {
            Some(round) if !round.contains(page) => return None,
            round => round.is_some() || page == self.meta.root,
        };
        let header = PageHeader::parse(have)?;
        if self.round.is_some() && open > 0 {
            // The tree leads to it and to one that says that these bytes are its own. If each of many pages were waited for to the end
            // of the file, it would take for ever.
            self.damaged(page, &Damage::page(page, "the page is referenced twice"), forced);
            return None;
        }
        if header.id != page {
            self.looker.clear();
            self.looker.record.other(header.id);
            self.insert(page, Need::Basic, &[], forced);
            return None;
        }
        match Step::of(&self.meta, header, have) {
            Ok(Step::Wait(bytes)) => {
                let fits = bytes <= self.limits.one_page && open < MOST_OPEN;
                return (fits || forced).then_some(bytes);
            }
            Ok(Step::FreePages(from, to)) => {
                self.raw(header, have.get(from..to).unwrap_or_default(), forced);
            }
            Ok(Step::Node(bytes)) => self.node(header, have.get(..bytes).unwrap_or(have), forced),
            Err(damage) => {
                self.damaged(page, &damage, forced);
            }
        }
        None
    }

    /// Counts one page, which makes room for records. In a later round nothing is made: the first one has counted all.
    pub fn passed(&mut self) {
        self.passed += u64::from(self.round.is_none());
    }

    fn node(&mut self, header: PageHeader, bytes: &[u8], forced: bool) {
        if !self.is_node_kept(header, bytes, forced) && !forced && self.sweep() {
            self.is_node_kept(header, bytes, forced);
        }
    }

    fn is_node_kept(&mut self, header: PageHeader, bytes: &[u8], forced: bool) -> bool {
        let page = header.id;
        let room = self.room_of(header, forced);
        let looked = self.looker.look(header, bytes, room);
        // The records are there, and the tree has been checked.
        if self.looker.last_changes.is_some() {
            return true;
        }
        match looked {
            Ok(Looked::Branch) => self.insert(page, Need::Branch, &[], forced),
            Ok(Looked::Leaf) => self.leaf(page, forced),
            // Elsewhere than in the root they are those of others, or of a root that is not used any more.
            Ok(Looked::Buckets) => forced && self.raw(header, bytes, forced),
            Ok(Looked::TooLong) => false,
            Err(damage) => self.damaged(page, &damage, forced),
        }
    }

    fn room_of(&self, header: PageHeader, forced: bool) -> Room {
        if forced {
            let most = usize::try_from(MOST_OF_A_PAGE).unwrap_or(usize::MAX);
            return Room { record: most, named: most, wanted: MOST_OF_A_PAGE.saturating_sub(self.forced) };
        }
        let need = if header.is_branch() { Need::Branch } else { Need::Basic };
        let wanted = self.limits.wanted.saturating_sub(self.wanted_bytes);
        Room { record: usize::try_from(self.room(need)).unwrap_or(usize::MAX), named: MOST_NAMED, wanted }
    }

    fn leaf(&mut self, page: u64, forced: bool) -> bool {
        let changes = mem::take(&mut self.looker.changes);
        let len = u64::try_from(self.looker.record.bytes.len() + changes.bytes.len()).unwrap_or(u64::MAX);
        let kept = if forced || len <= self.room(Need::Detail) { changes.bytes.as_slice() } else { &[] };
        let is_kept = self.insert(page, Need::Basic, kept, forced);
        self.looker.changes = changes;
        if is_kept {
            if self.was_asked(page) {
                self.wanted.retain(|(known, _)| *known != page);
            }
            for wanted in self.looker.wanted.drain(..) {
                let bytes = wanted.bytes();
                self.wanted_bytes = self.wanted_bytes.saturating_add(bytes);
                self.forced += if forced { bytes } else { 0 };
                self.wanted.push((page, wanted));
            }
        }
        is_kept
    }

    fn damaged(&mut self, page: u64, damage: &Damage, forced: bool) -> bool {
        self.looker.clear();
        self.looker.record.damaged(damage);
        self.insert(page, Need::Basic, &[], forced)
    }

    fn raw(&mut self, header: PageHeader, bytes: &[u8], forced: bool) -> bool {
        self.looker.clear();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.looker.record.raw(Extent { overflow: header.overflow, bytes: len }, len);
        self.insert(header.id, Need::Detail, bytes, forced)
    }

    /// Bytes that may still be kept.
    fn room(&self, need: Need) -> u64 {
        let all = self.passed.saturating_mul(self.limits.per_page).saturating_add(self.limits.fixed);
        let part = match need {
            Need::Basic => all,
            Need::Branch => all / 8 * 7,
            Need::Detail => all / 4 * 3,
        };
        part.saturating_sub(self.table.used().saturating_sub(self.forced))
    }

    /// Keeps the record that was made, with `rest` behind it.
    fn insert(&mut self, page: u64, need: Need, rest: &[u8], forced: bool) -> bool {
        let bytes = u64::try_from(self.looker.record.bytes.len() + rest.len()).unwrap_or(u64::MAX);
        if forced && self.forced.saturating_add(bytes) <= MOST_OF_A_ROUND {
            self.forced += bytes;
        } else if forced && bytes > MOST_OF_A_ROUND {
            // It would be asked for over and over again.
            let damage = Damage::page(page, "cannot hold what the proof needs of this page in memory");
            return self.damaged(page, &damage, forced);
        } else if self.round.is_some() || bytes > self.room(need) {
            return false;
        }
        let is_kept = self.table.insert(page, [&self.looker.record.bytes, rest]);
        self.kept += u64::from(is_kept && self.was_asked(page));
        is_kept
    }

    /// Makes room: removes the branches that cannot be in use, since what they lead to is not what they say. Whichever the tree
    /// reaches nevertheless is asked for in the next round, and is found to be damaged then. Returns whether it is worth a try.
    fn sweep(&mut self) -> bool {
        if self.passed < self.next_sweep || self.round.is_some() {
            return false;
        }
        // Each takes as long as there are pages, so there are fewer and fewer.
        self.next_sweep = self.passed + self.passed / 8 + 1;
        // How many pages there are in all is not to be believed yet.
        let pages = self.meta.pages.min(self.passed + 2);
        let mut refuted = PageSet::new(pages);
        for page in 2..pages {
            if is_refuted(page, self.meta.pages, |page| self.record(page)) {
                refuted.insert(page);
            }
        }
        self.table.remove(|page| refuted.contains(page));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::build::{SIZE, bucket, db, inline, leaf, patched, value};

    #[test]
    fn small_pages_take_no_more_memory_than_the_usual_ones() {
        let (first, last) = ("a".repeat(100), "b".repeat(100));
        let page = |id| leaf(id, &[(&first, value("1")), (&last, value("2"))]);
        let meta = MetaPage::of_snapshot(&db(&[page(2)])).unwrap().unwrap();
        let meta = MetaPage { pages: 20_000, ..meta };
        let mut keeper = Keeper::new(meta, Limits { fixed: 0, ..Limits::USUAL }, &[]);
        for id in 3..meta.pages {
            assert_eq!(keeper.look(id, &page(id), 0), None);
            keeper.passed();
        }
        let memory = keeper.table.used() + meta.pages * FINDING;
        assert!(memory <= meta.bytes() / 4096 * 64, "{memory}");
        for page_size in [4096, 16_384, 65_536] {
            assert_eq!(Limits::USUAL.of(page_size).per_page, Limits::USUAL.per_page);
        }
    }

    #[test]
    fn a_later_round_does_not_wait_for_two_pages_at_once() {
        // Each claims to reach to the end of the file.
        let claiming = |id: u64, pages: u32| {
            let page = leaf(id, &[("a", value("1"))]);
            let len = pages * 512 - 33;
            patched(patched(page, 12, &(pages - 1).to_le_bytes()), 28, &len.to_le_bytes())
        };
        let root = leaf(2, &[("b", bucket(3)), ("key", inline(&[])), ("meta", inline(&[]))]);
        let file = db(&[root, claiming(3, 9), claiming(4, 8), vec![0; 7 * SIZE]]);
        let meta = MetaPage::of_snapshot(&file).unwrap().unwrap();
        let mut asked = PageSet::new(meta.pages);
        assert!(asked.insert(3) && asked.insert(4));
        let mut keeper = Keeper::new(meta, Limits::USUAL, &[]).again(asked, None);
        assert_eq!(keeper.look(3, &claiming(3, 9), 0), Some(9 * 512));
        assert_eq!(keeper.look(4, &claiming(4, 8), 1), None);
        assert!(matches!(keeper.record(4), Some(Record::Damaged(_))));
    }
}
