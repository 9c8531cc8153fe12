//! The remotes of `rclone/examples`, as they are shipped, with their places and secrets replaced by those of a server here.

use std::{fs, path::Path, sync::Arc};

use super::{
    clouds::{ACCOUNT, Cloud, Kind},
    file_server::{FileServer, obscured},
    remote::{Remote, Served},
    s3::{ACCESS, S3},
};

/// Where the examples of files and of SFTP lead.
const MOUNTED: &str = "/mnt/etcd-backups";
const SERVED: &str = "/srv/etcd-backups";
/// The examples say that a missing bucket is an error. Tests have to make theirs all the same.
const MAY_CREATE: [&str; 3] =
    ["--s3-no-check-bucket=false", "--azureblob-no-check-container=false", "--gcs-no-check-bucket=false"];

/// Where a bucket at AWS is to be.
const REGION: [&str; 1] = ["--s3-location-constraint=eu-central-1"];

impl Remote {
    pub fn aws() -> Self {
        let cloud = Cloud::of(Kind::Aws);
        let edits = [
            ("access_key_id = REPLACE_ME", format!("access_key_id = {ACCESS}")),
            ("secret_access_key = REPLACE_ME", format!("secret_access_key = {}", cloud.secret())),
        ];
        Self::in_aws("aws-s3.conf", &edits, cloud).make_bucket(&REGION)
    }

    /// Without a key in the file. moto's metadata service answers in a way that rclone does not read, so the key comes from
    /// where rclone looks first.
    pub fn aws_by_role() -> Self {
        let cloud = Cloud::of(Kind::Aws);
        let key = [("AWS_ACCESS_KEY_ID", ACCESS.to_owned()), ("AWS_SECRET_ACCESS_KEY", cloud.secret().to_owned())];
        Self::in_aws("aws-s3-instance-role.conf", &[], cloud).with_environment(key).make_bucket(&REGION)
    }

    fn in_aws(file: &str, edits: &[(&str, String)], cloud: Arc<Cloud>) -> Self {
        let bucket = cloud.new_bucket_name();
        Self::example(file, edits, "aws:", &bucket, Served::InACloud(cloud))
    }

    pub fn azure() -> Self {
        let cloud = Cloud::of(Kind::Azure);
        let edits = [
            ("account = REPLACE_ME", format!("account = {ACCOUNT}")),
            ("key = REPLACE_ME", format!("key = {}", cloud.secret())),
        ];
        let bucket = cloud.new_bucket_name();
        Self::example("azure-blob.conf", &edits, "azure:", &bucket, Served::InACloud(cloud)).make_bucket(&[])
    }

    /// The emulator knows no accounts, so the key file is not tried.
    pub fn google() -> Self {
        let cloud = Cloud::of(Kind::Google);
        let here = format!("anonymous = true\nendpoint = http://127.0.0.1:{}/storage/v1/", cloud.port());
        let edits = [("service_account_file = /config/rclone/gcs-key.json", here)];
        let bucket = cloud.new_bucket_name();
        let file = "google-cloud-storage.conf";
        Self::example(file, &edits, "gcs:", &bucket, Served::InACloud(cloud)).make_bucket(&["--gcs-project-number=1"])
    }

    /// An example whose `endpoint` is this one, at an S3 server that runs here.
    pub fn s3_by(file: &str, root: &str, endpoint: &str, server: Arc<S3>) -> Self {
        let edits = [
            (endpoint, format!("http://127.0.0.1:{}", server.port())),
            ("access_key_id = REPLACE_ME", format!("access_key_id = {ACCESS}")),
            ("secret_access_key = REPLACE_ME", format!("secret_access_key = {}", server.secret())),
        ];
        let bucket = server.new_bucket_name();
        Self::example(file, &edits, root, &bucket, Served::ByS3(server)).make_bucket(&[])
    }

    pub fn sftp_by_key() -> Self {
        let server = FileServer::sftp_by_key();
        let [key, hosts] = [server.key(), server.known_hosts()].map(|path| path.to_str().unwrap().to_owned());
        let edits = [
            ("host = backup.example.com", format!("host = 127.0.0.1\nport = {}", server.port())),
            ("/config/rclone/id_ed25519", key),
            ("/config/rclone/known_hosts", hosts),
        ];
        let remote = Self::example("sftp.conf", &edits, &format!("sftp:{SERVED}"), "", Served::Files(server));
        remote.make_bucket(&[])
    }

    pub fn disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().to_str().expect("a temp folder in UTF-8").to_owned();
        // What is below belongs to the remote from now on, and goes with it.
        let server = Served::Mounted(folder);
        Self::example("local-path.conf", &[(MOUNTED, mounted)], "disk:", "", server)
    }

    /// The encrypted twin that the example has below it.
    pub fn encrypted_as_shipped(self) -> Self {
        let section = self.target().split(':').next().expect("a remote").trim_end_matches("-s3").to_owned();
        self.with_target(&format!("{section}-crypt:prod"))
    }

    fn example(file: &str, edits: &[(&str, String)], root: &str, bucket: &str, server: Served) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rclone/examples").join(file);
        let mut text = fs::read_to_string(path).unwrap();
        let passwords = ["PASSWORD", "SALT"].map(|which| (format!("REPLACE_WITH_OBSCURED_{which}"), obscured(which)));
        let edits = edits.iter().map(|(from, to)| ((*from).to_owned(), to.clone()));
        for (from, to) in edits.chain(passwords) {
            assert!(text.contains(&from), "{file} has no {from}");
            text = text.replace(&from, &to);
        }
        // The twin of OCI's example is that of its native section.
        text = text.replace("remote = oci:BUCKET", &format!("remote = {root}BUCKET"));
        for placeholder in [":BUCKET", ":CONTAINER"] {
            text = text.replace(placeholder, &format!(":{bucket}"));
        }
        Self::new(tempfile::tempdir().unwrap(), format!("{root}{bucket}"), &text, server)
    }

    fn make_bucket(self, flags: &[&str]) -> Self {
        self.rclone(&[&["mkdir", self.target()], &MAY_CREATE[..], flags].concat());
        self
    }
}
