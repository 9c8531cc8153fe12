//! What kubeadm has written down in the cluster about its etcd, as a snapshot holds it.

use super::NEWEST;
use crate::kubernetes::kubeadm::Layout;
use crate::kubernetes::{ConfigMapData, KUBEADM_KEYS};
use crate::snapshot::{Db, Error, find};

/// The layout of the cluster by kubeadm's ConfigMap, or why it is not known.
pub fn layout(db: &Db) -> Result<Result<Layout, String>, Error> {
    let states = find(db, &KUBEADM_KEYS.map(<[u8]>::to_vec), NEWEST)?;
    // An etcd can hold leftovers of another API server below the other key.
    let Some(state) = KUBEADM_KEYS.iter().find_map(|key| states.iter().find(|state| state.key == *key)) else {
        return Ok(Err("the backup has no ConfigMap of kubeadm".into()));
    };
    let why = match ConfigMapData::parse(&state.value(db)?) {
        ConfigMapData::Entries(entries) => match entries.get("ClusterConfiguration") {
            Some(text) => {
                return Ok(Layout::parse(text).map_err(|why| format!("kubeadm's ConfigMap in the backup {why}")));
            }
            None => "has no ClusterConfiguration".to_owned(),
        },
        ConfigMapData::Encrypted(encryption) => format!("is encrypted with {}", encryption.provider),
        ConfigMapData::Unreadable => "cannot be read".to_owned(),
    };
    Ok(Err(format!("kubeadm's ConfigMap in the backup {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kubeadm::Topology;
    use crate::snapshot::tests::history::store;

    fn found(changes: &[(usize, Option<&str>)]) -> Result<Layout, String> {
        let change = |(key, value): &(usize, Option<&str>)| {
            (KUBEADM_KEYS[*key].to_vec(), value.map(|value| value.as_bytes().to_vec()))
        };
        let mut ops = vec![(b"/registry/configmaps/kube-system/kubeadm-config-2".to_vec(), Some(b"{}".to_vec()))];
        ops.extend(changes.iter().map(change));
        layout(&store(&ops).0).unwrap()
    }

    fn map(configuration: &str) -> String {
        let data = serde_json::json!({ "ClusterConfiguration": configuration });
        serde_json::json!({ "kind": "ConfigMap", "apiVersion": "v1", "data": data }).to_string()
    }

    #[test]
    fn the_newest_configuration_below_the_usual_key_counts() {
        let stacked = map("kind: ClusterConfiguration\netcd: {local: {dataDir: /old}}");
        let external = map("kind: ClusterConfiguration\netcd: {external: {endpoints: ['https://h:1']}}");
        assert_eq!(found(&[(1, Some(&stacked))]).unwrap().data_dir, "/old");
        let newest = found(&[(0, Some(&stacked)), (0, Some(&external)), (1, Some(&stacked))]);
        assert_eq!(newest.unwrap().topology, Topology::External);
    }

    #[test]
    fn the_reason_is_said_when_nothing_is_known() {
        let stacked = map("kind: ClusterConfiguration");
        for (changes, why) in [
            (vec![], "the backup has no ConfigMap of kubeadm"),
            (vec![(0, Some(stacked.as_str())), (0, None)], "the backup has no ConfigMap of kubeadm"),
            (vec![(0, Some("k8s:enc:kms:v2:plugin:x"))], "is encrypted with kms"),
            (vec![(0, Some("?"))], "cannot be read"),
            (vec![(0, Some(r#"{"data":{}}"#))], "has no ClusterConfiguration"),
            (vec![(0, Some(map("kind: Pod").as_str()))], "has no document of kind ClusterConfiguration"),
        ] {
            let error = found(&changes).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
