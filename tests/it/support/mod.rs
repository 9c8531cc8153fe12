//! What the tests stand on: real etcd clusters, real object stores, proxies that break connections, and the binary itself.

#[macro_use]
pub mod tools;

pub mod child;
pub mod etcd;
pub mod file_server;
pub mod http_proxy;
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

/// The limit of a wait for something that takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The age of a backup that every retention would remove.
pub const LONG_AGO: Duration = Duration::from_hours(24 * 2000);

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

/// The whole answer of a server on loopback.
pub fn http_get(port: u16, path: &str) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Thirty-two characters that no other test has.
pub fn random_text() -> String {
    use std::io::Read as _;

    let mut bytes = [0; 16];
    let mut random = std::fs::File::open("/dev/urandom").expect("a source of chance");
    random.read_exact(&mut bytes).expect("sixteen bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
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
