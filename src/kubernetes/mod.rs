//! How Kubernetes lays its objects out in etcd: what a key says, and what a value is. Pure.

mod content;
mod place;

pub use content::{Content, Encryption, Object};
pub use place::{Place, is_secret};

/// The namespace that every cluster has from its first day to its last: its UID is the cluster's identity.
pub const IDENTITIES: [&[u8]; 2] = [b"/registry/namespaces/kube-system", b"/kubernetes.io/namespaces/kube-system"];
