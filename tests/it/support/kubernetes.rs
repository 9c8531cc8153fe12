//! Objects as an API server stores them, written by hand, and a small cluster's worth of them with a history.

use std::{path::Path, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use etcd_client::{Client, CompactionOptions, PutOptions, Txn, TxnOp};
use serde_json::Value;

use super::{etcd::Cluster, traffic::Kv};

/// A value that only a Secret has; no output may hold it, or its base64, unasked.
pub const SECRET: &str = "hunter2-of-the-api-server";

/// One object's name and its place.
pub struct Meta<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub labels: &'a [(&'a str, &'a str)],
    pub deleting: bool,
    pub owner: Option<Owner<'a>>,
}

/// An entry of `ownerReferences`.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub controller: bool,
}

impl<'a> Meta<'a> {
    pub fn new(namespace: &'a str, name: &'a str) -> Self {
        Self { namespace, name, uid: "0c9f1a52-8c3e-4f5e-9d55-3d2b0e6c9f10", labels: &[], deleting: false, owner: None }
    }
}

/// `k8s\0`, and in it a `runtime.Unknown` round an object whose second field is `payload`.
pub fn protobuf(api_version: &str, kind: &str, meta: &Meta, payload: &[u8]) -> Vec<u8> {
    let mut metadata = [field(1, meta.name.as_bytes()), field(3, meta.namespace.as_bytes())].concat();
    metadata.extend(field(5, meta.uid.as_bytes()));
    // A creationTimestamp, and perhaps a deletionTimestamp.
    metadata.extend(field(8, &[0x08, 0x90, 0x4e]));
    if meta.deleting {
        metadata.extend(field(9, &[0x08, 0x91, 0x4e]));
    }
    for (key, value) in meta.labels {
        metadata.extend(field(11, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat()));
    }
    if let Some(Owner { kind, name, uid, controller }) = meta.owner {
        let names = [field(1, kind.as_bytes()), field(3, name.as_bytes()), field(4, uid.as_bytes())].concat();
        metadata.extend(field(13, &[names, field(5, b"apps/v1"), vec![6 << 3, controller.into()]].concat()));
    }
    let object = [field(1, &metadata), field(2, payload)].concat();
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let unknown = [field(1, &type_meta), field(2, &object), field(3, b""), field(4, b"")].concat();
    [b"k8s\0", unknown.as_slice()].concat()
}

/// A field of bytes, its number at most 15.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut rest = bytes.len();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
    out.extend(bytes);
    out
}

pub fn pod(namespace: &str, name: &str, payload: &[u8]) -> (String, Vec<u8>) {
    let meta = Meta { labels: &[("app", "web"), ("tier", "front")], ..Meta::new(namespace, name) };
    (format!("/registry/pods/{namespace}/{name}"), protobuf("v1", "Pod", &meta, payload))
}

/// The namespace that gives a cluster its identity.
pub fn kube_system(uid: &str) -> (String, Vec<u8>) {
    namespace(&Meta { uid, ..Meta::new("", "kube-system") })
}

/// A namespace with its one finalizer.
pub fn namespace(meta: &Meta) -> (String, Vec<u8>) {
    (format!("/registry/namespaces/{}", meta.name), protobuf("v1", "Namespace", meta, &field(1, b"kubernetes")))
}

/// An object below this resource, which is `secrets` or `apiregistration.k8s.io/apiservices`; `spec` is its second field.
pub fn object(resource: &str, api_version: &str, kind: &str, meta: &Meta, spec: &[u8]) -> (String, Vec<u8>) {
    let namespace = if meta.namespace.is_empty() { String::new() } else { format!("{}/", meta.namespace) };
    (format!("/registry/{resource}/{namespace}{}", meta.name), protobuf(api_version, kind, meta, spec))
}

/// A custom resource of the group `example.com`, as JSON, whose kind is the singular of `resource`.
pub fn custom(resource: &str, meta: &Meta) -> (String, Vec<u8>) {
    let owners = meta.owner.map(|Owner { kind, name, uid, controller }| {
        serde_json::json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": controller }])
    });
    let metadata = serde_json::json!({
        "name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "ownerReferences": owners,
    });
    let object = serde_json::json!({ "apiVersion": "example.com/v1", "kind": resource, "metadata": metadata });
    let namespace = if meta.namespace.is_empty() { String::new() } else { format!("{}/", meta.namespace) };
    (format!("/registry/example.com/{resource}/{namespace}{}", meta.name), format!("{object}\n").into_bytes())
}

