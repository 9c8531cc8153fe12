//! What is kept of a page: its record, as bytes and as what they mean.

use super::packed::{Reader, Writer};
use crate::snapshot::error::Damage;
use crate::snapshot::mvcc::{Change, buckets};

const OTHER: u8 = 0;
const DAMAGED: u8 = 1;
const BRANCH: u8 = 2;
const LEAF: u8 = 3;
const RAW: u8 = 4;

const SOUND: u8 = 0;
const NO_REVISION: u8 = 1;
const NO_CHANGE: u8 = 2;

/// The records outside the history that a proof reads.
pub const NAMES: [&[u8]; 7] = [
    buckets::CONSISTENT_INDEX,
    buckets::TERM,
    buckets::CONF_STATE,
    buckets::STORAGE_VERSION,
    buckets::SCHEDULED_COMPACTION,
    buckets::FINISHED_COMPACTION,
    buckets::CLUSTER_VERSION,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A put that creates its key.
    First,
    /// A put of a key that is there.
    Further,
    Tombstone,
    /// A revision that changes no key.
    Nothing,
}

impl Kind {
    const ALL: [Self; 4] = [Self::First, Self::Further, Self::Tombstone, Self::Nothing];

    /// `None` is a revision that changes no key. etcd counts the versions of a key from 1, anew after each deletion.
    pub fn of(change: Option<&Change<'_>>) -> Self {
        match change {
            None => Self::Nothing,
            Some(change) if change.revision.tombstone => Self::Tombstone,
            Some(change) if change.kv.version == 1 => Self::First,
            Some(_) => Self::Further,
        }
    }

    pub fn code(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Further => 1,
            Self::Tombstone => 2,
            Self::Nothing => 3,
        }
    }
}

/// How many changes of each kind, of those that a count of the live keys needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub puts: u64,
    pub firsts: u64,
    pub tombstones: u64,
}

impl Tally {
    pub fn add(&mut self, kind: Kind) {
        self.puts += u64::from(matches!(kind, Kind::First | Kind::Further));
        self.firsts += u64::from(kind == Kind::First);
        self.tombstones += u64::from(kind == Kind::Tombstone);
    }
}

/// Whether the pairs of a leaf are changes of the history. It matters only for a leaf of that bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History<'a> {
    Changes(Tally),
    /// A key is no revision.
    NoRevision,
    /// A value is no change, for this reason.
    NoChange(&'a str),
}

/// Whether a leaf has changes of the keys that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    None,
    Noted,
    /// There was no room for them.
    Lost,
}

/// A leaf without buckets, summed up.
#[derive(Debug, Clone, Copy)]
pub struct Sum<'a> {
    pub pairs: u64,
    /// CRC-32C of all keys and values, and of how many bytes.
    pub crc: u32,
    pub bytes: u64,
    pub first: &'a [u8],
    pub last: &'a [u8],
    pub history: History<'a>,
    pub wanted: Wanted,
}

/// The record of a leaf, as far as it is read with a glance.
#[derive(Debug)]
pub struct Leaf<'t> {
    pub pairs: u64,
    pub crc: u32,
    pub bytes: u64,
    /// The first key and the last, of a leaf that has any.
    pub ends: Option<(Vec<u8>, Vec<u8>)>,
    pub history: History<'t>,
    pub wanted: Wanted,
    rest: Reader<'t>,
}

impl<'t> Leaf<'t> {
    /// Those of [`NAMES`] that are in the leaf, with their values.
    pub fn named(&self) -> impl Iterator<Item = (&'static [u8], &'t [u8])> + use<'t> {
        let mut rest = self.rest;
        let count = rest.number().unwrap_or(0);
        (0..count).map_while(move |_| {
            let name = NAMES.get(usize::from(rest.byte()?))?;
            Some((*name, rest.bytes()?))
        })
    }

    /// The main revision and the kind of each pair; nothing if there was no room to keep that. `first` is the revision of the
    /// first.
    pub fn changes(&self, first: u64) -> impl Iterator<Item = (u64, Kind)> + use<'t> {
        let mut rest = self.rest;
        let named = rest.number().unwrap_or(0);
        for _ in 0..named {
            let _ = (rest.byte(), rest.bytes());
        }
        let mut main = first;
        std::iter::from_fn(move || {
            let kind = *Kind::ALL.get(usize::from(rest.byte()?))?;
            main = main.checked_add(rest.number()?)?;
            Some((main, kind))
        })
    }
}

/// The children of a branch, each with its key.
#[derive(Debug)]
pub struct Children<'t> {
    left: u64,
    child: u64,
    reader: Reader<'t>,
}

