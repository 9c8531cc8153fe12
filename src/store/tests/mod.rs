//! The store against the real rclone: a directory, `rclone serve`, SeaweedFS, and crypt in front of them.

#![allow(clippy::disallowed_methods, reason = "tests start programs, read the clock and the environment")]

#[path = "../../../tests/it/support"]
mod support {
    #![allow(dead_code, unused_macros, clippy::doc_markdown, reason = "the integration tests use the rest")]

    pub mod child;
    pub mod clouds;
    pub mod connect_proxy;
    pub mod file_server;
    pub mod ports;
    mod random;
    pub mod remote;
    pub mod s3;
    pub mod tls;
    pub mod tools;
    mod wait;

    pub use random::random_text;
    pub use wait::{eventually, http_get};

    pub const SOON: std::time::Duration = std::time::Duration::from_secs(30);
}

/// Ends the test early where a program is missing, as in the integration tests.
macro_rules! needs {
    ($($program:literal),+ $(,)?) => {
        if !crate::store::tests::support::tools::present(&[$($program),+]) {
            return;
        }
    };
}

mod confirm;
mod limits;
mod parts;
mod piece;
mod records;
mod sweep;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{Content, Next, Store};
use crate::backup::name::BackupName;
use crate::config::{Confirm, Naming, StoreConfig};
use crate::rclone::Rclone;
use crate::snapshot::FileHash;
use support::SOON;
use support::child::Server;
use support::remote::Remote;
use support::tools;

/// Runs a future as the program does, on one thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn store_at(target: &str, config: &Path, prefix: &str) -> Store {
    store_with(target, config, prefix, &tools::tool("rclone"))
}

fn store_with(target: &str, config: &Path, prefix: &str, rclone: &Path) -> Store {
    store_with_flags(target, config, prefix, rclone, "")
}

fn store_with_flags(target: &str, config: &Path, prefix: &str, rclone: &Path, flags: &str) -> Store {
    let config = StoreConfig {
        target: target.parse().unwrap(),
        naming: Naming { prefix: prefix.parse().unwrap(), zone: chrono_tz::Tz::UTC, compression: None },
        rclone_config: Some(config.to_owned()),
        rclone_flags: flags.parse().unwrap(),
        confirm: Confirm::Auto,
        list_timeout: crate::config::LIST_TIMEOUT,
    };
    wait(async { Store::open_with(Rclone::at(rclone.to_owned(), &config).await.unwrap(), config, Next::Other).await })
        .unwrap()
}

fn store(remote: &Remote, prefix: &str) -> Store {
    store_at(remote.target(), remote.config(), prefix)
}

fn name(prefix: &str, digits: &str) -> BackupName {
    let prefix = prefix.parse().unwrap();
    BackupName::parse_path(&prefix, &format!("{prefix}{digits}.etcdb")).unwrap()
}

/// A file to be stored.
struct Sent {
    path: PathBuf,
    content: Content,
    folder: TempDir,
}

impl Sent {
    fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent");
        fs::write(&path, bytes).unwrap();
        let hash = FileHash { bytes: bytes.len().try_into().unwrap(), sha256: hex::encode(Sha256::digest(bytes)) };
        let content = hash.into();
        Self { path, content, folder }
    }

    /// An rclone that does something of its own first; `REAL` is the real one.
    fn rclone_is(&self, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;

        let path = self.folder.path().join("rclone");
        let script = script.replace("REAL", tools::tool("rclone").to_str().unwrap());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// A server of rclone's own, such as `webdav`, for a directory.
struct Served {
    _server: Server,
    folder: TempDir,
}

impl Served {
    const USER: &str = "tester";
    const PASSWORD: &str = "between-us-two";

    fn new(protocol: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let port = support::ports::free();
        let mut command = tools::command(tools::tool("rclone"));
        command.env("HOME", folder.path()).args(["--config", "", "serve", protocol]);
        command.arg(format!("--addr=127.0.0.1:{port}")).args(["--user", Self::USER, "--pass", Self::PASSWORD]);
        command.arg(folder.path().join("data"));
        let server = Server::start(&command, &folder.path().join("log"));
        support::eventually(SOON, "a server", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let hidden = tools::command(tools::tool("rclone")).args(["obscure", Self::PASSWORD]).output().unwrap();
        let hidden = String::from_utf8(hidden.stdout).unwrap();
        let place = match protocol {
            "webdav" => format!("url = http://127.0.0.1:{port}\nvendor = other"),
            _ => format!("host = 127.0.0.1\nport = {port}"),
        };
        let text = format!("[srv]\ntype = {protocol}\n{place}\nuser = {}\npass = {hidden}\n", Self::USER);
        fs::write(folder.path().join("rclone.conf"), text).unwrap();
        Self { _server: server, folder }
    }

    fn store(&self, prefix: &str) -> Store {
        self.store_with(prefix, &tools::tool("rclone"))
    }

    fn store_with(&self, prefix: &str, rclone: &Path) -> Store {
        store_with("srv:etcd", &self.folder.path().join("rclone.conf"), prefix, rclone)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data/etcd")
    }
}

/// Every file below a directory, by its path in it.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
