//! rclone as a WebDAV and as an SFTP server on loopback, each with a password that exists nowhere else.

use std::{fs, net::TcpStream, path::PathBuf};

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
        let (folder, port, password) = (tempfile::tempdir().unwrap(), ports::free(), random_text());
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
