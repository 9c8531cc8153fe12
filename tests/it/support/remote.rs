//! Where backups go: a folder, rclone's own servers, or SeaweedFS; looked at with rclone itself.

use std::{
    fs,
    io::Write,
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    clouds::Cloud,
    file_server::{FileServer, Protocol, obscured},
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
    /// What rclone needs in its environment to reach the store.
    environment: Vec<(&'static str, String)>,
    server: Served,
}

/// By whom a remote is served.
pub(super) enum Served {
    /// The machine's own file system.
    Locally,
    ByS3(Arc<S3>),
    Files(FileServer),
    InACloud(Arc<Cloud>),
    /// A folder that the configuration names.
    Mounted(TempDir),
}

impl Remote {
    /// A local directory, as a mounted volume would be.
    pub fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        let target = target.to_str().expect("a temp folder in UTF-8").to_owned();
        Self::new(folder, target, "", Served::Locally)
    }

    /// A bucket in rclone's own S3 server: up at once, without versions and locks.
    pub fn rclone_s3() -> Self {
        Self::bucket(Arc::new(S3::rclone()))
    }

    /// A bucket of its own in SeaweedFS; tests that run at the same time share the server.
    pub fn seaweedfs() -> Self {
        Self::bucket(S3::seaweedfs())
    }

    /// A folder in rclone's own WebDAV server, which knows no hashes and keeps no metadata.
    pub fn webdav() -> Self {
        Self::served(Protocol::WebDav)
    }

    /// A folder in rclone's own SFTP server, which also runs `md5sum` and `sha1sum`.
    pub fn sftp() -> Self {
        Self::served(Protocol::Sftp)
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

    /// Flips one bit of each of these bytes below what crypt hides.
    pub fn flip_raw(&self, name: &str, places: Range<usize>) {
        let mut bytes = self.read_raw(name);
        for byte in &mut bytes[places] {
            *byte ^= 1;
        }
        self.put_raw(name, &bytes);
    }

    /// The name below what crypt hides, of one below the target.
    pub fn raw_name(&self, name: &str) -> String {
        let (_, folder) = self.target.split_once(':').expect("a crypt remote");
        let encoded = self.rclone(&["cryptdecode", "--reverse", "vault:", &format!("{folder}/{name}")]).stdout;
        let encoded = String::from_utf8(encoded).unwrap();
        encoded.trim().rsplit_once(" \t ").expect("two names").1.to_owned()
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
        let remote = Self::new(folder, target, &config, Served::ByS3(server));
        remote.rclone(&["mkdir", &remote.target]);
        remote
    }

    fn served(protocol: Protocol) -> Self {
        let server = FileServer::start(protocol);
        let config = server.config(REMOTE);
        let remote = Self::new(tempfile::tempdir().unwrap(), format!("{REMOTE}:etcd"), &config, Served::Files(server));
        remote.rclone(&["mkdir", &remote.target]);
        remote
    }

    pub(super) fn new(folder: TempDir, target: String, config: &str, server: Served) -> Self {
        let path = folder.path().join("rclone.conf");
        write_private(&path, config);
        let environment = if let Served::InACloud(cloud) = &server { cloud.environment() } else { Vec::new() };
        Self { target, config: path, folder, environment, server }
    }

    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    pub(super) fn with_environment(mut self, more: [(&'static str, String); 2]) -> Self {
        self.environment.extend(more);
        self
    }

    /// Another place of the same configuration.
    pub fn with_target(self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self }
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

    /// The same place by way of another port, such as a proxy's.
    pub fn config_by(&self, port: u16) -> PathBuf {
        let place = |port| match &self.server {
            Served::Files(server) => server.place(port),
            _ => format!("127.0.0.1:{port}"),
        };
        self.config_with(&place(self.port()), &place(port))
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
        match &self.server {
            Served::Locally | Served::Mounted(_) => panic!("a folder has no port"),
            Served::ByS3(server) => server.port(),
            Served::Files(server) => server.port(),
            Served::InACloud(cloud) => cloud.port(),
        }
    }

    /// What rclone.conf has of the server's secret; a folder has none.
    pub fn secret(&self) -> Option<&str> {
        self.secrets().first().copied()
    }

    /// What must never be seen in any output.
    pub fn secrets(&self) -> Vec<&str> {
        match &self.server {
            Served::Locally | Served::Mounted(_) => Vec::new(),
            Served::ByS3(server) => vec![server.secret()],
            Served::Files(server) => server.secrets().to_vec(),
            Served::InACloud(cloud) => vec![cloud.secret()],
        }
    }

    pub fn server(&self) -> &S3 {
        match &self.server {
            Served::ByS3(server) => server,
            _ => panic!("no S3 server"),
        }
    }

    /// Where a file of the target lies on this machine; for a folder, WebDAV and SFTP, not behind crypt.
    pub fn on_disk(&self, name: &str) -> PathBuf {
        let folder = match &self.server {
            Served::Locally => PathBuf::from(&self.target),
            Served::Files(server) => server.data().join("etcd"),
            Served::Mounted(folder) => folder.path().to_owned(),
            Served::ByS3(_) | Served::InACloud(_) => panic!("no files"),
        };
        folder.join(name)
    }

    /// Everything stored but the finished files of the records' folder, at any depth, sorted.
    pub fn names(&self) -> Vec<String> {
        let is_record = |name: &String| name.contains(".etcd-backup/") && !name.contains("/parts/");
        self.all_names().into_iter().filter(|name| !is_record(name)).collect()
    }

    /// Everything stored, at any depth, sorted.
    fn all_names(&self) -> Vec<String> {
        let listing = self.rclone(&["lsf", "-R", "--files-only", &self.target]);
        let listing = String::from_utf8(listing.stdout).unwrap();
        let mut names: Vec<_> = listing.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The files of the records' folder, sorted.
    pub fn records(&self) -> Vec<String> {
        let names = self.all_names();
        names.iter().filter_map(|name| name.strip_prefix(".etcd-backup/")).map(str::to_owned).collect()
    }

    /// The one line of a file of the records' folder.
    pub fn record(&self, file: &str) -> Value {
        let text = self.read(&format!(".etcd-backup/{file}"));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{file}: {error}: {text:?}"))
    }

    pub fn delete(&self, name: &str) {
        self.rclone(&["deletefile", &self.path(name)]);
    }

    /// A backup and its record, as they would be had the backup been made so many days earlier; answers its name.
    pub fn backdate(&self, name: &str, days: i64) -> String {
        let record = format!(".etcd-backup/{name}.json");
        let mut line: Value = serde_json::from_slice(&self.read(&record)).unwrap();
        let taken_at: chrono::DateTime<chrono::Utc> = line["taken_at"].as_str().unwrap().parse().unwrap();
        let taken_at = taken_at - chrono::Duration::days(days);
        let prefix = line["prefix"].as_str().unwrap();
        let earlier = format!("{prefix}{}.etcdb", taken_at.format("%Y%m%d%H%M%S"));
        line["name"] = earlier.clone().into();
        line["taken_at"] = taken_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into();
        let age = Duration::from_hours(24 * u64::try_from(days).unwrap());
        self.put_aged(&earlier, &self.read(name), age);
        self.put_aged(&format!(".etcd-backup/{earlier}.json"), format!("{line}\n").as_bytes(), age);
        self.delete(name);
        self.delete(&record);
        earlier
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
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--config")
            .arg(config)
            .args(["--retries=1", "--low-level-retries=1"])
            .args(args)
            .output()
            .expect("rclone starts")
    }
}

pub(super) fn write_private(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
