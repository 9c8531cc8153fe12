//! Real S3 servers on loopback, each with credentials that exist nowhere else.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use super::{child::Server, eventually, http_get, ports, random_text, tools};

const READY: Duration = Duration::from_secs(30);

/// The server of whichever tests run now: started by the first, ended with the last.
static SHARED: Mutex<Weak<S3>> = Mutex::new(Weak::new());

pub struct S3 {
    // Declared, and so dropped, before the folder that it writes to.
    server: Mutex<Server>,
    command: Command,
    port: u16,
    secret: String,
    buckets: AtomicU32,
    sockets: Vec<PathBuf>,
    /// SeaweedFS's own administration.
    shell: Vec<String>,
    folder: TempDir,
}

impl S3 {
    pub fn rclone() -> Self {
        let (folder, port, secret) = (tempfile::tempdir().unwrap(), ports::free(), random_text());
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let mut command = tools::command(tools::tool("rclone"));
        command
            .env("HOME", folder.path())
            // A list in the environment is read as CSV: the quotes keep the pair together.
            .env("RCLONE_AUTH_KEY", format!("\"{ACCESS},{secret}\""))
            .args(["--config", "", "serve", "s3"])
            .arg(format!("--addr=127.0.0.1:{port}"))
            .arg(&data);
        Self::up(command, folder, port, secret)
    }

    pub fn seaweedfs() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start_seaweedfs());
        *shared = Arc::downgrade(&started);
        started
    }

    fn start_seaweedfs() -> Self {
        let (folder, port, secret) = (tempfile::tempdir().unwrap(), ports::free(), random_text());
        let dir = folder.path().display();
        let mut command = tools::command(tools::tool("weed"));
        command
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", ACCESS)
            .env("AWS_SECRET_ACCESS_KEY", &secret)
            .arg(format!("-logdir={dir}"))
            .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .arg(format!("-dir={dir}"))
            .arg(format!("-filer.localSocket={dir}/filer.sock"))
            .arg(format!("-s3.localSocket={dir}/s3.sock"))
            // Left to itself it reports home, and makes any bucket that is written to.
            .args(["-master.telemetry=false", "-s3.autoCreateBucket=false"])
            .args(["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg("-volume.max=300");
        let mut sockets = Vec::new();
        let mut shell = Vec::new();
        for part in ["s3", "master", "volume", "filer", "admin"] {
            let http = if part == "s3" { port } else { ports::free() };
            let grpc = http + ports::TWIN;
            command.arg(format!("-{part}.port={http}")).arg(format!("-{part}.port.grpc={grpc}"));
            sockets.push(format!("/tmp/seaweedfs-{part}-grpc-{grpc}.sock").into());
            if matches!(part, "master" | "filer") {
                shell.push(format!("-{part}=127.0.0.1:{http}.{grpc}"));
            }
        }
        let mut server = Self::up(command, folder, port, secret);
        (server.sockets, server.shell) = (sockets, shell);
        server
    }

    fn up(command: Command, folder: TempDir, port: u16, secret: String) -> Self {
        let server = Mutex::new(Self::serve(&command, &folder, port));
        Self {
            server,
            command,
            port,
            secret,
            buckets: AtomicU32::new(0),
            sockets: Vec::new(),
            shell: Vec::new(),
            folder,
        }
    }

    fn serve(command: &Command, folder: &TempDir, port: u16) -> Server {
        let mut server = Server::start(command, &folder.path().join("log"));
        // An answer and not only a connection: SeaweedFS listens on each port for a moment before it starts, to see
        // whether the port is free.
        eventually(READY, "an S3 server that answers", || {
            if let Some(words) = server.has_died() {
                panic!("{command:?} ended: {words}");
            }
            http_get(port, "/").ok().filter(|answer| answer.starts_with("HTTP/"))
        });
        server
    }

    /// From now on its port refuses connections.
    pub fn stop(&self) {
        self.server.lock().unwrap().kill();
    }

    /// As it was before [`Self::stop`], with all that was stored.
    pub fn start_again(&self) {
        *self.server.lock().unwrap() = Self::serve(&self.command, &self.folder, self.port);
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

    /// Runs commands in SeaweedFS's shell.
    pub fn administer(&self, commands: &str) -> String {
        let script = self.folder.path().join("commands");
        fs::write(&script, commands).unwrap();
        let mut weed = tools::command(tools::tool("weed"));
        weed.env("HOME", self.folder.path()).arg("shell").args(&self.shell);
        let output = weed.stdin(fs::File::open(&script).unwrap()).output().expect("weed starts");
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// A key of its own that may do just this in the bucket, such as `s3:GetObject`; answers its secret.
    pub fn grant(&self, bucket: &str, user: &str, actions: &[&str]) -> String {
        let secret = random_text();
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": actions,
                "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
            }],
        });
        let file = self.folder.path().join(format!("{user}.json"));
        fs::write(&file, policy.to_string()).unwrap();
        self.administer(&format!(
            "s3.policy -put -name={user} -file={}
             s3.user.create -name {user} -access_key {user} -secret_key {secret}
             s3.policy.attach -policy {user} -user {user}
",
            file.display()
        ));
        secret
    }

    /// A section for rclone.conf.
    pub fn config(&self, name: &str, port: u16) -> String {
        format!(
            "[{name}]
type = s3
provider = Other
access_key_id = {ACCESS}
secret_access_key = {}
endpoint = http://127.0.0.1:{port}
region = us-east-1
force_path_style = true
",
            self.secret
        )
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.get_mut().unwrap_or_else(PoisonError::into_inner).kill();
        // SeaweedFS puts these outside its folder, and a killed one leaves them.
        for socket in &self.sockets {
            fs::remove_file(socket).ok();
        }
    }
}

pub const ACCESS: &str = "etcd-backup-tests";
