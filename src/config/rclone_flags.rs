//! Extra flags for rclone, without those that could change what is stored or deleted.

use std::fmt;
use std::str::FromStr;

use super::target::is_credential;

/// Checked flags and their values, one argument each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcloneFlags(pub Vec<String>);

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
pub const REFUSED_ENDINGS: [&str; 6] =
    ["-show-mapping", "-starred-only", "-trashed-only", "-version-at", "-version-deleted", "-versions"];

impl fmt::Display for RcloneFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only a NUL cannot be quoted, and an argument has none.
        f.write_str(&shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_default())
    }
}

impl FromStr for RcloneFlags {
    type Err = String;

    // An error repeats no value, because it may be a secret.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(words) = shlex::split(text) else { return Err("has an open quote".into()) };
        let mut value_may_follow = false;
        let mut header_follows = false;
        for word in &words {
            if header_follows {
                check_header(word)?;
            }
            header_follows = false;
            if let Some(flag) = word.strip_prefix("--").filter(|f| !f.is_empty()) {
                let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
                check(name)?;
                value_may_follow = value.is_none();
                header_follows = value_may_follow && name.starts_with("header");
                value.filter(|_| name.starts_with("header")).map_or(Ok(()), check_header)?;
            } else if word.starts_with('-') {
                // Short forms can be joined (`-vn`), so none of them is easy to tell.
                return Err("has a flag in its short form; write the long one, such as `--bwlimit 10M`".into());
            } else if !std::mem::take(&mut value_may_follow) {
                return Err("has a word that is neither a flag nor the value of one".into());
            }
        }
        Ok(Self(words))
    }
}

fn check(flag: &str) -> Result<(), String> {
    // rclone takes `_` for `-` in the name of a flag.
    let flag = flag.replace('_', "-");
    if is_credential(&flag) {
        return Err(format!("carries a credential (`--{flag}`); put it into rclone.conf"));
    }
    if REFUSED.iter().any(|refused| flag.starts_with(refused)) || REFUSED_ENDINGS.iter().any(|e| flag.ends_with(e)) {
        return Err(format!(
            "has `--{flag}`; flags that filter, dry-run, delete, move or change the config are refused, because this program decides what is stored and deleted"
        ));
    }
    Ok(())
}

fn check_header(header: &str) -> Result<(), String> {
    // Every process of a machine can read the arguments of the others.
    let name = header.split(':').next().unwrap_or(header).to_lowercase();
    if is_credential(&name) || name.contains("auth") || name.contains("cookie") {
        return Err("carries a credential in a header; put it into rclone.conf".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_flags_pass() {
        let flags: RcloneFlags = "--bwlimit '10M' --s3-storage-class=GLACIER --transfers 1".parse().unwrap();
        assert_eq!(flags.0, ["--bwlimit", "10M", "--s3-storage-class=GLACIER", "--transfers", "1"]);
        assert!("--header 'X-Purpose: backup' --header-upload X-A:b".parse::<RcloneFlags>().is_ok());
        assert_eq!("".parse::<RcloneFlags>(), Ok(RcloneFlags::default()));
    }

    #[test]
    fn dangerous_flags_do_not() {
        for text in [
            "--dry-run",
            "--dry_run=true",
            "-n",
            "-vn",
            "--include x",
            "--filter-from=f",
            "--delete-excluded",
            "--config=/x",
            "--min-age 1d",
            "--max-delete=0",
            "--backup-dir x:",
            "--suffix .bak",
            "--s3-secret-access-key=x",
            "--metadata-set a=b",
            "--immutable",
            "--ignore-existing",
            "--",
            "x",
            "--bwlimit 1 2",
            "--bwlimit '1",
            "--rc",
            "--progress",
            "--syslog",
            "--s3-versions",
            "--s3-version-at 2026-01-01",
            "--drive-trashed-only=true",
            "--header 'Authorization: x'",
            "--header=Cookie:x",
            "--password-command=x",
            "--s3-no-check-bucket=false --delete-before",
        ] {
            assert!(text.parse::<RcloneFlags>().is_err(), "{text}");
        }
    }
}
