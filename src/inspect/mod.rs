//! What a backup holds, and what two of them have different. Pure but for reading the files.

mod diff;
pub mod line;
mod summary;
mod tally;

pub use diff::{Diff, DiffCounts};
pub use summary::Summary;
pub use tally::Tally;
