//! The bytes of the pages as they arrive, split anywhere, and those that are held until a page is whole.

use std::collections::VecDeque;

use super::keeper::Keeper;

/// Bytes that are not needed any more, before the others are moved to the front.
const SLACK: usize = 1 << 20;
/// Bytes of memory that wait for the next page that does not arrive as a whole.
const MOST_SPARE: usize = 1 << 20;

#[derive(Debug)]
struct Open {
    page: u64,
    /// Where it begins in the buffer.
    at: usize,
    needed: usize,
}

/// Pages from a number on.
#[derive(Debug)]
pub struct Window {
    /// Bytes of a page.
    size: usize,
    /// The number of the page that arrives next, or in part has arrived.
    next: u64,
    /// Whole pages from the first open one on, and what there is of the next. At the front there may be others.
    buffer: Vec<u8>,
    /// In their order.
    open: VecDeque<Open>,
}

impl Window {
    /// `next` is the number of the page whose bytes come first.
    pub fn new(size: usize, next: u64) -> Self {
        Self { size, next, buffer: Vec::new(), open: VecDeque::new() }
    }

    /// Ignores what comes after the last page, such as the trailer.
    pub fn push(&mut self, mut blob: &[u8], keeper: &mut Keeper) {
        while !blob.is_empty() && self.next < keeper.meta.pages {
            // A page that lies in the blob as a whole is looked at there, and most are done with then.
            if self.buffer.is_empty()
                && let Some((page, rest)) = blob.split_at_checked(self.size)
            {
                blob = rest;
                if let Some(needed) = keeper.look(self.next, page, 0) {
                    self.wait(0, needed);
                    self.buffer.extend_from_slice(page);
                }
                self.pass(keeper);
                continue;
            }
            let missing = self.size - self.buffer.len() % self.size;
            let (part, rest) = blob.split_at(missing.min(blob.len()));
            self.buffer.extend_from_slice(part);
            blob = rest;
            if part.len() == missing {
                self.whole_page(keeper);
            }
        }
    }

    fn pass(&mut self, keeper: &mut Keeper) {
        self.next += 1;
        keeper.passed();
    }

    fn wait(&mut self, at: usize, needed: u64) {
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        self.open.push_back(Open { page: self.next, at, needed });
        let missing = at.saturating_add(needed).saturating_sub(self.buffer.len());
        // Growing by doubling would take up to twice as much. If it fails here, it may do so later.
        let _ = self.buffer.try_reserve_exact(missing.next_multiple_of(self.size));
    }

    /// The last page of the buffer has become whole.
    fn whole_page(&mut self, keeper: &mut Keeper) {
        let at = self.buffer.len() - self.size;
        let page = self.buffer.get(at..).unwrap_or_default();
        if let Some(needed) = keeper.look(self.next, page, self.open.len()) {
            self.wait(at, needed);
        }
        let buffer = &self.buffer;
        self.open.retain_mut(|open| {
            let have = buffer.get(open.at..).unwrap_or_default();
            // Twice at most: for the table, and for what the table says.
            while have.len() >= open.needed {
                match keeper.look(open.page, have, 0) {
                    Some(needed) => open.needed = usize::try_from(needed).unwrap_or(usize::MAX),
                    None => return false,
                }
            }
            true
        });
        self.pass(keeper);
        self.release();
    }

    fn release(&mut self) {
        match self.open.front() {
            None if self.buffer.capacity() > MOST_SPARE => self.buffer = Vec::new(),
            None => self.buffer.clear(),
            Some(first) if first.at >= SLACK => {
                let unused = first.at;
                self.buffer.drain(..unused);
                self.open.iter_mut().for_each(|open| open.at -= unused);
            }
            Some(_) => {}
        }
    }
}
