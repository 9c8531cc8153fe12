//! The environment variables that rclone is given, and what they tell of secrets and files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::rclone_flags::REFUSED_ENDINGS;

// This is an allow-list because rclone reads every flag from a variable too. With `RCLONE_DRY_RUN` it would store nothing
// and report success, and with `RCLONE_INCLUDE` or `RCLONE_MIN_AGE` every upload would fail.
const EXACT: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "RCLONE_CONFIG_PASS",
    "KRB5_CONFIG",
    "XDG_CONFIG_HOME",
];

/// The variables of cloud libraries, of Kerberos, and of remotes that have no `rclone.conf`.
const PREFIXES: [&str; 8] = ["AWS_", "AZURE_", "GOOGLE_", "GCE_", "OCI_", "B2_", "RCLONE_CONFIG_", "KRB5"];

/// The backends of rclone 1.75, by the prefixes of their options, which pass: `RCLONE_S3_REGION` is an option of one,
/// `RCLONE_MAX_SIZE` a flag.
const BACKENDS: [&str; 69] = [
    "ALIAS",
    "ARCHIVE",
    "AZUREBLOB",
    "AZUREFILES",
    "B2",
    "BOX",
    "CACHE",
    "CHUNKER",
    "CLOUDINARY",
    "COMBINE",
    "COMPRESS",
    "CRYPT",
    "DOI",
    "DRIME",
    "DRIVE",
    "DROPBOX",
    "FICHIER",
    "FILEFABRIC",
    "FILELU",
    "FILEN",
    "FILESCOM",
    "FTP",
    "GCS",
    "GOFILE",
    "GPHOTOS",
    "HASHER",
    "HDFS",
    "HIDRIVE",
    "HTTP",
    "HUAWEIDRIVE",
    "ICLOUDDRIVE",
    "IMAGEKIT",
    "INTERNETARCHIVE",
    "INTERNXT",
    "JOTTACLOUD",
    "KOOFR",
    "LINKBOX",
    "LOCAL",
    "MAILRU",
    "MEGA",
    "MEMORY",
    "NETSTORAGE",
    "ONEDRIVE",
    "OOS",
    "OPENDRIVE",
    "PCLOUD",
    "PIKPAK",
    "PIXELDRAIN",
    "PREMIUMIZEME",
    "PROTONDRIVE",
    "PUTIO",
    "QINGSTOR",
    "QUATRIX",
    "S3",
    "SEAFILE",
    "SFTP",
    "SHADE",
    "SHAREFILE",
    "SIA",
    "SMB",
    "STORJ",
    "SUGARSYNC",
    "SWIFT",
    "TARDIGRADE",
    "ULOZTO",
    "UNION",
    "WEBDAV",
    "YANDEX",
    "ZOHO",
];

/// The allowed variables of `all`. One that is not UTF-8 is left out.
pub fn cleaned(all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    let texts = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| is_allowed(name)).collect()
}

fn is_allowed(name: &str) -> bool {
    // Machines have these in capitals or in small letters, and rclone reads both.
    let proxy = name.to_uppercase();
    if matches!(proxy.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY" | "ALL_PROXY") {
        return true;
    }
    EXACT.contains(&name)
        || PREFIXES.iter().any(|p| name.starts_with(p))
        || (is_backend_option(name) && !hides_objects(name))
}

/// As in flags: with `RCLONE_S3_VERSIONS`, old versions would be listed as if they were objects of their own.
fn hides_objects(name: &str) -> bool {
    let option = name.to_lowercase().replace('_', "-");
    REFUSED_ENDINGS.iter().any(|ending| option.ends_with(ending))
}

fn is_backend_option(name: &str) -> bool {
    name.strip_prefix("RCLONE_").is_some_and(|rest| {
        BACKENDS.iter().any(|backend| rest.strip_prefix(backend).is_some_and(|option| option.starts_with('_')))
    })
}

/// The values that may hold a secret, judged by the variables' names.
pub fn secrets(cleaned: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    cleaned
        .iter()
        .filter(|(name, _)| {
            let option = name.to_lowercase();
            // A URL and a connection string may have a password or a key in them.
            ["secret", "pass", "key", "token", "credential", "sas", "sig", "url", "connection_string"]
                .iter()
                .any(|word| option.contains(word))
        })
        .map(|(_, value)| value.as_str())
}

/// The places where rclone looks for its configuration when it is given none. Any of these files may be missing.
pub fn own_configs(program: &Path, cleaned: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let below = |variable: &str, file: &str| cleaned.get(variable).map(|dir| Path::new(dir).join(file));
    let all = [
        program.parent().map(|dir| dir.join("rclone.conf")),
        below("XDG_CONFIG_HOME", "rclone/rclone.conf"),
        below("HOME", ".config/rclone/rclone.conf"),
        below("HOME", ".rclone.conf"),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_pass_and_backends_do() {
        for name in
            ["PATH", "https_proxy", "AWS_PROFILE", "RCLONE_S3_REGION", "RCLONE_CONFIG_MINIO_TYPE", "RCLONE_CONFIG_PASS"]
        {
            assert!(is_allowed(name), "{name}");
        }
        for name in [
            "RCLONE_DRY_RUN",
            "RCLONE_INCLUDE",
            "RCLONE_MIN_AGE",
            "RCLONE_FILTER",
            "RCLONE_CONFIG",
            "RCLONE_S3",
            "RCLONE_DELETE_EXCLUDED",
            "LD_PRELOAD",
            "ETCDCTL_PASSWORD",
            "RCLONE_MAX_DELETE",
            "RCLONE_LOG_FILE",
            "RCLONE_S3_VERSIONS",
            "RCLONE_S3_VERSION_AT",
            "RCLONE_DRIVE_TRASHED_ONLY",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
    }

    #[test]
    fn values_that_may_hold_a_secret() {
        let environment = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=k"),
            ("RCLONE_WEBDAV_URL", "https://user:passw0rd@h.example"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(
            secrets(&environment).collect::<Vec<_>>(),
            ["s3cret", "AccountName=a;AccountKey=k", "https://user:passw0rd@h.example"]
        );
    }
}
