//! What rclone's configuration says of a remote, before the remote is asked: whether its section is there, and whether it is
//! more than an example.

use std::collections::BTreeMap;

use super::backend::{Place, options};
use super::private_config::{PrivateConfig, refresh_token};
use super::{Call, Error, PROMPT, Rclone};
use crate::config::target::Target;

/// What the examples have, also as a part, where a value of one's own belongs.
const PLACEHOLDERS: [&str; 2] = ["REPLACE_ME", "REPLACE_WITH_"];
/// How many remotes may wrap each other. A remote that wraps itself is left to rclone.
const DEEPEST: usize = 8;

/// All sections of the configuration, decrypted: the output of `rclone config dump`.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

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
}

impl Rclone {
    /// Fails if the section of the target's remote, or of one that it wraps, is missing or still that of an example. No
    /// remote is asked.
    pub async fn check_sections(&self, target: &Target) -> Result<(), Error> {
        if Place::of(target.root()) == Place::Local {
            return Ok(());
        }
        let limit = Some(PROMPT);
        let dump = self.call(Call { limit, ..Call::new("config", target.root(), &["dump"]) }).await?;
        // What an old rclone prints beside JSON must not cost the backup: rclone itself finds what is wrong a little later.
        let Ok(sections) = serde_json::from_slice(&dump) else { return Ok(()) };
        let own = || "rclone's own configuration".to_owned();
        let file = || self.config.as_ref().map_or_else(own, PrivateConfig::shown);
        let in_use = in_use(target, &sections, &self.environment, &self.user_flags, 0);
        if let Some(why) = in_use.iter().find_map(|remote| remote.unusable(&sections)) {
            return Err(Error::Unusable { file: file(), why });
        }
        if let Some(config) = &self.config {
            config.expect_renewal(
                in_use.into_iter().filter(InUse::is_renewed).filter_map(|remote| remote.name).collect(),
            );
        }
        Ok(())
    }
}

/// The target's remote, or one that it wraps.
struct InUse {
    /// `None` for one without a section.
    name: Option<String>,
    root: String,
    is_wrapped: bool,
    /// Empty if that is unknown.
    kind: String,
    /// From wherever they are set.
    options: BTreeMap<String, String>,
}

/// The target's own remote first, and each one before those that it wraps.
fn in_use(
    target: &Target,
    sections: &Sections,
    environment: &BTreeMap<String, String>,
    flags: &[String],
    depth: usize,
) -> Vec<InUse> {
    let place = Place::of(target.root());
    let name = place.name().map(ToOwned::to_owned);
    let section = name.as_ref().and_then(|name| sections.get(name));
    let shown = section.into_iter().flatten().map(|(option, value)| (option.clone(), value.clone())).collect();
    let (kind, options) = options(place, shown, environment, flags);
    let below = if depth == DEEPEST { Vec::new() } else { wrapped(&kind, &options) };
    let below = below.iter().flat_map(|target| in_use(target, sections, environment, flags, depth + 1));
    let below: Vec<_> = below.collect();
    let own = InUse { name, root: target.root().to_owned(), is_wrapped: depth > 0, kind, options };
    std::iter::once(own).chain(below).collect()
}

impl InUse {
    fn unusable(&self, sections: &Sections) -> Option<Unusable> {
        // One that only variables describe has a kind, too.
        if let Some(name) = self.name.as_ref().filter(|name| !sections.contains_key(*name) && self.kind.is_empty()) {
            return Some(Unusable::NoSection {
                name: name.clone(),
                is_wrapped: self.is_wrapped,
                known: sections.keys().cloned().collect(),
            });
        }
        let is_placeholder = |value: &String| PLACEHOLDERS.iter().any(|mark| value.contains(mark));
        let (option, _) = self.options.iter().find(|(_, value)| is_placeholder(value))?;
        let section = self.name.clone().unwrap_or_else(|| self.root.clone());
        Some(Unusable::Placeholder { section, option: option.clone() })
    }

    /// Whether rclone has to save a token of it now and then.
    fn is_renewed(&self) -> bool {
        self.options.get("token").is_some_and(|token| refresh_token(token).is_some())
    }
}

/// The remotes that a crypt, an alias, a union and their like are made of.
fn wrapped(kind: &str, options: &BTreeMap<String, String>) -> Vec<Target> {
    let many = options.get("upstreams").and_then(|list| shlex::split(list)).unwrap_or_default();
    // As in `directory=remote:path`.
    let of_combine = |part: String| part.split_once('=').map(|(_, remote)| remote.to_owned()).unwrap_or(part);
    let many = many.into_iter().map(|part| if kind == "combine" { of_combine(part) } else { part });
    options.get("remote").cloned().into_iter().chain(many).filter_map(|text| text.parse().ok()).collect()
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
        ]);
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let in_use = in_use(&target.parse().unwrap(), &sections, &section(environment), &flags, 0);
        in_use.iter().find_map(|remote| remote.unusable(&sections)).map(|found| found.message("FILE"))
    }

    #[test]
    fn a_placeholder_is_found_below_what_wraps_it() {
        for target in ["minio:b", "vault:", "twice:x", "both:", "tree:x", "minio,region=x:b"] {
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
        let renewed = |target: &str| {
            let in_use = in_use(&target.parse().unwrap(), &sections, &BTreeMap::new(), &[], 0);
            in_use.into_iter().filter(InUse::is_renewed).filter_map(|remote| remote.name).collect::<Vec<_>>()
        };
        assert_eq!(
            (renewed("vault:y"), renewed("drive:"), renewed("old:")),
            (vec!["drive".into()], vec!["drive".into()], vec![])
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
        let expected = "there is no section [nosuch] in FILE, which has [both], [hidden], ";
        assert!(missing("nosuch:b").starts_with(&format!("target: {expected}")), "{}", missing("nosuch:b"));
        assert!(missing("lost:b").starts_with(&format!("rclone-config: {expected}")), "{}", missing("lost:b"));
        assert_eq!(found("nosuch:b", &[("RCLONE_CONFIG_NOSUCH_TYPE", "s3")], &[]), None);
    }
}
