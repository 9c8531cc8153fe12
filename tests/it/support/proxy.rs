//! A TCP proxy that breaks connections on purpose: between us and etcd, or rclone and its server.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::ports;

/// What becomes of a connection. Bytes are counted for each connection, both ways together.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// Both ends see a closed connection after so many bytes.
    CutAfter(u64),
    /// After so many bytes nothing moves any more, and the connection stays open.
    StallAfter(u64),
    /// Accepts and never says a word; the other side isn't even dialled.
    Silent,
    /// At most so many bytes a second.
    Throttle(u64),
    /// One bit of the first such text in each chunk is turned; what TLS carries is not seen.
    Alter(&'static [u8]),
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    fault: Mutex<Fault>,
    passed: AtomicU64,
    accepted: AtomicU64,
    ended: AtomicBool,
}

/// How soon a blocked read notices that the proxy has ended.
const TICK: Duration = Duration::from_millis(100);

impl Proxy {
    /// Forwards a new port to `upstream`, faultless until told otherwise.
    pub fn to(upstream: u16) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            passed: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, upstream, &shared));
        Self { port, state }
    }

    /// A port that accepts and never answers.
    pub fn silent() -> Self {
        let proxy = Self::to(0);
        proxy.set(Fault::Silent);
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds for the connections that are open too.
    pub fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Bytes let through so far, both ways, all connections.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }

    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // One more connection, so that `accept` returns and looks.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn accept(listener: &TcpListener, upstream: u16, state: &Arc<State>) {
    for near in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { return };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(state);
        thread::spawn(move || serve(&near, upstream, &state));
    }
}

fn serve(near: &TcpStream, upstream: u16, state: &State) {
    if matches!(*state.fault.lock().unwrap(), Fault::Silent) {
        hold(state);
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", upstream)) else {
        return;
    };
    let budget = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| pump(near, &far, state, &budget));
        pump(&far, near, state, &budget);
    });
}

/// Keeps a connection open and mute for as long as the proxy lives.
fn hold(state: &State) {
    while !state.ended.load(Ordering::SeqCst) {
        thread::sleep(TICK);
    }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, state: &State, used: &AtomicU64) {
    from.set_read_timeout(Some(TICK)).expect("a timeout above zero");
    let mut buffer = [0; 16 << 10];
    while !state.ended.load(Ordering::SeqCst) {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        alter(&mut buffer[..count], state);
        let allowed = allow(count, state, used);
        if to.write_all(&buffer[..allowed]).is_err() || allowed < count {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

fn alter(bytes: &mut [u8], state: &State) {
    let Fault::Alter(text) = *state.fault.lock().unwrap() else { return };
    if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
        bytes[at] ^= 1;
    }
}

/// How many of these bytes may pass; fewer than all of them means that the connection is to be cut.
fn allow(count: usize, state: &State, used: &AtomicU64) -> usize {
    let start = Instant::now();
    let wanted = u64::try_from(count).expect("a buffer's length");
    let before = used.fetch_add(wanted, Ordering::SeqCst);
    let fault = *state.fault.lock().unwrap();
    let allowed = match fault {
        Fault::None | Fault::Alter(_) => wanted,
        Fault::CutAfter(limit) => wanted.min(limit.saturating_sub(before)),
        Fault::StallAfter(limit) if before + wanted <= limit => wanted,
        Fault::StallAfter(_) | Fault::Silent => {
            hold(state);
            0
        }
        Fault::Throttle(rate) => {
            let due = Duration::from_micros(wanted * 1_000_000 / rate.max(1));
            thread::sleep(due.saturating_sub(start.elapsed()));
            wanted
        }
    };
    state.passed.fetch_add(allowed, Ordering::SeqCst);
    usize::try_from(allowed).expect("no more than the buffer")
}
