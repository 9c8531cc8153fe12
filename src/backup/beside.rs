//! The folder beside the backups, `.etcd-backup`: what its files are called, and what they say. Pure.
//!
//! Each file is one JSON line, so all of them can be read in one stream. None is ever changed: what is learnt later is one
//! more file.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::name::{BackupName, Compression, Prefix};
use super::record::{Facts, Record};

/// The folder's name, in the directory of the backups.
pub const FOLDER: &str = ".etcd-backup";
/// Lines of another schema are of a newer version, which may mean something else by them.
const SCHEMA: u32 = 1;
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// A ruling of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    /// This is the cluster now.
    Accepted,
    /// This one is not the cluster.
    Dismissed,
}

impl Note {
    /// A note about one backup alone.
    pub fn new(name: &BackupName, at: DateTime<Utc>, by: &str) -> Self {
        let (leaf, prefix) = (name.leaf(), name.prefix().leaf().to_owned());
        Self { name: leaf.clone(), prefix, at, by: by.to_owned(), covers: vec![leaf], facts: None }
    }
}

impl Ruling {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dismissed => "dismissed",
        }
    }
}

/// What a person decided about a backup, and about others that go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The backup's file name, without the directory of its prefix.
    pub name: String,
    pub prefix: String,
    pub at: DateTime<Utc>,
    pub by: String,
    /// The names of all backups that it decides about.
    pub covers: Vec<String>,
    /// What the backup was found to be, if it had no record that could be read.
    pub facts: Option<Facts>,
}

/// The backups that stood there before this program stored its first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    pub prefix: String,
    pub at: DateTime<Utc>,
    pub names: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Line {
    Backup(Record),
    Accepted(Note),
    Dismissed(Note),
    Since(Since),
}

/// A file that may be there without being readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    #[default]
    Missing,
    Unreadable,
    Read(T),
}

impl<T> Known<T> {
    pub const fn read(&self) -> Option<&T> {
        if let Self::Read(value) = self { Some(value) } else { None }
    }

    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// What the folder says about the backups of one prefix.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// By the backup's file name.
    pub records: BTreeMap<String, Known<Record>>,
    /// The latest ruling about each backup, by its file name.
    pub rulings: BTreeMap<String, LatestRuling>,
    pub since: Known<Since>,
    /// The backups' names that files in the folder bear, for [`BackupName::free`].
    pub borne: Vec<BackupName>,
    /// Every file of a backup, by the backup's file name.
    files: BTreeMap<String, Vec<BesideFile>>,
}

#[derive(Clone, Debug)]
struct BesideFile {
    name: String,
    /// The backups that it is about; `None` if that cannot be read.
    covers: Option<Vec<String>>,
}

