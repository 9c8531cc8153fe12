//! One record of a few bytes for each page that has passed, found by the page's number.

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

    /// Replaces what there was of this page. Returns whether there was room for it.
    pub fn insert(&mut self, page: u64, record: &[u8]) -> bool {
        let (Ok(page), Ok(len)) = (usize::try_from(page), u32::try_from(record.len())) else { return false };
        let bytes = [&len.to_le_bytes(), record];
        let Some(place) = self.write(bytes, record.len() + 4) else { return false };
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

    fn write(&mut self, bytes: [&[u8]; 2], len: usize) -> Option<u32> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() + len > CHUNK) {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(len.max(CHUNK)).ok()?;
            self.chunks.push(chunk);
        }
        let number = u32::try_from(self.chunks.len()).ok().filter(|number| number >> (32 - OFFSET_BITS) == 0)?;
        let chunk = self.chunks.last_mut()?;
        let offset = u32::try_from(chunk.len()).ok()?;
        for bytes in bytes {
            chunk.extend_from_slice(bytes);
        }
        self.used += u64::try_from(len).unwrap_or(0);
        Some((number << OFFSET_BITS) | offset)
    }

    pub fn get(&self, page: u64) -> Option<&[u8]> {
        let place = *self.places.get(usize::try_from(page).ok()?)?;
        let number = usize::try_from(place >> OFFSET_BITS).ok()?.checked_sub(1)?;
        let offset = usize::try_from(place & ((1 << OFFSET_BITS) - 1)).ok()?;
        let (len, rest) = self.chunks.get(number)?.get(offset..)?.split_first_chunk::<4>()?;
        rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_sizes_are_found_again() {
        let mut table = Table::new(3);
        let record = |page: usize| vec![u8::try_from(page % 251).unwrap(); page * page % 70_000];
        for page in (0..700).rev().chain(100..300) {
            assert!(table.insert(page.try_into().unwrap(), &record(page)));
        }
        for page in 0..700 {
            assert_eq!(table.get(page.try_into().unwrap()), Some(record(page).as_slice()), "page {page}");
        }
        assert_eq!((table.get(700), Table::default().get(0)), (None, None));
    }
}
