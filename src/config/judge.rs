//! Settings of `accept` and `dismiss`.

use super::{Settings, StoreConfig, present};
use crate::backup::name::{BackupName, Compression, Prefix, SUFFIX};
use crate::cli::JudgeArgs;
use crate::exit::Failure;

const ZSTD: Option<Compression> = Some(Compression::Zstd);
/// Bytes. It stays beside the backup for good, and is printed with it.
const LONGEST_BY: usize = 200;

#[derive(Debug)]
pub struct JudgeConfig {
    pub store: StoreConfig,
    pub name: BackupName,
    /// Who says so.
    pub by: String,
}

impl Settings {
    pub fn judge(&self, args: &JudgeArgs) -> Result<JudgeConfig, Failure> {
        let by = who(args.by.as_deref()).map_err(Failure::settings)?;
        let store = self.store(&args.read.store)?;
        let name = full_name(&args.name, &store.naming.prefix).map_err(Failure::settings)?;
        Ok(JudgeConfig { store, name, by })
    }
}

fn who(by: Option<&str>) -> Result<String, String> {
    let by = present(by.map(str::trim)).ok_or("by: is not set, and USER is not either; write who says so: --by WHO")?;
    if by.len() > LONGEST_BY {
        return Err(format!("by: is {} bytes long, the limit is {LONGEST_BY}", by.len()));
    }
    if by.chars().any(char::is_control) {
        return Err("by: has a control character; allowed is a name such as `alice`".into());
    }
    Ok(by)
}

/// Reads a name with the directory of its prefix or without it.
fn full_name(text: &str, prefix: &Prefix) -> Result<BackupName, String> {
    let parse = |text: &str| BackupName::parse_path(prefix, text).or_else(|| BackupName::parse(prefix, text));
    if let Some(name) = parse(text) {
        return Ok(name);
    }
    // `latest` and a part of a name can mean another backup by tomorrow, and what is said here stays said.
    let instead = match parse(&format!("{text}{SUFFIX}")) {
        Some(meant) => format!("write `{meant}`, or `{}` if it is compressed", meant.clone().compressed(ZSTD)),
        None => format!("write one that `etcd-backup list` shows, such as `{prefix}202601020304{SUFFIX}`"),
    };
    Err(format!(
        "name: `{text}` is not a backup's full name with the backup-prefix that is set (`{prefix}`); {instead}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, prefix: &str) -> Result<String, String> {
        full_name(text, &prefix.parse().unwrap()).map(|name| name.to_string())
    }

    #[test]
    fn full_names_with_and_without_their_directory() {
        for (text, prefix, name) in [
            ("202601020304.etcdb", "", "202601020304.etcdb"),
            ("p-20260102030405.etcdb", "p-", "p-20260102030405.etcdb"),
            ("p-202601020304.etcdb", "a/b/p-", "a/b/p-202601020304.etcdb"),
            ("a/b/p-202601020304.etcdb", "a/b/p-", "a/b/p-202601020304.etcdb"),
            ("202601020304.etcdb", "a/", "a/202601020304.etcdb"),
            ("p-202601020304.etcdb.zst", "a/p-", "a/p-202601020304.etcdb.zst"),
        ] {
            assert_eq!(named(text, prefix).as_deref(), Ok(name));
        }
    }

    #[test]
    fn what_is_not_a_full_name_is_refused_and_says_what_to_write() {
        for text in ["latest", "", "2026", "b/p-202601020304.etcdb", "q-202601020304.etcdb", "./p-202601020304.etcdb"] {
            let error = named(text, "a/p-").unwrap_err();
            assert!(error.starts_with(&format!("name: `{text}` is not")), "{error}");
            assert!(error.contains("(`a/p-`)") && error.ends_with("such as `a/p-202601020304.etcdb`"), "{error}");
        }
        for text in ["p-202601020304", "a/p-202601020304"] {
            let error = named(text, "a/p-").unwrap_err();
            let words = "write `a/p-202601020304.etcdb`, or `a/p-202601020304.etcdb.zst` if it is compressed";
            assert!(error.ends_with(words), "{error}");
        }
    }

    #[test]
    fn somebody_has_to_say_so() {
        assert_eq!(who(Some(" alice ")).as_deref(), Ok("alice"));
        for nobody in [None, Some(""), Some(" ")] {
            assert!(who(nobody).unwrap_err().starts_with("by: is not set, and USER is not either"));
        }
        assert!(who(Some("a\u{1b}[2J")).unwrap_err().contains("control character"));
        assert!(who(Some(&"a".repeat(201))).unwrap_err().contains("201 bytes"));
    }
}
