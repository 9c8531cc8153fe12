//! Stopping what uses etcd, and etcd.

use super::{MANIFESTS, Runbook, Step, on_all};
use crate::kubernetes::kubeadm::Topology;

/// The static pods that use etcd. They are stopped before etcd, so that nothing writes to it while it stops.
pub const CONTROL_PLANE: &str = "kube-apiserver kube-controller-manager kube-scheduler";

const KUBELET_DOWN: &str =
    "where the kubelet does not run, nothing stops them: `crictl ps` names the containers, `crictl stop` ends each";

impl Runbook {
    pub(super) fn stop(&self) -> Vec<Step> {
        let stopped = self.stopped_dir();
        // The kubelet stops a static pod when its manifest leaves the directory. A machine that is new has none.
        let stop = |pods: &str| {
            let missing = "echo \"$pod.yaml is not on this machine\"";
            vec![format!("mkdir -p {stopped}"), self.move_manifests(pods, (MANIFESTS, &stopped), missing)]
        };
        let mut steps = match self.topology {
            Topology::Stacked => {
                let title = "Stop the control plane and etcd";
                vec![self.on_each(title, |_| stop(&format!("{CONTROL_PLANE} etcd")))]
            }
            // A unit that is only stopped is started by a reboot, and would then find its directories empty.
            Topology::External => vec![
                on_all("Stop the control plane", "every control-plane node", stop(CONTROL_PLANE)),
                self.on_each("Stop etcd", |_| vec!["systemctl disable --now etcd".into()]),
            ],
        };
        for block in steps.iter_mut().take(1).flat_map(|step| &mut step.blocks) {
            block.notes.push(KUBELET_DOWN.to_owned());
        }
        steps
    }
}
