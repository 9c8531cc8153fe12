//! Of which kind a remote is, with those of its options that tell what its hashes are worth.

use std::collections::BTreeMap;

use super::Rclone;
use crate::config::target::{Connection, Target};

/// The options that are kept. None of them is a secret.
const WANTED: [&str; 14] = [
    "type",
    "provider",
    "endpoint",
    "upload_cutoff",
    "chunk_size",
    "max_upload_parts",
    "use_multipart_uploads",
    "disable_checksum",
    "server_side_encryption",
    "sse_customer_algorithm",
    "directory_bucket",
    "object_lock_mode",
    "object_lock_retain_until_date",
    "object_lock_legal_hold_status",
];

/// Not one of a backend: stands for each flag of its family, wherever it is set.
const MULTI_THREAD: &str = "multi_thread";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// rclone's name of it, such as `s3`; empty if that is unknown. An alias or a wrapper such as crypt is of its own kind.
    pub kind: String,
    pub options: BTreeMap<String, String>,
}

impl Backend {
    /// By rclone's name of it, such as `upload_cutoff`; `None` if it is set nowhere.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

impl Rclone {
    /// That of the target alone, and not of what it wraps.
    pub fn backend(&self, target: &Target) -> Backend {
        let place = Place::of(target.root());
        let section = match (place.name(), &self.sections) {
            (Some(name), Some(sections)) => sections.get(name).cloned().unwrap_or_default(),
            // Of a configuration that cannot be read, the rest would tell a half.
            (Some(_), None) => return Backend::default(),
            (None, _) => BTreeMap::new(),
        };
        place.backend(section, &self.environment, &self.user_flags)
    }
}

/// What stands before the path of a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// No remote at all.
    Local,
    /// A remote of the configuration, as in `minio,upload_cutoff=5M:`.
    Named { name: String, options: BTreeMap<String, String> },
    /// One without a configuration, as in `:s3,provider=AWS:`.
    OnTheFly { kind: String, options: BTreeMap<String, String> },
}

impl Place {
    pub fn of(root: &str) -> Self {
        let Some(Connection { name, options }) = Connection::of(root) else { return Self::Local };
        let options = options.into_iter().collect();
        match name.strip_prefix(':') {
            Some(kind) => Self::OnTheFly { kind: kind.to_owned(), options },
            None => Self::Named { name, options },
        }
    }

    /// The section's name.
    pub fn name(&self) -> Option<&str> {
        if let Self::Named { name, .. } = self { Some(name) } else { None }
    }

    fn backend(
        self,
        section: BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
        flags: &[String],
    ) -> Backend {
        if self == Self::Local {
            return Backend { kind: "local".into(), ..Backend::default() };
        }
        let (kind, options) = options(self, section.into_iter().collect(), environment, flags);
        Backend::of(kind, options, environment, flags)
    }
}

impl Backend {
    /// `options` are all of them, from wherever they are set.
    pub(super) fn of(
        kind: String,
        mut options: BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
        flags: &[String],
    ) -> Self {
        let is_multi_thread = |name: &str| name.replace('-', "_").starts_with(MULTI_THREAD);
        let is_in_section =
            options.keys().any(|name| name.split_once('.').is_some_and(|(_, flag)| is_multi_thread(flag)));
        options.retain(|name, _| WANTED.contains(&name.as_str()) && name != "type");
        // The libraries of AWS read these too.
        if ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"].iter().any(|name| environment.contains_key(*name)) {
            options.insert("endpoint".into(), String::new());
        }
        if is_in_section || flags.iter().any(|flag| is_multi_thread(flag.trim_start_matches('-'))) {
            options.insert(MULTI_THREAD.into(), String::new());
        }
        // That there is one is all that is asked, and a URL may have a password in it.
        options.entry("endpoint".into()).and_modify(String::clear);
        Self { kind, options }
    }
}

/// A remote's kind, and all its options from wherever they are set. `section` is what its section says. The order is
/// rclone's, from what counts least to what counts most.
pub fn options(
    place: Place,
    section: Vec<(String, String)>,
    environment: &BTreeMap<String, String>,
    flags: &[String],
) -> (String, BTreeMap<String, String>) {
    let variables = |prefix: &str| with_prefix(environment, prefix);
    let (mut kind, shown, of_remote, own) = match place {
        Place::Local => return ("local".into(), BTreeMap::new()),
        Place::OnTheFly { kind, options } => (kind, Vec::new(), Vec::new(), options),
        Place::Named { name, options } => {
            let remote = variables(&format!("RCLONE_CONFIG_{}_", name.to_uppercase()));
            (String::new(), section, remote, options)
        }
    };
    let told = shown.iter().chain(&of_remote).rfind(|(name, _)| name == "type").map(|(_, value)| value);
    if let Some(value) = own.get("type").or(told) {
        kind.clone_from(value);
    }
    let of_kind = variables(&format!("RCLONE_{}_", kind.to_uppercase().replace([' ', '-'], "_")));
    let flags = pairs_of_flags(flags, &format!("{}-", kind.replace([' ', '_'], "-")));
    let all = shown.into_iter().chain(of_kind).chain(of_remote).chain(flags).chain(own);
    (kind, all.collect())
}

