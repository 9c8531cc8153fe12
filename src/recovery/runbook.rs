//! The restore of a whole cluster as commands to paste: what to run, on which machine, in which order. Pure.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde::Serialize;

use crate::kubernetes::kubeadm::{TlsFiles, Topology};
use crate::recovery::etcdutl::Identity;
use crate::recovery::initial_cluster::{IdentityFlags, InitialCluster, Peer};
use crate::url::Url;

/// The static pods that use etcd. They are stopped before etcd, so that nothing writes to it while it stops.
const CONTROL_PLANE: &str = "kube-apiserver kube-controller-manager kube-scheduler";
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Everything that the commands depend on.
#[derive(Debug)]
pub struct Runbook {
    /// The backup's name, or a local file's path.
    pub backup: String,
    /// What it holds, in words.
    pub content: String,
    /// How many live keys it holds.
    pub keys: u64,
    pub topology: Topology,
    /// Where the topology was found, such as `according to --etcd`.
    pub topology_source: String,
    /// The members' data directory.
    pub data_dir: String,
    /// The members to restore; at least one.
    pub members: InitialCluster,
    /// The members at the time of the backup.
    pub recorded: InitialCluster,
    /// Where clients reach the restored members.
    pub endpoints: Vec<Url>,
    /// For etcdctl on the machine that checks the restored cluster.
    pub client: Option<TlsFiles>,
    /// The new cluster's token.
    pub token: String,
    /// A short id of the backup. It ends the names of the directories to which manifests and data are moved.
    pub backup_id: String,
    /// The flags with which a command finds the store, with their values; none for a local file.
    pub store: Vec<(&'static str, String)>,
    /// 0 leaves the revision as it is; `None` raises it if etcdutl can.
    pub bump_revision: Option<u64>,
    /// Files that every member needs at these very paths.
    pub files: Vec<String>,
}

/// One step. All of its blocks are run before the next step begins.
#[derive(Debug, Serialize)]
pub struct Step {
    pub title: String,
    pub blocks: Vec<Block>,
}

/// What is pasted on one machine, or on each of several.
#[derive(Debug, Serialize)]
pub struct Block {
    /// A member's name and host, or which machines.
    pub on: String,
    /// What to know or to do before.
    pub notes: Vec<String>,
    /// For a POSIX shell.
    pub commands: Vec<String>,
}

impl Runbook {
    /// All steps in order; an error when the members make no cluster.
    pub fn steps(&self) -> Result<Vec<Step>, String> {
        let mut steps = vec![self.stop()];
        if self.topology == Topology::External {
            steps.push(self.on_each("Stop etcd", |_| vec!["systemctl stop etcd".into()]));
        }
        steps.push(self.on_each("Wait for etcd to end, then move its data aside", |_| self.move_aside()));
        steps.push(self.restore()?);
        steps.push(self.start_etcd());
        steps.push(self.check());
        steps.extend(self.start_control_plane());
        steps.extend(self.accept());
        Ok(steps)
    }

    /// The steps as a text in which every line is a comment, a command or empty.
    pub fn text(&self, steps: &[Step]) -> String {
        let mut text = String::new();
        for line in self.head() {
            let _ = writeln!(text, "# {line}");
        }
        for (n, step) in steps.iter().enumerate() {
            let _ = writeln!(text, "\n## {}. {}", n + 1, step.title);
            for block in &step.blocks {
                let _ = writeln!(text, "\n# on {}", block.on);
                for note in &block.notes {
                    let _ = writeln!(text, "# {note}");
                }
                for command in &block.commands {
                    let _ = writeln!(text, "{command}");
                }
            }
        }
        text
    }

