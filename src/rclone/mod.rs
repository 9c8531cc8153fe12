//! The only user of rclone: its command line, its environment, its log and its errors.

#![expect(clippy::disallowed_methods, reason = "this module owns rclone's environment")]

mod away;
pub mod backend;
mod call;
mod chain;
mod classify;
mod config_files;
mod dump;
mod environment;
mod error;
mod log;
mod private_config;
mod redact;
mod reveal;
mod seal;
mod sections;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::system::blocking::blocking;
use config_files::Opened;
use error::OLDEST;
use private_config::PrivateConfig;
use redact::Redactor;
use sections::Sections;

pub use call::{Call, RunningCall};
pub use error::Error;
pub use private_config::lost_token;
pub use sections::Asked;

/// Before 1.74 the headers were not sent, and before 1.75.1 an upload in parts was finished with whatever had come.
const FIRST_TO_CHECK_STREAMS: [u64; 3] = [1, 75, 1];
/// How long an answer may take that needs no remote.
const PROMPT: Duration = Duration::from_secs(20);
/// The same at our own end, which may be one that a signal asked for.
const PROMPT_AT_END: Duration = Duration::from_secs(2);
/// The program, found and new enough, with what every call of it is given.
#[derive(Debug)]
pub struct Rclone {
    program: PathBuf,
    version: String,
    config: Option<PrivateConfig>,
    user_flags: Vec<String>,
    environment: BTreeMap<String, String>,
    redactor: Arc<Redactor>,
    /// What the configuration has; `None` if that is not needed, or cannot be read.
    sections: Option<Sections>,
    mark: String,
}

impl Rclone {
    /// Takes the first `rclone` of `PATH`.
    pub async fn find(store: &config::StoreConfig) -> Result<Self, Error> {
        let program =
            which::which("rclone").map_err(|_| Error::Missing { path: std::env::var("PATH").unwrap_or_default() })?;
        Self::at(program, store).await
    }

    /// Opens the configuration, and asks rclone for its version and for what the configuration has. No remote is asked.
    pub async fn at(program: PathBuf, store: &config::StoreConfig) -> Result<Self, Error> {
        let (mut environment, dropped) = environment::cleaned(std::env::vars_os());
        tracing::debug!("rclone is not given these variables: {}", dropped.join(", ").escape_debug());
        // Failures are told apart by English words, but helpers such as ssh would translate their messages.
        environment.insert("LC_ALL".into(), "C".into());
        let (named, own) = (store.rclone_config.clone(), environment::own_configs(&program, &environment));
        let opened = blocking(move || config_files::open(named, own, environment)).await?;
        let Opened { text: config_text, config, environment } = opened;
        let redactor = Arc::new(Redactor::new(&config_text, &environment));
        let user_flags = store.rclone_flags.0.clone();
        let sections = None;
        let (version, mark) = (String::new(), new_mark());
        let mut rclone = Self { program, version, config, user_flags, environment, redactor, sections, mark };
        // Neither touches a remote. If both fail, the version is the reason.
        let (version, sections) = tokio::join!(rclone.check_version(), rclone.read_sections(&store.target));
        rclone.version = version?;
        rclone.sections = sections?;
        if let Some(sections) = &rclone.sections {
            // What an encrypted configuration has in it only rclone can tell.
            rclone.redactor = Arc::new(Redactor::new(&config_text, &rclone.environment).and_sections(sections));
        }
        Ok(rclone)
    }

    /// Eight hexadecimal digits that no other process has, for the names of this one's unfinished uploads.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Its version, such as `1.75.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether `rcat --size` refuses what has another size, also in parts, and sends the headers of `--header-upload`. Of a version
    /// that cannot be read that is not known.
    pub fn checks_streams(&self) -> bool {
        numbers(&self.version).is_some_and(|version| version >= FIRST_TO_CHECK_STREAMS)
    }

    async fn check_version(&self) -> Result<String, Error> {
        let limit = Some(PROMPT);
        let text = self.call(Call { limit, ..Call::new("version", "", &[]) }).await?;
        let text = String::from_utf8_lossy(&text);
        let version = text.lines().next().unwrap_or_default().trim_start_matches("rclone v").to_owned();
        tracing::debug!(program = %self.program.display(), version, "rclone");
        // A version that cannot be read passes: refusing it would cost the backup, and a flag that it lacks fails by itself.
        if numbers(&version).is_some_and(|[major, minor, _]| (major, minor) < OLDEST) {
            return Err(Error::TooOld { program: self.program.clone(), version });
        }
        Ok(version)
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        let Some(config) = self.config.as_ref().filter(|config| config.has_sealed_change()) else { return };
        if let (Some(first), Some(now)) = (&self.sections, self.sections_at_end()) {
            config.compare(first, &now);
        } else {
            tracing::debug!("rclone-config: whether a refresh token was renewed cannot be told");
        }
    }
}

/// Major, minor and patch level; one that is missing is 0.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut numbers = version.split(['.', '-']).map_while(|n| n.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)])
}

fn new_mark() -> String {
    // The keys of a new hasher are random, so two runs at once have different marks. Process ids would not do: that of the
    // first process of every container is 1.
    format!("{:08x}", std::hash::RandomState::new().hash_one("") >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, checks) in
            [("1.75.0", false), ("1.74.4", false), ("1.75.1", true), ("1.100", true), ("2.0.0-beta.1", true)]
        {
            assert_eq!(numbers(version).is_some_and(|numbers| numbers >= FIRST_TO_CHECK_STREAMS), checks, "{version}");
        }
        assert_eq!((numbers("1.63-DEV"), numbers("unknown")), (Some([1, 63, 0]), None));
    }
}
