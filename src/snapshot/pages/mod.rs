//! bbolt's pages: what one page says, and one pass over all of them.

pub mod page;
pub mod walk;
