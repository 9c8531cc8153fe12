//! What a snapshot holds, summed up in one walk: revisions, counts, versions, and etcd's hash.

use super::bolt::{Db, Visit};
use super::error::{Damage, Error};
use super::mvcc::{Change, LiveKeyCount, Revision, buckets};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of all pages, without the trailer.
    pub db_bytes: u64,
    /// CRC-32C over the name of each bucket and its keys and values, as `etcdutl snapshot status` prints it.
    pub hash: u32,
    /// The revision at which an etcd restored from this file starts; 1 when nothing was ever written.
    pub revision: u64,
    /// The revision of the last change in the file, 0 without one: what etcdutl 3.5 calls the revision.
    pub last_key_revision: u64,
    /// The revision up to which the history is gone; 0 when it was never compacted.
    pub compact_revision: u64,
    /// The pairs in all buckets: the `totalKey` of etcdutl 3.5.
    pub total_keys: u64,
    /// Every put and every deletion that is still in the history.
    pub revisions: u64,
    /// The keys that a client can get at [`Contents::revision`].
    pub live_keys: u64,
    /// The index of the last raft entry that was applied.
    pub consistent_index: Option<u64>,
    /// The raft term of that entry; etcd before 3.5 does not write it.
    pub term: Option<u64>,
    /// The version of the file's layout, such as `3.6`; `3.4` stands for all older ones as well.
    pub storage_version: String,
    /// The version that the members had agreed on, such as `3.5.0`.
    pub cluster_version: Option<String>,
}

/// A revision at which the keys cannot be read; the first words are those of etcd's own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    #[error("required revision {asked} has been compacted; the history in this snapshot begins at {first}")]
    Compacted { asked: u64, first: u64 },
    #[error("required revision {asked} is a future revision; this snapshot is at {last}")]
    Future { asked: u64, last: u64 },
}

impl Contents {
    /// Walks every page once. A page or a change that breaks its format is [`Error::Damaged`].
    pub(super) fn read(db: &Db) -> Result<Self, Error> {
        // Before the walk: which keys are live depends on the compactions.
        let meta = MetaBucket::read(|bucket, name| db.get(bucket, name), |damage| db.damaged(damage))?;
        let mut sums = Sums::new(&meta);
        db.walk(|visit| sums.add(visit).map_err(|damage| db.damaged(damage)))?;
        if let Some(name) = sums.missing.first() {
            return Err(db.damaged(Self::no_bucket(name)));
        }
        let totals = Totals { live_keys: sums.live.total(), ..sums.totals };
        Ok(Self::new(db.bytes(), &totals, meta, db.get(buckets::CLUSTER, buckets::CLUSTER_VERSION)?))
    }

    pub(super) fn new(db_bytes: u64, totals: &Totals, meta: MetaBucket, cluster_version: Option<Vec<u8>>) -> Self {
        let compacted = meta.finished_compaction.max(meta.scheduled_compaction);
        Self {
            db_bytes,
            hash: totals.hash,
            // A compaction removes the last change too if that is a deletion. etcd then starts at the revision of the
            // compaction, which is higher than that of the last change left. An empty etcd is at revision 1.
            revision: totals.last_revision.max(compacted).max(1),
            last_key_revision: totals.last_revision,
            compact_revision: compacted,
            total_keys: totals.total_keys,
            revisions: totals.revisions,
            live_keys: totals.live_keys,
            consistent_index: meta.consistent_index,
            term: meta.term,
            storage_version: meta.storage_version,
            cluster_version: text(cluster_version),
        }
    }

    pub(super) fn no_bucket(name: &[u8]) -> Damage {
        Damage::file(format!("it has no bucket `{}`, which every etcd has", String::from_utf8_lossy(name)))
    }

    /// The revision asked for, or the newest. As in etcd, it must not lie before the last compaction or after the last
    /// change.
    pub fn revision_to_read(&self, asked: Option<u64>) -> Result<u64, NoRevision> {
        let (first, last) = (self.compact_revision, self.revision);
        match asked {
            None => Ok(last),
            Some(asked) if asked > last => Err(NoRevision::Future { asked, last }),
            Some(asked) if asked < first => Err(NoRevision::Compacted { asked, first }),
            Some(asked) => Ok(asked),
        }
    }
}