impl BesideFile {
    fn is_needed(&self, standing: &BTreeSet<String>) -> bool {
        self.covers.as_ref().is_none_or(|covers| covers.iter().any(|leaf| standing.contains(leaf)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRuling {
    pub at: DateTime<Utc>,
    /// `None` if the file cannot be read.
    pub note: Option<(Ruling, Note)>,
}

impl Line {
    /// The line without its newline.
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Versioned<'a> {
            schema: u32,
            #[serde(flatten)]
            line: &'a Line,
        }
        // Writing to memory fails only for maps whose keys are not text, and there are none.
        serde_json::to_vec(&Versioned { schema: SCHEMA, line: self }).unwrap_or_default()
    }

    fn decode(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(line).ok()?;
        if version.schema == SCHEMA { serde_json::from_slice(line).ok() } else { None }
    }
}

/// `prod-202601020304.etcdb.json`.
pub fn record_file(name: &BackupName) -> String {
    format!("{}.json", name.leaf())
}

/// `prod-202601020304.etcdb.20260103T040506Z.accepted.json`.
pub fn ruling_file(name: &BackupName, at: DateTime<Utc>, ruling: Ruling) -> String {
    format!("{}.{}.{}.json", name.leaf(), at.format(TIME), ruling.word())
}

/// `prod-.since.json`.
pub fn since_file(prefix: &Prefix) -> String {
    format!("{}.since.json", prefix.leaf())
}

enum File {
    Record(BackupName),
    Ruling(BackupName, DateTime<Utc>, Ruling),
    Since,
}

fn parse_file(prefix: &Prefix, file: &str) -> Option<File> {
    if file == since_file(prefix) {
        return Some(File::Since);
    }
    let stem = file.strip_suffix(".json")?;
    if let Some(name) = BackupName::parse(prefix, stem) {
        return Some(File::Record(name));
    }
    let (stem, word) = stem.rsplit_once('.')?;
    let ruling = [Ruling::Accepted, Ruling::Dismissed].into_iter().find(|ruling| ruling.word() == word)?;
    let (leaf, at) = stem.rsplit_once('.')?;
    let at = NaiveDateTime::parse_from_str(at, TIME).ok()?.and_utc();
    Some(File::Ruling(BackupName::parse(prefix, leaf)?, at, ruling))
}

/// Whether a file of the folder belongs to this very prefix.
pub fn is_of_prefix(prefix: &Prefix, file: &str) -> bool {
    parse_file(prefix, file).is_some()
}

/// The lines of this prefix that can be read, each with the name of the file that it is the content of.
pub fn files_in<'a>(prefix: &Prefix, text: &'a [u8]) -> impl Iterator<Item = (String, &'a [u8])> {
    let file = |line: &Line| match line {
        Line::Backup(record) if record.prefix == prefix.leaf() => {
            BackupName::parse(prefix, &record.name).map(|name| record_file(&name))
        }
        Line::Accepted(note) => ruling_of(prefix, note, Ruling::Accepted),
        Line::Dismissed(note) => ruling_of(prefix, note, Ruling::Dismissed),
        Line::Since(since) if since.prefix == prefix.leaf() => Some(since_file(prefix)),
        Line::Backup(_) | Line::Since(_) => None,
    };
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(move |line| Some((file(&Line::decode(line)?)?, line)))
}

fn ruling_of(prefix: &Prefix, note: &Note, ruling: Ruling) -> Option<String> {
    let name = BackupName::parse(prefix, &note.name).filter(|_| note.prefix == prefix.leaf())?;
    Some(ruling_file(&name, note.at, ruling))
}

impl Beside {
    /// `files` are the names of the folder's files, and `text` the content of those that could be read, in any order.
    pub fn parse(prefix: &Prefix, files: &[String], text: &[u8]) -> Self {
        let mut beside = Self::default();
        let mut rulings = Vec::new();
        let mut lines = Lines::read(prefix, text);
        for file in files {
            beside.borne.extend(BackupName::borne_by(prefix, file));
            let mut covers = Some(Vec::new());
            let of = match parse_file(prefix, file) {
                Some(File::Since) => {
                    // These names stay taken, or a backup of the same name would count as one of them.
                    let names = lines.since.iter().flat_map(|since| &since.names);
                    beside.borne.extend(names.filter_map(|leaf| BackupName::parse(prefix, leaf)));
                    beside.since = lines.since.clone().map_or(Known::Unreadable, Known::Read);
                    continue;
                }
                Some(File::Record(name)) => {
                    // What does not say of its file whether it is compressed is about another file.
                    let is_of = |record: &Record| record.compression() == name.compression();
                    let record =
                        || lines.records.remove(&name.leaf()).filter(is_of).map_or(Known::Unreadable, Known::Read);
                    // Some stores list two files of one name.
                    beside.records.entry(name.leaf()).or_insert_with(record);
                    name
                }
                Some(File::Ruling(name, at, ruling)) => {
                    let note = lines.notes.get(&(name.leaf(), at, ruling)).cloned();
                    covers = note.as_ref().map(|note| note.covers.clone());
                    let note = note.map(|note| (ruling, note));
                    rulings.push((name.leaf(), LatestRuling { at, note }));
                    name
                }
                None => continue,
            };
            beside.files.entry(of.leaf()).or_default().push(BesideFile { name: file.clone(), covers });
        }
        for (leaf, ruling) in &rulings {
            beside.add(leaf, ruling);
        }
        beside
    }

