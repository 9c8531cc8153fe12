//! The metadata of a stored object: their one writer and their one reader.

#![cfg_attr(not(test), expect(dead_code, reason = "it goes when the record takes its place"))]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known of a stored backup. Any of it may be missing: not every remote keeps metadata, and other programs upload
/// backups too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// SHA-256 of the whole file, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub revision: Option<u64>,
    /// How many keys are live at that revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    pub cluster_id: Option<String>,
    /// The member that gave the snapshot; in hexadecimal, as is the cluster's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// The version of this program that stored the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<bool>,
}

impl Metadata {
    /// The object's keys and values. The keys are lower-case, because that is how S3 returns them.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("sha256", self.sha256.clone()),
            ("revision", self.revision.map(|revision| revision.to_string())),
            ("keys", self.keys.map(|keys| keys.to_string())),
            ("etcd-version", self.etcd_version.clone()),
            ("cluster-id", self.cluster_id.clone()),
            ("member-id", self.member_id.clone()),
            ("tool-version", self.tool_version.clone()),
            ("degraded", self.degraded.filter(|degraded| *degraded).map(|_| "true".to_owned())),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// Reads an object's metadata. Other keys in it, such as rclone's own `mtime`, are left out.
    pub fn from_pairs(pairs: &BTreeMap<String, String>) -> Self {
        let get = |wanted: &str| {
            // Some stores capitalise keys, and some write `_` for `-`.
            let found = pairs.iter().find(|(key, _)| key.to_lowercase().replace('_', "-") == wanted);
            found.map(|(_, value)| value.clone())
        };
        let number = |key| get(key).and_then(|text| text.parse().ok());
        let sha256 = get("sha256");
        // Only a degraded backup has the key. Metadata without a hash are not from this program, so there a missing key
        // means nothing.
        let degraded = get("degraded").map(|text| text == "true").or(sha256.is_some().then_some(false));
        Self {
            revision: number("revision"),
            keys: number("keys"),
            etcd_version: get("etcd-version"),
            cluster_id: get("cluster-id"),
            member_id: get("member-id"),
            tool_version: get("tool-version"),
            sha256,
            degraded,
        }
    }

    /// Fills the gaps from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            sha256: self.sha256.or(other.sha256),
            revision: self.revision.or(other.revision),
            keys: self.keys.or(other.keys),
            etcd_version: self.etcd_version.or(other.etcd_version),
            cluster_id: self.cluster_id.or(other.cluster_id),
            member_id: self.member_id.or(other.member_id),
            tool_version: self.tool_version.or(other.tool_version),
            degraded: self.degraded.or(other.degraded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Metadata {
        Metadata {
            sha256: Some("ab".into()),
            revision: Some(7),
            keys: Some(2),
            etcd_version: Some("3.5.1".into()),
            cluster_id: Some("2f".into()),
            member_id: Some("1f".into()),
            tool_version: Some("0.1.0".into()),
            degraded: Some(false),
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Metadata {
        Metadata::from_pairs(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_written_is_read_back_in_any_spelling() {
        for degraded in [false, true] {
            let metadata = Metadata { degraded: Some(degraded), ..full() };
            let spellings: [fn(&str) -> String; 3] = [str::to_owned, str::to_uppercase, |key| key.replace('-', "_")];
            for spell in spellings {
                let pairs = metadata.to_pairs().into_iter().map(|(key, value)| (spell(key), value)).collect();
                assert_eq!(Metadata::from_pairs(&pairs), metadata, "{pairs:?}");
            }
        }
    }

    #[test]
    fn the_keys_at_the_remote_stay_what_they_are() {
        let keys = |metadata: Metadata| metadata.to_pairs().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let always = ["sha256", "revision", "keys", "etcd-version", "cluster-id", "member-id", "tool-version"];
        assert_eq!(keys(full()), always);
        assert_eq!(keys(Metadata { degraded: Some(true), ..full() }), [&always[..], &["degraded"]].concat());
        assert_eq!(keys(Metadata::default()), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_foreign_is_unknown() {
        assert_eq!(read(&[("mtime", "2026"), ("revision", "x")]), Metadata::default());
        assert_eq!(read(&[("degraded", "true")]).degraded, Some(true));
        assert_eq!(read(&[("sha256", "ab")]).degraded, Some(false));
    }

    #[test]
    fn gaps_are_filled() {
        let part = Metadata { revision: Some(9), ..Metadata::default() };
        assert_eq!(part.or(full()), Metadata { revision: Some(9), ..full() });
    }
}
