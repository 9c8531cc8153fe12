//! What a snapshot holds, summed up in one walk: revision, counts, versions, and etcd's hash.
//!
//! The names of buckets and fields are those of etcd's `server/storage/schema`.

use prost::Message;

use crate::snapshot::bolt::{Db, Visit};
use crate::snapshot::mvcc::live_keys::LiveKeys;
use crate::snapshot::mvcc::{KeyHead, Revision};
use crate::snapshot::{Damage, Error};

const KEY: &[u8] = b"key";
const META: &[u8] = b"meta";
const CLUSTER: &[u8] = b"cluster";

/// One pass over a database, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of all pages, without the 32 bytes of a snapshot's trailer.
    pub db_bytes: u64,
    /// etcd's hash: CRC-32C over each bucket's name and then its keys and values, as `etcdutl snapshot status` has it.
    pub hash: u32,
    /// The revision that an etcd started from this file would be at; 1 when nothing was ever written.
    pub revision: u64,
    /// The revision of the last key in the file, 0 without one: what etcdutl 3.5 calls the revision.
    pub last_key_revision: u64,
    /// The revision up to which the history is gone; 0 when it was never compacted.
    pub compact_revision: u64,
    /// The pairs of all buckets, as etcdutl 3.5 counts its `totalKey`.
    pub total_keys: u64,
    /// The pairs of the bucket `key`: every put and every deletion that is still in the history.
    pub revisions: u64,
    /// The keys that a client can get at [`Facts::revision`].
    pub live_keys: u64,
    /// The last raft entry that was applied.
    pub consistent_index: Option<u64>,
    /// The raft term of that entry; etcd before 3.5 does not write it.
    pub term: Option<u64>,
    /// The version of the layout, as `3.6`; `3.4` stands for itself and everything older.
    pub storage_version: String,
    /// The version that the members had agreed on, as `3.5.0`.
    pub cluster_version: Option<String>,
}

/// Walks the whole database once, checks every page, and sums up what it holds.
///
/// # Errors
/// [`Error::Damaged`] for anything that bbolt or etcd would not have written, [`Error::Io`] for a failed read.
pub fn read_facts(db: &Db) -> Result<Facts, Error> {
    let meta = Meta::read(db)?;
    let mut sums = Sums::new(&meta);
    db.walk(|visited| sums.add(visited).map_err(|damage| db.damaged(damage)))?;
    let compacted = meta.finished_compaction.max(meta.scheduled_compaction);
    Ok(Facts {
        db_bytes: db.bytes(),
        hash: sums.hash,
        revision: sums.last_revision.max(compacted).max(1),
        last_key_revision: sums.last_revision,
        compact_revision: compacted,
        total_keys: sums.total_keys,
        revisions: sums.revisions,
        live_keys: sums.live.count(),
        consistent_index: meta.consistent_index,
        term: meta.term,
        storage_version: meta.storage_version,
        cluster_version: text(db.get(CLUSTER, b"clusterVersion")?),
    })
}

/// The fields of the bucket `meta`.
struct Meta {
    consistent_index: Option<u64>,
    term: Option<u64>,
    storage_version: String,
    scheduled_compaction: u64,
    finished_compaction: u64,
}

impl Meta {
    fn read(db: &Db) -> Result<Self, Error> {
        let compaction = |name: &[u8]| match db.get(META, name)? {
            None => Ok(0),
            Some(value) => Revision::parse(&value).map(|revision| revision.main).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                db.damaged(Damage::file(format!("{name} is not a revision")))
            }),
        };
        let number = |name| Ok::<_, Error>(db.get(META, name)?.and_then(be_u64));
        let term = number(b"term")?;
        Ok(Self {
            consistent_index: number(b"consistent_index")?,
            term,
            storage_version: storage_version(db, term)?,
            scheduled_compaction: compaction(b"scheduledCompactRev")?,
            finished_compaction: compaction(b"finishedCompactRev")?,
        })
    }
}

/// The version of the layout, by etcd's own rule (`schema.DetectSchemaVersion`): 3.6 names it; a 3.5 is known
/// by the term and the configuration that it writes beside the index.
fn storage_version(db: &Db, term: Option<u64>) -> Result<String, Error> {
    let written = text(db.get(META, b"storageVersion")?).filter(|version| !version.is_empty());
    if let Some(version) = written {
        // Written as `3.6.0`, of which etcd uses the first two numbers.
        return Ok(version.strip_suffix(".0").unwrap_or(&version).to_owned());
    }
    let has_term = term.is_some_and(|term| term != 0);
    let is_3_5 = has_term && db.get(META, b"confState")?.is_some();
    Ok(if is_3_5 { "3.5" } else { "3.4" }.to_owned())
}

fn be_u64(value: Vec<u8>) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

fn text(value: Option<Vec<u8>>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// What a walk adds up.
struct Sums {
    hash: u32,
    total_keys: u64,
    revisions: u64,
    last_revision: u64,
    live: LiveKeys,
}

impl Sums {
    fn new(meta: &Meta) -> Self {
        Self {
            hash: 0,
            total_keys: 0,
            revisions: 0,
            last_revision: 0,
            live: LiveKeys::new(meta.finished_compaction, meta.scheduled_compaction),
        }
    }

    fn add(&mut self, visited: Visit<'_>) -> Result<(), Damage> {
        match visited {
            Visit::Bucket { depth: 0, name } => self.hash(name),
            // etcdutl meets a bucket inside a bucket as a key without a value, and does not look into it.
            Visit::Bucket { depth: 1, name } => {
                self.hash(name);
                self.total_keys += 1;
            }
            Visit::Pair { depth: 1, bucket, key, value, page } => {
                self.hash(key);
                self.hash(value);
                self.total_keys += 1;
                if bucket == KEY {
                    self.revision(key, value).map_err(|what| Damage::page(page, what))?;
                }
            }
            Visit::Bucket { .. } | Visit::Pair { .. } => {}
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, bytes);
    }

    fn revision(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let revision = Revision::parse(key).ok_or("a key of the history is not a revision")?;
        let main = revision.main;
        let head = KeyHead::decode(value).map_err(|error| format!("revision {main} cannot be read: {error}"))?;
        self.revisions += 1;
        self.last_revision = main;
        // `etcdutl snapshot restore --bump-revision` leaves a revision with an empty value and no key.
        if value.is_empty() {
            return Ok(());
        }
        if head.key.is_empty() {
            return Err(format!("revision {main} has no key"));
        }
        if !revision.tombstone && u64::try_from(head.mod_revision) != Ok(main) {
            return Err(format!("revision {main} holds the value of revision {}", head.mod_revision));
        }
        self.live.add(revision, &head);
        Ok(())
    }
}
