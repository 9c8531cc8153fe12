//! What the tests stand on: real etcd clusters, real object stores, proxies that break connections, and the binary itself.

#[macro_use]
pub mod tools;

pub mod child;
#[macro_use]
pub mod clouds;
pub mod connect_proxy;
pub mod etcd;
mod example;
pub mod file_server;
pub mod http_proxy;
pub mod kubeadm;
pub mod kubernetes;
pub mod liar;
pub mod output;
pub mod pages;
pub mod ports;
pub mod processes;
pub mod proxy;
mod random;
pub mod remote;
pub mod run;
pub mod s3;
pub mod sample;
pub mod tls;
pub mod traffic;
pub mod unreachable;
mod wait;

use std::time::Duration;

pub use random::random_text;
pub use wait::{eventually, http_get};

/// The limit of a wait for something that takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The age of a backup that every retention would remove.
pub const LONG_AGO: Duration = Duration::from_hours(24 * 2000);

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha2::Digest as _;

    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
