//! The operating system: processes, signals, files.

pub mod blocking;
pub mod core_dumps;
pub mod fs;
pub mod launch;
pub mod lines;
pub mod patience;
pub mod process;
pub mod signals;
