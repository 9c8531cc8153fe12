//! What the names and values of rclone's options tell: which hold a secret, which run a command, and which change what this
//! program decides. Flags, connection strings and variables are judged alike. Pure.

use crate::url::{carries_credentials, has_user_in_url};

/// Parts of the names of options whose values are secrets.
const CREDENTIALS: [&str; 15] = [
    "secret",
    "pass",
    "key",
    "token",
    "credential",
    "sas_url",
    "bearer",
    "auth_url",
    "headers",
    "access_grant",
    "authorization",
    "connection_string",
    "cookies",
    "mnemonic",
    "session_id",
];

/// Flags that begin with one of these filter, dry-run, delete, move, overwrite, or replace what this program sets.
// Beginnings, because rclone has whole families, such as `--delete-before` and `--delete-excluded`, and adds to them.
const REFUSED: [&str; 53] = [
    "ask-password",
    "auto-confirm",
    "backup-dir",
    "checksum",
    "compare-dest",
    "config",
    "copy-dest",
    "copy-links",
    "cutoff-mode",
    "default-time",
    "delete",
    "dry-run",
    "dump",
    "error-on-no-transfer",
    "exclude",
    "existing",
    "files-from",
    "filter",
    "fix-case",
    "hash-filter",
    "help",
    "ignore",
    "immutable",
    "include",
    "interactive",
    "inplace",
    "log-file",
    "log-level",
    "max-age",
    "max-backlog",
    "max-delete",
    "max-depth",
    "max-duration",
    "max-size",
    "max-transfer",
    "metadata",
    "min-age",
    "min-size",
    "name-transform",
    "no-check-dest",
    "no-traverse",
    "partial-suffix",
    "password-command",
    "progress",
    "quiet",
    "rc",
    "size-only",
    "suffix",
    "syslog",
    "track-renames",
    "update",
    "use-json-log",
    "version",
];

/// Options of backends that hide objects, or show old versions in place of the current ones.
// Endings, because the name of the backend comes first.
const HIDING: [&str; 6] =
    ["-show-mapping", "-starred-only", "-trashed-only", "-version-at", "-version-deleted", "-versions"];

/// Options in a section or a connection string that begin with one of these are rclone's global flags, as in
/// `global.dry_run`.
const GLOBAL: [&str; 2] = ["global.", "override."];

/// Whether the value of an rclone option of this name is a secret, rather than the path of a file with one.
pub fn is_credential(option: &str) -> bool {
    let option = as_option(option);
    // Of two flags for a client's certificate, both with a path.
    let is_path = option.ends_with("_file") || option.ends_with("_agent") || option == "client_key";
    // The name of a key that the store keeps.
    let is_name = option.ends_with("kms_key_id");
    CREDENTIALS.iter().any(|word| option.contains(word)) && !is_path && !is_name
}

/// Whether the value is a command that rclone runs, here or on a server. Secrets are often an argument of one, and what it
/// prints counts as evidence.
pub fn runs_command(option: &str) -> bool {
    let option = as_option(option);
    option.ends_with("command") || option == "ssh" || option.ends_with("_ssh") || option.ends_with("_mapper")
        // Variables for the server's commands.
        || option.ends_with("set_env")
}

/// Whether a flag, in any spelling and without its dashes, changes what is stored, shown or deleted.
pub fn decides_for_us(flag: &str) -> bool {
    let flag = flag.to_lowercase().replace('_', "-");
    REFUSED.iter().any(|refused| flag.starts_with(refused)) || hides_objects(&flag)
}

/// Whether an option of a backend, with the backend's name before it, hides objects or shows old versions of them.
pub fn hides_objects(option: &str) -> bool {
    let option = option.to_lowercase().replace('_', "-");
    // OneDrive's option to keep none.
    HIDING.iter().any(|ending| option.ends_with(ending)) && !option.ends_with("-no-versions")
}

