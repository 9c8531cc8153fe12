//! What rclone's configuration says of a remote, before the remote is asked: whether its section is there, and whether it is
//! more than an example.

use std::collections::BTreeMap;
use std::thread;

use super::backend::Place;
use super::chain::{InUse, Known, in_use};
use super::private_config::PrivateConfig;
use super::{Call, Error, PROMPT, PROMPT_AT_END, Rclone};
use crate::config::rclone_options::why_refused_in_section;
use crate::config::target::Target;

/// What the examples have, also as a part, where a value of one's own belongs.
const PLACEHOLDERS: [&str; 2] = ["REPLACE_ME", "REPLACE_WITH_"];
/// All sections of the configuration, decrypted: the output of `rclone config dump`.
pub type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// How a remote may be asked several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    AtOnce,
    /// One wraps another, saves tokens, or is not known.
    InTurn,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    NoSection {
        name: String,
        /// Whether it is that of a remote that another one wraps, and not the target's own.
        is_wrapped: bool,
        known: Vec<String>,
    },
    Placeholder {
        section: String,
        option: String,
    },
    /// A flag of rclone that this program refuses, in a section.
    Refused {
        section: String,
        why: String,
    },
    /// A `local` remote whose path is not absolute.
    Relative {
        /// As it is written in the target, or in the option of another remote.
        place: String,
        is_wrapped: bool,
    },
}

impl Rclone {
    /// What the configuration has. No remote is asked, and a path of this machine needs no configuration.
    pub(super) async fn read_sections(&self, target: &Target) -> Result<Option<Sections>, Error> {
        if Place::of(target.root()) == Place::Local {
            return Ok(None);
        }
        let limit = Some(PROMPT);
        let dump = self.call(Call { limit, ..Call::new("config", target.root(), &["dump"]) }).await?;
        // What an old rclone prints beside JSON must not cost the backup: rclone itself finds what is wrong a little later.
        Ok(serde_json::from_slice(&dump).ok())
    }

    /// What it has when this value is dropped; `None` if rclone does not tell in time.
    pub(super) fn sections_at_end(&self) -> Option<Sections> {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
            let call = Call { limit: Some(PROMPT_AT_END), quiet: true, ..Call::new("config", "", &["dump"]) };
            let dump = runtime.block_on(self.call(call));
            runtime.shutdown_background();
            serde_json::from_slice(&dump.ok()?).ok()
        };
        // The thread of a runtime may not wait for another one.
        thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, ask).ok()?.join().ok()?)
    }

    /// Fails if the section of the target's remote, or of one that it wraps, is missing, still that of an example, or of no use.
    /// Otherwise tells how the remote may be asked.
    pub fn check_sections(&self, target: &Target) -> Result<Asked, Error> {
        let Some(sections) = &self.sections else {
            let is_local = Place::of(target.root()) == Place::Local;
            return Ok(if is_local { Asked::AtOnce } else { Asked::InTurn });
        };
        let own = || "rclone's own configuration".to_owned();
        let file = || self.config.as_ref().map_or_else(own, PrivateConfig::shown);
        let known = self.known(sections);
        let in_use = in_use(&known, target.clone(), 0);
        if let Some(why) = in_use.iter().find_map(|remote| remote.unusable(&known)) {
            return Err(Error::Unusable { file: file(), why });
        }
        // Of two that renew a token at once, one may be refused, and its new token is the one that is kept. Other servers
        // allow a user one connection.
        let is_plain =
            matches!(in_use.as_slice(), [only] if ASKED_AT_ONCE.contains(&only.kind.as_str()) && !only.is_renewed());
        if let Some(config) = &self.config {
            config.expect_renewal(
                in_use.into_iter().filter(InUse::is_renewed).filter_map(|remote| remote.name).collect(),
            );
        }
        Ok(if is_plain { Asked::AtOnce } else { Asked::InTurn })
    }
}

/// Kinds of remotes that answer two questions at once.
const ASKED_AT_ONCE: [&str; 5] = ["local", "s3", "azureblob", "google cloud storage", "b2"];

