//! What each machine needs before anything is stopped, and where to get it.

use super::shell::quoted;
use super::{Block, MANIFESTS, Runbook, STOPPED, Step, block, on};
use crate::kubernetes::kubeadm::Topology;

const FROM_IMAGE: [&str; 3] = ["etcd-backup", "etcdutl", "rclone"];
const FROM_SYSTEM: [&str; 4] = ["flock", "timeout", "find", "grep"];
const TO_CHECK: [&str; 2] = ["etcdctl", "kubectl"];
/// As the packages name it where no registry is used.
const IMAGE: &str = concat!("docker.io/library/etcd-backup:", env!("CARGO_PKG_VERSION"));
const MOUNTED: &str = "/run/etcd-backup-image";
const ETCD_MOUNTED: &str = "/run/etcd-image";

impl Runbook {
    /// For the head of the plan.
    pub(super) fn programs(&self) -> Vec<String> {
        let mut own: Vec<_> = FROM_IMAGE.iter().chain(&FROM_SYSTEM).copied().collect();
        own.extend(self.files.iter().map(String::as_str));
        let control_plane = match self.topology {
            Topology::Stacked => "The first member",
            Topology::External => "A control-plane node",
        };
        vec![
            format!("Every member needs {}.", own.join(", ")),
            format!("{control_plane} needs {} too. Step 1 says where to get them.", TO_CHECK.join(" and ")),
        ]
    }

    pub(super) fn needs(&self) -> Vec<Step> {
        let programs = [FROM_IMAGE.as_slice(), FROM_SYSTEM.as_slice()].concat();
        let mut blocks: Vec<Block> = self
            .members
            .peers()
            .iter()
            .map(|peer| block(&on(peer), own_programs(), vec![look_for(&programs, &self.files)]))
            .collect();
        let checks = block(&self.one_control_plane_node(), self.etcdctl_and_kubectl(), vec![look_for(&TO_CHECK, &[])]);
        blocks.push(checks);
        vec![Step { title: "See that every machine has what it needs".into(), blocks }]
    }

    fn etcdctl_and_kubectl(&self) -> Vec<String> {
        let mut notes = vec!["kubectl is there on kubeadm's nodes.".to_owned()];
        if self.topology == Topology::External {
            notes.push("etcdctl comes with etcd: copy it from a member.".into());
            return notes;
        }
        // An earlier plan, too, can have moved it.
        let image =
            format!("$(sed -n 's/^ *image: *//p' {MANIFESTS}/etcd.yaml {STOPPED}*/etcd.yaml 2>/dev/null | head -n 1)");
        let name = self.image_repository.as_ref().map(|repository| format!(", {repository}/etcd")).unwrap_or_default();
        notes.push(format!(
            "etcdctl is in etcd's own image{name}, which is there too (`crictl images`), and can be run from it:"
        ));
        notes.extend(mount(&image, ETCD_MOUNTED));
        notes
    }
}

fn own_programs() -> Vec<String> {
    let mut notes = vec![
        "etcd-backup, etcdutl and rclone are in etcd-backup's image, and can be run from it, without a registry."
            .into(),
        "If `crictl images` does not show it here, run this on a machine that has the image and docker (NODE is this machine):"
            .into(),
        format!("docker save {IMAGE} | ssh root@NODE ctr --namespace k8s.io images import -"),
        "Then run these two here, and in each new shell on this machine the `export` line again:".into(),
    ];
    notes.extend(mount(IMAGE, MOUNTED));
    notes.push("A machine without containerd gets the three by scp from one that has them: they are static.".into());
    notes
}

/// The commands that make an image's programs those of the shell.
fn mount(image: &str, dir: &str) -> [String; 2] {
    [
        format!("mkdir -p {dir} && ctr --namespace k8s.io images mount {image} {dir}"),
        format!("export PATH=$PATH:{dir}/usr/local/bin"),
    ]
}

fn look_for(programs: &[&str], files: &[String]) -> String {
    let mut lines = vec![
        "missing=".to_owned(),
        format!(
            "for program in {}; do command -v $program >/dev/null || missing=\"$missing $program\"; done",
            programs.join(" ")
        ),
    ];
    if !files.is_empty() {
        let files: Vec<_> = files.iter().map(|file| quoted(file)).collect();
        lines.push(format!("for file in {}; do [ -e \"$file\" ] || missing=\"$missing $file\"; done", files.join(" ")));
    }
    lines.push(
        "[ -z \"$missing\" ] && echo 'all is here' || { echo \"stop: get these first:$missing\" >&2; false; }"
            .to_owned(),
    );
    lines.join("\n")
}
