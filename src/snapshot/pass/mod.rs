//! The whole proof in one pass: every page of a snapshot while its bytes go by, in the order of the file.
//!
//! Which pages are in use only the tree tells, whose branches may come after their leaves. So a record of a few bytes is kept of
//! each page that could be one of the tree, and the tree is checked over the records when the last byte has passed.

mod crc;
mod keeper;
mod last_changes;
mod live;
mod look;
mod packed;
mod record;
mod refuted;
mod step;
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
use self::last_changes::LastChanges;
use self::live::{Live, Total};
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
///
/// What takes further passes: a page of more than 6.5 MiB, which is held as a whole then, up to 128 MiB, and a root page or a list of
/// free pages twice; branches and leaves for which there was no room; and a snapshot that was taken while etcd compacted, whose keys
/// are counted in up to four further passes over parts of them. Up to about 100,000 changes it is one of these, and from about
/// 400,000 on, if each takes less than 30 bytes of the file, the memory grows too, up to 15 bytes a change.
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
        read_chunks(stream, Error::reading(name), |chunk| {
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
            return Err(Error::bad_file(&self.name, what));
        }
        let mut keeper = whole(reading, hash.bytes).map_err(Error::damaged(&self.name))?;
        let checked = check(&mut keeper).map_err(Error::damaged(&self.name))?;
        match checked {
            Check::Sound(contents, newest) => {
                let proof = Proof { file: hash, contents, newest };
                proof.reaching(floor, &self.name).map(Finished::Proved)
            }
            Check::Missing(pages, last_changes) => {
                let reading = Reading::Start(Vec::new(), Some(Box::new(keeper.again(pages, last_changes))));
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
        let Self { name, keys, reading, before, .. } = self;
        // The walk needs memory of its own.
        drop(reading);
        let Some(hash) = before else {
            return Err(Error::bad_file(&name, "it is empty"));
        };
        let db = Db::open(file, &name, hash.bytes)?;
        let contents = Contents::read(&db)?;
        let newest = Newest::read(&db, keys)?;
        Proof { file: hash, contents, newest }.reaching(floor, &name)
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
    /// The next round: for these pages, or for the keys in them.
    Missing(PageSet, Option<LastChanges>),
}

fn check(keeper: &mut Keeper) -> Result<Check, Damage> {
    let last_changes = keeper.last_changes();
    // Before the history: which keys are live depends on the compactions.
    let records = tree::records(keeper, Sums::new(Live::new(0, 0, None)))?;
    let find = |bucket: &[u8], name: &[u8]| {
        let mut records = records.sums.records.iter();
        Ok::<_, Damage>(records.find(|(of, known, _)| *of == bucket && *known == name).map(|(.., value)| value.clone()))
    };
    let meta = MetaBucket::read(find, |damage| damage)?;
    let (finished, scheduled) = meta.compactions();
    let Checked { sums, missing, history } =
        tree::whole(keeper, Sums::new(Live::new(finished, scheduled, last_changes)), records.missing)?;
    if let Some(page) = missing.first() {
        if keeper.is_stuck() {
            return Err(Damage::page(page, "cannot hold what the proof needs of this page in memory"));
        }
        return Ok(Check::Missing(missing, None));
    }
    if history.first().is_some() {
        return Ok(Check::Missing(history, Some(LastChanges::of(sums.revisions, keeper.room_for_keys()))));
    }
    let live_keys = match sums.live.total(sums.revisions) {
        Total::Keys(keys) => keys,
        Total::Next(last_changes) => {
            return Ok(Check::Missing(keeper.asked().unwrap_or_default(), Some(last_changes)));
        }
    };
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
        live_keys,
    };
    Ok(Check::Sound(Contents::new(keeper.meta.bytes(), &totals, meta, cluster_version), newest))
}
