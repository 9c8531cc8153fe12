//! bbolt's file format: pages as bytes, the database that they make, and the walk through its tree.
//!
//! Written here because no crate reads a file without its list of free pages, and etcd does not write that list.

mod db;
pub(super) mod meta;
mod page;
mod page_set;
mod walk;

pub use db::Db;
pub(super) use db::{MOST_OF_A_PAGE, node_bytes};
pub use meta::is_database;
pub(super) use page::{BucketRoot, ElementBody, Node, PageHeader};
pub(super) use page_set::PageSet;
pub use walk::Visit;
pub(super) use walk::{MAX_DEPTH, MAX_NESTING};
