//! bbolt's file format: pages as bytes, the database that they make, and the walk through its tree.
//!
//! Written here because no crate reads a file without its list of free pages, and etcd does not write that list.

mod db;
pub(super) mod meta;
mod page;
mod walk;

pub use db::Db;
pub use walk::Visit;
