//! The bench: real etcd clusters, real object stores, a proxy that breaks connections, and the binary itself.

#[macro_use]
pub mod tools;

pub mod child;
pub mod etcd;
pub mod hook;
pub mod kubeadm;
pub mod kubernetes;
pub mod output;
pub mod ports;
pub mod processes;
pub mod proxy;
pub mod remote;
pub mod run;
pub mod s3;
pub mod sample;
pub mod tls;
pub mod traffic;
pub mod unreachable;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Polls until `probe` yields a value; past the limit the test fails and says what it waited for.
pub fn eventually<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha2::Digest as _;

    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
