//! The target: one place of one rclone remote, or an absolute path.

use std::fmt;
use std::str::FromStr;

use crate::url::credentials;

/// A checked target, in rclone's spelling and without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `minio:`, `:s3,env_auth=true:`, or empty for a local path.
    remote: String,
    path: String,
}

impl Target {
    /// The remote without a path, such as `minio:`; `/` for a local path.
    pub fn root(&self) -> &str {
        if self.remote.is_empty() { "/" } else { &self.remote }
    }

    /// Whether it names no bucket and no directory.
    pub fn is_whole_remote(&self) -> bool {
        self.path.trim_matches('/').is_empty()
    }

    /// `name` below the target, as rclone writes it; the target itself for an empty name.
    pub fn join(&self, name: &str) -> String {
        let slash = if self.path.is_empty() || self.path.ends_with('/') || name.is_empty() { "" } else { "/" };
        format!("{}{}{slash}{name}", self.remote, self.path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.join(""))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .map_err(|why| format!("{why}; allowed is `remote:bucket/path` of an rclone remote, or an absolute path"))
    }
}

fn parse(text: &str) -> Result<Target, String> {
    // With an empty target rclone would write to the root directory, and report success.
    if text.trim().is_empty() {
        return Err("is empty".into());
    }
    // rclone would accept a newline, and make it a part of the object's name.
    if text.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    let (remote, path) = if text.starts_with('/') { ("", text) } else { split(text)? };
    check_remote(remote)?;
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err("has a `.` or `..` in its path".into());
    }
    // rclone reads it as one slash, so one directory would have two spellings.
    if path.contains("//") {
        return Err("has an empty directory name (`//`)".into());
    }
    if remote.is_empty() && path == "/" {
        return Err("is the root of the file system".into());
    }
    // `remote:/` is the root of an SFTP server, so a lone slash stays.
    let path = if path == "/" { path } else { path.trim_end_matches('/') };
    Ok(Target { remote: remote.to_owned(), path: path.to_owned() })
}

/// Splits after the colon that ends the remote. A connection string, such as `:s3,endpoint='http://h:1':bucket`, may have
/// colons of its own in quotes.
fn split(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut options = false;
    for (at, c) in text.char_indices().skip(usize::from(text.starts_with(':'))) {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ':') => return Ok(text.split_at(at + 1)),
            (None, ',') => options = true,
            // A remote's name has no slash, but the value of an option may be a path.
            (None, '/') if !options => break,
            _ => {}
        }
    }
    Err("names no remote (there is no colon), and rclone would store it on this machine's own disk".into())
}

fn check_remote(remote: &str) -> Result<(), String> {
    // rclone allows no such name, and would read `-x:` as a flag.
    if remote.starts_with(['-', ' ']) || remote == ":" {
        return Err("does not begin with the name of a remote".into());
    }
    let mut options = remote.trim_end_matches(':').split(',');
    let _name = options.next();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        // The target is logged, reported, and an argument that other processes can read.
        if is_credential(name) || !credentials(value).is_empty() {
            return Err(format!("carries credentials (`{name}`); put them into rclone.conf"));
        }
    }
    Ok(())
}

/// Whether the value of an rclone option of this name is a secret, rather than the path of a file with one.
pub fn is_credential(option: &str) -> bool {
    let option = option.to_lowercase().replace('-', "_");
    let secret = ["secret", "pass", "key", "token", "credential", "sas_url", "bearer", "auth_url", "headers"];
    secret.iter().any(|word| option.contains(word)) && !option.ends_with("_file") && !option.ends_with("_agent")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Target>().unwrap_err()
    }

    #[test]
    fn places_join_as_rclone_writes_them() {
        for (text, name, joined) in [
            ("minio:bucket", "a", "minio:bucket/a"),
            ("minio:bucket/dir/", "a", "minio:bucket/dir/a"),
            ("sftp:", "a", "sftp:a"),
            ("sftp:/", "a", "sftp:/a"),
            ("/mnt/backup/", "a", "/mnt/backup/a"),
            ("my remote:a b/c", "", "my remote:a b/c"),
            (":s3,env_auth=true,endpoint='http://h:1':b", "a", ":s3,env_auth=true,endpoint='http://h:1':b/a"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().join(name), joined, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "empty"),
            ("  ", "empty"),
            ("bucket/dir", "no colon"),
            ("bucket/dir:x", "no colon"),
            ("./x", "no colon"),
            ("minio:a/../b", "`..`"),
            ("minio:a//b", "`//`"),
            ("minio:a\nb", "control"),
            ("/", "root of the file system"),
            ("-x:b", "does not begin"),
            (":", "no colon"),
            (":s3,secret_access_key=abc:b", "credentials (`secret_access_key`)"),
            ("minio,access_key_id=abc:b", "credentials"),
            (":sftp,pass=abc,host=h:b", "credentials"),
            (":webdav,url='https://u:abc@h/':b", "credentials"),
            (":http,url='https://h/?sig=abc':b", "credentials"),
        ] {
            let error = refused(text);
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains("abc"), "{error}");
        }
    }

    #[test]
    fn files_of_secrets_are_no_secrets() {
        assert!(":gcs,service_account_file=/x.json:b".parse::<Target>().is_ok());
        assert!(!is_credential("env_auth") && is_credential("s3-secret-access-key"));
    }
}
