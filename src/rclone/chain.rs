//! A remote, and those that it wraps: with their options, from wherever those are set.

use std::collections::BTreeMap;

use super::Rclone;
use super::backend::{Backend, Place, options};
use super::private_config::refresh_token;
use super::sections::Sections;
use crate::config::target::{Connection, Target};

/// The kinds of remotes whose option `remote` or `upstreams` names other ones.
const WRAPPERS: [&str; 9] = ["alias", "archive", "cache", "chunker", "combine", "compress", "crypt", "hasher", "union"];
/// How many remotes may wrap each other. A remote that wraps itself is left to rclone.
const DEEPEST: usize = 8;

impl Rclone {
    /// The target's remote, and behind it those that it wraps; none if the configuration cannot be read.
    pub fn chain(&self, target: &Target) -> Vec<Backend> {
        if Place::of(target.root()) == Place::Local {
            return vec![self.backend(target)];
        }
        let Some(sections) = &self.sections else { return Vec::new() };
        let in_use = in_use(&self.known(sections), target.clone(), 0).into_iter();
        in_use.map(|remote| Backend::of(remote.kind, remote.options, &self.environment, &self.user_flags)).collect()
    }

    pub(super) fn known<'a>(&'a self, sections: &'a Sections) -> Known<'a> {
        Known { sections, environment: &self.environment, flags: &self.user_flags }
    }
}

/// What is asked of each remote of a chain.
pub struct Known<'a> {
    pub sections: &'a Sections,
    pub environment: &'a BTreeMap<String, String>,
    pub flags: &'a [String],
}

/// The target's remote, or one that it wraps.
pub struct InUse {
    /// `None` for one without a section.
    pub name: Option<String>,
    /// With the path that is used there.
    pub place: Target,
    pub is_wrapped: bool,
    /// Empty if that is unknown.
    pub kind: String,
    /// From wherever they are set.
    pub options: BTreeMap<String, String>,
    /// Paths in the working directory that it wraps, which is another one in each place.
    pub relative: Vec<String>,
}

/// The target's own remote first, and each one before those that it wraps.
pub fn in_use(known: &Known, target: Target, depth: usize) -> Vec<InUse> {
    let place = Place::of(target.root());
    let name = place.name().map(ToOwned::to_owned);
    let section = name.as_ref().and_then(|name| known.sections.get(name));
    let shown = section.into_iter().flatten().map(|(option, value)| (option.clone(), value.clone())).collect();
    let (kind, options) = options(place, shown, known.environment, known.flags);
    let wrapped = if depth == DEEPEST { Vec::new() } else { wrapped(&kind, &options) };
    let is_relative = |text: &String| !text.is_empty() && !text.starts_with('/') && Connection::of(text).is_none();
    let below = wrapped.iter().filter_map(|text| text.parse().ok().or_else(|| Target::as_wrapped(text)));
    // rclone appends the path of the outer one, and an absolute one remains absolute.
    let with_path = |inner: Target| {
        let takes_path = inner.path().is_empty() && target.path().starts_with('/');
        if takes_path { inner.with_path(target.path()) } else { inner }
    };
    let below: Vec<_> = below.flat_map(|inner| in_use(known, with_path(inner), depth + 1)).collect();
    let relative = wrapped.into_iter().filter(|text| text.parse::<Target>().is_err() && is_relative(text)).collect();
    let own = InUse { name, place: target, is_wrapped: depth > 0, kind, options, relative };
    std::iter::once(own).chain(below).collect()
}

impl InUse {
    /// Whether rclone has to save a token of it now and then.
    pub fn is_renewed(&self) -> bool {
        self.options.get("token").is_some_and(|token| refresh_token(token).is_some())
    }
}

/// The remotes that a crypt, an alias, a union and their like are made of.
fn wrapped(kind: &str, options: &BTreeMap<String, String>) -> Vec<String> {
    // Of other kinds, an option of this name is something else.
    if !WRAPPERS.contains(&kind) {
        return Vec::new();
    }
    let many = options.get("upstreams").and_then(|list| shlex::split(list)).unwrap_or_default();
    // As in `directory=remote:path`.
    let of_combine = |part: String| part.split_once('=').map(|(_, remote)| remote.to_owned()).unwrap_or(part);
    let many = many.into_iter().map(|part| if kind == "combine" { of_combine(part) } else { part });
    options.get("remote").cloned().into_iter().chain(many).collect()
}
