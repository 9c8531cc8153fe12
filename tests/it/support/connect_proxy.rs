//! The only way out: a proxy that takes one store's names to its stand-in on loopback and lets no other name pass.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use super::ports;

pub struct ConnectProxy {
    port: u16,
}

impl ConnectProxy {
    /// Names that end in `domain` lead to `upstream`. Its thread lives as long as the process.
    pub fn to(upstream: u16, domain: &'static str) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A client that hangs up is its own business.
                thread::spawn(move || serve(near, upstream, domain).ok());
            }
        });
        Self { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut near: TcpStream, upstream: u16, domain: &str) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    let host = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    if !host.ends_with(domain) {
        return near.write_all(b"HTTP/1.1 502 Elsewhere\r\nContent-Length: 0\r\n\r\n");
    }
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", upstream)) else {
        return near.write_all(b"HTTP/1.1 502 Nobody\r\nContent-Length: 0\r\n\r\n");
    };
    near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut back, mut answers) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        io::copy(&mut answers, &mut back).ok();
        back.shutdown(Shutdown::Both).ok();
    });
    let copied = io::copy(&mut reader, &mut far);
    // The other thread has this connection, too. Of a client that was killed, the server would otherwise wait for ever.
    far.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both })
}
