//! The only user of etcd-client: surveys the members, streams a snapshot, and writes the keys that are put back.

mod error;
mod scheme;
mod snapshot;
mod survey;
mod write;

use std::future::Future;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, GetResponse, ResponseHeader};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub use error::Error;
pub use snapshot::{Sink, SnapshotError, Stream};
pub use survey::{Survey, survey};
pub use write::{CurrentKey, Writer};

use crate::config;
use crate::url::Url;

/// For a connection, and for each single request. etcdctl has the same default (`--command-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
// Keep-alive pings find a peer that has vanished. etcd answers more frequent ones with GOAWAY.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(6);

/// One client for one endpoint: a client of several endpoints neither fails over nor tells which one failed.
async fn connect(endpoint: &Url, config: &config::EtcdConfig) -> Result<Client, Error> {
    let dial = dial(endpoint, config).map_err(|e| Error::from_chain("connecting", &e))?;
    // Not etcd-client's own `connect`, which returns before there is a connection: its first request would fail
    // instead. tonic's own limit for connecting covers TCP only, and a frozen member still accepts TCP connections.
    let channel = match tokio::time::timeout(REQUEST_TIMEOUT, dial.connect()).await {
        Err(_) => return Err(Error::Timeout { what: "connecting", limit: REQUEST_TIMEOUT }),
        Ok(connected) => connected.map_err(|e| Error::from_chain("connecting", &e))?,
    };
    // With a user this asks for a token; else it sends nothing.
    let mut options = ConnectOptions::new();
    if let Some(user) = &config.user {
        options = options.with_user(&user.name, &user.password);
    }
    limited("authenticating", Client::from_channel(Channel::Tonic(channel), Some(options))).await
}

fn dial(endpoint: &Url, config: &config::EtcdConfig) -> Result<Endpoint, tonic::transport::Error> {
    let dial = Endpoint::from_shared(endpoint.to_string())?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let Some(files) = config.tls.as_ref().filter(|_| endpoint.is_tls()) else { return Ok(dial) };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&files.ca));
    if let Some((cert, key)) = &files.identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    if let Some(name) = &files.server_name {
        tls = tls.domain_name(name);
    }
    dial.tls_config(tls)
}

/// Succeeds only on a member that reaches a quorum.
async fn linearizable_read(client: &mut Client) -> Result<GetResponse, Error> {
    // The key that `etcdctl endpoint health` reads; it need not exist.
    limited("linearizable read", client.get("health", None)).await
}

/// The store's revision when the member answered.
fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| u64::try_from(header.revision()).unwrap_or_default())
}

/// One request under its own timeout: that of the client does not cover a peer that accepts and stays silent.
async fn limited<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Err(_) => Err(Error::Timeout { what, limit: REQUEST_TIMEOUT }),
        Ok(answer) => answer.map_err(|e| Error::new(what, &e)),
    }
}
