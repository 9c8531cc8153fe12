//! The restore of a whole cluster as commands to paste: what to run, on which machine, in which order. Pure.

mod check;
mod move_aside;
mod needs;
mod restore;
mod shell;
mod start;
mod stop;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde::Serialize;

use super::initial_cluster::{InitialCluster, Peer};
use super::place::ASIDE;
use crate::kubernetes::kubeadm::{TlsFiles, Topology};
use crate::url::Url;

const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// How the directories begin to which plans move the manifests.
const STOPPED: &str = "/etc/kubernetes/stopped-";

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
    /// The directory of their log, if it is not in the data directory.
    pub wal_dir: Option<String>,
    /// Where the directories were found, such as `according to --data-dir`; `None` if they are only the usual ones.
    pub directories_source: Option<String>,
    /// What else was found and is not used, as sentences.
    pub not_used: Vec<String>,
    /// From which etcd's image comes, without the image's own name, if that is known.
    pub image_repository: Option<String>,
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
    /// A short id of the backup. It ends the names of the directories to which manifests and data are moved, so that a
    /// second attempt finds what the first one did.
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
    /// For a POSIX shell, which goes on with the next one when one has failed: so what must not happen then is in the
    /// same command. A command can have several lines.
    pub commands: Vec<String>,
}

impl Runbook {
    /// All steps in order; an error when the members make no cluster.
    pub fn steps(&self) -> Result<Vec<Step>, String> {
        let mut steps = self.needs();
        steps.extend(self.stop());
        steps.push(self.move_aside());
        steps.push(self.restore()?);
        steps.push(self.start_etcd());
        steps.push(self.check());
        steps.extend(self.start_control_plane());
        steps.extend(self.accept());
        Ok(steps)
    }

    /// The steps as a text in which every line is a comment, a part of a command or empty.
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
        let mut head = vec![
            format!("Restores {}: {}.", self.backup, self.content),
            format!("The restored members are {}.", self.members.names()),
            format!("etcd is {how}, {}.", self.topology_source),
            self.directories(),
        ];
        head.extend(self.not_used.iter().cloned());
        head.extend([
            "Nothing has been done yet. Paste each block as root on the machine that its heading names, in this order."
                .into(),
            "When one fails, do what it says before you go on. All can be pasted again: what is done already is left alone."
                .into(),
        ]);
        head.extend(self.programs());
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

    fn directories(&self) -> String {
        let dirs = match &self.wal_dir {
            Some(wal_dir) => format!("its data in {}, and its log in {wal_dir}", self.data_dir),
            None => format!("its data and its log in {}", self.data_dir),
        };
        match &self.directories_source {
            Some(source) => format!("It has {dirs}, {source}."),
            None => {
                format!("Assumed: it has {dirs}. If that is wrong, give --data-dir, and --wal-dir for a log elsewhere.")
            }
        }
    }

    fn store_flags(&self) -> impl Iterator<Item = String> {
        self.store.iter().map(|(name, value)| shell::flag(name, value))
    }

    fn on_each(&self, title: &str, commands: impl Fn(&Peer) -> Vec<String>) -> Step {
        let blocks = self.members.peers().iter().map(|peer| block(&on(peer), vec![], commands(peer))).collect();
        Step { title: title.into(), blocks }
    }

    fn one_control_plane_node(&self) -> String {
        let first = self.members.peers().first().filter(|_| self.topology == Topology::Stacked);
        first.map_or_else(|| "a control-plane node".to_owned(), on)
    }

    /// The number of the step that moves the old data aside.
    fn step_that_moves(&self) -> usize {
        self.needs().len() + self.stop().len() + 1
    }

    fn move_manifests(&self, pods: &str, from_to: (&str, &str), on_missing: &str) -> String {
        shell::move_manifests(pods, from_to, (&format!("{STOPPED}*"), &self.stopped_dir()), on_missing)
    }

    /// Where the manifests of stopped pods are kept.
    fn stopped_dir(&self) -> String {
        format!("{STOPPED}{}", self.backup_id)
    }

    /// Where the old data are kept. It is in the data directory itself: a move is then a rename, which happens or does
    /// not, even if the directory is a mount point.
    fn data_aside(&self) -> String {
        format!("{}/{ASIDE}{}", self.data_dir, self.backup_id)
    }

    /// Where a log of its own is kept. It is beside its directory, because etcd removes all of that directory when it
    /// starts without a log in it.
    fn log_aside(&self) -> Option<String> {
        self.wal_dir.as_deref().map(|wal_dir| format!("{}{ASIDE}{}-{}", parent(wal_dir), self.backup_id, name(wal_dir)))
    }

    /// Everything that the step that moves the old data aside leaves.
    fn asides(&self) -> Vec<String> {
        [self.data_aside()].into_iter().chain(self.log_aside()).collect()
    }
}

fn block(on: &str, notes: Vec<String>, commands: Vec<String>) -> Block {
    Block { on: on.to_owned(), notes, commands }
}

fn on_all(title: &str, machines: &str, commands: Vec<String>) -> Step {
    Step { title: title.into(), blocks: vec![block(machines, vec![], commands)] }
}

/// The directory in which this one is, with a slash at its end.
fn parent(dir: &str) -> &str {
    &dir[..dir.rfind('/').map_or(0, |slash| slash + 1)]
}

fn name(dir: &str) -> &str {
    &dir[parent(dir).len()..]
}

/// A member's name and host.
fn on(peer: &Peer) -> String {
    match peer.url() {
        Some(url) => format!("{} ({})", peer.name, url.host()),
        None => peer.name.clone(),
    }
}
