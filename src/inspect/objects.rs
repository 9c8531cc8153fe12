//! Where a backup has certain objects.

use std::collections::{HashMap, HashSet};

use crate::kubernetes::StoredValue;
use crate::snapshot::{Db, Error, changes};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundObjects {
    /// The keys of the objects that were looked for by their UIDs.
    pub by_uid: HashMap<String, Vec<u8>>,
    /// Those of the keys that exist.
    pub keys: HashSet<Vec<u8>>,
    /// Whether any value is encrypted, so that its UID cannot be read.
    pub has_encrypted: bool,
}

/// Looks for objects by their UIDs, and for keys, as they were at revision `at`: in one pass through the file, and no more
/// memory than what is found takes.
pub fn find_objects(db: &Db, uids: &HashSet<String>, keys: &HashSet<Vec<u8>>, at: u64) -> Result<FoundObjects, Error> {
    let mut found = FoundObjects::default();
    let mut uid_of: HashMap<Vec<u8>, String> = HashMap::new();
    changes(db, at, |change| {
        let key = change.kv.key;
        // A key can get another object, or none.
        uid_of.remove(key);
        if change.revision.tombstone {
            found.keys.remove(key);
            return Ok::<_, Error>(());
        }
        if keys.contains(key) {
            found.keys.insert(key.to_vec());
        }
        if !uids.is_empty() {
            let value = StoredValue::parse(change.kv.value);
            found.has_encrypted |= matches!(value, StoredValue::Encrypted(_));
            if let Some(uid) = value.uid().and_then(|uid| uids.get(uid)) {
                uid_of.insert(key.to_vec(), uid.clone());
            }
        }
        Ok(())
    })?;
    found.by_uid = uid_of.into_iter().map(|(key, uid)| (uid, key)).collect();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::history::store;

    fn json(uid: &str) -> Vec<u8> {
        format!(r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"x","uid":"{uid}"}}}}"#).into_bytes()
    }

    #[test]
    fn the_state_at_the_revision_counts() {
        let op = |key: &str, value: Option<Vec<u8>>| (key.as_bytes().to_vec(), value);
        let ops = [
            op("/a", Some(json("u1"))),
            op("/b", Some(json("u2"))),
            op("/c", Some(json("u3"))),
            op("/b", None),
            op("/c", Some(json("u4"))),
            op("/a", Some(json("u1"))),
            op("/sealed", Some(b"k8s:enc:aescbc:v1:key1:x".to_vec())),
        ];
        let db = store(&ops).0;
        let uids = ["u1", "u2", "u3", "u9"].map(str::to_owned).into();
        let keys: HashSet<Vec<u8>> = ["/a", "/b", "/z"].map(|key| key.as_bytes().to_vec()).into();
        let now = find_objects(&db, &uids, &keys, u64::MAX).unwrap();
        assert_eq!(now.by_uid, HashMap::from([("u1".into(), b"/a".to_vec())]));
        assert_eq!(now.keys, HashSet::from([b"/a".to_vec()]));
        assert!(now.has_encrypted);
        let then = find_objects(&db, &uids, &keys, 4).unwrap();
        assert_eq!(then.by_uid.len(), 3);
        assert!(!then.has_encrypted && then.keys.len() == 2);
    }
}
