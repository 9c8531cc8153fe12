//! What was written, in flags, environment and ConfigMap, becomes what is used: checked here once and never again.

#![expect(clippy::disallowed_methods, reason = "this module owns the environment")]

mod endpoints;
pub mod rclone_flags;
pub mod settings_dir;
pub mod target;
pub mod tls;

use std::env;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::backup::name::Prefix;
use crate::backup::retention::Policy;
use crate::cli::{EtcdArgs, JobArgs, PlaceArgs, RetentionArgs, StoreArgs, WorkArgs};
use crate::exit::{Exit, Failure};
use crate::member::Endpoint;
pub use endpoints::{Seeds, layout};
use rclone_flags::RcloneFlags;
use settings_dir::SettingsDir;
use target::Target;
use tls::{Files, Tls};

const RCLONE_FILE: &str = "/config/rclone/rclone.conf";
const WORK_DIR: &str = "/backup";
const TIMEOUT: Duration = Duration::from_hours(1);
const KEEP_LAST: usize = 3;

/// How to reach etcd.
#[derive(Debug)]
pub struct EtcdConfig {
    /// The first members to ask; the reason when there are none.
    pub seeds: Result<Seeds, String>,
    /// For `https://` endpoints.
    pub tls: Option<Tls>,
    /// etcd's own users.
    pub user: Option<User>,
    /// See `--idle-timeout`.
    pub idle_timeout: Duration,
    /// See `--strict`.
    pub strict: bool,
}

/// A user of etcd's own authentication.
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What backups are called.
#[derive(Clone, Debug)]
pub struct Naming {
    /// What names start with.
    pub prefix: Prefix,
    /// The zone of the times in names.
    pub zone: Tz,
}

/// Where to store.
#[derive(Debug)]
pub struct StoreConfig {
    /// The place.
    pub target: Target,
    /// What backups are called.
    pub naming: Naming,
    /// rclone's configuration file; rclone's own default for `None`.
    pub rclone_config: Option<PathBuf>,
    /// Extra flags.
    pub rclone_flags: RcloneFlags,
}

/// What all commands share.
#[derive(Debug)]
pub struct Job {
    settings: SettingsDir,
    /// The deadline of the whole command.
    pub timeout: Duration,
}

/// Marks a refused setting.
fn refused(why: impl Display) -> Failure {
    Failure::new(Exit::Settings, anyhow::anyhow!("{why}"))
}

impl Job {
    /// Reads the ConfigMap folder.
    ///
    /// # Errors
    /// A folder that cannot be read; a timeout that is none.
    pub fn new(args: &JobArgs) -> Result<Self, Failure> {
        let settings = SettingsDir::read(&args.config_dir).map_err(refused)?;
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        let timeout = settings.or(args.timeout, "timeout").map_err(refused)?.map_or(TIMEOUT, Into::into);
        if timeout.is_zero() {
            return Err(refused("timeout: `0` leaves no time for anything; allowed is a duration such as 30m or 1h"));
        }
        Ok(Self { settings, timeout })
    }

    /// Settings of etcd. `now` is what certificates are checked against.
    ///
    /// # Errors
    /// Endpoints, kubeadm file, TLS files or user that are wrong.
    pub fn etcd(&self, args: &EtcdArgs, now: DateTime<Utc>) -> Result<EtcdConfig, Failure> {
        let seeds = endpoints::find(args, &self.settings)?;
        let files = Files {
            cacert: present(args.cacert.as_deref()).map(Into::into),
            cert: present(args.cert.as_deref()).map(Into::into),
            key: present(args.key.as_deref()).map(Into::into),
            server_name: present(args.tls_server_name.as_deref()),
        };
        let needs_tls = seeds.as_ref().is_ok_and(|s| s.endpoints.iter().any(Endpoint::is_tls));
        let tls = needs_tls.then(|| tls::load(&files, now)).transpose().map_err(refused)?;
        for warning in tls.iter().flat_map(|t| &t.warnings) {
            tracing::warn!("{warning}");
        }
        let idle_timeout = Duration::from(args.idle_timeout);
        if idle_timeout.is_zero() {
            return Err(refused("idle-timeout: `0` gives no member any time; allowed is a duration such as 60s"));
        }
        Ok(EtcdConfig { seeds, tls, user: user()?, idle_timeout, strict: args.strict })
    }

