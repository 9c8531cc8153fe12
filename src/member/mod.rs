//! The members of a cluster: where they are reached, and what each answered. Pure.

mod rank;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use rank::{Choice, NoMember, rank};

use crate::url::Url;

/// What a member does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Votes and follows; the one to burden with a snapshot.
    Follower,
    /// Votes and leads.
    Leader,
    /// Does not vote, may lag behind without limit.
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Learner => "learner",
        })
    }
}

/// A member as it answered.
#[derive(Clone, Debug)]
pub struct Member {
    /// The URL that it answered at.
    pub endpoint: Url,
    /// Its id.
    pub id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// Its version, like `3.5.16`.
    pub version: String,
    /// Its role.
    pub role: Role,
    /// Bytes of its database file.
    pub db_size: u64,
    /// The last raft entry that it applied.
    pub applied_index: u64,
    /// Its store's revision.
    pub revision: u64,
    /// How long a status request took.
    pub round_trip: Duration,
    /// Why a linearizable read or the list of alarms failed; `None` when both worked, which proves a quorum.
    pub read_error: Option<String>,
    /// Members that have a CORRUPT alarm, in this member's view.
    pub corrupt: BTreeSet<u64>,
    /// Whether a NOSPACE alarm is raised in its cluster.
    pub no_space: bool,
}

/// An endpoint that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub endpoint: Url,
    /// Why, for a person.
    pub reason: String,
}