impl InUse {
    fn unusable(&self, known: &Known) -> Option<Unusable> {
        // One that only variables describe has a kind, too.
        let is_unknown = |name: &&String| !known.sections.contains_key(*name) && self.kind.is_empty();
        if let Some(name) = self.name.as_ref().filter(is_unknown) {
            let known = known.sections.keys().cloned().collect();
            return Some(Unusable::NoSection { name: name.clone(), is_wrapped: self.is_wrapped, known });
        }
        let section = || self.name.clone().unwrap_or_else(|| self.place.root().to_owned());
        let is_placeholder = |value: &String| PLACEHOLDERS.iter().any(|mark| value.contains(mark));
        if let Some((option, _)) = self.options.iter().find(|(_, value)| is_placeholder(value)) {
            return Some(Unusable::Placeholder { section: section(), option: option.clone() });
        }
        if let Some(why) = self.options.keys().find_map(|option| why_refused_in_section(option)) {
            return Some(Unusable::Refused { section: section(), why });
        }
        if self.kind == "local" && !self.place.path().starts_with('/') {
            return Some(Unusable::Relative { place: self.place.to_string(), is_wrapped: self.is_wrapped });
        }
        let place = self.relative.first()?.clone();
        Some(Unusable::Relative { place, is_wrapped: true })
    }
}