    /// What backups are called.
    ///
    /// # Errors
    /// A prefix or a time zone that is wrong.
    pub fn naming(&self, args: &PlaceArgs) -> Result<Naming, Failure> {
        let prefix =
            self.settings.or(args.backup_prefix.clone(), "backup-prefix").map_err(refused)?.unwrap_or_default();
        Ok(Naming { prefix, zone: time_zone()? })
    }

    /// Where to store, if it is said anywhere.
    ///
    /// # Errors
    /// A target that is wrong.
    pub fn target(&self, args: &PlaceArgs) -> Result<Option<Target>, Failure> {
        self.settings.or_text(args.target.as_deref(), "target").map_err(refused)
    }

    /// Settings of the store.
    ///
    /// # Errors
    /// A target that is missing or wrong, and the like.
    pub fn store(&self, args: &StoreArgs) -> Result<StoreConfig, Failure> {
        let settings = &self.settings;
        let target = self.target(&args.place)?.ok_or_else(|| {
            refused("target: is not set; set --target, TARGET or the ConfigMap's key `target` to `remote:bucket/path` or an absolute path")
        })?;
        let rclone_config = args.rclone_config.clone().or_else(|| existing(RCLONE_FILE));
        if let Some(file) = &rclone_config {
            std::fs::File::open(file)
                .map_err(|e| refused(format!("rclone-config: cannot read {}: {e}", file.display())))?;
        }
        Ok(StoreConfig {
            target,
            naming: self.naming(&args.place)?,
            rclone_config,
            rclone_flags: settings
                .or_text(args.rclone_flags.as_deref(), "rclone-flags")
                .map_err(refused)?
                .unwrap_or_default(),
        })
    }

    /// The retention policy.
    ///
    /// # Errors
    /// Ages and numbers that are wrong.
    pub fn retention(&self, args: &RetentionArgs) -> Result<Policy, Failure> {
        let settings = &self.settings;
        let count = |written, key| settings.or::<NonZeroUsize>(written, key).map_err(refused);
        Ok(Policy {
            max_age: settings.or(args.retention.clone(), "retention").map_err(refused)?,
            max_count: count(args.retention_count, "retention-count")?,
            keep_last: match count(args.keep_last, "keep-last")? {
                Some(n) => n,
                None => NonZeroUsize::new(KEEP_LAST).unwrap_or(NonZeroUsize::MIN),
            },
        })
    }
}

/// The staging folder.
pub fn work_dir(args: &WorkArgs) -> PathBuf {
    args.work_dir.clone().unwrap_or_else(|| {
        let usual = Path::new(WORK_DIR);
        if usual.is_dir() { usual.to_owned() } else { env::temp_dir() }
    })
}

/// `TZ`, an IANA name; UTC when it is not set.
///
/// # Errors
/// A name that is none.
pub fn time_zone() -> Result<Tz, Failure> {
    match env::var("TZ").ok().filter(|zone| !zone.is_empty()) {
        None => Ok(Tz::UTC),
        Some(zone) => Tz::from_str(zone.trim_start_matches(':')).map_err(|_| {
            refused(format!("TZ: `{zone}` is not a time zone; allowed is an IANA name such as Europe/Rome"))
        }),
    }
}

/// An empty variable is an unset one, as it is for etcdctl.
fn present(written: Option<&str>) -> Option<String> {
    written.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn existing(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.exists().then_some(path)
}

/// `ETCDCTL_USER`, which may be `user:password` as for etcdctl, and `ETCDCTL_PASSWORD`. They have no flags, because
/// every process of a machine can read the others' arguments.
fn user() -> Result<Option<User>, Failure> {
    let variable = |name| env::var(name).ok().filter(|v: &String| !v.is_empty());
    let Some(user) = variable("ETCDCTL_USER") else { return Ok(None) };
    let (name, password) = match (user.split_once(':'), variable("ETCDCTL_PASSWORD")) {
        (_, Some(password)) => (user.clone(), password),
        (Some((name, password)), None) => (name.to_owned(), password.to_owned()),
        (None, None) => {
            return Err(refused("ETCDCTL_USER: has no password; set ETCDCTL_PASSWORD or write `user:password`"));
        }
    };
    Ok(Some(User { name, password }))
}
