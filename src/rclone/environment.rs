//! The variables that rclone is given. This is an allow-list, because rclone reads every flag from a variable too, and
//! with `RCLONE_DRY_RUN` or `RCLONE_INCLUDE` it would store nothing and report success.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

/// Credentials and settings of the clouds' libraries, and of remotes.
const PREFIXES: [&str; 8] = ["AWS_", "AZURE_", "GOOGLE_", "GCE_", "OCI_", "B2_", "RCLONE_CONFIG_", "KRB5"];

/// rclone's backends, which tell an option of one, such as `RCLONE_S3_REGION`, from a flag, such as `RCLONE_MAX_SIZE`.
const BACKENDS: [&str; 30] = [
    "ALIAS",
    "AZUREBLOB",
    "AZUREFILES",
    "B2",
    "BOX",
    "COMBINE",
    "CRYPT",
    "DRIVE",
    "DROPBOX",
    "FTP",
    "GCS",
    "GOOGLE_CLOUD_STORAGE",
    "HDFS",
    "HTTP",
    "JOTTACLOUD",
    "LOCAL",
    "MEGA",
    "NETSTORAGE",
    "ONEDRIVE",
    "OOS",
    "ORACLEOBJECTSTORAGE",
    "PCLOUD",
    "QINGSTOR",
    "S3",
    "SFTP",
    "SMB",
    "STORJ",
    "SWIFT",
    "UNION",
    "WEBDAV",
];

/// Leaves out every variable that is not on the list or is not UTF-8.
pub fn cleaned(all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    let texts = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| is_allowed(name)).collect()
}

fn is_allowed(name: &str) -> bool {
    let proxy = name.to_uppercase();
    if matches!(proxy.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY" | "ALL_PROXY") {
        return true;
    }
    EXACT.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p)) || is_backend_option(name)
}

fn is_backend_option(name: &str) -> bool {
    name.strip_prefix("RCLONE_").is_some_and(|rest| {
        BACKENDS.iter().any(|backend| rest.strip_prefix(backend).is_some_and(|option| option.starts_with('_')))
    })
}

pub fn secrets(cleaned: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    cleaned
        .iter()
        .filter(|(name, _)| {
            let option = name.to_lowercase();
            ["secret", "pass", "key", "token", "credential", "sas", "sig"].iter().any(|word| option.contains(word))
        })
        .map(|(_, value)| value.as_str())
}

/// Everywhere rclone looks for its configuration when it is given none. Any of the files may be missing.
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
        ] {
            assert!(!is_allowed(name), "{name}");
        }
    }
}
