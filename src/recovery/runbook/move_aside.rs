//! Moving the old data and the old log aside, once nothing uses them: never over anything, and never twice.

use super::shell::{first_of, quoted, refuse, say};
use super::{Runbook, Step, name, parent};
use crate::kubernetes::kubeadm::Topology;
use crate::recovery::initial_cluster::Peer;
use crate::url::Url;

impl Runbook {
    pub(super) fn move_aside(&self) -> Step {
        self.on_each("Wait for etcd to end, then move its data aside", |peer| {
            let mut commands = vec![self.nothing_listens(peer)];
            // The log first: the lock is on the data, where they still are.
            commands
                .extend(self.wal_dir.as_deref().zip(self.log_aside()).map(|(dir, aside)| self.move_log(dir, &aside)));
            commands.push(self.move_data());
            commands
        })
    }

    /// Defines `etcd_has_ended`. A shell without it, because it was not pasted, fails and so moves nothing.
    ///
    /// The kubelet may be down while its static pods run, and a member whose disk was lost holds no lock. The kernel's
    /// own list of sockets is there on every machine. grep has to find no listener (state 0A) in it and has to have read
    /// it; whatever else it ends with is not good enough.
    fn nothing_listens(&self, peer: &Peer) -> String {
        let ports = self.ports(peer);
        let hex: Vec<_> = ports.iter().map(|port| format!("{port:04X}")).collect();
        let listeners = format!("grep -qE \":({}) [0-9A-F]+:0000 0A \" /proc/net/tcp*", hex.join("|"));
        let shown: Vec<_> = ports.iter().map(u16::to_string).collect();
        let stop = match self.topology {
            Topology::Stacked => {
                "`crictl ps --name etcd` names its container, `crictl stop CONTAINER` ends it, and if it comes back, its \
                 manifest is still in /etc/kubernetes/manifests"
            }
            Topology::External => "`systemctl stop etcd` ends it if it is the service",
        };
        let still = format!(
            "stop: something still listens on port {}, or /proc/net/tcp cannot be read. Nothing was moved. \
             `ss -ltnp` names the process; {stop}; else kill it. Then paste this block again",
            shown.join(" or "),
        );
        format!(
            "etcd_has_ended() {{ timeout 60 sh -c 'until {listeners}; [ $? = 1 ]; do sleep 1; done' || {}; }}",
            refuse(&still)
        )
    }

    /// The member's own ports for peers and clients.
    fn ports(&self, peer: &Peer) -> Vec<u16> {
        let urls: Vec<Url> = peer.urls.iter().filter_map(|url| url.parse().ok()).collect();
        let is_here = |endpoint: &&Url| urls.iter().any(|url| url.host() == endpoint.host());
        let mut clients: Vec<_> = self.endpoints.iter().filter(is_here).collect();
        if clients.is_empty() {
            // They were given under other names than the peers have.
            clients = self.endpoints.iter().collect();
        }
        let mut ports: Vec<u16> = clients.into_iter().chain(&urls).map(Url::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// A rename within the data directory, and never over what is there: `-T` without a copy, and no directory that
    /// holds anything is replaced by one.
    fn move_data(&self) -> String {
        let dir = &self.data_dir;
        let (member, aside) = (format!("{dir}/member"), self.data_aside());
        let rename = format!("mv -T {} {}", quoted(&member), quoted(&aside));
        // Data without their log could be filled by a restore, with which the old log would then be mixed up.
        let log_first = self.log_aside().map(|log| {
            let not_yet = format!(
                "stop: the old log is not in {log} yet, so the data are left alone. Do what is said above, then paste this \
                 block again"
            );
            (format!("[ ! -e {} ]", quoted(&log)), refuse(&not_yet))
        });
        let found = Self::found(&member, &aside, &format!("[ -e {} ]", quoted(&member)));
        let branches: Vec<_> = log_first.into_iter().chain(found).collect();
        let otherwise = format!("etcd_has_ended && {} && {rename}", self.lock());
        first_of(&branches, &otherwise)
    }

    /// The same for the files of a log of its own, in two parts, because there can be several: with the name that counts
    /// once all are there.
    fn move_log(&self, wal_dir: &str, aside: &str) -> String {
        let moving = format!("{}moving-{}-{}", parent(wal_dir), self.backup_id, name(wal_dir));
        let has_files = format!("find -H {} -maxdepth 1 -type f 2>/dev/null | grep -q .", quoted(wal_dir));
        let rename = format!(
            "mkdir -p -m 700 {moving} && find -H {} -maxdepth 1 -type f -exec mv -n -t {moving} {{}} + && mv -T {moving} {}",
            quoted(wal_dir),
            quoted(aside),
            moving = quoted(&moving),
        );
        let has_any = format!("{{ {has_files} || [ -e {} ]; }}", quoted(&moving));
        let branches = Self::found(wal_dir, aside, &has_any);
        let otherwise = format!("etcd_has_ended && {} && {} && {rename}", self.lock(), one_disk(wal_dir, aside));
        first_of(&branches, &otherwise)
    }

    /// What an earlier attempt, or the loss that is to be repaired, can have left: what counts is `place`, whose presence
    /// `is_there` tells, and `aside`, to which it is moved. Where there is nothing to move, an empty `aside` says so to
    /// the next attempt: what is in `place` by then is no longer the old data.
    fn found(place: &str, aside: &str, is_there: &str) -> Vec<(String, String)> {
        let is_aside = format!("[ -e {} ]", quoted(aside));
        let both = format!(
            "stop: an earlier attempt has moved the old {place} to {aside} if there was any, and what is in {place} now \
             came after it: both are left alone. If the restore below was finished here, go on with it on the other \
             members. If not, or to restore here once more, move what is there now to a name of its own, such as \
             {aside}-2, and never over {aside}"
        );
        let again = format!("an earlier attempt has moved {place} to {aside}: go on");
        let nothing = format!("nothing is in {place}, so nothing has to be moved: go on");
        vec![
            (format!("{is_aside} && {is_there}"), refuse(&both)),
            (is_aside, format!("etcd_has_ended && {}", say(&again))),
            (
                format!("! {is_there}"),
                format!("etcd_has_ended && ( umask 077; mkdir -p {} ) && {}", quoted(aside), say(&nothing)),
            ),
        ]
    }

    /// etcd holds this lock as long as it runs, and the manifest's removal only asks it to end.
    fn lock(&self) -> String {
        let database = format!("{}/member/snap/db", self.data_dir);
        let held = format!(
            "stop: a process still has {database} open. Nothing was moved. `fuser -v {database}` names it: end it, then \
             paste this block again"
        );
        let (database, held) = (quoted(&database), refuse(&held));
        format!("{{ [ ! -e {database} ] || flock --verbose --timeout 60 {database} true || {held}; }}")
    }
}

/// Between two disks, `mv` copies, and what an interrupted copy has left looks like a file that was moved.
fn one_disk(wal_dir: &str, aside: &str) -> String {
    let other = format!(
        "stop: {wal_dir} is a mount point or a link to another disk, where nothing can be renamed to {aside}. Nothing was \
         moved. Copy the log by hand (`cp -a {wal_dir}/. {aside}-copy && diff -r {wal_dir} {aside}-copy && \
         mv -T {aside}-copy {aside}`), remove the files in {wal_dir}, then paste this block again"
    );
    let disk = |dir: &str| format!("\"$(stat -L -c '%d %m' {})\"", quoted(dir));
    format!("{{ [ {} = {} ] || {}; }}", disk(wal_dir), disk(parent(wal_dir)), refuse(&other))
}