impl Iterator for Children<'_> {
    type Item = (Vec<u8>, u64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = self.reader.key()?;
        self.child = self.child.wrapping_add_signed(self.reader.signed()?);
        Some((key, self.child))
    }
}

/// How large a page is.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub overflow: u32,
    /// What its elements use, of a page with overflow.
    pub bytes: u64,
}

#[derive(Debug)]
pub enum Record<'t> {
    /// Its header has this page number.
    Other(u64),
    Damaged(Damage),
    Branch(Extent, Children<'t>),
    Leaf(Extent, Leaf<'t>),
    /// Its bytes, of a leaf with buckets or a list of free pages.
    Raw(Extent, &'t [u8]),
}

impl<'t> Record<'t> {
    /// `page` is its number, for errors.
    pub fn read(page: u64, bytes: &'t [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        if kind == OTHER {
            return Some(Self::Other(reader.number()?));
        }
        if kind == DAMAGED {
            return Some(Self::Damaged(Damage::page(page, std::str::from_utf8(reader.bytes()?).ok()?)));
        }
        let overflow = u32::try_from(reader.number()?).ok()?;
        let extent = Extent { overflow, bytes: if overflow == 0 { 0 } else { reader.number()? } };
        match kind {
            BRANCH => {
                let left = reader.number()?;
                Some(Self::Branch(extent, Children { left, child: page, reader }))
            }
            LEAF => Some(Self::Leaf(extent, leaf(reader)?)),
            RAW => Some(Self::Raw(extent, reader.bytes()?)),
            _ => None,
        }
    }
}

fn leaf(mut reader: Reader<'_>) -> Option<Leaf<'_>> {
    let pairs = reader.number()?;
    let crc = u32::try_from(reader.number()?).ok()?;
    let bytes = reader.number()?;
    let ends = match pairs {
        0 => None,
        1 => reader.key().map(|key| (key.clone(), key)),
        _ => Some((reader.key()?, reader.key()?)),
    };
    let history = match reader.byte()? {
        SOUND => {
            let (puts, firsts, tombstones) = (reader.number()?, reader.number()?, reader.number()?);
            History::Changes(Tally { puts, firsts, tombstones })
        }
        NO_REVISION => History::NoRevision,
        NO_CHANGE => History::NoChange(std::str::from_utf8(reader.bytes()?).ok()?),
        _ => return None,
    };
    let wanted = match reader.byte()? {
        0 => Wanted::None,
        1 => Wanted::Noted,
        _ => Wanted::Lost,
    };
    Some(Leaf { pairs, crc, bytes, ends, history, wanted, rest: reader })
}

impl Writer {
    /// Of a page whose header bears the number of another one: old bytes, or the inside of a long page.
    pub fn other(&mut self, id: u64) {
        self.byte(OTHER);
        self.number(id);
    }

    /// The damage counts only if the tree reaches the page.
    pub fn damaged(&mut self, damage: &Damage) {
        self.byte(DAMAGED);
        self.bytes(damage.what().as_bytes());
    }

    fn start(&mut self, kind: u8, extent: Extent) {
        self.byte(kind);
        self.number(extent.overflow.into());
        if extent.overflow != 0 {
            self.number(extent.bytes);
        }
    }

    /// To be followed by so many bytes of the page itself.
    pub fn raw(&mut self, extent: Extent, bytes: u64) {
        self.start(RAW, extent);
        self.number(bytes);
    }

    /// To be followed by each child.
    pub fn branch(&mut self, extent: Extent, children: u64) {
        self.start(BRANCH, extent);
        self.number(children);
    }

    /// `before` is the child before, or the page itself.
    pub fn child(&mut self, before: u64, key: &[u8], child: u64) {
        self.key(key);
        self.signed(child.wrapping_sub(before).cast_signed());
    }

    /// To be followed by the named records, each with its number, and by the changes if there is room.
    pub fn leaf(&mut self, extent: Extent, sum: &Sum<'_>) {
        self.start(LEAF, extent);
        self.number(sum.pairs);
        self.number(sum.crc.into());
        self.number(sum.bytes);
        if sum.pairs != 0 {
            self.key(sum.first);
        }
        if sum.pairs > 1 {
            self.key(sum.last);
        }
        match sum.history {
            History::Changes(tally) => {
                self.byte(SOUND);
                self.number(tally.puts);
                self.number(tally.firsts);
                self.number(tally.tombstones);
            }
            History::NoRevision => self.byte(NO_REVISION),
            History::NoChange(why) => {
                self.byte(NO_CHANGE);
                self.bytes(why.as_bytes());
            }
        }
        self.byte(match sum.wanted {
            Wanted::None => 0,
            Wanted::Noted => 1,
            Wanted::Lost => 2,
        });
    }
}
