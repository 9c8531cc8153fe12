//! Extra flags for rclone, without those that could change what is stored or deleted.

use std::fmt;
use std::str::FromStr;

use super::rclone_options::{is_credential, why_refused_as_flag, why_refused_as_value};
use crate::url;

/// Checked flags and their values, one argument each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcloneFlags(pub Vec<String>);

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
        let mut flag_before = None;
        for word in &words {
            if let Some(flag) = word.strip_prefix("--").filter(|f| !f.is_empty()) {
                let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
                why_refused_as_flag(name).map_or(Ok(()), Err)?;
                value.map_or(Ok(()), |value| check_value(name, value))?;
                flag_before = Some(name).filter(|_| value.is_none());
            } else if word.starts_with('-') {
                // Short forms can be joined (`-vn`), so none of them is easy to tell.
                return Err("has a flag in its short form; write the long one, such as `--bwlimit 10M`".into());
            } else if let Some(name) = flag_before.take() {
                check_value(name, word)?;
            } else {
                return Err("has a word that is neither a flag nor the value of one".into());
            }
        }
        Ok(Self(words))
    }
}

fn check_value(flag: &str, value: &str) -> Result<(), String> {
    let flag = flag.replace('_', "-");
    if flag.starts_with("header") {
        check_header(value)?;
    }
    why_refused_as_value(&flag, value).map_or(Ok(()), Err)
}

fn check_header(header: &str) -> Result<(), String> {
    // Every process of a machine can read the arguments of the others.
    let (name, value) = header.split_once(':').unwrap_or((header, header));
    let (name, scheme) = (name.to_lowercase(), value.trim().to_lowercase());
    let is_named = is_credential(&name) || name.contains("auth") || name.contains("cookie");
    let has_scheme = ["basic ", "bearer ", "authorization"].iter().any(|word| scheme.contains(word));
    if is_named || has_scheme || url::secrets(value).iter().any(|secret| !secret.is_empty()) {
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
        for text in [
            "--sftp-user etcd@backup",
            "--user-agent 'etcd-backup (ops@h.example)'",
            "--header 'From: ops@h.example'",
            "--user-agent ops:team@example.org",
            "--header 'Referer: https://x/?a=b'",
            "--header Referer:https://x/?a=b",
            "--s3-sse-kms-key-id arn:aws:kms:eu-central-1:1:key/2",
            "--onedrive-no-versions",
            "--http-proxy http://h.example:3128",
            "--sftp-ciphers aes128-gcm@openssh.com",
            "--s3-endpoint=https://h.example:9000/path/a@b",
            "--client-cert /c.crt --client-key /c.key",
        ] {
            assert!(text.parse::<RcloneFlags>().is_ok(), "{text}: {:?}", text.parse::<RcloneFlags>());
        }
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
            "--header 'X: Basic PW'",
            "--header X:bearer\\ PW",
            "--header 'X: Authorization PW'",
            "--header 'Referer: https://x/?sig=PW'",
            "--s3-endpoint https://a,https://U:PW@h",
            "--password-command=x",
            "--s3-no-check-bucket=false --delete-before",
            "--http-proxy http://U:PW@h.example:1",
            "--http_proxy=http://U@h.example:1",
            "--http-proxy U:PW@h.example:1",
            "--http-proxy=U@h.example:1",
            "--sftp-socks-proxy U:PW@h.example:1",
            "--s3-endpoint https://U:P/W@h.example",
            "--s3-endpoint=https://h.example/?sig=PW",
            "--user-agent http://U:PW@h.example",
            "--header-upload 'X-From: http://U:PW@h.example'",
            "--sftp-ssh 'sshpass -p PW ssh h'",
            "--sftp-server-command x",
            "--sftp-md5sum-command=x",
            "--sftp-set-env PW=x",
            "--webdav-bearer-token-command 'echo PW'",
            "--azureblob-connection-string AccountKey=PW",
            "--mega-session-id PW",
        ] {
            let refused = text.parse::<RcloneFlags>().unwrap_err();
            assert!(!refused.contains("PW"), "{text}: {refused}");
        }
    }
}
