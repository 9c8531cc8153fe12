//! Writes single keys, each only if it is as it was read. Nothing else in this program writes to etcd.

use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnResponse};

use super::{Error, connect, timely};
use crate::config;
use crate::member::Member;

/// What an answer may hold; etcd's own limit of a request is 1.5 MiB unless it is raised.
const LARGEST_ANSWER: usize = 64 << 20;

/// One member, to write through.
pub struct Writer {
    kv: KvClient,
}

/// A key as it is in the cluster.
#[derive(Debug)]
pub struct Live {
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The lease that it ends with; 0 for none.
    pub lease: i64,
    /// Its value.
    pub value: Vec<u8>,
}

impl Writer {
    /// Connects.
    ///
    /// # Errors
    /// A member that cannot be reached, or that refuses us.
    pub async fn connect(member: &Member, config: &config::EtcdConfig) -> Result<Self, Error> {
        let client = connect(&member.endpoint, config).await?;
        Ok(Self { kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER) })
    }

    /// Reads a key, linearizably; `None` if it does not exist.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<Live>, Error> {
        let mut answer = timely("reading a key", self.kv.get(key, None)).await?;
        let live = answer.take_kvs().into_iter().next().map(|kv| {
            let (mod_revision, lease) = (kv.mod_revision(), kv.lease());
            Live { mod_revision, lease, value: kv.into_key_value().1 }
        });
        Ok(live)
    }

    /// Creates a key unless it exists, in one transaction; the revision, or `None` if it was there.
    ///
    /// # Errors
    /// A refusal. After no answer nobody knows whether it was created.
    pub async fn create(&mut self, key: &[u8], value: Vec<u8>) -> Result<Option<i64>, Error> {
        let absent = Compare::create_revision(key, CompareOp::Equal, 0);
        self.put_if(absent, key, value).await
    }

    /// Replaces the value of a key unless it was changed since `mod_revision`, in one transaction; the revision, or
    /// `None` if it was.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub async fn replace(&mut self, key: &[u8], value: Vec<u8>, mod_revision: i64) -> Result<Option<i64>, Error> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, mod_revision);
        self.put_if(unchanged, key, value).await
    }

    async fn put_if(&mut self, compare: Compare, key: &[u8], value: Vec<u8>) -> Result<Option<i64>, Error> {
        let txn = Txn::new().when([compare]).and_then([TxnOp::put(key, value, None)]);
        let answer = timely("writing a key", self.kv.txn(txn)).await?;
        Ok(answer.succeeded().then(|| revision(&answer)))
    }
}

fn revision(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, etcd_client::ResponseHeader::revision)
}
