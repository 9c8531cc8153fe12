//! The snapshot file: received into a private directory, proved page by page, and read key by key.
//!
//! Each module imports only those above it; a test checks that.

mod digest;
mod error;
mod trailer;

mod bolt;
mod mvcc;

mod contents;
mod proof;

mod pass;
mod prove_file;

mod part_file;
mod piped;
mod workspace;

#[cfg(test)]
pub mod tests;

pub use bolt::{Db, is_database};
pub use contents::Contents;
pub use digest::{Digest, DigestKind, Digested, Digesting};
pub use error::Error;
#[cfg(test)]
pub use mvcc::Revision;
pub use mvcc::{Alarm, Change, KeyState, RecordedMember, SortedKeys, alarms, changes, find, find_all, members};
pub use part_file::{PartFile, Snapshot, WantedDigest, check_room, write_error};
pub use pass::{Finished, Prover};
pub use piped::{Passed, Piped};
pub use proof::{Newest, Proof};
pub use prove_file::{prove_file, prove_file_with_digest};
pub use trailer::{FileHash, prove_stream, with_trailer};
pub use workspace::Workspace;
