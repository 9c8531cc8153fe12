//! An etcd that answers what no real one would: a gRPC server that sends each message byte for byte as a test wants it.
//!
//! It has what it answers from a real member, all but the lie, so that nothing else gives it away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::{net::TcpListener, sync::oneshot};

use super::etcd::Cluster;

/// What is done with an answer, one step after the other.
#[derive(Clone, Debug)]
pub enum Act {
    /// These bytes, as they are.
    Send(Bytes),
    /// These bytes, again and again.
    SendForEver(Bytes),
    /// The proper end of an answer: gRPC's status and its message.
    Status(u16, String),
    /// The end of the stream without a status.
    End,
    /// The stream is broken off.
    Reset,
    /// Nothing more, and the stream stays open.
    Hang,
}

/// The answers to each request, by its path.
pub type Script = BTreeMap<&'static str, Vec<Act>>;

pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
pub const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
pub const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";

/// A running liar. Dropping it ends it.
pub struct Liar {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    end: Option<oneshot::Sender<()>>,
}

impl Liar {
    pub fn start(script: Script) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&asked);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, Arc::new(script), shared) => {}
                    _ = ended => {}
                }
            });
            // What it does for ever does not end by itself.
            runtime.shutdown_background();
        });
        Self { port, asked, end: Some(end) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The paths of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end.send(()).ok();
        }
    }
}

async fn serve(listener: std::net::TcpListener, script: Arc<Script>, asked: Arc<Mutex<Vec<String>>>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                asked.lock().unwrap().push(request.uri().path().to_owned());
                tokio::spawn(answer(request, respond, Arc::clone(&script)));
            }
        });
    }
}

async fn answer<T>(request: Request<T>, mut respond: SendResponse<Bytes>, script: Arc<Script>) {
    let nothing = [Act::Status(12, "not implemented".into())];
    let acts = script.get(request.uri().path()).map_or(&nothing[..], Vec::as_slice);
    let head = Response::builder().header("content-type", "application/grpc");
    // gRPC wants a refusal at once to be a head alone.
    if let [Act::Status(code, message)] = acts {
        let mut response = head.body(()).unwrap();
        response.headers_mut().extend(status(*code, message));
        respond.send_response(response, true).ok();
        return;
    }
    let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else { return };
    for act in acts {
        if perform(act, &mut stream).await.is_none() {
            return;
        }
    }
}

/// `None` once the other side is gone.
async fn perform(act: &Act, stream: &mut SendStream<Bytes>) -> Option<()> {
    match act {
        Act::Send(bytes) => send(bytes.clone(), stream).await?,
        Act::SendForEver(bytes) => {
            // Many to a frame: HTTP/2 itself takes too many small frames for an attack.
            let many = Bytes::from(bytes.repeat((16 << 10) / bytes.len()));
            loop {
                send(many.clone(), stream).await?;
                tokio::task::yield_now().await;
            }
        }
        Act::Status(code, message) => stream.send_trailers(status(*code, message)).ok()?,
        Act::End => stream.send_data(Bytes::new(), true).ok()?,
        Act::Reset => stream.send_reset(Reason::INTERNAL_ERROR),
        Act::Hang => std::future::pending().await,
    }
    Some(())
}

/// Not faster than the other side reads.
async fn send(mut bytes: Bytes, stream: &mut SendStream<Bytes>) -> Option<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        stream.send_data(bytes.split_to(room.min(bytes.len())), false).ok()?;
    }
    Some(())
}

fn status(code: u16, message: &str) -> HeaderMap {
    // As gRPC writes it: percent-encoded.
    let message: String = message
        .bytes()
        .map(|byte| {
            if (b' '..=b'~').contains(&byte) && byte != b'%' { char::from(byte).into() } else { format!("%{byte:02X}") }
        })
        .collect();
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from(code));
    map.insert("grpc-message", HeaderValue::from_str(&message).unwrap());
    map
}

/// gRPC's frame of a message: a flag for compression, the length, the message.
pub fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &body].concat().into()
}

/// An answer of one message.
pub fn unary(message: &impl Message) -> Vec<Act> {
    vec![Act::Send(framed(message)), Act::Status(0, String::new())]
}

/// What a real member answers, and the answers that a follower beside it would give: one is liked best.
#[derive(Clone)]
pub struct Honest {
    pub header: Header,
    pub status: StatusResponse,
    pub members: Vec<ListedMember>,
    /// The pages and their trailer.
    pub snapshot: Vec<u8>,
}

/// As many bytes as etcd puts into a message.
const BLOB: usize = 32 << 10;
/// The liar's id.
pub const LIAR: u64 = 0x11a2;

impl Honest {
    pub fn new(cluster: &Cluster, snapshot: Vec<u8>) -> Self {
        cluster.client(0, async |client| {
            let status = client.status().await.unwrap();
            let real = status.header().unwrap();
            let header = Header {
                cluster_id: real.cluster_id(),
                member_id: LIAR,
                revision: real.revision(),
                raft_term: real.raft_term(),
            };
            let listed = client.member_list().await.unwrap();
            let member = |m: &etcd_client::Member| ListedMember {
                id: m.id(),
                name: m.name().into(),
                client_urls: m.client_urls().to_vec(),
            };
            Self {
                status: StatusResponse {
                    header: Some(header.clone()),
                    version: status.version().into(),
                    db_size: status.db_size(),
                    leader: status.leader(),
                    raft_index: status.raft_index(),
                    raft_term: status.raft_term(),
                    raft_applied_index: status.raft_applied_index(),
                },
                members: listed.members().iter().map(member).collect(),
                header,
                snapshot,
            }
        })
    }

    /// The messages of the snapshot as etcd cuts them.
    pub fn messages(&self) -> Vec<SnapshotResponse> {
        messages(&self.snapshot)
    }

    /// All answers, of which a lie then replaces one.
    pub fn script(&self) -> Script {
        let header = Some(self.header.clone());
        let members = MemberListResponse { header: header.clone(), members: self.members.clone() };
        let mut snapshot: Vec<_> = self.messages().iter().map(|message| Act::Send(framed(message))).collect();
        snapshot.push(Act::Status(0, String::new()));
        Script::from([
            (STATUS, unary(&self.status)),
            (ALARM, unary(&HeaderOnly { header: header.clone() })),
            (RANGE, unary(&HeaderOnly { header })),
            (MEMBER_LIST, unary(&members)),
            (SNAPSHOT, snapshot),
        ])
    }
}

/// The pages in blobs, each with what is still to come, and then the trailer.
pub fn messages(snapshot: &[u8]) -> Vec<SnapshotResponse> {
    let (pages, trailer) = snapshot.split_at(snapshot.len() - 32);
    let mut remaining = u64::try_from(pages.len()).unwrap();
    let mut messages = Vec::new();
    for blob in pages.chunks(BLOB) {
        remaining -= u64::try_from(blob.len()).unwrap();
        messages.push(SnapshotResponse { remaining_bytes: remaining, blob: blob.to_vec() });
    }
    messages.push(SnapshotResponse { remaining_bytes: 0, blob: trailer.to_vec() });
    messages
}

// etcd's own messages, the fields that are used here.

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Header {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    #[prost(int64, tag = "3")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
}

/// A range without keys, or no alarms.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HeaderOnly {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct MemberListResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<ListedMember>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListedMember {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SnapshotResponse {
    #[prost(uint64, tag = "2")]
    pub remaining_bytes: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub blob: Vec<u8>,
}
