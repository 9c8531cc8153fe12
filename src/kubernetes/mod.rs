//! How Kubernetes lays its objects out in etcd: what a key says, and what a value is. Pure.

mod key;
pub mod kubeadm;
mod value;

pub use key::{Place, is_secret};
pub use value::{Content, Encryption, Object};

/// The namespace that every cluster has from its first day to its last: its UID is the cluster's identity.
pub const IDENTITIES: [&[u8]; 2] = [b"/registry/namespaces/kube-system", b"/kubernetes.io/namespaces/kube-system"];
