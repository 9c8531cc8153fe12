//! Checking the restored etcd, and what is left to do after it.

use super::shell::quoted;
use super::{Runbook, Step, block, on};
use crate::kubernetes::kubeadm::TlsFiles;
use crate::url::Url;

impl Runbook {
    pub(super) fn check(&self) -> Step {
        let urls: Vec<_> = self.endpoints.iter().map(Url::to_string).collect();
        // Before etcd 3.4, etcdctl speaks another API unless it is told this one.
        let mut commands = vec![format!("export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={}", quoted(&urls.join(",")))];
        let mut notes = vec![format!("expected: {} keys, or fewer if leases have expired since", self.keys)];
        match &self.client {
            _ if !self.endpoints.iter().any(Url::is_tls) => {}
            Some(TlsFiles { ca, cert, key }) => commands.push(format!(
                "export ETCDCTL_CACERT={} ETCDCTL_CERT={} ETCDCTL_KEY={}",
                quoted(ca),
                quoted(cert),
                quoted(key)
            )),
            None => notes.push("first set ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY".into()),
        }
        commands.extend([
            "timeout 120 sh -c 'until etcdctl endpoint health; do sleep 1; done'".to_owned(),
            "etcdctl member list --write-out=table".to_owned(),
            "etcdctl endpoint status --write-out=table".to_owned(),
            "etcdctl get '' --prefix --keys-only --limit=1 --write-out=fields | grep Count".to_owned(),
        ]);
        Step { title: "Check etcd".into(), blocks: vec![block(&self.one_control_plane_node(), notes, commands)] }
    }

    /// Where the revision was raised, it is higher than that of any backup of the lost cluster, and nothing is left to do.
    pub(super) fn accept(&self) -> Option<Step> {
        let mut notes = match self.bump_revision {
            Some(1..) => return None,
            Some(0) => vec![],
            None => vec!["If the restore said `raised by`, skip this step. If it said `not raised`:".into()],
        };
        let store: Vec<_> = self.store_flags().collect();
        let command = |name: &str| format!("etcd-backup {name} {}", store.join(" ")).trim_end().to_owned();
        notes.extend([
            "if a newer good backup than the restored one is stored, the next one counts as an older state: its job"
                .into(),
            "ends with exit 3, and nothing is deleted until it is accepted, by its full name in place of NAME:".into(),
            command("accept NAME"),
        ]);
        let first = self.members.peers().first().map_or_else(|| self.one_control_plane_node(), on);
        // The plan of a local file does not know the store.
        let list = if store.is_empty() { vec![] } else { vec![command("list")] };
        Some(Step { title: "After the next backup".into(), blocks: vec![block(&first, notes, list)] })
    }
}
