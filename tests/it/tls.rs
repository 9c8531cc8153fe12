//! Certificates: each way in which they can be wrong is told in seconds, and told apart. TLS is never relaxed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::support::{
    etcd::Cluster,
    output::Output,
    proxy::Proxy,
    remote::Remote,
    run::Run,
    tls::{Leaf, Pair, Pki},
};

/// The limit for refusing a wrong certificate, with the time that rclone takes to start.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

fn with(run: Run, pair: &Pair) -> Run {
    run.env("ETCDCTL_CERT", &pair.cert).env("ETCDCTL_KEY", &pair.key)
}

fn refused(run: Run, words: &[&str]) -> Output {
    let output = run.exits(2).says(words);
    assert!(output.took < REFUSED_WITHIN, "{output}");
    output
}

fn write(pki: &Pki, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = pki.root().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The lines between the marks.
fn body(pem: &Path) -> String {
    fs::read_to_string(pem).unwrap().lines().filter(|line| !line.starts_with("---")).collect()
}

#[test]
fn wrong_files_are_refused_before_anything_is_dialled() {
    let pki = Pki::new();
    let nobody = Proxy::silent();
    let run = || {
        let pair = &pki.client;
        let run = Run::new().env("TARGET", "elsewhere:x").env("ETCDCTL_CACERT", pki.ca());
        with(run, pair).env("ETCDCTL_ENDPOINTS", format!("https://127.0.0.1:{}", nobody.port()))
    };
    let secret = body(&pki.client.key)[..60].to_owned();
    let refused = |run: Run, words: &[&str]| refused(run.secret(&secret), words);

    let old = pki.issue("old", Leaf::client("backup").expired());
    refused(with(run(), &old), &["cert: ", "old.crt has expired", "2020-01-01", "2021-01-01", "renew"]);
    let early = pki.issue("early", Leaf::client("backup").not_yet_valid());
    refused(with(run(), &early), &["cert: ", "early.crt is not valid yet", "2100-01-01", "clock"]);

    let empty = write(&pki, "empty.pem", "");
    let der = write(&pki, "der.pem", CertificateDer::from_pem_file(&pki.client.cert).unwrap());
    let garbage = write(&pki, "garbage.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let marks = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let hello = write(&pki, "hello.pem", marks);
    let missing = pki.root().join("missing.pem");
    for variable in ["ETCDCTL_CACERT", "ETCDCTL_CERT"] {
        let setting = variable.trim_start_matches("ETCDCTL_").to_lowercase() + ": ";
        refused(run().env(variable, &missing), &[&setting, "missing.pem", "No such file"]);
        refused(run().env(variable, pki.root()), &[&setting, "it is a directory"]);
        refused(run().env(variable, &empty), &[&setting, "empty.pem is empty"]);
        refused(run().env(variable, &der), &[&setting, "der.pem holds no PEM certificate", "openssl"]);
        refused(run().env(variable, &garbage), &[&setting, "garbage.pem is not PEM"]);
        refused(run().env(variable, &hello), &[&setting, "hello.pem is not an X.509 certificate"]);
        refused(run().env(variable, &pki.client.key), &[&setting, "holds no PEM certificate"]);
    }

    let text = fs::read_to_string(&pki.client.key).unwrap();
    let encrypted = write(&pki, "encrypted.pem", text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let key = |path: &Path, words: &str| refused(run().env("ETCDCTL_KEY", path), &["key: ", words]);
    key(&missing, "missing.pem: No such file");
    key(&empty, "empty.pem is empty");
    key(&der, "der.pem holds no PEM private key");
    key(&encrypted, "encrypted.pem is encrypted");
    key(&pki.client.cert, "holds no PEM private key");
    key(&pki.server.key, "is not the key of the certificate");

    // A P-521 key as far as its kind, in PKCS#8.
    let p521 = [&[0x30, 0x1f, 2, 1, 0, 0x30, 0x10, 6, 7][..], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]];
    let p521 = [&p521.concat()[..], &[6, 5, 0x2b, 0x81, 4, 0, 0x23], &[4, 8], &[1; 8]].concat();
    let p521 = STANDARD.encode(p521);
    let p521 = write(&pki, "p521.pem", format!("-----BEGIN PRIVATE KEY-----\n{p521}\n-----END PRIVATE KEY-----\n"));
    key(&p521, "p521.pem is a P-521 key, which etcd-backup cannot use; issue one with P-256");
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/p521-ca.crt");
    refused(run().env("ETCDCTL_CACERT", &authority), &["cacert: ", "p521-ca.crt has a P-521 key", "issue one"]);
    for name in ["a b", "-", "https://h", "\u{1b}[31m", "a..b"] {
        refused(run().env("TLS_SERVER_NAME", name), &["tls-server-name: `", "a DNS name such as"]);
    }
    // One authority that can be used is enough.
    let both = [pki.ca(), authority].map(|ca| fs::read_to_string(ca).unwrap()).concat();
    let both = run().env("ETCDCTL_CACERT", write(&pki, "both.pem", both)).env("ETCDCTL_KEY", &missing);
    refused(both, &["key: cannot read"]);

    refused(run().without_env("ETCDCTL_CACERT"), &["cacert: is not set", "ETCDCTL_CACERT"]);
    refused(run().without_env("ETCDCTL_KEY"), &["key: is not set", "ETCDCTL_KEY"]);
    refused(run().without_env("ETCDCTL_CERT"), &["cert: is not set", "ETCDCTL_CERT"]);
    assert_eq!(nobody.accepted(), 0, "nothing was dialled");
}

#[test]
fn who_does_not_trust_whom_is_told() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::start(1);
    cluster.put_many(1, "/a/", 10);
    let (pki, other, remote) = (cluster.pki(), Pki::new(), Remote::folder());
    let endpoint = cluster.endpoint(0);
    let run = || Run::job(&cluster, &remote);
    refused(run().env("ETCDCTL_CACERT", other.ca()), &[&endpoint, "not signed by the authority in", "cacert"]);
    refused(with(run(), &other.client), &[&endpoint, "does not accept this client's certificate"]);
    let anonymous = run().without_env("ETCDCTL_CERT").without_env("ETCDCTL_KEY");
    refused(anonymous, &[&endpoint, "does not accept this client's certificate", "ETCDCTL_CERT"]);
    let server_only = pki.issue("server-only", Leaf::server_only("etcd"));
    refused(with(run(), &server_only), &[&endpoint, "does not accept this client's certificate"]);
    let plainly = run().env("ETCDCTL_ENDPOINTS", endpoint.replace("https", "http"));
    refused(plainly, &["speaks only TLS", &format!("write {endpoint}")]);
    assert!(remote.names().is_empty());

    let soon = pki.issue("soon", Leaf::client("backup").expires_in_days(3));
    with(run(), &soon).exits(0).says(&[" WARN cert: ", "soon.crt expires in 2 days"]);

    // While authorities change, a bundle holds the old and the new one.
    let bundle = [other.ca(), pki.ca()].map(|ca| fs::read_to_string(ca).unwrap()).concat();
    run().env("ETCDCTL_CACERT", write(pki, "bundle.crt", bundle)).exits(0);
}

#[test]
fn a_members_own_certificate_is_judged() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let job = |cluster: &Cluster| Run::job(cluster, &remote);
    let expired = |pki: &Pki| pki.issue("etcd/old", Leaf::server(&["127.0.0.1"]).expired());
    let cluster = Cluster::with(1).server(expired).start();
    refused(job(&cluster), &[&cluster.endpoint(0), "expired", "renew"]);

    let early = |pki: &Pki| pki.issue("etcd/early", Leaf::server(&["127.0.0.1"]).not_yet_valid());
    let cluster = Cluster::with(1).server(early).start();
    refused(job(&cluster), &[&cluster.endpoint(0), "not valid yet", "clock"]);

    let client_only = |pki: &Pki| pki.issue("etcd/client", Leaf::client("etcd"));
    let cluster = Cluster::with(1).server(client_only).start();
    refused(job(&cluster), &[&cluster.endpoint(0), "not a server's"]);

    let elsewhere = |pki: &Pki| pki.issue("etcd/elsewhere", Leaf::server(&["etcd.example"]));
    let cluster = Cluster::with(1).server(elsewhere).start();
    refused(job(&cluster), &[&cluster.endpoint(0), "etcd.example", "TLS_SERVER_NAME"]);
    assert!(remote.names().is_empty());
    job(&cluster).env("TLS_SERVER_NAME", "etcd.example").exits(3).says(&["holds no keys"]);
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn a_member_without_tls_is_told() {
    needs!("etcd", "rclone");
    let cluster = Cluster::single();
    let (pki, remote) = (Pki::new(), Remote::folder());
    let endpoint = cluster.endpoint(0).replace("http", "https");
    let run = Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", &endpoint).env("ETCDCTL_CACERT", pki.ca());
    refused(run, &[&endpoint, "does not speak TLS", &format!("write {}", cluster.endpoint(0))]);
}
