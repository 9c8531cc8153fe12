//! An HTTP proxy between rclone and its server that can refuse, delay or alter a request, and lose or alter the answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
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
    /// Sends it on after this time. Other requests do not wait.
    Delay(Duration),
    /// Flips one bit of the body's byte at this place on its way to the server; the headers say what they said.
    FlipRequest(u64),
    /// Flips one bit of the answer's byte at this place behind its headers.
    FlipAnswer(u64),
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
    if let Action::Delay(time) = action {
        thread::sleep(time);
    }
    let mut far = TcpStream::connect(("127.0.0.1", upstream))?;
    // Of a compressed answer, a flipped byte would be another one than was meant. S3 requests have this line signed.
    let is_signed = request.header("authorization").is_some_and(|value| value.starts_with("AWS4"));
    let plainly = matches!(action, Action::FlipAnswer(_)) && !is_signed;
    let hidden = |line: &str| line.starts_with("expect:") || plainly && line.starts_with("accept-encoding:");
    for line in request.head.iter().filter(|line| !hidden(&line.to_ascii_lowercase())) {
        far.write_all(line.as_bytes())?;
    }
    far.write_all(b"Connection: close\r\n\r\n")?;
    match action {
        Action::FlipRequest(place) => copy_flipped(&mut body, &mut far, place)?,
        _ => drop(io::copy(&mut body, &mut far)?),
    }
    match action {
        Action::DropAnswer => drop(io::copy(&mut far, &mut io::sink())?),
        Action::FlipAnswer(place) => {
            let mut answer = BufReader::new(far);
            let head = read_lines(&mut answer)?.unwrap_or_default();
            near.write_all(head.concat().as_bytes())?;
            near.write_all(b"\r\n")?;
            copy_flipped(&mut answer, &mut near, place)?;
        }
        _ => drop(io::copy(&mut far, &mut near)?),
    }
    Ok(())
}

fn copy_flipped(from: &mut impl Read, to: &mut impl Write, place: u64) -> io::Result<()> {
    io::copy(&mut from.take(place), to)?;
    let mut byte = Vec::new();
    from.take(1).read_to_end(&mut byte)?;
    for byte in &mut byte {
        *byte ^= 1;
    }
    to.write_all(&byte)?;
    io::copy(from, to).map(drop)
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(head) = read_lines(reader)? else { return Ok(None) };
    let mut words = head.first().map_or("", String::as_str).split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Some(Request { method, path, head }))
}

/// The lines up to the empty one, with their ends.
fn read_lines(reader: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => return Ok(None),
            _ if line == "\r\n" => return Ok(Some(head)),
            _ => head.push(line),
        }
    }
}
