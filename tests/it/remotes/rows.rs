//! The rows of the README's table that can be tried here, and what was seen of each.

use std::sync::Arc;

use crate::support::{remote::Remote, s3::S3};

/// Who decides that a name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The store itself, at the last moment.
    TheStore,
    /// A rename on this machine, which replaces nothing.
    TheSystem,
    /// The runs among themselves, because a rename there replaces what has the name.
    TheRuns,
    /// rclone, which looks and then writes.
    ALook,
}

pub struct Row {
    /// Its name in the README's table.
    pub name: &'static str,
    pub remote: fn() -> Remote,
    pub taken: Taken,
    /// By what a small backup is confirmed, in plain.
    pub evidence: &'static str,
}

pub const ROWS: [Row; 13] = [
    Row { name: "AWS S3 with an access key", remote: Remote::aws, taken: Taken::TheStore, evidence: "store-md5" },
    Row {
        name: "AWS S3 with the instance's role",
        remote: Remote::aws_by_role,
        taken: Taken::TheStore,
        evidence: "store-md5",
    },
    Row { name: "MinIO", remote: || weed("minio", "https://minio.example.com:9000"), ..ANY_S3 },
    Row { name: "Ceph's object gateway", remote: || weed("ceph", "https://rgw.example.com"), ..ANY_S3 },
    Row {
        name: "SeaweedFS",
        remote: || weed("seaweedfs", "http://seaweedfs.example.com:8333"),
        evidence: "store-md5",
        ..ANY_S3
    },
    Row {
        name: "Oracle OCI, by its S3 interface",
        remote: || {
            let endpoint = "https://NAMESPACE.compat.objectstorage.eu-frankfurt-1.oraclecloud.com";
            Remote::s3_by("oracle-oci.conf", "oci-s3:", endpoint, S3::seaweedfs())
        },
        ..ANY_S3
    },
    Row {
        name: "Naver Cloud",
        remote: || {
            let endpoint = "https://kr.object.ncloudstorage.com";
            Remote::s3_by("naver-cloud.conf", "ncp:", endpoint, Arc::new(S3::rclone()))
        },
        taken: Taken::ALook,
        ..ANY_S3
    },
    Row { name: "Google Cloud Storage", remote: Remote::google, taken: Taken::ALook, evidence: "read-back" },
    Row { name: "Azure Blob Storage", remote: Remote::azure, taken: Taken::ALook, evidence: "read-back" },
    Row { name: "SFTP", remote: Remote::sftp_by_key, taken: Taken::TheRuns, evidence: "store-md5" },
    Row { name: "WebDAV", remote: Remote::webdav, taken: Taken::TheRuns, evidence: "read-back" },
    Row { name: "a mounted directory by `disk:`", remote: Remote::disk, taken: Taken::TheRuns, evidence: "read-back" },
    Row {
        name: "a mounted directory by its path",
        remote: Remote::folder,
        taken: Taken::TheSystem,
        evidence: "store-sha256",
    },
];

const ANY_S3: Row = Row { name: "", remote: Remote::seaweedfs, taken: Taken::TheStore, evidence: "read-back" };

/// An example of the same name as its section.
fn weed(name: &str, endpoint: &str) -> Remote {
    Remote::s3_by(&format!("{name}.conf"), &format!("{name}:"), endpoint, S3::seaweedfs())
}

impl Row {
    /// The encrypted twin that the example has, or one like it.
    pub fn encrypted(&self) -> Remote {
        let remote = (self.remote)();
        let is_shipped = !matches!(self.name, "WebDAV" | "a mounted directory by its path");
        if is_shipped { remote.encrypted_as_shipped() } else { remote.encrypted(true) }
    }
}

impl Taken {
    /// In the README's words.
    fn by(self) -> &'static str {
        match self {
            Self::TheStore => "the store",
            Self::TheSystem => "the system",
            Self::TheRuns => "the runs",
            Self::ALook => "a look",
        }
    }
}

/// The README says of a store what was seen there, and that of the others nothing was.
#[test]
fn the_readme_says_what_was_seen() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/rclone/README.md")).unwrap();
    let section = readme.split_once("\n## What each store gives\n").unwrap().1;
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut unseen: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    for line in lines.skip(2) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(row) = ROWS.iter().find(|row| row.name == cells[0]) else {
            assert!(line.ends_with("| not tried |"), "{line}");
            continue;
        };
        let evidence = match row.evidence {
            "store-md5" if row.name == "SFTP" => "`md5sum` there",
            "store-md5" => "its ETag",
            "store-sha256" => "SHA-256 of the file",
            _ => "reading back",
        };
        // What another store does in its place says nothing of this one.
        let by = if line.contains(" in its place |") { "the store if it can" } else { row.taken.by() };
        assert_eq!(cells[1..3], [by, evidence], "{line}");
        unseen.retain(|name| *name != row.name);
    }
    assert!(unseen.is_empty(), "not in the table: {unseen:?}");
}
