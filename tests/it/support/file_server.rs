//! rclone as a WebDAV and as an SFTP server on loopback, each with a password or a key that exists nowhere else.

use std::{fs, net::TcpStream, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{KeyPair, PKCS_ED25519};
use tempfile::TempDir;

use super::{SOON, child::Server, eventually, ports, random_text, tools};

pub struct FileServer {
    // Declared, and so dropped, before the folder that it serves.
    _server: Server,
    protocol: Protocol,
    port: u16,
    password: String,
    obscured: String,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    WebDav,
    Sftp,
}

const USER: &str = "etcd-backup-tests";

impl FileServer {
    pub fn start(protocol: Protocol) -> Self {
        Self::serve(protocol, tempfile::tempdir().unwrap(), ports::free(), &[])
    }

    /// An SFTP server that lets in whoever has [`Self::key`], and is known by [`Self::known_hosts`].
    pub fn sftp_by_key() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        let path = |name| folder.path().join(name);
        let client = new_key(path("id_ed25519"));
        let server = new_key(path("host_key"));
        fs::write(path("authorized_keys"), client).unwrap();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {server}")).unwrap();
        let flags = [("authorized-keys", "authorized_keys"), ("key", "host_key")];
        let flags = flags.map(|(flag, file)| format!("--{flag}={}", path(file).display()));
        Self::serve(Protocol::Sftp, folder, port, &flags)
    }

    fn serve(protocol: Protocol, folder: TempDir, port: u16, flags: &[String]) -> Self {
        let password = random_text();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let name = match protocol {
            Protocol::WebDav => "webdav",
            Protocol::Sftp => "sftp",
        };
        let mut command = tools::command(tools::tool("rclone"));
        command
            .env("HOME", folder.path())
            .env("RCLONE_USER", USER)
            .env("RCLONE_PASS", &password)
            // A test may change what is served without asking the server. With no time at all, the server reads its
            // folders anew so often that after a few requests it is busy for minutes.
            .args(["--config", "", "serve", name, "--dir-cache-time=1ms"])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .args(flags)
            .arg(&data);
        let mut server = Server::start(&command, &folder.path().join("log"));
        eventually(SOON, "a file server", || {
            if let Some(words) = server.has_died() {
                panic!("{command:?} ended: {words}");
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let obscured = obscured(&password);
        Self { _server: server, protocol, port, password, obscured, folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password, as it is and as rclone.conf has it.
    pub fn secrets(&self) -> [&str; 2] {
        [&self.obscured, &self.password]
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("id_ed25519")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// What is served.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What `config` says of the port.
    pub fn place(&self, port: u16) -> String {
        match self.protocol {
            Protocol::WebDav => format!("127.0.0.1:{port}"),
            Protocol::Sftp => format!("port = {port}"),
        }
    }

    /// A section for rclone.conf.
    pub fn config(&self, name: &str) -> String {
        let place = self.place(self.port);
        let backend = match self.protocol {
            // With this vendor rclone also sets the files' times.
            Protocol::WebDav => format!("type = webdav\nurl = http://{place}\nvendor = rclone"),
            Protocol::Sftp => format!("type = sftp\nhost = 127.0.0.1\n{place}\nshell_type = unix"),
        };
        format!("[{name}]\n{backend}\nuser = {USER}\npass = {}\n", self.obscured)
    }
}

/// Writes a new SSH key, and answers the line that names its public half.
fn new_key(path: PathBuf) -> String {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    fs::write(path, pair.serialize_pem()).unwrap();
    // RFC 8709: two strings, each behind its length.
    let parts = [&b"ssh-ed25519"[..], pair.public_key_raw()];
    let of = |part: &[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    format!("ssh-ed25519 {}\n", BASE64_STANDARD.encode(parts.map(of).concat()))
}

/// The spelling of a password that rclone.conf wants.
pub fn obscured(password: &str) -> String {
    let mut rclone = tools::command(tools::tool("rclone"));
    // Not an argument, which every process of the machine can read.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), password).unwrap();
    let output =
        rclone.args(["obscure", "-"]).stdin(fs::File::open(file.path()).unwrap()).output().expect("rclone starts");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
