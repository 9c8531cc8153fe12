//! The environment variables that rclone is given, and what they tell of secrets and files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::rclone_options::{decides_for_us, hides_objects};

// This is an allow-list because other programs' variables are none of rclone's business.
const EXACT: [&str; 22] = [
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
    "KRB5_CONFIG",
    "XDG_CONFIG_HOME",
    "CLOUDSDK_CONFIG",
    "HADOOP_CONF_DIR",
    "HADOOP_USER_NAME",
    // A managed identity of Azure, in its older form and in that of Arc.
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "IMDS_ENDPOINT",
    // Limits of Go's runtime.
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    // The command that tells rclone the password of its configuration, by the operator's own choice.
    "RCLONE_PASSWORD_COMMAND",
];

/// The variables of cloud libraries, of Swift, of Kerberos, and those by which a pod finds its API server.
const PREFIXES: [&str; 11] =
    ["AWS_", "AZURE_", "B2_", "GCE_", "GOOGLE_", "IDENTITY_", "KRB5", "KUBERNETES_SERVICE_", "OCI_", "OS_", "ST_"];

/// The flags of rclone 1.75 that belong to no backend: those of `rclone help flags`, and the own ones of the commands that are
/// used here. A test compares them with the installed rclone.
const GLOBAL_FLAGS: &str = include_str!("global_flags.txt");

/// The allowed variables of `all`, and the names of the others. One that is not UTF-8 is none of rclone's settings.
pub fn cleaned(all: impl Iterator<Item = (OsString, OsString)>) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut kept, mut dropped) = (BTreeMap::new(), Vec::new());
    for (name, value) in all {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) if is_allowed(&name) => drop(kept.insert(name, value)),
            (Ok(name), _) => dropped.push(name),
            (Err(name), _) => dropped.push(name.to_string_lossy().into_owned()),
        }
    }
    dropped.sort();
    (kept, dropped)
}

fn is_allowed(name: &str) -> bool {
    // Machines have these in capitals or in small letters, and rclone reads both.
    let proxy = name.to_uppercase();
    matches!(proxy.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "NO_PROXY" | "ALL_PROXY")
        || EXACT.contains(&name)
        || PREFIXES.iter().any(|p| name.starts_with(p))
        || name.strip_prefix("RCLONE_").is_some_and(is_configuration)
}

/// Whether what follows `RCLONE_` is an option of a remote or of a backend, and no flag. rclone reads every flag from a variable,
/// too: with `RCLONE_DRY_RUN` it would store nothing and report success, and with `RCLONE_MIN_AGE` every upload would fail. With
/// `RCLONE_S3_VERSIONS` old versions would be listed as if they were objects of their own.
// A later rclone may have flags that the list lacks. Those of a family that is refused, and those of one word, do not pass
// either; what remains is an operator's own variable, which the next version of the list finds.
fn is_configuration(option: &str) -> bool {
    let flag = option.to_lowercase().replace('_', "-");
    if hides_objects(&flag) {
        return false;
    }
    // `CONFIG` alone is this program's own setting, and a flag of rclone.
    if flag.strip_prefix("config-").is_some_and(|rest| !rest.is_empty()) {
        return true;
    }
    flag.contains('-') && !decides_for_us(&flag) && !GLOBAL_FLAGS.lines().any(|global| global == flag)
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
        for name in [
            "PATH",
            "https_proxy",
            "AWS_PROFILE",
            "RCLONE_S3_REGION",
            "RCLONE_CONFIG_MINIO_TYPE",
            "RCLONE_CONFIG_PASS",
            "RCLONE_PASSWORD_COMMAND",
            // Of backends that no list here names.
            "RCLONE_SMB_HOST",
            "RCLONE_STORJ_ACCESS_GRANT",
            "RCLONE_NEVERHEARDOF_OPTION",
            "RCLONE_HTTP_URL",
            "RCLONE_CACHE_REMOTE",
            "OS_AUTH_URL",
            "ST_KEY",
            "KUBERNETES_SERVICE_HOST",
            "IDENTITY_HEADER",
            "CLOUDSDK_CONFIG",
            "GOMEMLIMIT",
        ] {
            assert!(is_allowed(name), "{name}");
        }
        for name in [
            "RCLONE_DRY_RUN",
            "RCLONE_INCLUDE",
            "RCLONE_MIN_AGE",
            "RCLONE_FILTER",
            "RCLONE_CONFIG",
            "RCLONE_CONFIG_",
            "RCLONE_FLAGS",
            "RCLONE_S3",
            "RCLONE_DELETE_EXCLUDED",
            "RCLONE_DELETE_NEVER_HEARD_OF",
            "RCLONE_HTTP_PROXY",
            "RCLONE_CACHE_DIR",
            "RCLONE_FILES_ONLY",
            "RCLONE_COPY_LINKS",
            "rclone_dry_run",
            "LD_PRELOAD",
            "ETCDCTL_PASSWORD",
            "TARGET",
            "RCLONE_MAX_DELETE",
            "RCLONE_LOG_FILE",
            "RCLONE_S3_VERSIONS",
            "RCLONE_S3_VERSION_AT",
            "RCLONE_CONFIG_MINIO_VERSIONS",
            "RCLONE_DRIVE_TRASHED_ONLY",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
    }

    #[test]
    fn what_is_dropped_is_named_without_its_value() {
        let all = ["PATH", "RCLONE_DRY_RUN", "EDITOR"].map(|name| (name.into(), "value".into()));
        let (kept, dropped) = cleaned(all.into_iter());
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["PATH"]);
        assert_eq!(dropped, ["EDITOR", "RCLONE_DRY_RUN"]);
    }
}