    fn head(&self) -> Vec<String> {
        let how = match self.topology {
            Topology::Stacked => "stacked (static pods)",
            Topology::External => "external (a systemd service)",
        };
        let mut needs = vec!["etcd-backup", "etcdutl", "rclone", "flock"];
        needs.extend(self.files.iter().map(String::as_str));
        let mut head = vec![
            format!("Restores {}: {}.", self.backup, self.content),
            format!("The restored members are {}.", self.members.names()),
            format!("etcd is {how}, {}.", self.topology_source),
            "Nothing has been done yet. Paste each block as root on the machine that its heading names, in this order."
                .into(),
            format!("Every member needs {}.", needs.join(", ")),
        ];
        let gone: Vec<_> = self.recorded.peers().iter().filter(|p| self.members.peer(&p.name).is_none()).collect();
        if !gone.is_empty() {
            let gone: Vec<_> = gone.iter().map(|p| p.name.as_str()).collect();
            head.push(format!(
                "Not restored: {}. Stop etcd there and move its data aside; afterwards `etcdctl member add` can add it again.",
                gone.join(", ")
            ));
        }
        head
    }

    fn stop(&self) -> Step {
        let stopped = self.stopped_dir();
        // The kubelet stops a static pod when its manifest leaves the directory.
        let stop = |pods: &str| {
            vec![
                format!("mkdir -p {stopped}"),
                format!(
                    "for pod in {pods}; do [ ! -e {MANIFESTS}/$pod.yaml ] || mv {MANIFESTS}/$pod.yaml {stopped}/; done"
                ),
            ]
        };
        match self.topology {
            Topology::Stacked => {
                let title = "Stop the control plane and etcd";
                self.on_each(title, |_| stop(&format!("{CONTROL_PLANE} etcd")))
            }
            Topology::External => on_all("Stop the control plane", "every control-plane node", stop(CONTROL_PLANE)),
        }
    }

    fn move_aside(&self) -> Vec<String> {
        let (dir, aside) = (quoted(&self.data_dir), quoted(&self.old_data_dir()));
        // etcd holds this lock as long as it runs, and the manifest's removal only asks it to end. One command does
        // both, because a shell runs the next line of what is pasted whether or not the one before it has failed.
        let wait = format!("[ ! -e {dir}/member/snap/db ] || flock --verbose --timeout 60 {dir}/member/snap/db true");
        // Pasted twice, this fails: without -T the restored data would be moved into what was moved aside before.
        let rename = format!("[ ! -e {dir}/member ] || mv -T {dir}/member {aside}");
        vec![format!("( {wait} ) && ( {rename} )")]
    }

    fn restore(&self) -> Result<Step, String> {
        let mut blocks = Vec::new();
        for peer in self.members.peers() {
            let flags = IdentityFlags { name: Some(&peer.name), peer_urls: None, token: &self.token };
            let command = self.restore_command(&self.members.identity(flags)?);
            blocks.push(block(&on(peer), vec![], vec![command]));
        }
        Ok(Step { title: "Restore the same backup on every member".into(), blocks })
    }

    fn restore_command(&self, identity: &Identity) -> String {
        let own = [
            ("data-dir", &self.data_dir),
            ("name", &identity.name),
            ("initial-cluster", &identity.cluster),
            ("initial-cluster-token", &identity.token),
            ("initial-advertise-peer-urls", &identity.peer_urls),
        ];
        let mut words = vec!["etcd-backup restore".to_owned(), quoted(&self.backup)];
        words.extend(self.store_flags());
        words.extend(self.bump_revision.map(|by| flag("bump-revision", &by.to_string())));
        words.extend(own.map(|(name, value)| flag(name, value)));
        words.join(" ")
    }

    fn store_flags(&self) -> impl Iterator<Item = String> {
        self.store.iter().map(|(name, value)| flag(name, value))
    }

