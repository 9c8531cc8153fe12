//! What a backup holds, which cluster it is of, and how two backups differ.

mod diff;
pub mod identity;
pub mod line;
mod summary;
mod usage;

pub use diff::{Diff, DiffCounts};
pub use summary::Summary;
pub use usage::Usage;
