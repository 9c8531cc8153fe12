//! Servers as child processes that can't outlive the test run.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{LazyLock, mpsc},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// The kernel sends a parent-death signal when the *thread* that started the child ends. So one
/// thread that never ends starts them all, and a test run that is killed leaves no server behind.
static SPAWNER: LazyLock<mpsc::Sender<SpawnRequest>> = LazyLock::new(|| {
    let (requests, inbox) = mpsc::channel::<SpawnRequest>();
    thread::spawn(move || {
        for (mut command, answer) in inbox {
            // The receiver is gone if the test has failed meanwhile.
            answer.send(command.spawn()).ok();
        }
    });
    requests
});

/// A running server: its log goes to a file, and dropping it kills it by its pid.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Runs `command` with nothing in its environment but what was set on it.
    pub fn start(command: &Command, log: &Path) -> Self {
        let mut bound = killed_with_us(command);
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        bound.stdin(std::process::Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let (answer, reply) = mpsc::channel();
        SPAWNER.send((bound, answer)).expect("the spawning thread lives");
        let child = reply.recv().expect("an answer");
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The last lines of the log, when the server has ended by itself.
    pub fn has_died(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("our own child")?;
        Some(format!("{status}\n{}", self.tail()))
    }

    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // `Cluster` polls the health endpoint, which would fill all of these lines.
        let lines: Vec<_> = log.lines().filter(|line| !line.contains("health")).collect();
        let lines = &lines[lines.len().saturating_sub(40)..];
        format!("--- {}\n{}", self.log.display(), lines.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// The same command under `setpriv`, which Debian always has; elsewhere only the drop kills.
fn killed_with_us(command: &Command) -> Command {
    let mut bound = match which::which("setpriv") {
        Ok(setpriv) => {
            let mut bound = Command::new(setpriv);
            bound.args(["--pdeathsig", "KILL", "--"]);
            bound.arg(command.get_program());
            bound
        }
        Err(_) => Command::new(command.get_program()),
    };
    bound.args(command.get_args()).env_clear();
    bound.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    bound
}
