//! Numbers and keys in few bytes. What is written here is read in the same process, so no version is kept.

use prost::encoding::{decode_varint, encode_varint};

use crate::snapshot::mvcc::Revision;

/// In the number before a key of the history: its other bits are how much its revision is above the one before.
const REVISION: u64 = 1;
const TOMBSTONE: u64 = 2;
const SUB: u64 = 4;
const FLAG_BITS: u32 = 3;
/// Bytes of memory that wait for the next record.
const MOST_SPARE: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
    /// The main revision of the key before.
    revision: u64,
}

impl Writer {
    /// For the next record; the memory stays, unless it was an unusually long one.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > MOST_SPARE {
            self.bytes = Vec::new();
        }
        self.revision = 0;
    }

    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// In 1 to 10 bytes, as Protocol Buffers do it.
    pub fn number(&mut self, number: u64) {
        encode_varint(number, &mut self.bytes);
    }

    /// Small ones of both signs in few bytes: 0, -1, 1, -2 become 0, 1, 2, 3.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// With their length before them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len().try_into().unwrap_or(u64::MAX));
        self.bytes.extend_from_slice(bytes);
    }

    /// Most keys of a snapshot are revisions, and each is a little above the one before.
    pub fn key(&mut self, key: &[u8]) {
        let revision = Revision::parse(key).and_then(|revision| {
            let above = revision.main.checked_sub(self.revision)?;
            (above.leading_zeros() >= FLAG_BITS).then_some((revision, above << FLAG_BITS))
        });
        let Some((Revision { main, sub, tombstone }, above)) = revision else {
            self.number(0);
            return self.bytes(key);
        };
        self.revision = main;
        let flags = REVISION | if tombstone { TOMBSTONE } else { 0 } | if sub == 0 { 0 } else { SUB };
        self.number(above | flags);
        if sub != 0 {
            self.number(sub);
        }
    }
}

/// Reads in the order of writing. `None` would be a fault of this program.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    revision: u64,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, revision: 0 }
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        decode_varint(&mut self.bytes).ok()
    }

    pub fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(bytes)
    }

    pub fn key(&mut self) -> Option<Vec<u8>> {
        let number = self.number()?;
        if number & REVISION == 0 {
            return Some(self.bytes()?.to_vec());
        }
        self.revision = self.revision.checked_add(number >> FLAG_BITS)?;
        let sub = if number & SUB == 0 { 0 } else { self.number()? };
        Some(Revision { main: self.revision, sub, tombstone: number & TOMBSTONE != 0 }.to_key())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let revision = (any::<u64>(), 0_u64..3, any::<bool>());
        prop_oneof![
            revision.clone().prop_map(|(main, sub, tombstone)| Revision { main, sub, tombstone }.to_key()),
            revision.prop_map(|(main, sub, tombstone)| Revision { main: main % 1000, sub, tombstone }.to_key()),
            any::<Vec<u8>>(),
        ]
    }

    proptest! {
        #[test]
        fn keys_and_numbers_come_back(keys in prop::collection::vec((key(), any::<i64>()), 0..9)) {
            let mut writer = Writer::default();
            for (key, number) in &keys {
                writer.key(key);
                writer.signed(*number);
            }
            let mut reader = Reader::new(&writer.bytes);
            for (key, number) in keys {
                prop_assert_eq!(reader.key(), Some(key));
                prop_assert_eq!(reader.signed(), Some(number));
            }
            prop_assert_eq!(reader.byte(), None);
        }
    }

    #[test]
    fn a_revision_takes_few_bytes() {
        let mut writer = Writer::default();
        for main in [1000, 1003, 1100] {
            writer.key(&Revision { main, sub: 0, tombstone: false }.to_key());
        }
        assert_eq!(writer.bytes.len(), 2 + 1 + 2);
    }
}
