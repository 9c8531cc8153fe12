//! Turns flags, environment and ConfigMap into checked values. No other room reads them.

#![expect(clippy::disallowed_methods, reason = "this module owns the environment")]

mod ahead;
mod endpoints;
mod etcd_files;
mod job;
mod judge;
mod layout;
pub mod rclone_flags;
pub mod rclone_options;
mod reading;
mod restore;
pub mod settings_dir;
pub mod target;
pub mod tls;
mod tls_keys;

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::backup::name::{Compression, Prefix};
use crate::backup::retention::Policy;
use crate::cli::values::{Compress, Count, Span};
use crate::cli::{
    CompressionArgs, ConfirmArgs, EtcdArgs, ListingArgs, NamingArgs, PatienceArgs, RetentionArgs, SettingsArgs,
    StoreArgs, WorkArgs,
};
use crate::exit::Failure;
use crate::system::fs::open_regular;
use crate::url::Url;
use rclone_flags::RcloneFlags;
use settings_dir::SettingsDir;
use target::Target;
use tls::{Tls, TlsSettings};

pub use crate::cli::{Confirm, Staging};
pub use endpoints::Endpoints;
pub use job::{InPlaceConfig, PruneConfig, PruneMode, RunConfig, SnapshotConfig, StoreStepConfig};
pub use judge::JudgeConfig;
pub use layout::LayoutSettings;
pub use reading::{
    ExportConfig, FetchConfig, GetConfig, Input, InspectConfig, KeysToPutBack, ListConfig, PutBackConfig, ReadConfig,
    VerifyConfig, WhichBackups,
};
pub use restore::{IdentityConfig, MemberConfig, PlanConfig, RestoreConfig};

/// Where the packages mount the Secret.
const RCLONE_FILE: &str = "/config/rclone/rclone.conf";
/// Where the packages mount the volume that the steps share.
const WORK_DIR: &str = "/backup";
/// At most what [`Settings::retry_for`] allows within the deadline of each command.
const RETRY_FOR: Duration = Duration::from_mins(15);
/// rclone's own flags bound each connection, but not the whole listing.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_LAST: usize = 3;

#[derive(Debug)]
pub struct EtcdConfig {
    pub endpoints: Endpoints,
    /// For `https://` endpoints.
    pub tls: Option<Tls>,
    pub user: Option<User>,
    /// A member that has sent no bytes for this long is given up.
    pub idle_timeout: Duration,
    /// Whether a degraded backup is refused.
    pub strict: bool,
}

/// A user of etcd's own authentication.
pub struct User {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct Naming {
    pub prefix: Prefix,
    /// The zone of the times in names.
    pub zone: Tz,
    /// How the names end that this command gives.
    pub compression: Option<Compression>,
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub target: Target,
    pub naming: Naming,
    /// rclone's configuration file; `None` for rclone's own default.
    pub rclone_config: Option<PathBuf>,
    pub rclone_flags: RcloneFlags,
    /// How a backup that was stored is confirmed.
    pub confirm: Confirm,
    /// How long one listing may take.
    pub list_timeout: Duration,
}

impl StoreConfig {
    /// The flags with which another command finds the same backups. They hold no secret: a target with one is refused.
    pub fn flags(&self) -> Vec<String> {
        let (target, prefix) = (self.target.to_string(), self.naming.prefix.to_string());
        let mut flags = vec!["--target".to_owned(), target];
        if !prefix.is_empty() {
            flags.extend(["--backup-prefix".to_owned(), prefix]);
        }
        flags
    }
}

#[derive(Debug)]
pub struct Settings {
    dir: SettingsDir,
    /// That of the times in names. An error is one of the commands that use names.
    zone: Result<Tz, String>,
    /// The deadline of the whole command.
    pub timeout: Duration,
}

impl Settings {
    /// `deadline` is the command's where none is set.
    pub fn read(args: &SettingsArgs, deadline: Duration, zone: Result<Tz, String>) -> Result<Self, Failure> {
        let dir = SettingsDir::read(&args.config_dir).map_err(Failure::settings)?;
        for warning in dir.warnings() {
            tracing::warn!("{warning}");
        }
        let timeout = dir.or(args.timeout, "timeout").map_err(Failure::settings)?.map_or(deadline, |Span(limit)| limit);
        if timeout.is_zero() {
            let why = "timeout: `0` leaves no time for anything; allowed is a duration such as 30m or 1h";
            return Err(Failure::settings(why));
        }
        Ok(Self { dir, zone, timeout })
    }

