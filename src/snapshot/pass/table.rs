//! One record of a few bytes for each page that has passed, found by the page's number.

use std::mem;

use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

/// Bytes of a piece of memory. Records do not grow into one large piece, which would be copied, and held twice meanwhile.
const CHUNK: usize = 64 << 10;
/// A place is the number of its chunk, from 1, and the offset in it.
const OFFSET_BITS: u32 = 16;
/// So many places are reserved ahead; memory that nothing was written to costs nothing.
const RESERVED: u64 = 1 << 24;

#[derive(Debug, Default)]
pub struct Table {
    /// By page; 0 for a page without a record.
    places: Vec<u32>,
    chunks: Vec<Vec<u8>>,
    used: u64,
}

impl Table {
    pub fn new(pages: u64) -> Self {
        let mut places = Vec::new();
        let _ = usize::try_from(pages.min(RESERVED)).map(|pages| places.try_reserve_exact(pages));
        Self { places, ..Self::default() }
    }

    /// Bytes of all records, without what finds them.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Replaces what there was of this page by a record of two parts. Returns whether there was room for it.
    pub fn insert(&mut self, page: u64, record: [&[u8]; 2]) -> bool {
        let Ok(page) = u32::try_from(page) else { return false };
        let Some(place) = self.write(page, record) else { return false };
        let Ok(page) = usize::try_from(page) else { return false };
        if self.places.len() <= page {
            let missing = page + 1 - self.places.len();
            if self.places.try_reserve(missing).is_err() {
                return false;
            }
            self.places.resize(page + 1, 0);
        }
        if let Some(known) = self.places.get_mut(page) {
            *known = place;
        }
        true
    }

    /// Removes the records of these pages, and what was replaced.
    pub fn remove(&mut self, is_removed: impl Fn(u64) -> bool) {
        self.used = 0;
        // One chunk after another, so that there is never much more than before.
        for (chunk, number) in mem::take(&mut self.chunks).into_iter().zip(1_u32..) {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let place = u32::try_from(chunk.len() - rest.len()).map(|offset| (number << OFFSET_BITS) | offset);
                let Some((page, record)) = next(&mut rest) else { break };
                let at = usize::try_from(page).unwrap_or(usize::MAX);
                if self.places.get(at).copied() != place.ok() {
                    continue;
                }
                let new = if is_removed(page.into()) { None } else { self.write(page, [record, &[]]) };
                if let Some(known) = self.places.get_mut(at) {
                    *known = new.unwrap_or(0);
                }
            }
        }
    }

    fn write(&mut self, page: u32, record: [&[u8]; 2]) -> Option<u32> {
        let record_len: usize = record.iter().map(|part| part.len()).sum();
        let number = u64::try_from(record_len).ok()?;
        let len = encoded_len_varint(number) + size_of::<u32>() + record_len;
        if self.chunks.last().is_none_or(|chunk| chunk.len() + len > CHUNK) {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(len.max(CHUNK)).ok()?;
            self.chunks.push(chunk);
        }
        let place = u32::try_from(self.chunks.len()).ok().filter(|place| place >> (32 - OFFSET_BITS) == 0)?;
        let chunk = self.chunks.last_mut()?;
        let offset = u32::try_from(chunk.len()).ok()?;
        encode_varint(number, chunk);
        chunk.extend_from_slice(&page.to_le_bytes());
        for part in record {
            chunk.extend_from_slice(part);
        }
        self.used += u64::try_from(len).unwrap_or(0);
        Some((place << OFFSET_BITS) | offset)
    }

    /// The two parts of the record, as one.
    pub fn get(&self, page: u64) -> Option<&[u8]> {
        let place = *self.places.get(usize::try_from(page).ok()?)?;
        let number = usize::try_from(place >> OFFSET_BITS).ok()?.checked_sub(1)?;
        let offset = usize::try_from(place & ((1 << OFFSET_BITS) - 1)).ok()?;
        let mut rest = self.chunks.get(number)?.get(offset..)?;
        next(&mut rest).map(|(_, record)| record)
    }
}

/// The page and the record that come next in a chunk.
fn next<'c>(rest: &mut &'c [u8]) -> Option<(u32, &'c [u8])> {
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (page, bytes) = rest.split_first_chunk::<4>()?;
    let (record, after) = bytes.split_at_checked(len)?;
    *rest = after;
    Some((u32::from_le_bytes(*page), record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_sizes_are_found_again() {
        let mut table = Table::new(3);
        let record = |page: usize| vec![u8::try_from(page % 251).unwrap(); page * page % 70_000];
        for page in (0..700).rev().chain(100..300) {
            let record = record(page);
            let (one, two) = record.split_at(record.len() / 3);
            assert!(table.insert(page.try_into().unwrap(), [one, two]));
        }
        let check = |table: &Table, is_there: fn(&usize) -> bool| {
            for page in 0..700 {
                let expected = is_there(&page).then(|| record(page));
                assert_eq!(table.get(page.try_into().unwrap()), expected.as_deref(), "page {page}");
            }
        };
        check(&table, |_| true);
        assert_eq!((table.get(700), Table::default().get(0)), (None, None));
        let (used, chunks) = (table.used(), table.chunks.len());
        table.remove(|page| page % 2 == 1);
        check(&table, |page| page % 2 == 0);
        assert!(table.used() < used / 5 * 3 && table.chunks.len() < chunks / 5 * 3);
    }
}
