//! An HTTP proxy between rclone and its S3 server that can refuse a request or lose the answer to it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::ports;

/// What the proxy does with one request.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Sends it on, and the answer back.
    Forward,
    /// Answers it in the server's place, with this status and S3 error code.
    Refuse(u16, &'static str),
    /// Sends it on, discards the answer and closes the connection.
    DropAnswer,
}

/// A request as it is about to be forwarded.
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Request line and headers.
    pub head: Vec<String>,
}

impl Request {
    /// An upload of a whole backup, not of a part of one, and not a HEAD or GET.
    pub fn is_upload(&self) -> bool {
        self.method == "PUT" && self.path.split('?').next().is_some_and(|path| path.strip_suffix(".etcdb").is_some())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.iter().filter_map(|line| line.split_once(':'));
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

type Hook = dyn FnMut(&Request) -> Action + Send;

pub struct HttpProxy {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl HttpProxy {
    /// Asks `hook` about each request before it is forwarded. Signatures hold, because the
    /// Host header is forwarded as it came.
    pub fn to(upstream: u16, hook: impl FnMut(&Request) -> Action + Send + 'static) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, hook) = (Arc::clone(&ended), Arc::new(Mutex::new(hook)));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                let hook = Arc::clone(&hook);
                // A client that hangs up is its own business.
                thread::spawn(move || serve(near, upstream, &*hook).ok());
            }
        });
        Self { port, ended }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// One request a connection: both ends are told that it closes.
fn serve(mut near: TcpStream, upstream: u16, hook: &Mutex<Hook>) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let Some(request) = read_head(&mut reader)? else { return Ok(()) };
    let action = hook.lock().unwrap()(&request);
    if request.header("expect").is_some() {
        near.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = reader.take(length);
    if let Action::Refuse(status, code) = action {
        io::copy(&mut body, &mut io::sink())?;
        let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so be it</Message></Error>");
        let length = text.len();
        return write!(near, "HTTP/1.1 {status} No\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
    }
    let mut far = TcpStream::connect(("127.0.0.1", upstream))?;
    for line in request.head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("expect:")) {
        far.write_all(line.as_bytes())?;
    }
    far.write_all(b"Connection: close\r\n\r\n")?;
    io::copy(&mut body, &mut far)?;
    if matches!(action, Action::DropAnswer) {
        io::copy(&mut far, &mut io::sink())?;
        return Ok(());
    }
    io::copy(&mut far, &mut near)?;
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => return Ok(None),
            _ if line == "\r\n" => break,
            _ => head.push(line),
        }
    }
    let mut words = head.first().map_or("", String::as_str).split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Some(Request { method, path, head }))
}