    /// `now` is what certificates are checked against.
    fn etcd(&self, args: &EtcdArgs, now: DateTime<Utc>) -> Result<EtcdConfig, Failure> {
        let Span(idle_timeout) = args.idle_timeout;
        if idle_timeout.is_zero() {
            let why = "idle-timeout: `0` gives no member any time; allowed is a duration such as 60s";
            return Err(Failure::settings(why));
        }
        let user = user()?;
        let endpoints = endpoints::find(args, &self.dir)?;
        let files = TlsSettings {
            cacert: present(args.cacert.as_deref()).map(Into::into),
            cert: present(args.cert.as_deref()).map(Into::into),
            key: present(args.key.as_deref()).map(Into::into),
            server_name: present(args.tls_server_name.as_deref()),
        };
        // The packages always set the three paths, also where members are reached without TLS and there are no files.
        let needs_tls = endpoints.urls.iter().any(Url::is_tls);
        let tls = needs_tls.then(|| tls::load(&files, now)).transpose().map_err(Failure::settings)?;
        for warning in tls.iter().flat_map(|t| &t.warnings) {
            tracing::warn!("{warning}");
        }
        Ok(EtcdConfig { endpoints, tls, user, idle_timeout, strict: args.strict })
    }

    fn zone(&self) -> Result<Tz, Failure> {
        self.zone.clone().map_err(Failure::settings)
    }

    fn naming(&self, args: &NamingArgs) -> Result<Naming, Failure> {
        let prefix = self.dir.or(args.backup_prefix.clone(), "backup-prefix").map_err(Failure::settings)?;
        Ok(Naming { prefix: prefix.unwrap_or_default(), zone: self.zone()?, compression: None })
    }

    fn target(&self, args: &NamingArgs) -> Result<Option<Target>, Failure> {
        self.dir.or_text(args.target.as_deref(), "target").map_err(Failure::settings)
    }

    /// The store of a command that writes to it.
    fn store_to_write(&self, args: &StoreArgs, confirm: &ConfirmArgs) -> Result<StoreConfig, Failure> {
        Ok(StoreConfig { confirm: self.confirm(confirm)?, ..self.store(args)? })
    }

    fn confirm(&self, args: &ConfirmArgs) -> Result<Confirm, Failure> {
        Ok(self.dir.or(args.confirm, "confirm").map_err(Failure::settings)?.unwrap_or_default())
    }

    /// The level of zstd, if backups are compressed.
    fn compression(&self, args: &CompressionArgs) -> Result<Option<u8>, Failure> {
        let set = self.dir.or(args.compression, "compression").map_err(Failure::settings)?;
        Ok(set.and_then(Compress::level))
    }

    fn retry_for(&self, args: &PatienceArgs) -> Result<Duration, Failure> {
        let set =
            self.dir.or(args.retry_for, "retry-for").map_err(Failure::settings)?.map_or(RETRY_FOR, |Span(limit)| limit);
        // A command that waited until its deadline could not say that the store was away.
        Ok(set.min(self.timeout / 4 * 3))
    }

