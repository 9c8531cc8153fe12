//! Only what would restore is stored: judged by etcd's own tools, and by what an altered stream comes to.

use std::path::Path;

use etcd_client::GetOptions;
use serde_json::Value;

use crate::support::{etcd::Cluster, output::Output, proxy::Fault, remote::Remote, run::Run, tools};

const MARK: &str = "turn a bit of me! ";

#[test]
fn a_snapshot_altered_on_its_way_is_never_stored() {
    needs!("etcd", "rclone");
    let cluster = Cluster::with(3).plain().proxied().start();
    let value = MARK.repeat(10_000);
    cluster.client(0, async |client| client.put("/marked", value, None).await.unwrap());
    let leader = cluster.leader();
    for i in (0..3).filter(|i| *i != leader) {
        cluster.proxy(i).set(Fault::Alter(MARK.as_bytes()));
    }
    let remote = Remote::folder();
    let output = Run::job(&cluster, &remote).exits(0);
    assert_eq!(output.report().text("member"), cluster.endpoint(leader), "{output}");
    assert_eq!(output.stderr.matches("snapshot failed").count(), 2, "{output}");
    assert_eq!(remote.names().len(), 1);

    let remote = Remote::folder();
    cluster.proxy(leader).set(Fault::Alter(MARK.as_bytes()));
    let output = Run::job(&cluster, &remote).exits(5);
    let refused = output.report();
    let refused = refused.value("refused").as_array().unwrap();
    let by_hash = |refused: &&Value| refused["reason"].as_str().unwrap().contains("the sha-256 at its end does not");
    assert_eq!(refused.iter().filter(by_hash).count(), 3, "{output}");
    assert!(remote.names().is_empty(), "{output}");
}

/// The field of the log's line on the proof.
fn proved(output: &Output, field: &str) -> Value {
    let lines = output.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut lines = lines.filter(|line| line["message"].as_str().unwrap().starts_with("proved the snapshot"));
    let line = lines.next().unwrap_or_else(|| panic!("{output}"));
    line[field].clone()
}

/// What etcdutl says about a file.
fn status(file: &Path) -> Value {
    let status = tools::command(tools::tool("etcdutl")).args(["snapshot", "status", "-w", "json"]).arg(file).output();
    let status = status.expect("etcdutl starts");
    serde_json::from_slice(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"))
}

/// Makes a backup and compares all that etcdutl can say about it.
fn assert_parity(cluster: &Cluster, when: &str) {
    let remote = Remote::folder();
    let output = Run::job(cluster, &remote).env("LOG_FORMAT", "json").exits(0);
    let report = output.report();
    let theirs = status(&Path::new(remote.target()).join(report.text("name")));
    let hash = format!("{:x}", theirs["hash"].as_u64().unwrap());
    assert_eq!(proved(&output, "etcdutl_hash"), hash.as_str(), "{when}\n{output}");
    assert_eq!(theirs["totalSize"].as_u64(), Some(report.number("bytes") - 32), "{when}\n{output}");
    // From 3.6 on etcdutl counts the keys that live, as the report does; before, the pairs of every bucket.
    let old = tools::command(tools::tool("etcdutl")).arg("version").output().unwrap();
    let old = String::from_utf8(old.stdout).unwrap().contains("version: 3.5.");
    let total = if old { proved(&output, "total_keys") } else { report.value("keys").clone() };
    assert_eq!(theirs["totalKey"], total, "{when}\n{output}");
    assert_eq!(theirs["revision"], proved(&output, "last_key_revision"), "{when}\n{output}");
    // Where the last revision is compacted away etcdutl is behind; a restored etcd is not, and neither are we.
    let header = cluster.client(0, async |client| client.status().await.unwrap().header().unwrap().revision());
    assert_eq!(i64::try_from(report.number("revision")), Ok(header), "{when}\n{output}");
    let count = GetOptions::new().with_all_keys().with_count_only();
    let keys = cluster.client(0, async |client| client.get("", Some(count)).await.unwrap().count());
    assert_eq!(i64::try_from(report.number("keys")), Ok(keys), "{when}\n{output}");
}

#[test]
fn etcdutl_says_the_same_of_what_is_stored() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let cluster = Cluster::single();
    cluster.put_many(500, "/registry/pods/", 200);
    cluster.put_many(1, "/registry/large", 1 << 20);
    assert_parity(&cluster, "after writes");
    cluster.put_many(100, "/registry/pods/", 300);
    cluster.etcdctl(&["del", "/registry/pods/000001", "--prefix"]);
    cluster.etcdctl(&["del", "/registry/large", "--prefix"]);
    assert_parity(&cluster, "after changes and deletes");
    let revision = cluster.client(0, async |client| client.status().await.unwrap().header().unwrap().revision());
    cluster.etcdctl(&["compact", "--physical", &revision.to_string()]);
    assert_parity(&cluster, "after compaction of the last delete too");
    cluster.etcdctl(&["defrag"]);
    assert_parity(&cluster, "after defragmentation");
    cluster.put_many(10, "/registry/pods/", 100);
    assert_parity(&cluster, "after more writes");
}

/// Every key with all that etcd knows about it.
fn everything(cluster: &Cluster) -> Vec<(Vec<u8>, Vec<u8>, [i64; 4])> {
    let all = GetOptions::new().with_all_keys();
    let all = cluster.client(0, async |client| client.get("", Some(all)).await.unwrap());
    let kvs = all.kvs().iter();
    kvs.map(|kv| {
        let numbers = [kv.create_revision(), kv.mod_revision(), kv.version(), kv.lease()];
        (kv.key().to_vec(), kv.value().to_vec(), numbers)
    })
    .collect()
}

#[test]
fn an_etcd_restored_from_it_holds_every_key() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let cluster = Cluster::start(3);
    cluster.put_many(2000, "/registry/pods/", 150);
    cluster.put_many(300, "/registry/pods/", 90);
    cluster.etcdctl(&["del", "/registry/pods/0000190", "--prefix"]);
    cluster.client(0, async |client| {
        let lease = client.lease_grant(3600, None).await.unwrap().id();
        let options = etcd_client::PutOptions::new().with_lease(lease);
        client.put(b"/binary/\x00\xff\n".as_slice(), [0u8, 255, 10].as_slice(), Some(options)).await.unwrap();
        client.put("/empty", "", None).await.unwrap();
        let revision = client.status().await.unwrap().header().unwrap().revision();
        client.compact(revision - 1, None).await.unwrap();
    });
    let remote = Remote::folder();
    let report = Run::job(&cluster, &remote).success();
    let before = everything(&cluster);
    assert_eq!(u64::try_from(before.len()).unwrap(), report.number("keys"));
    assert_eq!(before.len(), 1992);

    let restored = Cluster::with(1).restored_from(&Path::new(remote.target()).join(report.text("name"))).start();
    let after = everything(&restored);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}
