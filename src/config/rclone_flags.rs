//! Extra flags for rclone, split as a shell would, without those that could change what is stored or deleted.

use std::fmt;
use std::str::FromStr;

use super::target::is_credential;

/// Checked flags, one argument each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcloneFlags(pub Vec<String>);

/// Flags whose names begin so could filter, dry-run, delete, move, overwrite, or replace what this program sets itself.
const REFUSED: [&str; 48] = [
    "ask-password",
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
    "rc",
    "size-only",
    "suffix",
    "track-renames",
    "update",
    "use-json-log",
];

impl fmt::Display for RcloneFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No flag has a NUL, the one character that cannot be quoted.
        f.write_str(&shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_default())
    }
}

impl FromStr for RcloneFlags {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(words) = shlex::split(text) else { return Err("has an open quote".into()) };
        let mut value_may_follow = false;
        for word in &words {
            if let Some(flag) = word.strip_prefix("--").filter(|f| !f.is_empty()) {
                check(flag.split('=').next().unwrap_or(flag))?;
                value_may_follow = !flag.contains('=');
            } else if word.starts_with('-') {
                return Err(format!("has `{word}`; write flags in their long form, `--bwlimit 10M`"));
            } else if !std::mem::take(&mut value_may_follow) {
                return Err(format!("has `{word}`, which is neither a flag nor the value of one"));
            }
        }
        Ok(Self(words))
    }
}

/// rclone takes `_` for `-` in a flag's name.
fn check(flag: &str) -> Result<(), String> {
    let flag = flag.replace('_', "-");
    if is_credential(&flag) {
        return Err(format!("carries a credential (`--{flag}`); put it into rclone.conf"));
    }
    if REFUSED.iter().any(|refused| flag.starts_with(refused)) {
        return Err(format!(
            "has `--{flag}`; flags that filter, dry-run, delete, move or change the config are refused, because this program decides what is stored and deleted"
        ));
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
            "--password-command=x",
            "--s3-no-check-bucket=false --delete-before",
        ] {
            assert!(text.parse::<RcloneFlags>().is_err(), "{text}");
        }
    }
}