    fn store(&self, args: &StoreArgs) -> Result<StoreConfig, Failure> {
        let target = self.target(&args.naming)?.ok_or_else(|| {
            Failure::settings(
                "target: is not set; set --target, TARGET or the ConfigMap's key `target` to `remote:bucket/path` or an absolute path",
            )
        })?;
        let rclone_config = args.rclone_config.clone().or_else(|| existing(RCLONE_FILE));
        // Without the file rclone would use an empty configuration, and its error would be about a missing section.
        if let Some(file) = &rclone_config {
            let cannot_read = |e| Failure::settings(format!("rclone-config: cannot read {}: {e}", file.display()));
            // rclone reads it each time that it is started, which is more often than a pipe can be read.
            open_regular(file).map_err(cannot_read)?;
        }
        let rclone_flags = self.dir.or_text(args.rclone_flags.as_deref(), "rclone-flags");
        Ok(StoreConfig {
            target,
            naming: self.naming(&args.naming)?,
            rclone_config,
            rclone_flags: rclone_flags.map_err(Failure::settings)?.unwrap_or_default(),
            confirm: Confirm::default(),
            list_timeout: self.list_timeout(&args.listing)?,
        })
    }

    fn list_timeout(&self, args: &ListingArgs) -> Result<Duration, Failure> {
        let set = self.dir.or(args.list_timeout, "list-timeout").map_err(Failure::settings)?;
        let set = set.map_or(LIST_TIMEOUT, Into::into);
        if set.is_zero() {
            let why = "list-timeout: `0` leaves no time for a listing; allowed is a duration such as 30s or 2m";
            return Err(Failure::settings(why));
        }
        Ok(set)
    }

    fn retention(&self, args: &RetentionArgs) -> Result<Policy, Failure> {
        let count =
            |flag, key| self.dir.or::<Count>(flag, key).map(|count| count.map(|Count(n)| n)).map_err(Failure::settings);
        Ok(Policy {
            max_age: self.dir.or(args.retention.clone(), "retention").map_err(Failure::settings)?,
            max_count: count(args.retention_count, "retention-count")?,
            keep_last: match count(args.keep_last, "keep-last")? {
                Some(n) => n,
                None => NonZeroUsize::new(KEEP_LAST).unwrap_or(NonZeroUsize::MIN),
            },
        })
    }
}

fn work_dir(args: &WorkArgs) -> PathBuf {
    args.work_dir.clone().unwrap_or_else(|| {
        // Outside the packages there is no such directory.
        let usual = Path::new(WORK_DIR);
        if usual.is_dir() { usual.to_owned() } else { env::temp_dir() }
    })
}

/// `OUTPUT`, for a command line that does not parse.
pub fn output_variable() -> Option<String> {
    env::var("OUTPUT").ok()
}

/// `TZ`, an IANA name; UTC when it is not set.
pub fn time_zone() -> Result<Tz, String> {
    match env::var("TZ").ok().filter(|zone| !zone.is_empty()) {
        None => Ok(Tz::UTC),
        // POSIX allows a colon in front of a name.
        Some(zone) => Tz::from_str(zone.trim_start_matches(':'))
            .map_err(|_| format!("TZ: `{zone}` is not a time zone; allowed is an IANA name such as Europe/Rome")),
    }
}

fn present(text: Option<&str>) -> Option<String> {
    // For etcdctl, too, an empty variable is one that is not set.
    text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn existing(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.exists().then_some(path)
}

/// `ETCDCTL_USER`, which may be `user:password` as for etcdctl, and `ETCDCTL_PASSWORD`.
fn user() -> Result<Option<User>, Failure> {
    // There are no flags for them, because every process of a machine can read the arguments of the others.
    let variable = |name| env::var(name).ok().filter(|v: &String| !v.is_empty());
    let Some(user) = variable("ETCDCTL_USER") else { return Ok(None) };
    let (name, password) = match (user.split_once(':'), variable("ETCDCTL_PASSWORD")) {
        (_, Some(password)) => (user.clone(), password),
        (Some((name, password)), None) => (name.to_owned(), password.to_owned()),
        (None, None) => {
            let why = "ETCDCTL_USER: has no password; set ETCDCTL_PASSWORD or write `user:password`";
            return Err(Failure::settings(why));
        }
    };
    Ok(Some(User { name, password }))
}