/// A custom resource, as Kubernetes stores it: in one line, and a line feed.
pub fn crontab(name: &str, schedule: &str) -> Vec<u8> {
    let metadata = format!(r#"{{"name":"{name}","namespace":"default","uid":"7d","labels":{{"x":"y"}}}}"#);
    let spec = format!(r#"{{"schedule":"{schedule}","ratio":1.50,"big":12345678901234567890}}"#);
    let head = r#""kind":"CronTab","apiVersion":"stable.example.com/v1""#;
    format!("{{{head},\"metadata\":{metadata},\"spec\":{spec}}}\n").into_bytes()
}

fn objects() -> Vec<(Vec<u8>, Vec<u8>)> {
    let object = |key: &str, api_version: &str, kind: &str, meta: Meta, payload: &[u8]| {
        (key.to_owned(), protobuf(api_version, kind, &meta, payload))
    };
    let mut all = vec![
        kube_system("11111111-aaaa-4bbb-8ccc-222222222222"),
        object("/registry/namespaces/default", "v1", "Namespace", Meta::new("", "default"), b""),
        object("/registry/minions/node-1", "v1", "Node", Meta::new("", "node-1"), &[7; 2000]),
        object("/registry/secrets/default/token", "v1", "Secret", Meta::new("default", "token"), SECRET.as_bytes()),
        object("/registry/configmaps/default/web", "v1", "ConfigMap", Meta::new("default", "web"), b"k=v"),
        object("/registry/services/specs/default/web", "v1", "Service", Meta::new("default", "web"), &[1; 90]),
        object("/registry/services/endpoints/default/web", "v1", "Endpoints", Meta::new("default", "web"), &[2; 70]),
        object(
            "/registry/clusterroles/system:node",
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            Meta::new("", "system:node"),
            &[3; 40],
        ),
    ];
    all.extend((0..20).map(|i| pod("default", &format!("web-{i:02}"), &vec![i; 300 + usize::from(i) * 40])));
    all.extend((0..5).map(|i| pod("kube-system", &format!("dns-{i}"), &[i; 500])));
    let mut all: Vec<_> = all.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
    let sealed = [b"k8s:enc:aescbc:v1:key1:\0\xfe".as_slice(), SECRET.as_bytes()].concat();
    let others: [(&[u8], &[u8]); 9] = [
        (b"/registry/stable.example.com/crontabs/default/nightly", &crontab("nightly", "0 1 * * *")),
        (b"/registry/cilium.io/ciliumnodes/node-1", b"{\"kind\":\"CiliumNode\",\"metadata\":{\"name\":\"node-1\"}}"),
        (b"/registry/secrets/default/sealed", &sealed),
        (b"compact_rev_key", b"12345"),
        (b"/plain/empty", b""),
        (b"/plain/pretty.json", b"{\n  \"a\": 1\n}\n"),
        (b"/plain/\xff\x00key", b"\x00\xff"),
        (b"/plain/a\x1b[31m", b"red"),
        (b"/plain/a", b"1"),
    ];
    all.extend(others.map(|(key, value)| (key.to_vec(), value.to_vec())));
    all
}

/// What tests ask the snapshot of [`WORLD`] for.
pub struct World {
    pub snapshot: Vec<u8>,
    /// The same cluster, a few changes earlier.
    pub before: Vec<u8>,
    /// The oldest revision that can be read.
    pub compacted: i64,
    pub revision: i64,
}

/// A cluster with objects of every kind and a history: updates, deletions, objects made anew, transactions, a
/// compaction, and a lease.
pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    let cluster = Cluster::with(1).plain().start();
    let compacted = cluster.client(0, async |client| live(client).await);
    let before = save(&cluster);
    let revision = cluster.client(0, async |client| live_on(client).await);
    World { snapshot: save(&cluster), before, compacted, revision }
});