/// What the pairs of all buckets come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub hash: u32,
    pub total_keys: u64,
    pub revisions: u64,
    pub last_revision: u64,
    pub live_keys: u64,
}

/// etcd's own records.
pub(super) struct MetaBucket {
    consistent_index: Option<u64>,
    term: Option<u64>,
    storage_version: String,
    scheduled_compaction: u64,
    finished_compaction: u64,
}

impl MetaBucket {
    /// `get` gives the value of a record, by its bucket and its name.
    pub fn read<E>(
        get: impl Fn(&[u8], &[u8]) -> Result<Option<Vec<u8>>, E>,
        damaged: impl Fn(Damage) -> E,
    ) -> Result<Self, E> {
        let get = |name: &[u8]| get(buckets::META, name);
        let compaction = |name: &[u8]| match get(name)? {
            None => Ok(0),
            Some(value) => Revision::parse(&value).map(|revision| revision.main).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                damaged(Damage::file(format!("{name} is not a revision")))
            }),
        };
        let number = |name: &[u8]| Ok::<_, E>(get(name)?.and_then(be_u64));
        let term = number(buckets::TERM)?;
        Ok(Self {
            consistent_index: number(buckets::CONSISTENT_INDEX)?,
            term,
            storage_version: storage_version(get, term)?,
            scheduled_compaction: compaction(buckets::SCHEDULED_COMPACTION)?,
            finished_compaction: compaction(buckets::FINISHED_COMPACTION)?,
        })
    }

    /// The revisions of the last one that is finished, and of the last that was begun.
    pub fn compactions(&self) -> (u64, u64) {
        (self.finished_compaction, self.scheduled_compaction)
    }
}

/// The version of the layout, by the rule of etcd's `schema.DetectSchemaVersion`: 3.6 writes it down, and 3.5 is known by
/// its term and its `confState`.
fn storage_version<E>(get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, E>, term: Option<u64>) -> Result<String, E> {
    let written = text(get(buckets::STORAGE_VERSION)?).filter(|version| !version.is_empty());
    if let Some(version) = written {
        // Written as `3.6.0`, of which etcd uses only the first two numbers.
        return Ok(version.strip_suffix(".0").unwrap_or(&version).to_owned());
    }
    let has_term = term.is_some_and(|term| term != 0);
    let is_3_5 = has_term && get(buckets::CONF_STATE)?.is_some();
    Ok(if is_3_5 { "3.5" } else { "3.4" }.to_owned())
}

fn be_u64(value: Vec<u8>) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

fn text(value: Option<Vec<u8>>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

struct Sums {
    totals: Totals,
    live: LiveKeyCount,
    /// Buckets that etcd makes when it starts for the first time, and that were not seen yet.
    missing: Vec<&'static [u8]>,
}

impl Sums {
    fn new(meta: &MetaBucket) -> Self {
        Self {
            totals: Totals::default(),
            live: LiveKeyCount::new(meta.finished_compaction, meta.scheduled_compaction),
            missing: vec![buckets::KEY, buckets::META],
        }
    }

    fn add(&mut self, visit: Visit<'_>) -> Result<(), Damage> {
        match visit {
            Visit::Bucket { depth: 0, name } => {
                self.hash(name);
                self.missing.retain(|missing| *missing != name);
            }
            // For etcdutl, a bucket inside a bucket is a key without a value: it hashes the name and does not look inside.
            Visit::Bucket { depth: 1, name } => {
                self.hash(name);
                self.totals.total_keys += 1;
            }
            Visit::Pair { depth: 1, bucket, key, value, page } => {
                self.hash(key);
                self.hash(value);
                self.totals.total_keys += 1;
                if bucket == buckets::KEY {
                    self.add_change(key, value).map_err(|what| Damage::page(page, what))?;
                }
            }
            Visit::Bucket { .. } | Visit::Pair { .. } => {}
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.totals.hash = crc32c::crc32c_append(self.totals.hash, bytes);
    }

    fn add_change(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let revision = Revision::parse(key).ok_or("a key of the history is not a revision")?;
        self.totals.revisions += 1;
        // The walk goes in key order, and these keys sort by their revision: the last one is the highest.
        self.totals.last_revision = revision.main;
        if let Some(change) = Change::parse(revision, value)? {
            self.live.add(&change);
        }
        Ok(())
    }
}
