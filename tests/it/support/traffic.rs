//! What a test does to a running cluster: keys, alarms, etcdctl.

use std::{path::PathBuf, process::Output, time::Duration};

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Certificate, Client, ConnectOptions, GetOptions, Identity, KeyValue,
    TlsOptions, Txn, TxnOp,
};

use super::{etcd::Cluster, tls::Pair, tools};

impl Cluster {
    /// The id by which the cluster knows the member.
    pub fn id(&self, i: usize) -> u64 {
        self.client(i, async |client| client.status().await.unwrap().header().unwrap().member_id())
    }

    /// Which member leads now.
    pub fn leader(&self) -> usize {
        let living = self.living();
        let leader = self.client(living[0], async |client| client.status().await.unwrap().leader());
        let mut living = living.into_iter();
        living.find(|i| self.id(*i) == leader).expect("a living leader")
    }

    /// etcd raises CORRUPT by itself only for real corruption; its API raises it on demand.
    pub fn raise_corrupt(&self, i: usize) {
        let mut options = AlarmOptions::new();
        options.with_member(self.id(i));
        self.client(i, async |client| {
            let alarm = client.alarm(AlarmAction::Activate, AlarmType::Corrupt, Some(options));
            alarm.await.unwrap();
        });
    }

    /// Writes until the quota is passed and NOSPACE is raised; wants a cluster with a `quota`.
    pub fn fill(&self) {
        let value = vec![b'x'; 256 << 10];
        self.client(0, async |client| {
            for i in 0..10_000 {
                if client.put(format!("/filler/{i}"), value.clone(), None).await.is_err() {
                    return;
                }
            }
            panic!("the quota was never reached");
        });
    }

    /// Puts `count` keys `<prefix>00000000…` with values of that size that do not compress.
    pub fn put_many(&self, count: usize, prefix: &str, value_size: usize) {
        let batch = (1 << 20) / (value_size + 64);
        let batch = batch.clamp(1, 1024);
        let mut random = Random(u64::try_from(count).unwrap());
        let keys: Vec<_> = (0..count).map(|i| format!("{prefix}{i:08}")).collect();
        self.client(0, async |client| {
            for keys in keys.chunks(batch) {
                let puts = keys.iter().map(|key| TxnOp::put(key.as_str(), random.bytes(value_size), None));
                let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
                client.txn(txn).await.unwrap();
            }
        });
    }

    /// A client of one member, past its proxy.
    pub fn client<T>(&self, i: usize, work: impl AsyncFnOnce(&mut Client) -> T) -> T {
        let mut options = ConnectOptions::new().with_timeout(Duration::from_secs(20));
        if !self.is_plain() {
            let read = |path: &PathBuf| std::fs::read(path).unwrap();
            let client = &self.pki().client;
            options = options.with_tls(
                TlsOptions::new()
                    .ca_certificate(Certificate::from_pem(read(&self.pki().ca())))
                    .identity(Identity::from_pem(read(&client.cert), read(&client.key))),
            );
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = Client::connect([self.direct(i)], Some(options)).await.unwrap();
            work(&mut client).await
        })
    }

    /// Every key with all that etcd tells of it, as this member has it.
    pub fn every_key(&self, i: usize) -> Vec<Kv> {
        self.client(i, async |client| {
            let all = client.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
            all.kvs().iter().map(Kv::new).collect()
        })
    }

    /// `etcdctl` against all members; must succeed; answers stdout.
    pub fn etcdctl(&self, args: &[&str]) -> String {
        let output = self.etcdctl_at(&self.living(), args);
        assert!(output.status.success(), "etcdctl {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `etcdctl` against these members only; none, when the endpoints are among `args`.
    pub fn etcdctl_at(&self, members: &[usize], args: &[&str]) -> Output {
        self.etcdctl_as(&self.pki().client, members, args)
    }

    /// The same with another client certificate.
    pub fn etcdctl_as(&self, pair: &Pair, members: &[usize], args: &[&str]) -> Output {
        let mut command = tools::command(tools::tool("etcdctl"));
        command.env("ETCDCTL_API", "3").arg("--command-timeout=5s");
        if !members.is_empty() {
            let urls: Vec<_> = members.iter().map(|i| self.direct(*i)).collect();
            command.arg(format!("--endpoints={}", urls.join(",")));
        }
        if !self.is_plain() {
            command
                .arg(format!("--cacert={}", self.pki().ca().display()))
                .arg(format!("--cert={}", pair.cert.display()))
                .arg(format!("--key={}", pair.key.display()));
        }
        command.args(args).output().expect("etcdctl starts")
    }
}

/// A key with its value and everything that etcd keeps with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

impl Kv {
    fn new(kv: &KeyValue) -> Self {
        Self {
            key: kv.key().to_vec(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            version: kv.version(),
            lease: kv.lease(),
        }
    }
}

/// Numbers and bytes that no compression shrinks, the same in every run with this seed (xorshift); it must not be 0.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
