//! One page of the tree becomes its record.

use super::last_changes::LastChanges;
use super::packed::Writer;
use super::record::{Extent, History, Kind, NAMES, Sum, Tally, Wanted};
use crate::snapshot::bolt::{ElementBody, Node, PageHeader};
use crate::snapshot::error::Damage;
use crate::snapshot::mvcc::{Change, Revision};

/// A change of a key that is wanted, by its number among those.
#[derive(Debug, Clone)]
pub struct WantedChange {
    pub key: usize,
    /// `None` for a deletion.
    pub value: Option<Vec<u8>>,
}

impl WantedChange {
    /// `None` if the key of the change is none of `keys`.
    pub fn of(keys: &[&[u8]], change: &Change<'_>) -> Option<Self> {
        let key = keys.iter().position(|key| *key == change.kv.key)?;
        let value = (!change.revision.tombstone).then(|| change.kv.value.to_vec());
        Some(Self { key, value })
    }

    /// In memory.
    pub fn bytes(&self) -> u64 {
        let value = self.value.as_ref().map_or(0, Vec::len);
        u64::try_from(size_of::<Self>() + value).unwrap_or(u64::MAX)
    }
}

/// What the record of a page becomes.
pub enum Looked {
    /// Its record is in [`Looker::record`], of a leaf without its changes, which are in [`Looker::changes`].
    Branch,
    Leaf,
    /// There are buckets in it, so its own bytes are needed.
    Buckets,
    /// The record would be too long.
    TooLong,
}

/// How many bytes of a page may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub record: usize,
    /// Of the values of [`NAMES`] that are in it.
    pub named: usize,
    /// Of the values of the keys that are wanted.
    pub wanted: u64,
}

/// Looks at one page after another, with the same memory.
#[derive(Debug)]
pub struct Looker {
    pub keys: &'static [&'static [u8]],
    pub record: Writer,
    /// Each change of a leaf: what it is above the one before, and its kind.
    pub changes: Writer,
    named: Writer,
    pub wanted: Vec<WantedChange>,
    /// Filled in the round that needs it.
    pub last_changes: Option<LastChanges>,
}

impl Looker {
    pub fn new(keys: &'static [&'static [u8]]) -> Self {
        let (record, changes, named) = Default::default();
        Self { keys, record, changes, named, wanted: Vec::new(), last_changes: None }
    }

    pub fn clear(&mut self) {
        self.record.clear();
        self.changes.clear();
        self.named.clear();
        self.wanted.clear();
    }

    /// `bytes` are as much of the page as its elements need.
    pub fn look(&mut self, header: PageHeader, bytes: &[u8], room: Room) -> Result<Looked, Damage> {
        self.clear();
        let node = Node::parse(header.id, bytes)?;
        let extent = Extent { overflow: header.overflow, bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX) };
        if node.is_leaf() { self.leaf(node, extent, room) } else { self.branch(node, header.id, extent, room) }
    }

    fn branch(&mut self, node: Node<'_>, page: u64, extent: Extent, room: Room) -> Result<Looked, Damage> {
        self.record.branch(extent, node.count());
        let mut before = page;
        for element in node.elements() {
            let element = element?;
            if let ElementBody::Child(child) = element.body {
                if self.record.bytes.len() + element.key.len() > room.record {
                    return Ok(Looked::TooLong);
                }
                self.record.child(before, element.key, child);
                before = child;
            }
        }
        Ok(Looked::Branch)
    }

    fn leaf(&mut self, node: Node<'_>, extent: Extent, room: Room) -> Result<Looked, Damage> {
        let mut sum = Summing::default();
        for element in node.elements() {
            let element = element?;
            let ElementBody::Value(value) = element.body else { return Ok(Looked::Buckets) };
            self.pair(&mut sum, element.key, value, room);
        }
        let first = sum.first.filter(|_| node.count() > 1);
        let ends = first.map_or(0, <[u8]>::len) + sum.last.len();
        if sum.is_too_long || ends > room.record {
            return Ok(Looked::TooLong);
        }
        let why;
        let history = match sum.fault {
            None => History::Changes(sum.tally),
            Some(Fault::NoRevision) => History::NoRevision,
            Some(Fault::NoChange(text)) => {
                why = text;
                History::NoChange(&why)
            }
        };
        let wanted = match self.wanted.iter().map(WantedChange::bytes).sum() {
            _ if sum.is_wanted_lost => Wanted::Lost,
            0 => Wanted::None,
            bytes if bytes <= room.wanted => Wanted::Noted,
            _ => Wanted::Lost,
        };
        let (first, last) = (sum.first.unwrap_or_default(), sum.last);
        let sum_up = Sum { pairs: node.count(), crc: sum.crc, bytes: sum.bytes, first, last, history, wanted };
        self.record.leaf(extent, &sum_up);
        self.record.number(sum.names);
        self.record.bytes.extend_from_slice(&self.named.bytes);
        if wanted == Wanted::Lost {
            self.wanted.clear();
        }
        if !matches!(sum_up.history, History::Changes(_)) {
            self.changes.clear();
        }
        Ok(Looked::Leaf)
    }

    fn pair<'a>(&mut self, sum: &mut Summing<'a>, key: &'a [u8], value: &'a [u8], room: Room) {
        sum.hash(key);
        sum.hash(value);
        let is_first = sum.first.is_none();
        sum.first.get_or_insert(key);
        sum.last = key;
        let Some(revision) = Revision::parse(key) else {
            sum.fault.get_or_insert(Fault::NoRevision);
            if let Some(name) = NAMES.iter().position(|name| *name == key) {
                sum.is_too_long |= self.named.bytes.len() + value.len() > room.named;
                if sum.is_too_long {
                    return;
                }
                self.named.byte(u8::try_from(name).unwrap_or(u8::MAX));
                self.named.bytes(value);
                sum.names += 1;
            }
            return;
        };
        if sum.fault.is_some() {
            return;
        }
        match Change::parse(revision, value) {
            Err(why) => sum.fault = Some(Fault::NoChange(why)),
            Ok(change) => {
                let kind = Kind::of(change.as_ref());
                sum.tally.add(kind);
                let above = if is_first { 0 } else { revision.main - sum.main };
                sum.main = revision.main;
                self.changes.byte(kind.code());
                self.changes.number(above);
                if let Some(change) = &change {
                    self.want(sum, change, room);
                    if let Some(last_changes) = &mut self.last_changes {
                        last_changes.add(change);
                    }
                }
            }
        }
    }

    fn want(&mut self, sum: &mut Summing<'_>, change: &Change<'_>, room: Room) {
        if !self.keys.contains(&change.kv.key) {
            return;
        }
        // Before it is copied.
        if u64::try_from(change.kv.value.len()).is_ok_and(|bytes| bytes > room.wanted) {
            sum.is_wanted_lost = true;
        } else if let Some(wanted) = WantedChange::of(self.keys, change) {
            // Of one page only the last counts.
            self.wanted.retain(|earlier| earlier.key != wanted.key);
            self.wanted.push(wanted);
        }
    }
}

enum Fault {
    NoRevision,
    NoChange(String),
}

/// A leaf while it is summed up.
#[derive(Default)]
struct Summing<'a> {
    names: u64,
    crc: u32,
    bytes: u64,
    first: Option<&'a [u8]>,
    last: &'a [u8],
    /// The revision of the pair before.
    main: u64,
    tally: Tally,
    fault: Option<Fault>,
    is_wanted_lost: bool,
    is_too_long: bool,
}

impl Summing<'_> {
    fn hash(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
    }
}
