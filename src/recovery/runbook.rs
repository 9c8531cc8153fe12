//! The way back as commands to paste: which, on which member, in which order. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::recovery::etcdutl::Identity;
use crate::recovery::initial_cluster::{IdentityFlags, InitialCluster, Peer};
use crate::url::Url;

/// The control plane's static pods, etcd last: nobody is to write to it while it stops.
const PODS: &str = "kube-apiserver kube-controller-manager kube-scheduler";
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Everything that the commands depend on.
#[derive(Debug)]
pub struct Runbook {
    /// The backup's name, or a local file's path.
    pub backup: String,
    /// What it holds, for people.
    pub content: String,
    /// How many live keys that is.
    pub keys: u64,
    /// Whether etcd is a static pod of each control-plane node, not a service of systemd.
    pub stacked: bool,
    /// How that was found out.
    pub told_by: String,
    /// The members' data folder.
    pub data_dir: String,
    /// Who is restored.
    pub members: InitialCluster,
    /// Who was in the cluster when the backup was taken.
    pub recorded: InitialCluster,
    /// Where clients reach the members.
    pub endpoints: Vec<String>,
    /// Authority, certificate and key of a client of etcd.
    pub client: Option<[String; 3]>,
    /// The new cluster's token.
    pub token: String,
    /// Tells this restore's folders from those of others.
    pub mark: String,
    /// More flags for `restore`, with their values.
    pub flags: Vec<(&'static str, String)>,
    /// Files that every member needs at this very path.
    pub files: Vec<String>,
}

/// One step; the next one begins when all of its blocks are done.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What it does.
    pub title: String,
    /// For one machine each.
    pub blocks: Vec<Block>,
}

/// What is to be pasted on one machine, or on each of several.
#[derive(Debug, Serialize)]
pub struct Block {
    /// A member's name and host, or which machines.
    pub on: String,
    /// What to know before.
    pub notes: Vec<String>,
    /// The commands, for one POSIX shell.
    pub commands: Vec<String>,
}

impl Runbook {
    /// All steps in order.
    ///
    /// # Errors
    /// Members that make no cluster.
    pub fn steps(&self) -> Result<Vec<Step>, String> {
        let mut steps = vec![self.stop()];
        if !self.stacked {
            steps.push(self.on_each("Stop etcd", |_| vec!["systemctl stop etcd".into()]));
        }
        steps.push(self.on_each("Move the old data aside, once etcd has ended", |_| self.move_aside()));
        steps.push(self.restore()?);
        steps.push(self.start_etcd());
        steps.push(self.check());
        steps.extend(self.start_control_plane());
        Ok(steps)
    }

