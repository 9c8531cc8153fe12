//! The members of a cluster, as they answered, and which of them to use. Pure.

mod rank;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use rank::{Choice, NoMember, fitting_first, rank};

use crate::url::Url;

/// In the order of preference for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Follower,
    /// Comes after the followers, because it has more to do than they have.
    Leader,
    /// Does not vote, and may lag without limit.
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
    /// The URL at which it answered.
    pub endpoint: Url,
    pub id: u64,
    pub cluster_id: u64,
    /// Like `3.5.16`.
    pub version: String,
    pub role: Role,
    /// Bytes of its database file.
    pub db_size: u64,
    /// The last raft entry that it applied.
    pub applied_index: u64,
    pub revision: u64,
    /// How long a status request took.
    pub round_trip: Duration,
    /// Why a linearizable read or the list of alarms failed. `None` proves a quorum.
    pub read_error: Option<String>,
    /// Ids of the members that have a CORRUPT alarm, in this member's view.
    pub corrupt: BTreeSet<u64>,
    /// Whether the cluster has a NOSPACE alarm.
    pub no_space: bool,
}

/// An endpoint that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub endpoint: Url,
    pub reason: String,
}
