//! What is kept of the pages that pass, within a budget.

use super::look::{LastChanges, Looked, Looker, WantedChange};
use super::record::Record;
use super::table::Table;
use crate::snapshot::bolt::meta::{MetaPage, NO_FREELIST};
use crate::snapshot::bolt::{MOST_OF_A_PAGE, PageHeader, PageSet, node_bytes};
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
}

/// What is kept if there is less and less room. The pages that the tree does not reach cannot be told from those that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Of every page.
    Basic,
    /// Branches are long, and of those that the tree does not reach there may be many.
    Branch,
    /// A leaf's changes are needed only where the history was compacted; buckets lie in the root.
    Detail,
}

/// What is to be done with a page, of which the first bytes are there.
enum Step {
    /// It is looked at again with so many bytes.
    Wait(u64),
    Node(usize),
    FreePages(usize, usize),
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
}

impl Keeper {
    pub fn new(meta: MetaPage, limits: Limits, keys: &'static [&'static [u8]]) -> Self {
        Self {
            meta,
            limits,
            table: Table::new(meta.pages),
            looker: Looker::new(keys),
            round: None,
            wanted: Vec::new(),
            wanted_bytes: 0,
            passed: 0,
            forced: 0,
        }
    }

    /// For the same bytes once more: of them only these pages. With `hash_keys` they are all leaves of the history, and the last
    /// change of each key is found in them.
    pub fn again(self, round: PageSet, hash_keys: bool) -> Self {
        let mut again = Self { round: Some(round), passed: 0, forced: 0, ..self };
        again.looker.last_changes = hash_keys.then(LastChanges::default);
        again
    }

    pub fn keys(&self) -> &'static [&'static [u8]] {
        self.looker.keys
    }

    pub fn last_changes(&mut self) -> Option<LastChanges> {
        self.looker.last_changes.take()
    }

    /// Whether this is the round in which the page must have been kept.
    pub fn was_asked(&self, page: u64) -> bool {
        self.round.as_ref().is_some_and(|round| round.contains(page))
    }

    pub fn record(&self, page: u64) -> Option<Record<'_>> {
        Record::read(page, self.table.get(page)?)
    }

    /// Looks at page `page`, of which there are the bytes `have`: at least its first page. Returns how many bytes of it are needed,
    /// if it has to be looked at again with more.
    pub fn look(&mut self, page: u64, have: &[u8], is_crowded: bool) -> Option<u64> {
        let forced = match &self.round {
            Some(round) if !round.contains(page) => return None,
            round => round.is_some() || page == self.meta.root,
        };
        let header = PageHeader::parse(have)?;
        if header.id != page {
            self.looker.clear();
            self.looker.record.other(header.id);
            self.insert(page, Need::Basic, forced);
            return None;
        }
        match self.step(header, have) {
            Ok(Step::Wait(bytes)) => {
                let fits = bytes <= self.limits.one_page && !is_crowded;
                return (fits || forced).then_some(bytes);
            }
            Ok(Step::FreePages(from, to)) => {
                self.raw(header, have.get(from..to).unwrap_or_default(), forced);
            }
            Ok(Step::Node(bytes)) => self.node(header, have.get(..bytes).unwrap_or(have), forced),
            Err(damage) => self.damaged(page, &damage, forced),
        }
        None
    }

    pub fn passed(&mut self) {
        self.passed += 1;
    }

    fn step(&self, header: PageHeader, have: &[u8]) -> Result<Step, Damage> {
        let page = header.id;
        if u64::from(header.overflow) >= self.meta.pages.saturating_sub(page) {
            return Err(Damage::page(page, format!("it lies outside the {} pages of the file", self.meta.pages)));
        }
        let is_list = self.meta.freelist != NO_FREELIST && page == self.meta.freelist;
        let list = if is_list { Some(self.free_pages(header, have)?) } else { None };
        let bytes = match list {
            Some((_, to)) => to,
            None => node_bytes(header, self.meta.page_size, have)?,
        };
        if bytes > MOST_OF_A_PAGE {
            return Err(Damage::page(page, format!("cannot hold a page of {bytes} bytes in memory")));
        }
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(match list {
            _ if len > have.len() => Step::Wait(bytes),
            Some((from, _)) => Step::FreePages(from, len),
            None => Step::Node(len),
        })
    }

    fn free_pages(&self, header: PageHeader, have: &[u8]) -> Result<(usize, u64), Damage> {
        let room = (u64::from(header.overflow) + 1) * u64::from(self.meta.page_size);
        let list = header
            .free_pages(have, room)
            .and_then(|(from, count)| Some((from, count.checked_mul(8)?.checked_add(u64::try_from(from).ok()?)?)));
        list.ok_or_else(|| {
            Damage::page(header.id, "the meta page says that the free pages are listed here, but they are not")
        })
    }

    fn node(&mut self, header: PageHeader, bytes: &[u8], forced: bool) {
        let page = header.id;
        let used = self.wanted_bytes;
        let room_for = |bytes: u64| forced || used.saturating_add(bytes) <= self.limits.wanted;
        match self.looker.look(header, bytes, room_for) {
            Ok(Looked::Branch) => self.insert(page, Need::Branch, forced),
            Ok(Looked::Leaf) => self.leaf(page, forced),
            Ok(Looked::Buckets) => self.raw(header, bytes, forced),
            Err(damage) => self.damaged(page, &damage, forced),
        }
    }

    fn leaf(&mut self, page: u64, forced: bool) {
        let changes = &self.looker.changes.bytes;
        if self.has_room(Need::Detail, self.looker.record.bytes.len() + changes.len()) || forced {
            self.looker.record.bytes.extend_from_slice(changes);
        }
        if self.was_asked(page) {
            self.wanted.retain(|(known, _)| *known != page);
        }
        for wanted in self.looker.wanted.drain(..) {
            self.wanted_bytes = self.wanted_bytes.saturating_add(wanted.bytes());
            self.wanted.push((page, wanted));
        }
        self.insert(page, Need::Basic, forced);
    }

    fn damaged(&mut self, page: u64, damage: &Damage, forced: bool) {
        self.looker.clear();
        self.looker.record.damaged(damage);
        self.insert(page, Need::Basic, forced);
    }

    fn raw(&mut self, header: PageHeader, bytes: &[u8], forced: bool) {
        self.looker.clear();
        self.looker.record.raw(header.overflow, bytes);
        self.insert(header.id, Need::Detail, forced);
    }

    fn has_room(&self, need: Need, bytes: usize) -> bool {
        let all = self.passed.saturating_mul(self.limits.per_page).saturating_add(self.limits.fixed);
        let part = match need {
            Need::Basic => all,
            Need::Branch => all / 8 * 7,
            Need::Detail => all / 4 * 3,
        };
        u64::try_from(bytes).is_ok_and(|bytes| self.table.used().saturating_add(bytes) <= part)
    }

    fn insert(&mut self, page: u64, need: Need, forced: bool) {
        let record = &self.looker.record.bytes;
        let bytes = u64::try_from(record.len()).unwrap_or(u64::MAX);
        if forced && self.forced.saturating_add(bytes) <= MOST_OF_A_PAGE {
            self.forced += bytes;
        } else if !self.has_room(need, record.len()) {
            return;
        }
        self.table.insert(page, record);
    }
}
