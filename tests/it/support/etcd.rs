//! Real etcd clusters: one process for each member, TLS unless a test turns it off, all data in a private directory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    child::Server,
    eventually, http_get, kubeadm, ports,
    proxy::Proxy,
    tls::{Pair, Pki},
    tools,
};

const LOOPBACK: &str = "127.0.0.1";

const READY: Duration = Duration::from_secs(30);

/// How a cluster is to be built.
#[must_use]
pub struct ClusterOptions {
    members: usize,
    plain: bool,
    proxied: bool,
    host: &'static str,
    snapshot: Option<PathBuf>,
    server: Option<fn(&Pki) -> Pair>,
    flags: Vec<String>,
    mib: usize,
}

impl ClusterOptions {
    /// Plain HTTP instead of TLS.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Each member advertises a proxy in front of it; `Cluster::proxy` breaks it.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Another certificate for the members' client port than the good one.
    pub fn server(mut self, make: fn(&Pki) -> Pair) -> Self {
        self.server = Some(make);
        self
    }

    /// The host that the members advertise to clients, instead of the address that they listen on.
    pub fn advertised_as(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// A member whose data `etcdutl` restores from this file first.
    pub fn restored_from(mut self, snapshot: &Path) -> Self {
        self.snapshot = Some(snapshot.to_owned());
        self
    }

    pub fn quota(self, bytes: u64) -> Self {
        self.flag(&format!("--quota-backend-bytes={bytes}"))
    }

    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Filled with so many values of one MiB, which do not compress.
    pub fn mib(mut self, mib: usize) -> Self {
        self.mib = mib;
        self
    }

    pub fn start(self) -> Cluster {
        Cluster::launch(self)
    }
}

/// A running cluster. Dropping it ends every member.
pub struct Cluster {
    members: Vec<Member>,
    options: ClusterOptions,
    pki: Pki,
    server: Pair,
    folder: TempDir,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    health: u16,
    proxy: Option<Proxy>,
    server: Option<Server>,
}

impl Cluster {
    /// One member without TLS and without keys.
    pub fn single() -> Self {
        Self::with(1).plain().start()
    }

    /// One member without TLS and with three keys: the least that makes a backup which retention trusts.
    pub fn small() -> Self {
        let cluster = Self::single();
        cluster.put_many(3, "/a/", 10);
        cluster
    }

    /// One member without TLS and with 25 MiB of values: its snapshot takes long enough to be interrupted.
    pub fn large() -> Self {
        let cluster = Self::single();
        cluster.put_many(100, "/registry/pods/", 256 << 10);
        cluster
    }

    /// A cluster of `members` with TLS and client certificates, ready to be written to.
    pub fn start(members: usize) -> Self {
        Self::with(members).start()
    }

    pub fn with(members: usize) -> ClusterOptions {
        ClusterOptions {
            members,
            plain: false,
            proxied: false,
            host: LOOPBACK,
            snapshot: None,
            server: None,
            flags: Vec::new(),
            mib: 0,
        }
    }

    fn launch(options: ClusterOptions) -> Self {
        let pki = Pki::new();
        let server = match options.server {
            Some(make) => make(&pki),
            None => pki.server.clone(),
        };
        let members = (0..options.members).map(|i| Member::new(i, options.proxied)).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { members, options, pki, server, folder };
        for i in 0..cluster.members.len() {
            cluster.restore(i);
            cluster.run(i, "new");
        }
        for i in 0..cluster.members.len() {
            cluster.await_health(i);
        }
        if cluster.options.mib > 0 {
            cluster.put_many(cluster.options.mib, "/big/", 1 << 20);
        }
        cluster
    }

    fn roster(&self) -> String {
        let roster: Vec<_> = self.members.iter().map(|m| m.roster(self.scheme())).collect();
        roster.join(",")
    }

    fn restore(&self, i: usize) {
        let Some(snapshot) = &self.options.snapshot else { return };
        let member = &self.members[i];
        let restored = tools::command(tools::tool("etcdutl"))
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .arg(format!("--name={}", member.name))
            .arg(format!("--data-dir={}", self.data_dir(i).display()))
            .arg(format!("--initial-advertise-peer-urls={}://{LOOPBACK}:{}", self.scheme(), member.peer))
            .arg(format!("--initial-cluster={}", self.roster()))
            .output()
            .expect("etcdutl starts");
        assert!(restored.status.success(), "{restored:?}");
    }

