//! An HTTP proxy between rclone and its server that can refuse, delay or alter a request, and lose or alter the answer.

use std::{
    collections::HashMap,
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
    /// Closes the connection without a word; the server never hears of it.
    Drop,
    /// Never answers, and the server never hears of it.
    Hang,
    /// Sends half of the body on and closes both connections.
    CutRequest,
    /// Answers as the server answered the first such request, however long ago.
    FromCache,
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
    /// A listing of a bucket.
    pub fn is_list(&self) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        self.method == "GET" && query.split('&').any(|pair| pair.starts_with("prefix=")) && !query.contains("uploads")
    }

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

struct Shared {
    hook: Mutex<Box<Hook>>,
    /// Answers by the request's path.
    cache: Mutex<HashMap<String, Vec<u8>>>,
    ended: AtomicBool,
}

pub struct HttpProxy {
    port: u16,
    shared: Arc<Shared>,
}

impl HttpProxy {
    /// Asks `hook` about each request before it is forwarded. Signatures hold, because the
    /// Host header is forwarded as it came.
    pub fn to(upstream: u16, hook: impl FnMut(&Request) -> Action + Send + 'static) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let hook: Box<Hook> = Box::new(hook);
        let shared = Shared { hook: Mutex::new(hook), cache: Mutex::default(), ended: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if ours.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&ours);
                // A client that hangs up is its own business.
                thread::spawn(move || serve(near, upstream, &shared).ok());
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// One request a connection: both ends are told that it closes.
fn serve(mut near: TcpStream, upstream: u16, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let Some(request) = read_head(&mut reader)? else { return Ok(()) };
    let action = shared.hook.lock().unwrap()(&request);
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
    match action {
        Action::Drop => return Ok(()),
        Action::Hang => {
            while !shared.ended.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(100));
            }
            return Ok(());
        }
        Action::Delay(time) => thread::sleep(time),
        _ => {}
    }
    let cached = shared.cache.lock().unwrap().get(&request.path).cloned();
    if let (Action::FromCache, Some(answer)) = (action, cached) {
        io::copy(&mut body, &mut io::sink())?;
        return near.write_all(&answer);
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
        Action::CutRequest => {
            io::copy(&mut body.take(length / 2), &mut far)?;
            return Ok(());
        }
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
        Action::FromCache => {
            let mut answer = Vec::new();
            far.read_to_end(&mut answer)?;
            near.write_all(&answer)?;
            shared.cache.lock().unwrap().insert(request.path, answer);
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
