//! Starting etcd, and then what uses it.

use super::shell::{first_of, quoted, refuse};
use super::stop::CONTROL_PLANE;
use super::{MANIFESTS, Runbook, Step, block, on_all};
use crate::kubernetes::kubeadm::Topology;

impl Runbook {
    pub(super) fn start_etcd(&self) -> Step {
        let stopped = self.stopped_dir();
        let start = match self.topology {
            Topology::Stacked => {
                let missing = format!(
                    "echo \"$pod.yaml is neither in {stopped} nor in {MANIFESTS}: kubeadm init phase etcd local writes it\" >&2; false"
                );
                self.move_manifests("etcd", (&stopped, MANIFESTS), &missing)
            }
            // Without --no-block systemctl waits until the member is ready, which it is only with a quorum of the
            // others, which are started after it.
            Topology::External => "systemctl enable etcd\nsystemctl start --no-block etcd".to_owned(),
        };
        let missing = format!(
            "stop: no restored member is in {}{}: restore it first, etcd would start empty; or the old data were never \
             moved aside: go back to step {}",
            self.data_dir,
            self.wal_dir.as_ref().map(|dir| format!(" with its log in {dir}")).unwrap_or_default(),
            self.step_that_moves()
        );
        // Without what the move leaves, what is there are the old data.
        let mut conditions: Vec<_> = self.asides().iter().map(|aside| format!("[ -e {} ]", quoted(aside))).collect();
        conditions.push(self.is_restored());
        let start = first_of(&[(conditions.join(" && "), start)], &refuse(&missing));
        let mut step = self.on_each("Start etcd on all members", |_| vec![start.clone()]);
        for (block, peer) in step.blocks.iter_mut().zip(self.members.peers()) {
            if !self.recorded.peers().contains(peer) {
                let (name, urls, settings) = (&peer.name, peer.urls.join(","), self.etcd_settings());
                block.notes.push(format!(
                    "{name} has a new name or new peer URLs: first set its name, its peer URLs ({urls}) and its client URLs in {settings}"
                ));
            }
        }
        step
    }

    pub(super) fn start_control_plane(&self) -> [Step; 2] {
        let stopped = self.stopped_dir();
        let missing = format!("echo \"$pod.yaml is neither in {stopped} nor in {MANIFESTS}\" >&2; false");
        let title = "Start the control plane";
        let start = vec![self.move_manifests(CONTROL_PLANE, (&stopped, MANIFESTS), &missing)];
        let started = match self.topology {
            Topology::Stacked => self.on_each(title, |_| start.clone()),
            Topology::External => on_all(title, "every control-plane node", start),
        };
        let ready = "timeout 300 sh -c 'until kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz; do sleep 1; done'";
        let notes = vec![
            "a kubelet that has seen a newer revision than the restored one misses changes until it is restarted"
                .into(),
            format!("when all is well, {} and {stopped} can be removed", self.asides().join(", ")),
        ];
        let blocks = vec![
            block(&self.one_control_plane_node(), vec![], vec![ready.to_owned()]),
            block("every node", notes, vec!["systemctl restart kubelet".to_owned()]),
        ];
        [started, Step { title: "Check the API and restart the kubelets".into(), blocks }]
    }
}