impl Unusable {
    /// The whole message. `file` is the configuration.
    pub fn message(&self, file: &str) -> String {
        match self {
            Self::NoSection { name, is_wrapped, known } => {
                let (setting, advice) = if *is_wrapped {
                    ("rclone-config", "correct the option `remote` or `upstreams` that names it")
                } else {
                    ("target", "write the name of a section before the colon")
                };
                let known = if known.is_empty() { "none".to_owned() } else { format!("[{}]", known.join("], [")) };
                format!("{setting}: there is no section [{name}] in {file}, which has {known}; {advice}")
            }
            Self::Placeholder { section, option } => format!(
                "rclone-config: the section [{section}] of {file} is only a placeholder, where `{option}` is still to be \
                 replaced; write your own remote there: in the packages, that is the file rclone/rclone.conf"
            ),
            Self::Refused { section, why } => {
                format!("rclone-config: the section [{section}] of {file} {why}, which this program decides; remove it")
            }
            Self::Relative { place, is_wrapped } => {
                let setting = if *is_wrapped { "rclone-config" } else { "target" };
                format!(
                    "{setting}: `{place}` is relative to the working directory, because its remote is of type `local`; write \
                     an absolute path"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(target: &str, environment: &[(&str, &str)], flags: &[&str]) -> Option<String> {
        let shipped = [("type", "s3"), ("access_key_id", "REPLACE_ME"), ("secret_access_key", "REPLACE_ME")];
        let sections = Sections::from([
            ("minio".into(), section(&shipped)),
            ("mine".into(), section(&[("type", "s3"), ("access_key_id", "AKIA")])),
            ("vault".into(), section(&[("type", "crypt"), ("remote", "minio:bucket/vault")])),
            ("oci".into(), section(&[("type", "oracleobjectstorage"), ("compartment", "ocid1.x..REPLACE_ME")])),
            (
                "hidden".into(),
                section(&[("type", "crypt"), ("remote", "mine:x"), ("password", "REPLACE_WITH_OBSCURED_PASSWORD")]),
            ),
            ("twice".into(), section(&[("type", "alias"), ("remote", "vault:")])),
            ("both".into(), section(&[("type", "union"), ("upstreams", "mine:a minio:b:ro")])),
            ("tree".into(), section(&[("type", "combine"), ("upstreams", "\"x y=mine:a\" z=vault:b")])),
            ("loop".into(), section(&[("type", "alias"), ("remote", "loop:")])),
            ("lost".into(), section(&[("type", "crypt"), ("remote", "nosuch:bucket")])),
            ("here".into(), section(&[("type", "local")])),
            ("below".into(), section(&[("type", "alias"), ("remote", "here:dir")])),
            ("blank".into(), section(&[("type", "alias"), ("remote", "here: dir")])),
            ("dots".into(), section(&[("type", "crypt"), ("remote", "here:../dir")])),
            ("odd".into(), section(&[("type", "alias"), ("remote", "minio:a//b")])),
            ("root".into(), section(&[("type", "alias"), ("remote", "here:")])),
            ("disk".into(), section(&[("type", "alias"), ("remote", "/mnt/x")])),
            ("bare".into(), section(&[("type", "crypt"), ("remote", "dir/x")])),
            ("dry".into(), section(&[("type", "local"), ("global.dry_run", "true")])),
        ]);
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let known = Known { sections: &sections, environment: &section(environment), flags: &flags };
        let in_use = in_use(&known, target.parse().unwrap(), 0);
        in_use.iter().find_map(|remote| remote.unusable(&known)).map(|found| found.message("FILE"))
    }

    #[test]
    fn a_placeholder_is_found_below_what_wraps_it() {
        for target in ["minio:b", "odd:", "vault:", "twice:x", "both:", "tree:x", "minio,region=x:b"] {
            let found = found(target, &[], &[]);
            let expected =
                "rclone-config: the section [minio] of FILE is only a placeholder, where `access_key_id` is ";
            assert!(found.as_ref().is_some_and(|found| found.starts_with(expected)), "{target}: {found:?}");
        }
        assert!(found("oci:b", &[], &[]).unwrap().contains("[oci] of FILE is only a placeholder, where `compartment`"));
        assert!(
            found("hidden:", &[], &[]).unwrap().contains("[hidden] of FILE is only a placeholder, where `password`")
        );
        for target in ["mine:b", "loop:", "/mnt", ":s3,env_auth=true:b"] {
            assert_eq!(found(target, &[], &[]), None, "{target}");
        }
    }

    #[test]
    fn a_token_is_found_below_what_wraps_it() {
        let token = r#"{"access_token":"a","refresh_token":"r"}"#;
        let sections = Sections::from([
            ("drive".into(), section(&[("type", "drive"), ("token", token)])),
            ("old".into(), section(&[("type", "dropbox"), ("token", r#"{"access_token":"a"}"#)])),
            ("vault".into(), section(&[("type", "crypt"), ("remote", "drive:x")])),
        ]);
        let known = Known { sections: &sections, environment: &BTreeMap::new(), flags: &[] };
        let renewed = |target: &str| {
            let in_use = in_use(&known, target.parse().unwrap(), 0);
            in_use.into_iter().filter(InUse::is_renewed).filter_map(|remote| remote.name).collect::<Vec<_>>()
        };
        assert_eq!(
            (renewed("vault:y"), renewed("drive:"), renewed("old:")),
            (vec!["drive".into()], vec!["drive".into()], vec![])
        );
    }

    #[test]
    fn a_path_in_the_working_directory_is_refused() {
        for (target, setting, place) in [
            ("here:dir", "target", "here:dir"),
            ("here:", "target", "here:"),
            (":local:dir", "target", ":local:dir"),
            ("below:x", "rclone-config", "here:dir"),
            ("below:/x", "rclone-config", "here:dir"),
            ("root:x", "rclone-config", "here:"),
            ("bare:", "rclone-config", "dir/x"),
            ("blank:", "rclone-config", "here: dir"),
            ("blank:/x", "rclone-config", "here: dir"),
            ("dots:x", "rclone-config", "here:../dir"),
        ] {
            let expected = format!("{setting}: `{place}` is relative to the working directory");
            let found = found(target, &[], &[]);
            assert!(found.as_ref().is_some_and(|found| found.starts_with(&expected)), "{target}: {found:?}");
        }
        for target in ["here:/dir", ":local:/dir", "root:/x", "disk:x", "/mnt"] {
            assert_eq!(found(target, &[], &[]), None, "{target}");
        }
        let expected = "target: `x:dir` is relative";
        assert!(found("x:dir", &[("RCLONE_CONFIG_X_TYPE", "local")], &[]).unwrap().starts_with(expected));
    }

    #[test]
    fn a_section_that_decides_for_us_is_refused() {
        let found = found("dry:/x", &[], &[]).unwrap();
        assert!(
            found.starts_with("rclone-config: the section [dry] of FILE sets rclone's own flag `dry_run`"),
            "{found}"
        );
    }

    #[test]
    fn what_counts_more_replaces_a_placeholder() {
        let key = ("RCLONE_CONFIG_MINIO_ACCESS_KEY_ID", "AKIA");
        let secret = ("RCLONE_CONFIG_MINIO_SECRET_ACCESS_KEY", "x");
        assert!(found("minio:b", &[key], &[]).unwrap().contains("`secret_access_key`"));
        assert_eq!(found("minio:b", &[key, secret], &[]), None);
    }

    #[test]
    fn a_missing_section_is_named_with_those_that_are_there() {
        let missing = |target: &str| found(target, &[], &[]).unwrap();
        let expected = "there is no section [nosuch] in FILE, which has [bare], [below], [blank], ";
        assert!(missing("nosuch:b").starts_with(&format!("target: {expected}")), "{}", missing("nosuch:b"));
        assert!(missing("lost:b").starts_with(&format!("rclone-config: {expected}")), "{}", missing("lost:b"));
        assert_eq!(found("nosuch:b", &[("RCLONE_CONFIG_NOSUCH_TYPE", "s3")], &[]), None);
    }
}
