//! A set of pages, as one bit for each page of a file.

/// It has room for the pages of a file; a page behind its end is never in it, and cannot be added.
#[derive(Debug, Default)]
pub struct PageSet(Vec<u64>);

impl PageSet {
    /// `pages` is how many there are in the file. With more than fit into memory the set stays empty.
    pub fn new(pages: u64) -> Self {
        let words = usize::try_from(pages / 64 + 1).unwrap_or(0);
        let mut bits = Vec::new();
        if bits.try_reserve_exact(words).is_ok() {
            bits.resize(words, 0);
        }
        Self(bits)
    }

    /// Returns whether it was added: not if it was there already.
    pub fn insert(&mut self, page: u64) -> bool {
        let bit = 1 << (page % 64);
        match usize::try_from(page / 64).ok().and_then(|word| self.0.get_mut(word)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    pub fn first(&self) -> Option<u64> {
        let (word, bits) = self.0.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        Some(u64::try_from(word).ok()? * 64 + u64::from(bits.trailing_zeros()))
    }

    pub fn contains(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (page % 64)) != 0)
    }
}