    fn start_etcd(&self) -> Step {
        let stopped = self.stopped_dir();
        let (start, settings) = match self.topology {
            Topology::Stacked => (format!("mv {stopped}/etcd.yaml {MANIFESTS}/"), format!("{stopped}/etcd.yaml")),
            // Without --no-block systemctl waits until the member is ready, which it is only with a quorum of the
            // others, which are started after it.
            Topology::External => ("systemctl start --no-block etcd".to_owned(), "etcd's unit".to_owned()),
        };
        let mut step = self.on_each("Start etcd on all members", |_| vec![start.clone()]);
        for (block, peer) in step.blocks.iter_mut().zip(self.members.peers()) {
            if !self.recorded.peers().contains(peer) {
                let (name, urls) = (&peer.name, peer.urls.join(","));
                block.notes.push(format!(
                    "{name} has a new name or new peer URLs: first set its name, its peer URLs ({urls}) and its client URLs in {settings}"
                ));
            }
        }
        step
    }

    fn check(&self) -> Step {
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
            "etcdctl get '' --prefix --count-only --write-out=fields | grep Count".to_owned(),
        ]);
        Step { title: "Check etcd".into(), blocks: vec![block(&self.one_control_plane_node(), notes, commands)] }
    }

    fn start_control_plane(&self) -> [Step; 2] {
        let stopped = self.stopped_dir();
        let (title, start) = ("Start the control plane", vec![format!("mv {stopped}/kube-*.yaml {MANIFESTS}/")]);
        let started = match self.topology {
            Topology::Stacked => self.on_each(title, |_| start.clone()),
            Topology::External => on_all(title, "every control-plane node", start),
        };
        let ready = "timeout 300 sh -c 'until kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz; do sleep 1; done'";
        let notes = vec![
            "a kubelet that has seen a newer revision than the restored one misses changes until it is restarted"
                .into(),
            format!("when all is well, {} and {stopped} can be removed", self.old_data_dir()),
        ];
        let blocks = vec![
            block(&self.one_control_plane_node(), vec![], vec![ready.to_owned()]),
            block("every node", notes, vec!["systemctl restart kubelet".to_owned()]),
        ];
        [started, Step { title: "Check the API and restart the kubelets".into(), blocks }]
    }

    /// Where the revision was raised, it is higher than that of any backup of the lost cluster, and nothing is left to do.
    fn accept(&self) -> Option<Step> {
        let mut notes = match self.bump_revision {
            Some(1..) => return None,
            Some(0) => vec![],
            None => vec!["where the restore said `raised by`, skip this step; where it said `not raised`:".into()],
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

    fn on_each(&self, title: &str, commands: impl Fn(&Peer) -> Vec<String>) -> Step {
        let blocks = self.members.peers().iter().map(|peer| block(&on(peer), vec![], commands(peer))).collect();
        Step { title: title.into(), blocks }
    }

    fn one_control_plane_node(&self) -> String {
        let first = self.members.peers().first().filter(|_| self.topology == Topology::Stacked);
        first.map_or_else(|| "a control-plane node".to_owned(), on)
    }

    /// Where the manifests of stopped pods are kept.
    fn stopped_dir(&self) -> String {
        format!("/etc/kubernetes/stopped-{}", self.backup_id)
    }

    fn old_data_dir(&self) -> String {
        format!("{}-before-{}", self.data_dir, self.backup_id)
    }
}

fn block(on: &str, notes: Vec<String>, commands: Vec<String>) -> Block {
    Block { on: on.to_owned(), notes, commands }
}

fn on_all(title: &str, machines: &str, commands: Vec<String>) -> Step {
    Step { title: title.into(), blocks: vec![block(machines, vec![], commands)] }
}

/// A member's name and host.
fn on(peer: &Peer) -> String {
    match peer.url() {
        Some(url) => format!("{} ({})", peer.name, url.host()),
        None => peer.name.clone(),
    }
}

fn flag(name: &str, value: &str) -> String {
    format!("--{name}={}", quoted(value))
}

/// For a POSIX shell.
fn quoted(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument has one.
    shlex::try_quote(word).map(std::borrow::Cow::into_owned).unwrap_or_default()
}
