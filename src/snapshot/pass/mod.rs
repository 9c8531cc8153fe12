//! The whole proof in one pass: every page of a snapshot while its bytes go by, in the order of the file.
//!
//! Which pages are in use only the tree tells, whose branches may come after their leaves. So a record of a few bytes is kept of
//! each page that could be one of the tree, and the tree is checked over the records when the last byte has passed.

mod crc;
mod keeper;
mod live;
mod look;
mod packed;
mod record;
mod sums;
mod table;
mod tree;
mod window;

use std::fs::File;
use std::io::Read;
use std::mem;
use std::path::{Path, PathBuf};

use self::keeper::Keeper;
pub(super) use self::keeper::Limits;
use self::live::Live;
use self::sums::Sums;
use self::tree::Checked;
use self::window::Window;
use super::bolt::meta::MetaPage;
use super::bolt::{Db, PageSet};
use super::contents::{Contents, MetaBucket, Totals};
use super::error::{Damage, Error};
use super::mvcc::buckets;
use super::proof::{Newest, Proof};
use super::trailer::{FileHash, TrailerHasher, without_trailer};
use crate::system::fs::read_chunks;

/// What one pass has found.
pub enum Finished {
    Proved(Proof),
    /// The tree reaches pages for which there was no memory. All the same bytes are wanted once more, for those alone.
    More(Prover),
}

/// Proves a snapshot, its trailer included, in one pass. It takes at most about 12 MiB of memory, and 64 bytes a page.
pub struct Prover {
    name: PathBuf,
    keys: &'static [&'static [u8]],
    limits: Limits,
    hasher: TrailerHasher,
    reading: Reading,
    /// What all bytes were in the pass before.
    before: Option<FileHash>,
}

/// How far the bytes have come.
enum Reading {
    /// Not to the end of the second page. Of an earlier pass there are records.
    Start(Vec<u8>, Option<Box<Keeper>>),
    Pages(Window, Box<Keeper>),
    /// The meta pages are not sound, so nothing else can be read.
    Unsound(Damage),
}

impl Prover {
    /// Errors call the bytes `name`. Of `keys`, the proof tells the newest state.
    pub fn new(name: &Path, keys: &'static [&'static [u8]]) -> Self {
        Self::limited(name, keys, Limits::USUAL)
    }

    pub(super) fn limited(name: &Path, keys: &'static [&'static [u8]], limits: Limits) -> Self {
        let (hasher, reading) = (TrailerHasher::default(), Reading::Start(Vec::new(), None));
        Self { name: name.to_owned(), keys, limits, hasher, reading, before: None }
    }

    /// Takes the next bytes, split anywhere. Whatever is wrong with them is told at the end, when the trailer was compared.
    pub fn push(&mut self, blob: &[u8]) {
        self.hasher.push(blob);
        match &mut self.reading {
            Reading::Unsound(_) => {}
            Reading::Pages(window, keeper) => window.push(blob, keeper),
            Reading::Start(start, _) => {
                start.extend_from_slice(blob);
                self.begin();
            }
        }
    }

    /// Takes all bytes of a stream, which errors call `name`.
    pub fn push_all(&mut self, name: &Path, stream: impl Read) -> Result<(), Error> {
        read_chunks(stream, Error::io("read", name), |chunk| {
            self.push(chunk);
            Ok(())
        })
    }

    fn begin(&mut self) {
        let Reading::Start(start, known) = &mut self.reading else { return };
        self.reading = match MetaPage::of_snapshot(start) {
            Ok(None) => return,
            Err(damage) => Reading::Unsound(damage),
            Ok(Some(meta)) => {
                let size = usize::try_from(meta.page_size).unwrap_or(usize::MAX);
                let Some(pages) = start.get(size.saturating_mul(2)..) else { return };
                let mut keeper = known.take().unwrap_or_else(|| Box::new(Keeper::new(meta, self.limits, self.keys)));
                let mut window = Window::new(size, 2);
                window.push(pages, &mut keeper);
                Reading::Pages(window, keeper)
            }
        };
    }

    /// Proves what was taken. `floor` is a revision that the cluster had reached before the snapshot began.
    pub fn finish(mut self, floor: u64) -> Result<Finished, Error> {
        let reading = mem::replace(&mut self.reading, Reading::Start(Vec::new(), None));
        let hash = mem::take(&mut self.hasher).finish().map_err(Error::damaged(&self.name))?;
        if self.before.as_ref().is_some_and(|before| *before != hash) {
            let what = "it has changed while it was read again";
            return Err(Error::damaged(&self.name)(Damage::file(what)));
        }
        let mut keeper = whole(reading, hash.bytes).map_err(Error::damaged(&self.name))?;
        let checked = check(&mut keeper).map_err(Error::damaged(&self.name))?;
        match checked {
            Check::Sound(contents, newest) => {
                let proof = Proof { file: hash, contents, newest };
                proof.reaching(floor, &self.name).map(Finished::Proved)
            }
            Check::Missing { pages, hash_keys } => {
                let reading = Reading::Start(Vec::new(), Some(Box::new(keeper.again(pages, hash_keys))));
                Ok(Finished::More(Self { reading, before: Some(hash), ..self }))
            }
        }
    }

    /// What all bytes were in the pass before, whose trailer has matched.
    pub const fn before(&self) -> Option<&FileHash> {
        self.before.as_ref()
    }

    /// Instead of the same bytes once more: proves by `file`, which has them, in the order of its tree.
    pub fn walk(self, file: File, floor: u64) -> Result<Proof, Error> {
        let Some(hash) = self.before else {
            return Err(Error::damaged(&self.name)(Damage::file("it is empty")));
        };
        let db = Db::open(file, &self.name, hash.bytes)?;
        let contents = Contents::read(&db)?;
        let newest = Newest::read(&db, self.keys)?;
        Proof { file: hash, contents, newest }.reaching(floor, &self.name)
    }
}

