//! Writes single keys, each only if it is unchanged since it was read. Nothing else in this program writes to etcd.

use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnResponse};

use super::{Error, connect, limited};
use crate::config;
use crate::member::Member;

/// tonic's own limit is 4 MiB, but where etcd's limit for a request (1.5 MiB) was raised, values may be larger.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection to one member, for reading and writing keys.
#[derive(Clone)]
pub struct Writer {
    kv: KvClient,
}

/// A key as it is in the cluster now.
#[derive(Debug)]
pub struct CurrentKey {
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The lease with which it expires; 0 for none.
    pub lease: i64,
    pub value: Vec<u8>,
}

impl Writer {
    pub async fn connect(member: &Member, config: &config::EtcdConfig) -> Result<Self, Error> {
        let client = connect(&member.endpoint, config).await?;
        Ok(Self { kv: client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES) })
    }

    /// Reads a key, linearizably; `None` if it does not exist.
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<CurrentKey>, Error> {
        let mut answer = limited("reading a key", self.kv.get(key, None)).await?;
        let current = answer.take_kvs().into_iter().next().map(|kv| {
            let (mod_revision, lease) = (kv.mod_revision(), kv.lease());
            CurrentKey { mod_revision, lease, value: kv.into_key_value().1 }
        });
        Ok(current)
    }

    /// Creates a key unless it exists, in one transaction. Returns its revision, or `None` if it exists. After a
    /// timeout it may have been created or not.
    pub async fn create(&mut self, key: &[u8], value: Vec<u8>) -> Result<Option<i64>, Error> {
        // A key that does not exist compares as created at revision 0.
        let absent = Compare::create_revision(key, CompareOp::Equal, 0);
        self.put_if(absent, key, value).await
    }

    /// Replaces the value of a key unless it has changed since `mod_revision`, in one transaction. Returns the new
    /// revision, or `None` if the key has changed.
    pub async fn replace(&mut self, key: &[u8], value: Vec<u8>, mod_revision: i64) -> Result<Option<i64>, Error> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, mod_revision);
        self.put_if(unchanged, key, value).await
    }

    async fn put_if(&mut self, compare: Compare, key: &[u8], value: Vec<u8>) -> Result<Option<i64>, Error> {
        // A put without options takes away the lease of a key that has one.
        let txn = Txn::new().when([compare]).and_then([TxnOp::put(key, value, None)]);
        let answer = limited("writing a key", self.kv.txn(txn)).await?;
        Ok(answer.succeeded().then(|| revision(&answer)))
    }
}

fn revision(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, etcd_client::ResponseHeader::revision)
}
