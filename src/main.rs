//! The table of contents of `etcd-backup`.

#[allow(dead_code, unused_imports)]
mod snapshot;

fn main() {}