/// Why an option in a section of rclone.conf is refused: it is a global flag that this program would refuse.
pub fn why_refused_in_section(option: &str) -> Option<String> {
    let flag = GLOBAL.iter().find_map(|start| option.strip_prefix(start))?;
    decides_for_us(flag).then(|| format!("sets rclone's own flag `{flag}`"))
}

/// Why an option of a connection string is refused. Every process of a machine can read the arguments of the others, and the
/// target is logged and reported.
pub fn why_refused_in_target(option: &str, value: &str) -> Option<String> {
    if is_credential(option) || carries_credentials(value) || has_user(option, value) {
        Some(format!("carries credentials (`{option}`); put them into rclone.conf"))
    } else if runs_command(option) {
        Some(format!("has an option that runs a command (`{option}`); put it into rclone.conf"))
    } else if GLOBAL.iter().any(|start| option.starts_with(start)) {
        Some(format!("changes rclone's own flags (`{option}`); write those that are allowed into rclone-flags"))
    } else if hides_objects(&format!("-{option}")) {
        Some(format!("has an option that hides objects or shows old versions (`{option}`)"))
    } else {
        None
    }
}

/// Why a flag of this name, without its dashes, is refused.
pub fn why_refused_as_flag(flag: &str) -> Option<String> {
    let flag = flag.replace('_', "-");
    if decides_for_us(&flag) {
        Some(format!(
            "has `--{flag}`; flags that filter, dry-run, delete, move or change the config are refused, because this program decides what is stored and deleted"
        ))
    } else if runs_command(&flag) {
        Some(format!("has a flag that runs a command (`--{flag}`); put it into rclone.conf"))
    } else if is_credential(&flag) {
        Some(format!("carries a credential (`--{flag}`); put it into rclone.conf"))
    } else {
        None
    }
}

/// Why the value of a flag is refused, which is not repeated.
pub fn why_refused_as_value(flag: &str, value: &str) -> Option<String> {
    // A header's colon and a mail address are no user with a password.
    let is_free_text = flag == "user-agent" || flag.starts_with("header");
    let is_credential = if is_free_text { has_user_in_url(value) } else { carries_credentials(value) };
    (is_credential || has_user(flag, value))
        .then(|| format!("carries a credential in the value of `--{flag}`; put it into rclone.conf"))
}

/// Whether an option that says where to connect to has a user in its value, which needs no scheme there.
fn has_user(option: &str, value: &str) -> bool {
    let option = as_option(option);
    let authority = value.split_once("://").map_or(value, |(_, rest)| rest).split('/').next().unwrap_or_default();
    authority.contains('@') && ["proxy", "url", "endpoint", "host"].iter().any(|place| option.ends_with(place))
}

fn as_option(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_secrets_are_no_secrets() {
        assert!(!is_credential("service_account_file") && !is_credential("client-key") && !is_credential("env_auth"));
        assert!(!is_credential("s3-sse-kms-key-id") && is_credential("s3-access-key-id"));
        assert!(is_credential("s3-secret-access-key") && is_credential("azureblob_connection_string"));
    }

    #[test]
    fn a_flag_is_judged_in_each_of_its_spellings() {
        for flag in ["dry-run", "dry_run", "DRY_RUN", "delete-never-heard-of", "S3_VERSIONS", "b2-version-at"] {
            assert!(decides_for_us(flag), "{flag}");
        }
        for flag in ["bwlimit", "s3-region", "onedrive-access-scopes", "onedrive-no-versions", "ONEDRIVE_NO_VERSIONS"] {
            assert!(!decides_for_us(flag), "{flag}");
        }
    }

    #[test]
    fn a_section_may_set_only_flags_that_are_allowed() {
        assert!(why_refused_in_section("global.dry_run").is_some_and(|why| why.contains("`dry_run`")));
        assert_eq!(why_refused_in_section("override.no_check_certificate"), None);
        assert_eq!(why_refused_in_section("versions"), None);
    }
}