/// Puts some of it behind a compaction.
async fn live(client: &mut Client) -> i64 {
    let puts = objects().into_iter().map(|(key, value)| TxnOp::put(key, value, None));
    client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.unwrap();
    let lease = client.lease_grant(3600, None).await.unwrap().id();
    let event = protobuf("v1", "Event", &Meta::new("default", "e"), b"pulled");
    let leased = PutOptions::new().with_lease(lease);
    client.put("/registry/events/default/e", event, Some(leased)).await.unwrap();
    for round in 0..3 {
        for i in 0..10 {
            let (key, value) = pod("default", &format!("web-{i:02}"), &vec![round; 400]);
            client.put(key, value, None).await.unwrap();
        }
    }
    client.delete("/registry/pods/default/web-03", None).await.unwrap();
    client.delete("/registry/pods/default/web-04", None).await.unwrap();
    let (key, value) = pod("default", "web-04", b"made anew");
    let answer = client.put(key, value, None).await.unwrap();
    let at = answer.header().unwrap().revision();
    client.compact(at, Some(CompactionOptions::new().with_physical())).await.unwrap();
    at
}

/// And some after it.
async fn live_on(client: &mut Client) -> i64 {
    for i in 5..8 {
        let (key, value) = pod("default", &format!("web-{i:02}"), b"changed after the compaction");
        client.put(key, value, None).await.unwrap();
    }
    client.delete("/registry/pods/default/web-09", None).await.unwrap();
    let several =
        [TxnOp::put("/plain/new", "1", None), TxnOp::put("/plain/a", "2", None), TxnOp::delete("/plain/empty", None)];
    client.txn(Txn::new().and_then(several)).await.unwrap();
    client.delete("/registry/pods/default/web-00", None).await.unwrap();
    let (key, value) = pod("default", "web-00", b"again");
    client.put(key, value, None).await.unwrap();
    let same = crontab("nightly", "0 1 * * *");
    let key = "/registry/stable.example.com/crontabs/default/nightly";
    client.put(key, same, None).await.unwrap().header().unwrap().revision()
}

/// `etcdctl snapshot save`.
pub fn save(cluster: &Cluster) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    let saved = cluster.etcdctl_at(&[0], &["snapshot", "save", path.to_str().unwrap()]);
    assert!(saved.status.success(), "{saved:?}");
    std::fs::read(path).unwrap()
}

impl Cluster {
    /// The keys that begin with this, in etcd's order, as `etcdctl get --prefix` tells them.
    pub fn keys_at(&self, prefix: &str, revision: i64) -> Vec<Kv> {
        let text = self.etcdctl(&["get", prefix, "--prefix", &format!("--rev={revision}"), "--write-out=json"]);
        let answer: Value = serde_json::from_str(&text).unwrap();
        let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
        let bytes = |kv: &Value, field: &str| BASE64_STANDARD.decode(kv[field].as_str().unwrap_or_default()).unwrap();
        // etcdctl leaves out what is 0 or empty.
        let number = |kv: &Value, field: &str| kv[field].as_i64().unwrap_or_default();
        let kv = |kv: &Value| Kv {
            key: bytes(kv, "key"),
            value: bytes(kv, "value"),
            create_revision: number(kv, "create_revision"),
            mod_revision: number(kv, "mod_revision"),
            version: number(kv, "version"),
            lease: number(kv, "lease"),
        };
        kvs.iter().map(kv).collect()
    }

    /// One member without TLS, whose namespace kube-system has this UID, and two more keys.
    pub fn kubernetes(uid: &str) -> Self {
        let cluster = Self::single();
        cluster.become_kubernetes(uid);
        cluster
    }

    /// Gives it the namespace kube-system with this UID, and two more keys.
    pub fn become_kubernetes(&self, uid: &str) {
        let (key, value) = kube_system(uid);
        self.client(0, async |client| client.put(key, value, None).await.unwrap());
        self.put_many(2, "/registry/pods/default/", 10);
    }

    /// The cluster that an operator would bring up from this file.
    pub fn restored(snapshot: &Path) -> Self {
        Self::with(1).plain().restored_from(snapshot).start()
    }
}