    fn run(&mut self, i: usize, state: &str) {
        let scheme = self.scheme();
        let roster = self.roster();
        let member = &self.members[i];
        let url = |port| format!("{scheme}://127.0.0.1:{port}");
        let mut command = tools::command(tools::tool("etcd"));
        command
            .arg(format!("--name={}", member.name))
            .arg(format!("--data-dir={}", self.data_dir(i).display()))
            .arg(format!("--listen-client-urls={}", url(member.client)))
            .arg(format!("--advertise-client-urls={}", self.endpoint(i)))
            .arg(format!("--listen-peer-urls={}", url(member.peer)))
            .arg(format!("--initial-advertise-peer-urls={}", url(member.peer)))
            .arg(format!("--listen-metrics-urls=http://127.0.0.1:{}", member.health))
            .arg(format!("--initial-cluster={roster}"))
            .arg(format!("--initial-cluster-state={state}"))
            // Quick instead of durable: a test's data may die with the machine.
            .args(["--unsafe-no-fsync", "--heartbeat-interval=50", "--election-timeout=500"])
            .args(["--max-txn-ops=1024", "--logger=zap", "--log-level=warn"])
            .args(&self.options.flags);
        if !self.options.plain {
            let ca = self.pki.ca();
            for (prefix, pair) in [("", &self.server), ("peer-", &self.pki.peer)] {
                command
                    .arg(format!("--{prefix}client-cert-auth"))
                    .arg(format!("--{prefix}trusted-ca-file={}", ca.display()))
                    .arg(format!("--{prefix}cert-file={}", pair.cert.display()))
                    .arg(format!("--{prefix}key-file={}", pair.key.display()));
            }
        }
        let log = self.folder.path().join(format!("{}.log", member.name));
        self.members[i].server = Some(Server::start(&command, &log));
    }

    fn await_health(&mut self, i: usize) {
        let member = &mut self.members[i];
        let server = member.server.as_mut().expect("a started member");
        eventually(READY, "a healthy member", || {
            if let Some(words) = server.has_died() {
                panic!("etcd ended: {words}");
            }
            is_healthy(member.health).then_some(())
        });
    }

    fn scheme(&self) -> &'static str {
        if self.options.plain { "http" } else { "https" }
    }

    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    pub fn is_plain(&self) -> bool {
        self.options.plain
    }

    pub fn data_dir(&self, i: usize) -> PathBuf {
        self.folder.path().join(&self.members[i].name)
    }

    /// The URL that the member advertises.
    pub fn endpoint(&self, i: usize) -> String {
        let member = &self.members[i];
        let port = member.proxy.as_ref().map_or(member.client, Proxy::port);
        format!("{}://{}:{port}", self.scheme(), self.options.host)
    }

    pub fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|i| self.endpoint(i)).collect()
    }

    pub fn proxy(&self, i: usize) -> &Proxy {
        self.members[i].proxy.as_ref().expect("a cluster that is proxied()")
    }

    /// kubeadm's file for this cluster, written into its folder.
    pub fn kubeadm_config(&self) -> PathBuf {
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, kubeadm::external(&self.endpoints())).unwrap();
        path
    }

    pub fn kill(&mut self, i: usize) {
        self.members[i].server = None;
    }

    /// Starts the member's process again, whatever its data are, and does not wait for its health.
    pub fn power_on(&mut self, i: usize) {
        self.run(i, "existing");
    }

    /// Freezes the member: the kernel still accepts its connections, nobody answers.
    pub fn stop(&self, i: usize) {
        self.server(i).signal(Signal::STOP);
    }

    pub fn cont(&self, i: usize) {
        self.server(i).signal(Signal::CONT);
    }

    fn server(&self, i: usize) -> &Server {
        self.members[i].server.as_ref().expect("a living member")
    }

    pub fn restart(&mut self, i: usize) {
        self.kill(i);
        self.run(i, "existing");
        self.await_health(i);
    }

    /// Begins anew without data, under the same names and addresses, which give etcd the same cluster id as before.
    pub fn wipe(&mut self) {
        for i in 0..self.members.len() {
            self.kill(i);
            std::fs::remove_dir_all(self.data_dir(i)).unwrap();
        }
        for i in 0..self.members.len() {
            self.run(i, "new");
        }
        for i in 0..self.members.len() {
            self.await_health(i);
        }
    }

    /// Adds a member that replicates and doesn't vote; answers its index.
    pub fn add_learner(&mut self) -> usize {
        let i = self.members.len();
        let learner = Member::new(i, self.options.proxied);
        let url = format!("{}://127.0.0.1:{}", self.scheme(), learner.peer);
        self.etcdctl(&["member", "add", &learner.name, "--learner", "--peer-urls", &url]);
        self.members.push(learner);
        self.run(i, "existing");
        eventually(READY, "a learner that answers", || {
            let status = self.etcdctl_at(&[i], &["endpoint", "status"]);
            status.status.success().then_some(())
        });
        i
    }

    pub fn pid(&self, i: usize) -> u32 {
        self.server(i).pid()
    }

    /// The members whose process runs.
    pub fn living(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|i| self.members[*i].server.is_some()).collect()
    }

    /// The member's own client URL, past its proxy.
    pub fn direct(&self, i: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.members[i].client)
    }
}

impl Member {
    fn new(i: usize, proxied: bool) -> Self {
        let client = ports::free();
        Self {
            name: format!("m{i}"),
            client,
            peer: ports::free(),
            health: ports::free(),
            proxy: proxied.then(|| Proxy::to(client)),
            server: None,
        }
    }

    fn roster(&self, scheme: &str) -> String {
        format!("{}={scheme}://127.0.0.1:{}", self.name, self.peer)
    }
}

/// etcd's own verdict; true only with a leader. A full database does not count as ill here.
fn is_healthy(port: u16) -> bool {
    http_get(port, "/health?exclude=NOSPACE").is_ok_and(|answer| answer.contains(r#""health":"true""#))
}