/// The records of all pages, if there are as many as the meta page says.
fn whole(reading: Reading, file_bytes: u64) -> Result<Keeper, Damage> {
    let bytes = without_trailer(file_bytes);
    let keeper = match reading {
        Reading::Pages(_, keeper) => *keeper,
        Reading::Unsound(damage) => return Err(damage),
        Reading::Start(mut start, _) => {
            start.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
            return Err(MetaPage::cut_off(&start));
        }
    };
    keeper.meta.check_size(bytes)?;
    Ok(keeper)
}

enum Check {
    Sound(Contents, Vec<Newest>),
    Missing { pages: PageSet, hash_keys: bool },
}

fn check(keeper: &mut Keeper) -> Result<Check, Damage> {
    let last_changes = keeper.last_changes();
    let are_keys_hashed = last_changes.is_some();
    // Before the history: which keys are live depends on the compactions.
    let records = tree::records(keeper, Sums::new(Live::new(0, 0, None)))?;
    let find = |bucket: &[u8], name: &[u8]| {
        let mut records = records.sums.records.iter();
        Ok::<_, Damage>(records.find(|(of, known, _)| of == bucket && *known == name).map(|(.., value)| value.clone()))
    };
    let meta = MetaBucket::read(find, |damage| damage)?;
    let (finished, scheduled) = meta.compactions();
    let Checked { sums, mut missing, history } =
        tree::whole(keeper, Sums::new(Live::new(finished, scheduled, last_changes)))?;
    missing.extend(records.missing);
    if !missing.is_empty() {
        let needs_hashes = scheduled > finished && !are_keys_hashed;
        return again(keeper, &missing, needs_hashes.then_some(history));
    }
    if let Some(name) = sums.missing.first() {
        return Err(Contents::no_bucket(name));
    }
    let cluster_version = find(buckets::CLUSTER, buckets::CLUSTER_VERSION)?;
    let newest = keeper.keys().iter().enumerate().map(|(number, key)| {
        let last = sums.newest.iter().find(|change| change.key == number);
        Newest { key, value: last.and_then(|change| change.value.clone()) }
    });
    let newest = newest.collect();
    let totals = Totals {
        hash: sums.hash,
        total_keys: sums.total_keys,
        revisions: sums.revisions,
        last_revision: sums.last_revision,
        live_keys: sums.live.total(),
    };
    Ok(Check::Sound(Contents::new(keeper.meta.bytes(), &totals, meta, cluster_version), newest))
}

/// The next round. With the leaves of `history` it is one that hashes their keys, if only those are missing.
fn again(keeper: &Keeper, missing: &[u64], history: Option<Vec<u64>>) -> Result<Check, Damage> {
    let set = |pages: &[u64]| {
        let mut set = PageSet::new(keeper.meta.pages);
        for page in pages {
            set.insert(*page);
        }
        set
    };
    let history = history.map(|history| set(&history));
    let is_for_hashes = |page: &u64| history.as_ref().is_some_and(|history| history.contains(*page));
    let others: Vec<u64> = missing.iter().copied().filter(|page| !is_for_hashes(page)).collect();
    // What was asked for and is still missing would be missing for ever.
    if let Some(page) = others.iter().find(|page| keeper.was_asked(**page)) {
        return Err(Damage::page(*page, "cannot hold what the proof needs of this page in memory"));
    }
    let hash_keys = others.is_empty();
    Ok(Check::Missing { pages: set(if hash_keys { missing } else { &others }), hash_keys })
}
