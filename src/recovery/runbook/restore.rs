//! The restore of each member.

use super::shell::{flag, quoted};
use super::{Runbook, Step, block, on};
use crate::kubernetes::kubeadm::Topology;
use crate::recovery::etcdutl::Identity;
use crate::recovery::initial_cluster::IdentityFlags;

impl Runbook {
    pub(super) fn restore(&self) -> Result<Step, String> {
        let mut blocks = Vec::new();
        for peer in self.members.peers() {
            let flags = IdentityFlags { name: Some(&peer.name), peer_urls: None, token: &self.token };
            let command = self.restore_command(&self.members.identity(flags)?);
            blocks.push(block(&on(peer), vec![], vec![command]));
        }
        Ok(Step { title: "Restore the same backup on every member".into(), blocks })
    }

    fn restore_command(&self, identity: &Identity) -> String {
        let mut words = vec!["etcd-backup restore".to_owned(), quoted(&self.backup)];
        words.extend(self.store_flags());
        words.extend(self.bump_revision.map(|by| flag("bump-revision", &by.to_string())));
        words.push(flag("etcd", &self.topology.to_string()));
        words.push(flag("data-dir", &self.data_dir));
        words.extend(self.wal_dir.as_ref().map(|dir| flag("wal-dir", dir)));
        let own = [
            ("name", &identity.name),
            ("initial-cluster", &identity.cluster),
            ("initial-cluster-token", &identity.token),
            ("initial-advertise-peer-urls", &identity.peer_urls),
        ];
        words.extend(own.map(|(name, value)| flag(name, value)));
        words.join(" ")
    }

    /// Whether there is what etcd is to start on. On an empty directory it starts empty, and on data without their log
    /// as another member.
    pub(super) fn is_restored(&self) -> String {
        let database = quoted(&format!("{}/member/snap/db", self.data_dir));
        let log = self.wal_dir.clone().unwrap_or_else(|| format!("{}/member/wal", self.data_dir));
        format!("[ -e {database} ] && find -H {} -maxdepth 1 -name '*.wal' | grep -q .", quoted(&log))
    }

    /// Where etcd's settings are while it is stopped.
    pub(super) fn etcd_settings(&self) -> String {
        match self.topology {
            Topology::Stacked => format!("{}/etcd.yaml", self.stopped_dir()),
            Topology::External => "etcd's unit".to_owned(),
        }
    }
}
