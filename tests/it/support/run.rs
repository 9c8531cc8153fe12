//! The binary under test: a clean environment, a time limit, and everything shown when a test fails.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    etcd::Cluster,
    eventually,
    output::{Output, Report},
    processes::descendants,
    remote::Remote,
    tools,
};

const BINARY: &str = env!("CARGO_BIN_EXE_etcd-backup");

/// One call of the binary, with nothing of the machine's environment but a PATH.
#[must_use]
pub struct Run {
    through: Vec<OsString>,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    secrets: Vec<String>,
    limit: Duration,
    home: TempDir,
}

impl Run {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for name in ["work", "tmp", "config"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        Self {
            through: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            limit: Duration::from_mins(2),
            home,
        }
        .env("PATH", tools::path())
    }

    /// `run` from this cluster to this remote, reporting in JSON.
    pub fn job(cluster: &Cluster, remote: &Remote) -> Self {
        Self::new().arg("run").etcd(cluster).store(remote)
    }

    /// The settings that say where etcd is, as the packages give them: in the environment.
    pub fn etcd(self, cluster: &Cluster) -> Self {
        let run = self.env("ETCDCTL_ENDPOINTS", cluster.endpoints().join(","));
        if cluster.is_plain() {
            return run;
        }
        let pki = cluster.pki();
        run.env("ETCDCTL_CACERT", pki.ca()).env("ETCDCTL_CERT", &pki.client.cert).env("ETCDCTL_KEY", &pki.client.key)
    }

    /// The settings that say where the backups are; its secrets must never be printed.
    pub fn store(mut self, remote: &Remote) -> Self {
        self.secrets.extend(remote.secrets().into_iter().map(str::to_owned));
        let run = self.env("TARGET", remote.target()).env("RCLONE_CONFIG", remote.config());
        remote.environment().iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Started by this program, which is given the binary and its arguments behind its own.
    pub fn through<S: AsRef<OsStr>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.through = argv.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(OsStr::new(name));
        self
    }

    /// A ConfigMap as the kubelet mounts it: the keys are links through `..data` to a dated folder.
    pub fn config_dir(self, keys: &[(&str, &str)]) -> Self {
        let root = self.home.path().join("config");
        let dated = "..2026_01_02_03_04_05.678901234";
        fs::create_dir(root.join(dated)).unwrap();
        std::os::unix::fs::symlink(dated, root.join("..data")).unwrap();
        for (key, value) in keys {
            fs::write(root.join(dated).join(key), value).unwrap();
            std::os::unix::fs::symlink(format!("..data/{key}"), root.join(key)).unwrap();
        }
        self.arg("--config-dir").arg(&root)
    }

    /// Output that contains this fails the test, whatever else is right.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A script in rclone's place, in which `REAL` stands for the real one.
    pub fn rclone_is(self, script: &str) -> Self {
        self.program_is("rclone", script)
    }

    /// A script in a program's place, in which `REAL` stands for the real one.
    pub fn program_is(self, name: &str, script: &str) -> Self {
        let bin = self.home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let real = tools::tool(name);
        let program = bin.join(name);
        fs::write(&program, script.replace("REAL", real.to_str().expect("a path in UTF-8"))).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::split_paths(&tools::path()).collect::<Vec<_>>();
        self.env("PATH", std::env::join_paths([bin].into_iter().chain(path)).unwrap())
    }

    /// Where this run stages its snapshot.
    pub fn work_dir(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// Exit 0, nothing left behind; answers the report.
    pub fn success(self) -> Report {
        self.exits(0).report()
    }

    /// Exactly this exit code within the limit, nothing left behind, no secret printed.
    pub fn exits(self, code: i32) -> Output {
        let limit = self.limit;
        let output = self.spawn().wait(limit);
        output.assert().code(code);
        output
    }

    /// Starts it and answers at once, for tests that interfere.
    pub fn spawn(self) -> Job {
        let out = File::create(self.home.path().join("stdout")).unwrap();
        self.spawn_into(out)
    }

    /// The same with another stdout.
    pub fn spawn_into(self, stdout: impl Into<Stdio>) -> Job {
        let file = |name| File::create(self.home.path().join(name)).unwrap();
        let mut argv = self.through.iter().map(OsString::as_os_str).chain([OsStr::new(BINARY)]);
        let mut command = Command::new(argv.next().expect("at least the binary"));
        command
            .args(argv)
            .env_clear()
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path().join("tmp"))
            .env("WORK_DIR", self.work_dir())
            .env("OUTPUT", "json")
            .envs(&self.env)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file("stderr"));
        let started = Instant::now();
        let child = command.spawn().expect("the binary starts");
        Job { child, started, run: self }
    }
}

/// The binary while it runs.
pub struct Job {
    child: Child,
    started: Instant,
    run: Run,
}

impl Job {
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our own child");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    pub fn work_dir(&self) -> PathBuf {
        self.run.work_dir()
    }

    /// Bytes of the snapshot that it has received so far.
    pub fn received(&self) -> u64 {
        let folders = fs::read_dir(self.work_dir()).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let parts = files.filter(|file| file.path().extension().is_some_and(|ext| ext == "part"));
        parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started and that live.
    pub fn children(&self) -> Vec<u32> {
        descendants(self.child.id())
    }

    /// As [`Self::wait`], with a limit that counts from now.
    pub fn wait_further(self, limit: Duration) -> Output {
        let limit = self.started.elapsed() + limit;
        self.wait(limit)
    }

    /// Waits for its end, whatever that is and whatever it leaves behind.
    pub fn await_any_end(mut self, limit: Duration) {
        eventually(limit, "the end of the binary", || self.child.try_wait().expect("our own child"));
    }

    /// Waits for the end and checks what holds for every end.
    pub fn wait(mut self, limit: Duration) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break Some(status);
            }
            if self.started.elapsed() > limit {
                self.child.kill().ok();
                break self.child.wait().ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let output = Output {
            argv: std::mem::take(&mut self.run.args),
            status: status.expect("an ended child"),
            stdout: self.text("stdout"),
            written: self.bytes("stdout"),
            stderr: self.text("stderr"),
            took: self.started.elapsed(),
        };
        assert!(output.took <= limit, "killed after {limit:?}\n{output}");
        output.assert_discreet(&self.run.secrets);
        output.assert_tidy(&[self.run.work_dir(), self.run.home.path().join("tmp")]);
        output
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name)).into_owned()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.run.home.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
