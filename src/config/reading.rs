//! Settings of the commands that read backups.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::{EtcdConfig, Settings, StoreConfig, work_dir};
use crate::backup::select::Selector;
use crate::cli::{ExportArgs, FetchArgs, GetArgs, InspectArgs, ListArgs, PutBackArgs, ReadArgs, StoreArgs, VerifyArgs};
use crate::exit::Failure;

/// What NAME stands for.
#[derive(Debug)]
pub enum Input {
    Local(PathBuf),
    Stored(Selector, StoreConfig),
}

#[derive(Debug)]
pub struct ReadConfig {
    pub input: Input,
    pub work_dir: PathBuf,
}

#[derive(Debug)]
pub struct ListConfig {
    pub store: StoreConfig,
    pub quick: bool,
}

#[derive(Debug)]
pub struct VerifyConfig {
    pub which: WhichBackups,
    /// Whether every page is walked.
    pub deep: bool,
}

#[derive(Debug)]
pub enum WhichBackups {
    One(Input),
    All(StoreConfig),
}

#[derive(Debug)]
pub struct InspectConfig {
    pub backup: ReadConfig,
    /// The backup to compare with.
    pub other: Option<ReadConfig>,
}

#[derive(Debug)]
pub struct GetConfig {
    pub backup: ReadConfig,
    pub key: Vec<u8>,
    pub revision: Option<u64>,
    pub raw: bool,
    pub show_secrets: bool,
}

#[derive(Debug)]
pub struct ExportConfig {
    pub backup: ReadConfig,
    pub prefix: Vec<u8>,
    pub revision: Option<u64>,
    pub values: bool,
    pub show_secrets: bool,
}

#[derive(Debug)]
pub struct FetchConfig {
    pub input: Input,
    pub path: PathBuf,
}

#[derive(Debug)]
pub struct PutBackConfig {
    pub backup: ReadConfig,
    pub etcd: EtcdConfig,
    pub keys: KeysToPutBack,
    /// The flags, as they were typed, that say neither where the backups are nor what is put back.
    pub typed: Vec<OsString>,
}

/// What is put back: the keys, the prefix and the namespaces add up.
#[derive(Debug, Default)]
pub struct KeysToPutBack {
    pub keys: Vec<Vec<u8>>,
    pub prefix: Option<Vec<u8>>,
    pub namespaces: Vec<String>,
    pub revision: Option<u64>,
    pub overwrite: bool,
    /// Whether keys are written; otherwise only the plan is printed.
    pub write: bool,
}

impl Settings {
    pub fn list(&self, args: &ListArgs) -> Result<ListConfig, Failure> {
        Ok(ListConfig { store: self.store(&args.store)?, quick: args.quick })
    }

    pub fn verify(&self, args: &VerifyArgs) -> Result<VerifyConfig, Failure> {
        let which = if args.all {
            WhichBackups::All(self.store(&args.read.store)?)
        } else {
            WhichBackups::One(self.input(args.name.as_deref().unwrap_or("latest"), &args.read.store)?)
        };
        Ok(VerifyConfig { which, deep: args.deep })
    }

    pub fn inspect(&self, args: &InspectArgs) -> Result<InspectConfig, Failure> {
        let other = args.diff.as_ref().map(|other| self.backup(other, &args.read)).transpose()?;
        Ok(InspectConfig { backup: self.backup(&args.name, &args.read)?, other })
    }

    pub fn get(&self, args: &GetArgs) -> Result<GetConfig, Failure> {
        Ok(GetConfig {
            backup: self.backup(&args.name, &args.read)?,
            key: args.key.as_bytes().to_vec(),
            revision: args.content.revision,
            raw: args.raw,
            show_secrets: args.content.show_secrets,
        })
    }

    pub fn export(&self, args: &ExportArgs) -> Result<ExportConfig, Failure> {
        Ok(ExportConfig {
            backup: self.backup(&args.name, &args.read)?,
            prefix: args.prefix.as_bytes().to_vec(),
            revision: args.content.revision,
            values: args.values,
            show_secrets: args.content.show_secrets,
        })
    }

    pub fn fetch(&self, args: &FetchArgs) -> Result<FetchConfig, Failure> {
        Ok(FetchConfig { input: self.input(&args.name, &args.read.store)?, path: args.path.clone() })
    }

    pub fn put_back(&self, args: &PutBackArgs, now: DateTime<Utc>) -> Result<PutBackConfig, Failure> {
        let prefix = args.prefix.as_ref().map(|prefix| prefix.as_bytes().to_vec());
        if prefix.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::settings("prefix: is empty, which would mean every key; allowed is a part of them"));
        }
        for namespace in &args.namespaces {
            check_namespace(namespace).map_err(Failure::settings)?;
        }
        let keys = KeysToPutBack {
            keys: args.keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            prefix,
            namespaces: args.namespaces.clone(),
            revision: args.revision,
            overwrite: args.overwrite,
            write: args.yes,
        };
        let backup = self.backup(&args.name, &args.read)?;
        // `put-back` refuses every degraded cluster itself. The error for `--strict` is about backups.
        let etcd = EtcdConfig { strict: false, ..self.etcd(&args.etcd, now)? };
        Ok(PutBackConfig { backup, etcd, keys, typed: args.typed.clone() })
    }

    pub fn backup(&self, name: &str, args: &ReadArgs) -> Result<ReadConfig, Failure> {
        Ok(ReadConfig { input: self.input(name, &args.store)?, work_dir: work_dir(&args.work) })
    }

    pub fn stored(&self, selector: Selector, args: &ReadArgs) -> Result<Input, Failure> {
        Ok(Input::Stored(selector, self.store(&args.store)?))
    }

    /// A path with a `/` that exists, or a file of that name, is a local file, for which no store needs to be set.
    /// Everything else is `latest`, a stored backup's name, or a part of one.
    fn input(&self, name: &str, args: &StoreArgs) -> Result<Input, Failure> {
        let path = Path::new(name);
        if path.is_file() {
            return Ok(Input::Local(path.to_owned()));
        }
        if name.contains('/') && path.exists() {
            return Err(Failure::settings(format!("{name} is not a regular file")));
        }
        Ok(Input::Stored(Selector::parse(name), self.store(args)?))
    }
}

/// A namespace's name is a DNS label.
fn check_namespace(name: &str) -> Result<(), String> {
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(is_label) {
        let name = name.escape_debug();
        return Err(format!(
            "namespace: `{name}` is no name of a namespace; allowed is one such as `shop`, not its key"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces() {
        assert_eq!(check_namespace("team-1"), Ok(()));
        for name in ["", "a/b", "Shop", "/registry/namespaces/shop", "a\u{1b}", "*"] {
            assert!(check_namespace(name).unwrap_err().starts_with("namespace: `"), "{name}");
        }
    }
}
