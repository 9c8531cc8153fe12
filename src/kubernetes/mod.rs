//! How Kubernetes lays its objects out in etcd: what a key says, and what a value is. Pure.

mod config_map;
mod detail;
mod key;
pub mod kubeadm;
mod value;

pub use config_map::{ConfigMapData, KUBEADM_KEYS};
pub use detail::Detail;
pub use key::{ResourceKey, is_secret, namespace_keys};
pub use value::{Encryption, ObjectSummary, OwnerReference, StoredValue};

/// The keys under which the namespace `kube-system` is stored. Every cluster has it from its first day to its last, so
/// its UID identifies the cluster.
pub const KUBE_SYSTEM_KEYS: [&[u8]; 2] =
    [b"/registry/namespaces/kube-system", b"/kubernetes.io/namespaces/kube-system"];
