//! Whether the garbage collector will keep an object.

use super::{After, Kind, Surroundings, owners};
use crate::inspect::line::printable;
use crate::kubernetes::OwnerReference;
use crate::recovery::put_back::{LiveObject, PlannedKey};

/// Why the garbage collector deletes the object again; `None` if it has no owner, or one that is there.
pub fn lost(planned: &PlannedKey, after: &After<'_>, around: &Surroundings) -> Option<(Kind, String)> {
    let owners = owners(planned);
    let first = owners.first()?;
    // One owner is enough to stay. References to the others are taken away.
    if owners.iter().any(|owner| is_there(&owner.uid, after, around)) {
        return None;
    }
    // What Kubernetes deletes later is told before what it does not have.
    let deleting = owners.iter().find_map(|owner| deleting(owner, after, around));
    Some(
        deleting
            .map_or_else(|| (Kind::OwnerMissing, missing(first, after, around)), |text| (Kind::OwnerDeleting, text)),
    )
}

fn is_there(uid: &str, after: &After<'_>, around: &Surroundings) -> bool {
    if after.uids.contains(uid) {
        return true;
    }
    let live = key_of(uid, after, around).and_then(|key| around.live.get(key));
    live.is_some_and(|live| !live.deleting && may_be(live, uid))
}

/// What cannot be read is not warned of without need.
fn may_be(live: &LiveObject, uid: &str) -> bool {
    live.uid.as_deref().is_none_or(|theirs| theirs == uid)
}

fn key_of<'a>(uid: &str, after: &After<'a>, around: &'a Surroundings) -> Option<&'a [u8]> {
    after.key_of.get(uid).copied().or_else(|| around.backup.by_uid.get(uid).map(Vec::as_slice))
}

fn live_at<'a>(key: &[u8], after: &After<'a>, around: &'a Surroundings) -> Option<&'a LiveObject> {
    after.left.get(key).copied().or_else(|| around.live.get(key))
}

fn named(owner: &OwnerReference) -> String {
    format!("{} {}", printable(owner.kind.as_bytes()), printable(owner.name.as_bytes()))
}

/// For an owner that is there, but not for long.
fn deleting(owner: &OwnerReference, after: &After<'_>, around: &Surroundings) -> Option<String> {
    let key = key_of(&owner.uid, after, around)?;
    let (name, deletes) = (named(owner), "and Kubernetes' garbage collector deletes it with its owner");
    if after.dying.contains(key) {
        return Some(format!("its owner {name} was being deleted when the backup was taken, {deletes}"));
    }
    live_at(key, after, around).filter(|live| live.deleting && may_be(live, &owner.uid))?;
    let key = printable(key);
    Some(format!(
        "its owner {name} is being deleted in the cluster, {deletes}; cancel the deletion with {key} in the command and --overwrite"
    ))
}

fn missing(owner: &OwnerReference, after: &After<'_>, around: &Surroundings) -> String {
    let (name, deletes) = (named(owner), "Kubernetes' garbage collector deletes it again at once");
    let key = key_of(&owner.uid, after, around);
    let is_live = key.is_some_and(|key| live_at(key, after, around).is_some());
    match (key.map(printable), is_live) {
        (Some(key), true) => format!(
            "its owner {name} was made anew in the cluster with another UID, and {deletes}; to bring the old owner back, add {key} to the command, with --overwrite"
        ),
        (Some(key), false) => format!(
            "its owner {name} is neither in the cluster nor put back, and {deletes}; to bring the owner back too, add {key} to the command"
        ),
        (None, _) => {
            let sealed = if around.backup.has_encrypted { ", or encrypted there" } else { "" };
            let uid = printable(owner.uid.as_bytes());
            format!(
                "its owner {name} (UID {uid}) is not in the backup{sealed}; if the cluster does not have it, {deletes}"
            )
        }
    }
}
