//! Where backups go: a folder, `rclone serve s3`, or SeaweedFS; looked at with rclone itself.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    s3::{ACCESS, S3},
    tools,
};

/// The name of the remote in every rclone.conf written here.
const REMOTE: &str = "store";

/// One place for backups, with an rclone.conf that knows it.
pub struct Remote {
    target: String,
    config: PathBuf,
    folder: TempDir,
    server: Option<Arc<S3>>,
}

impl Remote {
    /// A local directory, as a mounted volume would be.
    pub fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let target = target.to_str().expect("a temp folder in UTF-8").to_owned();
        Self::new(folder, target, "", None)
    }

    /// A bucket in rclone's own S3 server: up at once, without versions and locks.
    pub fn rclone_s3() -> Self {
        Self::bucket(Arc::new(S3::rclone()))
    }

    /// A bucket of its own in SeaweedFS; tests that run at the same time share the server.
    pub fn seaweedfs() -> Self {
        Self::bucket(S3::seaweedfs())
    }

    /// rclone's crypt in front of this one, with encrypted names or without.
    pub fn encrypted(self, names: bool) -> Self {
        let names = if names { "standard" } else { "off" };
        let section = format!(
            "[vault]\ntype = crypt\nremote = {}/vault\npassword = {}\nfilename_encryption = {names}\n",
            self.target,
            obscured("right")
        );
        let text = fs::read_to_string(&self.config).unwrap();
        write_private(&self.config, &format!("{text}{section}"));
        Self { target: "vault:backups".to_owned(), ..self }
    }

    /// The same with another password for crypt; only the names' folders are as before.
    pub fn config_with_wrong_password(&self) -> PathBuf {
        let text = fs::read_to_string(&self.config).unwrap();
        let line = text.lines().find(|line| line.starts_with("password = ")).expect("a crypt remote");
        self.config_with(line, &format!("password = {}", obscured("wrong")))
    }

    /// Everything below what crypt hides, by paths that `put_raw` takes.
    pub fn raw_names(&self) -> Vec<String> {
        let listing = self.rclone(&["lsf", "-R", "--files-only", &self.raw("")]);
        String::from_utf8(listing.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The bytes below what crypt hides.
    pub fn read_raw(&self, name: &str) -> Vec<u8> {
        self.rclone(&["cat", &self.raw(name)]).stdout
    }

    /// Replaces the bytes below what crypt hides.
    pub fn put_raw(&self, name: &str, bytes: &[u8]) {
        let local = self.folder.path().join("object");
        fs::write(&local, bytes).unwrap();
        self.rclone(&["copyto", "--ignore-times", local.to_str().unwrap(), &self.raw(name)]);
    }

    fn raw(&self, name: &str) -> String {
        let text = fs::read_to_string(&self.config).unwrap();
        let below = text.lines().find_map(|line| line.strip_prefix("remote = ")).expect("a crypt remote");
        format!("{below}/{name}")
    }

    fn bucket(server: Arc<S3>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = server.new_bucket_name();
        let config = server.config(REMOTE, server.port());
        let target = format!("{REMOTE}:{bucket}");
        let remote = Self::new(folder, target, &config, Some(server));
        remote.rclone(&["mkdir", &remote.target]);
        remote
    }

    fn new(folder: TempDir, target: String, config: &str, server: Option<Arc<S3>>) -> Self {
        let path = folder.path().join("rclone.conf");
        write_private(&path, config);
        Self { target, config: path, folder, server }
    }

    /// What `--target` is to be.
    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The text of rclone.conf with one piece replaced, as another file.
    pub fn config_with(&self, from: &str, to: &str) -> PathBuf {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from:?} is not in rclone.conf");
        let path = self.folder.path().join("other.conf");
        write_private(&path, &text.replace(from, to));
        path
    }

    /// The same bucket by way of another port, such as a proxy's.
    pub fn config_by(&self, port: u16) -> PathBuf {
        let own = format!("127.0.0.1:{}", self.port());
        self.config_with(&own, &format!("127.0.0.1:{port}"))
    }

    /// The same bucket with a key that may do just this, such as `s3:GetObject`; for SeaweedFS alone.
    pub fn config_that_may(&self, actions: &[&str]) -> PathBuf {
        let bucket = self.bucket_name();
        let user = format!("{bucket}-{}", actions.len());
        let secret = self.server().grant(bucket, &user, actions);
        let text = fs::read_to_string(&self.config).unwrap();
        let path = self.folder.path().join("granted.conf");
        write_private(&path, &text.replace(ACCESS, &user).replace(self.server().secret(), &secret));
        path
    }

    /// The bucket keeps old versions from now on, with locks besides; for SeaweedFS alone.
    pub fn keep_versions(&self) {
        self.server().administer(&format!("s3.bucket.lock -name {} -enable\n", self.bucket_name()));
    }

    fn bucket_name(&self) -> &str {
        self.target.split_once(':').expect("a bucket").1
    }

    pub fn port(&self) -> u16 {
        self.server().port()
    }

    /// What must never be seen in any output; a folder has none.
    pub fn secret(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.secret())
    }

    fn server(&self) -> &S3 {
        self.server.as_ref().expect("a remote with a server")
    }

    /// Everything stored, at any depth, sorted.
    pub fn names(&self) -> Vec<String> {
        let listing = self.rclone(&["lsf", "-R", "--files-only", &self.target]);
        let listing = String::from_utf8(listing.stdout).unwrap();
        let mut names: Vec<_> = listing.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        self.rclone(&["cat", &self.path(name)]).stdout
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.put_aged(name, bytes, Duration::ZERO);
    }

    /// Stores an object whose modification time lies so far back.
    pub fn put_aged(&self, name: &str, bytes: &[u8], age: Duration) {
        let local = self.folder.path().join("object");
        let mut file = fs::File::create(&local).unwrap();
        file.write_all(bytes).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        drop(file);
        let local = local.to_str().unwrap().to_owned();
        self.rclone(&["copyto", &local, &self.path(name)]);
    }

    /// rclone's own listing, with hashes and metadata.
    pub fn lsjson(&self) -> Vec<Value> {
        let listing = self.rclone(&["lsjson", "-R", "-M", "--hash", "--files-only", &self.target]);
        serde_json::from_slice(&listing.stdout).expect("a list in JSON")
    }

    /// Uploads that were begun and neither finished nor aborted.
    pub fn pending_uploads(&self) -> String {
        let pending = self.rclone(&["backend", "list-multipart-uploads", &self.target]);
        String::from_utf8(pending.stdout).unwrap()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.target)
    }

    /// rclone with this remote's config; must succeed.
    pub fn rclone(&self, args: &[&str]) -> Output {
        let output = self.rclone_with(&self.config, args);
        assert!(output.status.success(), "rclone {args:?}: {output:?}");
        output
    }

    /// rclone with another config, for whatever comes of it.
    pub fn rclone_with(&self, config: &Path, args: &[&str]) -> Output {
        tools::command(tools::tool("rclone"))
            .env("HOME", self.folder.path())
            .arg("--config")
            .arg(config)
            .args(["--retries=1", "--low-level-retries=1"])
            .args(args)
            .output()
            .expect("rclone starts")
    }
}

/// The spelling of a password that rclone.conf wants.
fn obscured(password: &str) -> String {
    let output = tools::command(tools::tool("rclone")).args(["obscure", password]).output().expect("rclone starts");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write_private(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
