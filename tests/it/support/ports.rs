//! Free loopback ports, below the range that the kernel hands out by itself.

use std::{
    net::TcpListener,
    process,
    sync::{Mutex, PoisonError},
};

/// SeaweedFS derives gRPC ports by this offset, so both of a pair are always free.
pub const TWIN: u16 = 10_000;

const FIRST: u16 = 12_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 200;

/// A block is this process's for as long as its first port stays bound, so that
/// several test runs on one machine never choose the same port.
struct Pool {
    guards: Vec<TcpListener>,
    tried: u16,
    next: u16,
    end: u16,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { guards: Vec::new(), tried: 0, next: 0, end: 0 });

/// A port that nobody listens on, nor on its twin, and that no other test is given.
pub fn free() -> u16 {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if pool.next == pool.end {
            pool.claim();
        }
        let port = pool.next;
        pool.next += 1;
        if listen(port).is_some() && listen(port + TWIN).is_some() {
            return port;
        }
    }
}

impl Pool {
    fn claim(&mut self) {
        while self.tried < BLOCKS {
            let spread = u16::try_from(process::id() % u32::from(BLOCKS)).expect("below 200");
            let start = FIRST + (spread + self.tried) % BLOCKS * BLOCK;
            self.tried += 1;
            if let Some(guard) = listen(start) {
                self.guards.push(guard);
                (self.next, self.end) = (start + 1, start + BLOCK);
                return;
            }
        }
        panic!("no free block of ports");
    }
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}