    /// Adds the ruling in a file of the backup `leaf`.
    fn add(&mut self, leaf: &str, ruling: &LatestRuling) {
        let covers = ruling.note.iter().flat_map(|(_, note)| note.covers.iter().map(String::as_str));
        for leaf in covers.chain([leaf]) {
            let latest = self.rulings.entry(leaf.to_owned()).or_insert_with(|| ruling.clone());
            // Of two in one second, the more cautious one counts.
            if (ruling.at, caution(ruling)) > (latest.at, caution(latest)) {
                *latest = ruling.clone();
            }
        }
    }

    /// Whether any backup of this prefix has a record.
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }
}

fn caution(ruling: &LatestRuling) -> u8 {
    match &ruling.note {
        Some((Ruling::Accepted, _)) => 0,
        Some((Ruling::Dismissed, _)) => 1,
        None => 2,
    }
}

/// The lines of one prefix.
#[derive(Default)]
struct Lines {
    records: BTreeMap<String, Record>,
    /// By what the name of a note's file says of it.
    notes: BTreeMap<(String, DateTime<Utc>, Ruling), Note>,
    since: Option<Since>,
}

impl Lines {
    fn read(prefix: &Prefix, text: &[u8]) -> Self {
        let mut lines = Self::default();
        let ours = |of: &str| of == prefix.leaf();
        for line in text.split(|byte| *byte == b'\n').filter_map(Line::decode) {
            match line {
                Line::Backup(record) if ours(&record.prefix) => {
                    lines.records.insert(record.name.clone(), record);
                }
                Line::Accepted(note) if ours(&note.prefix) => lines.add(Ruling::Accepted, note),
                Line::Dismissed(note) if ours(&note.prefix) => lines.add(Ruling::Dismissed, note),
                Line::Since(since) if ours(&since.prefix) => lines.since = Some(since),
                Line::Backup(_) | Line::Accepted(_) | Line::Dismissed(_) | Line::Since(_) => {}
            }
        }
        lines
    }

    /// Of two notes for one file, the first one counts.
    fn add(&mut self, ruling: Ruling, note: Note) {
        self.notes.entry((note.name.clone(), note.at, ruling)).or_insert(note);
    }
}

impl Beside {
    /// The files of the backups in `gone`. A ruling that covers a backup that stands stays, and one that cannot be read,
    /// because it may cover one, and all files of a backup that was compressed by hand.
    pub fn files_of(&self, gone: &BTreeSet<String>, standing: &BTreeSet<String>) -> Vec<String> {
        let gone = gone.iter().filter(|leaf| !self.tells_of_another(leaf, standing));
        let files = gone.filter_map(|leaf| self.files.get(leaf)).flatten();
        files.filter(|file| !file.is_needed(standing)).map(|file| file.name.clone()).collect()
    }

    /// The file names of backups that have files here to be removed, and are neither in `standing` nor younger than `before`.
    pub fn without_backup(&self, standing: &BTreeSet<String>, before: DateTime<Utc>, zone: Tz) -> Vec<String> {
        let is_gone = |leaf: &&String| !standing.contains(*leaf) && !self.tells_of_another(leaf, standing);
        let gone = self.files.keys().filter(is_gone);
        let named: BTreeMap<_, _> = self.borne.iter().map(|name| (name.leaf(), name.taken_at(zone))).collect();
        let old = |leaf: &&String| {
            let recorded = self.records.get(*leaf).and_then(Known::read).and_then(|record| record.facts.as_ref());
            let at = recorded.map(|facts| facts.taken_at).or_else(|| named.get(*leaf).copied());
            at.is_some_and(|at| at < before)
        };
        let has_files = |leaf: &&String| {
            self.files.get(*leaf).is_some_and(|files| files.iter().any(|file| !file.is_needed(standing)))
        };
        gone.filter(old).filter(has_files).cloned().collect()
    }

    /// Whether a compressed backup of the same time stands there of which no record tells: that this one has files says that
    /// no run made the other.
    fn tells_of_another(&self, leaf: &str, standing: &BTreeSet<String>) -> bool {
        Compression::ALL.iter().any(|compression| {
            let other = format!("{leaf}{}", compression.suffix());
            standing.contains(&other) && self.records.get(&other).and_then(Known::read).is_none()
        })
    }
}

#[cfg(test)]
mod tests;
