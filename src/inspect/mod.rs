//! What a backup holds, which cluster it is of, and how two backups differ.

mod diff;
pub mod identity;
pub mod kubeadm;
pub mod line;
pub mod objects;
mod summary;
mod usage;

pub use diff::{Diff, DiffCounts};
pub use summary::Summary;
pub use usage::Usage;

/// Later than every change of a file: what is read there is its newest state.
const NEWEST: u64 = u64::MAX;
