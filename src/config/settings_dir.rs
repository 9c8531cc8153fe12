//! The ConfigMap, as Kubernetes mounts it: a directory with one file for each key.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::rclone_options::{is_credential, runs_command};
use crate::system::fs::read_small_text;

pub const KEYS: [&str; 13] = [
    "target",
    "retention",
    "retention-count",
    "keep-last",
    "backup-prefix",
    "endpoints",
    "rclone-flags",
    "timeout",
    "retry-for",
    "list-timeout",
    "confirm",
    "staging",
    "compression",
];

#[derive(Debug, Default)]
pub struct SettingsDir {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl SettingsDir {
    /// A directory that does not exist counts as empty.
    pub fn read(path: &Path) -> Result<Self, String> {
        let fail = |path: &Path, e: &dyn Display| format!("config-dir: cannot read {}: {e}", path.display());
        let mut values = BTreeMap::new();
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self { path: path.to_owned(), values }),
            Err(e) => return Err(fail(path, &e)),
        };
        for entry in entries {
            let file = entry.map_err(|e| fail(path, &e))?.path();
            let Some(key) = file.file_name().and_then(|n| n.to_str()) else { continue };
            // Kubernetes mounts each key as a link into a directory `..data`.
            if key.starts_with('.') {
                continue;
            }
            let value = match read_small_text(&file) {
                Ok(value) => value,
                // A key that is being taken away is a link to nothing for a moment.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(_) if !KEYS.contains(&key) => continue,
                Err(e) => return Err(fail(&file, &e)),
            };
            // An editor or `kubectl create configmap --from-file` leaves a newline at the end.
            values.insert(key.to_owned(), value.strip_suffix('\n').map_or(value.as_str(), |v| v).to_owned());
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// The value from the command line or the environment, else from the key's file.
    pub fn or<T>(&self, flag: Option<T>, key: &str) -> Result<Option<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        match (flag, self.values.get(key)) {
            (Some(value), _) => Ok(Some(value)),
            (None, None) => Ok(None),
            (None, Some(value)) => value.parse().map(Some).map_err(|why| {
                format!("{key}: `{}` {why} (from {})", shown(key, value), self.path.join(key).display())
            }),
        }
    }

    /// The file that the key's value is read from, whether it exists or not.
    pub fn path_of(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }

    /// The same for a setting in which users write secrets by mistake. clap has not parsed it, because the error of clap
    /// repeats the value; the error here leaves it out if it may hold a secret.
    pub fn or_text<T>(&self, flag: Option<&str>, key: &str) -> Result<Option<T>, String>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = flag else { return self.or(None, key) };
        let refused = |why| format!("{key}: `{}` {why} (from --{key} or its environment variable)", shown(key, text));
        text.parse().map(Some).map_err(refused)
    }

    /// One warning for each key that is not a setting.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.values.keys().filter(|key| !KEYS.contains(&key.as_str()));
        unknown
            .map(|key| {
                let nearest =
                    KEYS.iter().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
                format!(
                    "config-dir: unknown key `{key}` in {} is ignored; the nearest known one is `{}`",
                    self.path.display(),
                    nearest.unwrap_or(&"target")
                )
            })
            .collect()
    }
}

/// What an error repeats of a value: nothing if it may hold a secret.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let is_command = || value.split([' ', '=', ',']).any(|word| runs_command(word.trim_start_matches('-')));
    let suspect = value.contains(['=', '@', '?']) || is_credential(value) || is_command();
    if matches!(key, "target" | "rclone-flags") && suspect { "…" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rclone_flags::RcloneFlags;

    #[test]
    fn a_mounted_config_map() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("..2026");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("target"), "minio:b\n").unwrap();
        std::fs::write(data.join("backup-prefix"), "").unwrap();
        std::os::unix::fs::symlink("..2026", dir.path().join("..data")).unwrap();
        for key in ["target", "backup-prefix"] {
            std::os::unix::fs::symlink(format!("..data/{key}"), dir.path().join(key)).unwrap();
        }
        std::fs::write(dir.path().join("retnetion"), "10d").unwrap();
        let settings = SettingsDir::read(dir.path()).unwrap();
        assert_eq!(settings.or(None::<String>, "target").unwrap().unwrap(), "minio:b");
        assert_eq!(settings.or(Some("x".to_owned()), "target").unwrap().unwrap(), "x");
        assert_eq!(settings.or(None::<String>, "backup-prefix").unwrap().unwrap(), "");
        let warnings = settings.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("`retnetion`") && warnings[0].contains("`retention`"), "{warnings:?}");
    }

    #[test]
    fn a_missing_directory_is_an_empty_one() {
        let settings = SettingsDir::read(Path::new("/nonexistent")).unwrap();
        assert_eq!(settings.or(None::<u32>, "keep-last").unwrap(), None);
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = [
            "--s3-secret-access-key hunter2",
            ":s3,secret_access_key=hunter2:b",
            "--header 'Token hunter2",
            "--sftp-server-command 'x hunter2'",
        ];
        for secret in secrets {
            std::fs::write(dir.path().join("rclone-flags"), secret).unwrap();
            let settings = SettingsDir::read(dir.path()).unwrap();
            for written in [None, Some(secret)] {
                let error = settings.or_text::<RcloneFlags>(written, "rclone-flags").unwrap_err();
                assert!(!error.contains("hunter2") && error.starts_with("rclone-flags: `…` "), "{error}");
            }
        }
        let error = SettingsDir::default().or_text::<RcloneFlags>(Some("--dry-run"), "rclone-flags").unwrap_err();
        assert!(error.starts_with("rclone-flags: `--dry-run` has "), "{error}");
    }

    #[test]
    fn a_refusal_names_key_value_and_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keep-last"), "zero").unwrap();
        let error = SettingsDir::read(dir.path()).unwrap().or(None::<u32>, "keep-last").unwrap_err();
        assert!(error.starts_with("keep-last: `zero` ") && error.contains(dir.path().to_str().unwrap()), "{error}");
    }
}