fn with_prefix(environment: &BTreeMap<String, String>, prefix: &str) -> Vec<(String, String)> {
    let option = |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_lowercase(), value.clone()));
    environment.iter().filter_map(option).collect()
}

/// The options in flags such as `--s3-upload-cutoff 5M` or `--s3-upload-cutoff=5M`.
fn pairs_of_flags(flags: &[String], prefix: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (at, word) in flags.iter().enumerate() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let following = flags.get(at + 1).filter(|next| !next.starts_with("--")).map_or("true", String::as_str);
        let (name, value) = flag.split_once('=').unwrap_or((flag, following));
        if let Some(option) = name.replace('_', "-").strip_prefix(prefix) {
            pairs.push((option.replace('-', "_"), value.to_owned()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(root: &str, section: &str, environment: &[(&str, &str)], flags: &[&str]) -> Backend {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let section = section.lines().filter_map(|line| line.split_once(" = "));
        let section = section.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Place::of(root).backend(section, &environment, &flags)
    }

    fn of(kind: &str, options: &[(&str, &str)]) -> Backend {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Backend { kind: kind.into(), options }
    }

    const AWS: &str = "type = s3\nprovider = AWS\nsecret_access_key = abc = def\nupload_cutoff = 9M\n";

    #[test]
    fn a_path_and_a_connection_string_name_their_kind() {
        assert_eq!(backend("/", "", &[], &[]), of("local", &[]));
        assert_eq!(
            backend(":s3,env_auth,provider=AWS,endpoint='http://h:1,2':", "", &[], &[]),
            of("s3", &[("provider", "AWS"), ("endpoint", "")])
        );
        assert_eq!(backend(":sftp,host=h:", "", &[], &[]), of("sftp", &[]));
        assert_eq!(backend("any,type=sftp,host=h:", "", &[], &[]), of("sftp", &[]));
    }

    #[test]
    fn a_section_is_read_without_its_secrets() {
        assert_eq!(backend("aws:", AWS, &[], &[]), of("s3", &[("provider", "AWS"), ("upload_cutoff", "9M")]));
        // A remote that only variables describe is shown without anything.
        let variables = [("RCLONE_CONFIG_A-B_TYPE", "s3"), ("RCLONE_CONFIG_A-B_PROVIDER", "AWS")];
        assert_eq!(backend("a-b:", "", &variables, &[]), of("s3", &[("provider", "AWS")]));
        assert_eq!(backend("no:", "", &[], &[]), of("", &[]));
    }

    #[test]
    fn what_counts_more_wins() {
        let cutoff = |root: &str, environment: &[(&str, &str)], flags: &[&str]| {
            backend(root, AWS, environment, flags).option("upload_cutoff").map(str::to_owned)
        };
        let of_kind = ("RCLONE_S3_UPLOAD_CUTOFF", "1M");
        let of_remote = ("RCLONE_CONFIG_AWS_UPLOAD_CUTOFF", "2M");
        assert_eq!(cutoff("aws:", &[of_kind], &[]).as_deref(), Some("1M"));
        assert_eq!(cutoff("aws:", &[of_kind, of_remote], &[]).as_deref(), Some("2M"));
        for flags in [&["--s3-upload-cutoff", "3M"][..], &["--s3_upload_cutoff=3M"]] {
            assert_eq!(cutoff("aws:", &[of_kind, of_remote], flags).as_deref(), Some("3M"));
        }
        assert_eq!(cutoff("aws,upload_cutoff=4M:", &[of_remote], &["--s3-upload-cutoff=3M"]).as_deref(), Some("4M"));
    }

    #[test]
    fn a_flag_that_makes_parts_is_noticed_wherever_it_is_set() {
        let is_noticed =
            |section: &str, flags: &[&str]| backend("aws:", section, &[], flags).option("multi_thread") == Some("");
        assert!(!is_noticed(AWS, &["--s3-upload-cutoff=1M"]));
        assert!(is_noticed(AWS, &["--multi-thread-cutoff=1M"]));
        assert!(is_noticed(AWS, &["--multi_thread_cutoff", "1M"]));
        for kind in ["global", "override"] {
            assert!(is_noticed(&format!("{AWS}{kind}.multi_thread_cutoff = 1M\n"), &[]), "{kind}");
        }
    }

    #[test]
    fn an_endpoint_is_noticed_wherever_it_is_set() {
        let at = |environment: &[(&str, &str)]| backend("aws:", AWS, environment, &[]).option("endpoint").map(str::len);
        assert_eq!(at(&[]), None);
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "RCLONE_S3_ENDPOINT"] {
            assert_eq!(at(&[(name, "https://u:p@h")]), Some(0), "{name}");
        }
    }
}
