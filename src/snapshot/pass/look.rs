//! One page of the tree becomes its record.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::packed::Writer;
use super::record::{History, Kind, NAMES, Sum, Tally, Wanted};
use crate::snapshot::bolt::{ElementBody, Node, PageHeader};
use crate::snapshot::error::Damage;
use crate::snapshot::mvcc::{Change, Revision};

/// The last change of each key, the key as a hash of 64 bits; the changes may come in any order.
#[derive(Debug, Default)]
pub struct LastChanges {
    by_key: HashMap<u64, Revision>,
    hasher: RandomState,
}

impl LastChanges {
    pub fn add(&mut self, change: &Change<'_>) {
        let last = self.by_key.entry(self.hasher.hash_one(change.kv.key)).or_insert(change.revision);
        *last = change.revision.max(*last);
    }

    /// How many keys were not deleted last.
    pub fn live(&self) -> u64 {
        self.by_key.values().filter(|last| !last.tombstone).count().try_into().unwrap_or(u64::MAX)
    }
}

/// A change of a key that is wanted, by its number among those.
#[derive(Debug, Clone)]
pub struct WantedChange {
    pub key: usize,
    /// `None` for a deletion.
    pub value: Option<Vec<u8>>,
}

impl WantedChange {
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
    pub fn look(&mut self, header: PageHeader, bytes: &[u8], room_for: impl Fn(u64) -> bool) -> Result<Looked, Damage> {
        self.clear();
        let node = Node::parse(header.id, bytes)?;
        if node.is_leaf() { self.leaf(node, header, room_for) } else { self.branch(node, header) }
    }

    fn branch(&mut self, node: Node<'_>, header: PageHeader) -> Result<Looked, Damage> {
        self.record.branch(header.overflow, node.count());
        let mut before = header.id;
        for element in node.elements() {
            let element = element?;
            if let ElementBody::Child(child) = element.body {
                self.record.child(before, element.key, child);
                before = child;
            }
        }
        Ok(Looked::Branch)
    }

    fn leaf(&mut self, node: Node<'_>, header: PageHeader, room_for: impl Fn(u64) -> bool) -> Result<Looked, Damage> {
        let mut sum = Summing { exact: true, ..Summing::default() };
        for element in node.elements() {
            let element = element?;
            let ElementBody::Value(value) = element.body else { return Ok(Looked::Buckets) };
            self.pair(&mut sum, element.key, value);
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
            0 => Wanted::None,
            bytes if room_for(bytes) => Wanted::Noted,
            _ => Wanted::Lost,
        };
        let (first, last) = (sum.first.unwrap_or_default(), sum.last);
        let sum_up = Sum { pairs: node.count(), crc: sum.crc, bytes: sum.bytes, first, last, history, wanted };
        self.record.leaf(header.overflow, &sum_up);
        self.record.number(sum.names);
        self.record.bytes.extend_from_slice(&self.named.bytes);
        if wanted == Wanted::Lost {
            self.wanted.clear();
        }
        if !sum.exact || !matches!(sum_up.history, History::Changes(_)) {
            self.changes.clear();
        }
        Ok(Looked::Leaf)
    }

    fn pair<'a>(&mut self, sum: &mut Summing<'a>, key: &'a [u8], value: &'a [u8]) {
        sum.hash(key);
        sum.hash(value);
        let is_first = sum.first.is_none();
        sum.first.get_or_insert(key);
        sum.last = key;
        let Some(revision) = Revision::parse(key) else {
            sum.fault.get_or_insert(Fault::NoRevision);
            if let Some(name) = NAMES.iter().position(|name| *name == key) {
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
                sum.exact &= above.leading_zeros() >= 2;
                self.changes.number((above << 2) | kind.code());
                if let Some(change) = &change {
                    if let Some(wanted) = WantedChange::of(self.keys, change) {
                        // Of one page only the last counts.
                        self.wanted.retain(|earlier| earlier.key != wanted.key);
                        self.wanted.push(wanted);
                    }
                    if let Some(last_changes) = &mut self.last_changes {
                        last_changes.add(change);
                    }
                }
            }
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
    /// Whether every revision is so little above the one before that it can be kept.
    exact: bool,
}

impl Summing<'_> {
    fn hash(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
    }
}