    /// The steps as a text whose lines are comments, commands and nothing else.
    ///
    /// # Errors
    /// As [`Runbook::steps`].
    pub fn text(&self) -> Result<String, String> {
        let mut text = String::new();
        for line in self.head() {
            let _ = writeln!(text, "# {line}");
        }
        for (n, step) in self.steps()?.iter().enumerate() {
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
        Ok(text)
    }

    fn head(&self) -> Vec<String> {
        let kind = if self.stacked { "a stacked etcd (static pods)" } else { "an external etcd (systemd)" };
        let names: Vec<_> = self.members.peers().iter().map(|p| p.name.as_str()).collect();
        let mut needs = vec!["etcd-backup", "etcdutl", "rclone", "flock"];
        needs.extend(self.files.iter().map(String::as_str));
        let mut head = vec![
            format!("Restores {}: {}.", self.backup, self.content),
            format!("Into {kind} with the members {}; {}.", names.join(", "), self.told_by),
            "Nothing has been done yet. Paste each block as root on the machine that its heading names, in this order."
                .into(),
            format!("Every member needs {}.", needs.join(", ")),
        ];
        let gone: Vec<_> = self.recorded.peers().iter().filter(|p| self.member(&p.name).is_none()).collect();
        if !gone.is_empty() {
            let gone: Vec<_> = gone.iter().map(|p| p.name.as_str()).collect();
            head.push(format!(
                "Not restored: {}. Keep it stopped and its data away; `etcdctl member add` brings it back afterwards.",
                gone.join(", ")
            ));
        }
        head
    }

    fn stop(&self) -> Step {
        let stopped = self.stopped();
        let stop = |pods: &str| {
            vec![
                format!("mkdir -p {stopped}"),
                format!(
                    "for pod in {pods}; do [ ! -e {MANIFESTS}/$pod.yaml ] || mv {MANIFESTS}/$pod.yaml {stopped}/; done"
                ),
            ]
        };
        if self.stacked {
            return self.on_each("Stop the API servers and etcd", |_| stop(&format!("{PODS} etcd")));
        }
        Step {
            title: "Stop the API servers".into(),
            blocks: vec![Block { on: "every control-plane node".into(), notes: vec![], commands: stop(PODS) }],
        }
    }

    fn move_aside(&self) -> Vec<String> {
        let (dir, aside) = (quoted(&self.data_dir), quoted(&format!("{}-before-{}", self.data_dir, self.mark)));
        vec![
            format!("[ ! -e {dir}/member/snap/db ] || flock --timeout 60 {dir}/member/snap/db true"),
            format!("[ ! -e {dir}/member ] || mv -T {dir}/member {aside}"),
        ]
    }

    fn restore(&self) -> Result<Step, String> {
        let mut blocks = Vec::new();
        for peer in self.members.peers() {
            let who =
                self.members.identity(IdentityFlags { name: Some(&peer.name), peer_urls: None, token: &self.token })?;
            blocks.push(Block { on: on(peer), notes: vec![], commands: vec![self.restore_command(&who)] });
        }
        Ok(Step { title: "Restore the same backup on every member".into(), blocks })
    }

    fn restore_command(&self, who: &Identity) -> String {
        let mut words = vec!["etcd-backup".to_owned(), "restore".to_owned(), quoted(&self.backup)];
        words.extend(self.flags.iter().map(|(flag, value)| flagged(flag, value)));
        let own = [
            ("data-dir", &self.data_dir),
            ("name", &who.name),
            ("initial-cluster", &who.cluster),
            ("initial-cluster-token", &who.token),
            ("initial-advertise-peer-urls", &who.peer_urls),
        ];
        words.extend(own.map(|(flag, value)| flagged(flag, value)));
        words.join(" ")
    }

    fn start_etcd(&self) -> Step {
        let stopped = self.stopped();
        let mut step = self.on_each("Start etcd on all members", |_| {
            vec![if self.stacked {
                format!("mv {stopped}/etcd.yaml {MANIFESTS}/")
            } else {
                // It would wait for the others, which are started after it.
                "systemctl start --no-block etcd".to_owned()
            }]
        });
        let place = if self.stacked { format!("{stopped}/etcd.yaml") } else { "etcd's unit".to_owned() };
        for (block, peer) in step.blocks.iter_mut().zip(self.members.peers()) {
            let known = self.recorded.peers().contains(peer);
            let note = format!(
                "{} is not as it was: first set its name and URLs in {place}, peer URL {}",
                peer.name,
                peer.urls.join(",")
            );
            block.notes.extend((!known).then_some(note));
        }
        step
    }

    fn check(&self) -> Step {
        let mut commands =
            vec![format!("export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={}", quoted(&self.endpoints.join(",")))];
        let mut notes = vec![format!("expected: {} keys, less those whose lease has ended", self.keys)];
        let is_tls = self.endpoints.iter().any(|url| url.starts_with("https://"));
        match &self.client {
            _ if !is_tls => {}
            Some([ca, cert, key]) => commands.push(format!(
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
        let first = self.members.peers().first().filter(|_| self.stacked);
        let on = first.map_or_else(|| "a control-plane node".to_owned(), on);
        Step { title: "Check etcd".into(), blocks: vec![Block { on, notes, commands }] }
    }

    fn start_control_plane(&self) -> [Step; 2] {
        let stopped = self.stopped();
        let start = vec![format!("mv {stopped}/kube-*.yaml {MANIFESTS}/")];
        let everywhere = |on: &str, notes: Vec<String>, commands| vec![Block { on: on.into(), notes, commands }];
        let title = "Start the API servers";
        let started = if self.stacked {
            self.on_each(title, |_| start.clone())
        } else {
            Step { title: title.into(), blocks: everywhere("every control-plane node", vec![], start) }
        };
        let ready = "timeout 300 sh -c 'until kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz; do sleep 1; done'";
        let first = self.members.peers().first().filter(|_| self.stacked);
        let mut blocks = vec![Block {
            on: first.map_or_else(|| "a control-plane node".to_owned(), on),
            notes: vec![],
            commands: vec![ready.to_owned()],
        }];
        let aside = format!("{}-before-{}", self.data_dir, self.mark);
        let notes = vec![
            "the kubelets read everything anew, as a restored etcd may have an older revision than they have seen"
                .into(),
            format!("when all is well, {aside} and {stopped} can be removed"),
        ];
        blocks.extend(everywhere("every node", notes, vec!["systemctl restart kubelet".to_owned()]));
        [started, Step { title: "Check the API and restart the kubelets".into(), blocks }]
    }

    fn on_each(&self, title: &str, commands: impl Fn(&Peer) -> Vec<String>) -> Step {
        let block = |peer: &Peer| Block { on: on(peer), notes: vec![], commands: commands(peer) };
        Step { title: title.into(), blocks: self.members.peers().iter().map(block).collect() }
    }

    fn member(&self, name: &str) -> Option<&Peer> {
        self.members.peers().iter().find(|peer| peer.name == name)
    }

    fn stopped(&self) -> String {
        format!("/etc/kubernetes/stopped-{}", self.mark)
    }
}

/// A member's name and host.
fn on(peer: &Peer) -> String {
    match peer.urls.first().and_then(|url| url.parse::<Url>().ok()) {
        Some(url) => format!("{} ({})", peer.name, url.host()),
        None => peer.name.clone(),
    }
}

fn flagged(flag: &str, value: &str) -> String {
    format!("--{flag}={}", quoted(value))
}

/// A word that a shell reads as it is here.
fn quoted(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument has one.
    shlex::try_quote(word).map(std::borrow::Cow::into_owned).unwrap_or_default()
}
