//! The table of contents of `etcd-backup`.

fn main() {}
