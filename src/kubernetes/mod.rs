//! How Kubernetes lays its objects out in etcd: what a key says, and what a value is. Pure.

mod content;
mod place;

pub use content::{Content, Encryption, Object};
pub use place::{Place, is_secret};
