//! The target: one place of one rclone remote, or an absolute path.

use std::fmt;
use std::iter::Peekable;
use std::str::{CharIndices, FromStr};

use super::rclone_options::why_refused_in_target;

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

    /// What rclone makes of the place that another remote wraps, which need not be one that is allowed as a target; `None` for
    /// a path without a remote.
    pub fn as_wrapped(text: &str) -> Option<Self> {
        let (_, end) = connection(text).ok().flatten()?;
        let (remote, path) = text.split_at(end);
        Some(Self { remote: remote.to_owned(), path: path.to_owned() })
    }

    /// What stands behind the remote.
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
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
    if path.contains('\\') && !remote.is_empty() {
        return Err("has a backslash in its path, which some stores take for a slash".into());
    }
    // What a stray blank names is silently another directory.
    if path.split('/').any(|part| part != part.trim()) {
        return Err("has a blank at the start or the end of a name in its path".into());
    }
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

/// Splits after the colon that ends the remote.
fn split(text: &str) -> Result<(&str, &str), String> {
    let none = "names no remote (there is no colon), and rclone would store it on this machine's own disk";
    let (_, end) = connection(text)?.ok_or(none)?;
    Ok(text.split_at(end))
}

/// What a remote is made of, as in `minio,upload_cutoff=5M:` or `:s3,endpoint='http://h:1':`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// With the colon that stands before a kind of remote.
    pub name: String,
    pub options: Vec<(String, String)>,
}

impl Connection {
    /// `None` for a local path.
    pub fn of(remote: &str) -> Option<Self> {
        connection(remote).ok().flatten().map(|(connection, _)| connection)
    }
}

/// The remote that a text begins with, and where it ends; `None` if there is none. Quotes count only directly behind a `=`,
/// and a doubled one stands for itself, as in rclone's `fspath.Parse`.
fn connection(text: &str) -> Result<Option<(Connection, usize)>, String> {
    let mut found = Connection::default();
    let mut chars = text.char_indices().peekable();
    // The colon before a kind of remote.
    found.name.extend(chars.next_if(|(_, c)| *c == ':').map(|(_, c)| c));
    // The name, or the option that is being read: its name, and the value once there is one.
    let mut option: Option<(String, Option<String>)> = None;
    while let Some((at, c)) = chars.next() {
        match (&mut option, c) {
            (_, ':' | ',') => {
                found.options.extend(option.take().map(|(name, value)| (name, value.unwrap_or_else(|| "true".into()))));
                if c == ':' {
                    return Ok(Some((found, at + 1)));
                }
                option = Some(Default::default());
            }
            // A remote's name has no slash, but the value of an option may be a path.
            (None, '/') => return Ok(None),
            (None, c) => found.name.push(c),
            (Some((_, value @ None)), '=') => {
                *value = Some(match chars.next_if(|(_, c)| matches!(c, '\'' | '"')) {
                    Some((_, quote)) => quoted(quote, &mut chars)?,
                    None => String::new(),
                });
            }
            (Some((name, None)), c) => name.push(c),
            (Some((_, Some(value))), c) => value.push(c),
        }
    }
    Ok(None)
}

/// The rest of a quoted value, up to the quote that ends it.
fn quoted(quote: char, chars: &mut Peekable<CharIndices>) -> Result<String, String> {
    let mut value = String::new();
    while let Some((_, c)) = chars.next() {
        if c != quote || chars.next_if(|(_, next)| *next == quote).is_some() {
            value.push(c);
        } else if matches!(chars.peek(), Some((_, ':' | ','))) {
            return Ok(value);
        } else {
            return Err("has something between a quote and the `,` or `:` that must follow it".into());
        }
    }
    Err("has an open quote".into())
}

fn check_remote(remote: &str) -> Result<(), String> {
    let Some(connection) = Connection::of(remote) else { return Ok(()) };
    let name = connection.name.strip_prefix(':').unwrap_or(&connection.name);
    // rclone allows no such name, and would read `-x:` as a flag.
    if name.is_empty() || name.starts_with(['-', ' ']) {
        return Err("does not begin with the name of a remote".into());
    }
    if name.ends_with(' ') || !name.chars().all(|c| c.is_alphanumeric() || "_-.+@ ".contains(c)) {
        return Err("has a remote whose name rclone does not allow: only letters, digits, `_`, `-`, `.`, `+`, `@` and blanks between them".into());
    }
    connection.options.iter().find_map(|(name, value)| why_refused_in_target(name, value)).map_or(Ok(()), Err)
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
            ("::b", "does not begin"),
            ("minio: ", "blank"),
            ("minio:b ", "blank"),
            (" minio:b", "does not begin"),
            ("minio: b", "blank"),
            ("minio:b/x /y", "blank"),
            ("/mnt/x ", "blank"),
            ("minio :b", "does not allow"),
            (":s3 :b", "does not allow"),
            ("a$b:x", "does not allow"),
            ("minio:a\\b", "backslash"),
            (":s3,a='x:b", "open quote"),
            (":s3,a='x'y:b", "between a quote"),
            (":s3,secret_access_key=abc:b", "credentials (`secret_access_key`)"),
            ("minio,access_key_id=abc:b", "credentials"),
            (":sftp,pass=abc,host=h:b", "credentials"),
            (":webdav,url='https://u:abc@h/':b", "credentials"),
            (":http,url='https://h/?sig=abc':b", "credentials"),
            (":webdav,url='https://a,b:abc@h/':b", "credentials (`url`)"),
            (":sftp,socks_proxy='u:abc@h:1':b", "credentials"),
            (":s3,endpoint='u@h:1':b", "credentials"),
            (":azureblob,connection_string=abc:b", "credentials"),
            (":sftp,ssh='sshpass -p abc ssh':b", "runs a command (`ssh`)"),
            (":sftp,x=a',ssh=abc ':b", "runs a command (`ssh`)"),
            ("sftp,md5sum_command='echo abc':b", "runs a command"),
            (":webdav,bearer_token_command=abc:b", "credentials"),
            ("minio,global.dry_run=true:b", "rclone's own flags (`global.dry_run`)"),
            ("minio,override.metadata_mapper=abc:b", "runs a command"),
            ("minio,versions:b", "old versions (`versions`)"),
        ] {
            let error = refused(text);
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains("abc"), "{error}");
        }
    }

    #[test]
    fn a_connection_string_is_read_as_rclone_reads_it() {
        let options = |text: &str| Connection::of(text).unwrap().options;
        let of = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(options(":s3,env_auth,a='x:,''y',b=c:"), of(&[("env_auth", "true"), ("a", "x:,'y"), ("b", "c")]));
        // A quote inside a value is a part of it.
        assert_eq!(options("m,a=b',c=d:"), of(&[("a", "b'"), ("c", "d")]));
        assert_eq!(Connection::of("/a/b:c"), None);
        assert_eq!(Connection::of("minio:"), Some(Connection { name: "minio".into(), options: vec![] }));
    }

    #[test]
    fn files_of_secrets_are_no_secrets() {
        assert!(":gcs,service_account_file=/x.json:b".parse::<Target>().is_ok());
    }
}
