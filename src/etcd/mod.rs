//! The only user of etcd-client. etcd is only ever read, but for the keys that `put` brings back.

mod error;
mod scheme;
mod snapshot;
mod survey;
mod write;

use std::future::Future;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

pub use error::Error;
pub use snapshot::snapshot;
pub use survey::{Survey, survey};
pub use write::{Live, Writer};

use crate::config;
use crate::url::Url;

/// What a connection, and each single request, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// etcd answers more frequent pings with GOAWAY.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_WITHIN: Duration = Duration::from_secs(6);

/// One client for one endpoint: a client of several neither fails over nor says which one failed.
async fn connect(endpoint: &Url, config: &config::EtcdConfig) -> Result<Client, Error> {
    let dial = dial(endpoint, config).map_err(|e| Error::from_chain("connecting", &e))?;
    let channel = match tokio::time::timeout(PATIENCE, dial.connect()).await {
        Err(_) => return Err(Error::Silent { what: "connecting", limit: PATIENCE }),
        Ok(connected) => connected.map_err(|e| Error::from_chain("connecting", &e))?,
    };
    let mut options = ConnectOptions::new();
    if let Some(user) = &config.user {
        options = options.with_user(&user.name, &user.password);
    }
    timely("authenticating", Client::from_channel(Channel::Tonic(channel), Some(options))).await
}

fn dial(endpoint: &Url, config: &config::EtcdConfig) -> Result<Endpoint, tonic::transport::Error> {
    let dial = Endpoint::from_shared(endpoint.to_string())?
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
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

/// One request under its own limit.
async fn timely<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, request).await {
        Err(_) => Err(Error::Silent { what, limit: PATIENCE }),
        Ok(answer) => answer.map_err(|e| Error::new(what, &e)),
    }
}
