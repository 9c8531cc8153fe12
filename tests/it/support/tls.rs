//! Certificates as kubeadm lays them out, and each way in which they can be wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use chrono::{Datelike, Days, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// One authority and what it has signed, in a folder that can be mounted as `/etcd`:
/// `etcd/ca.crt`, `etcd/server.*`, `etcd/peer.*`, `apiserver-etcd-client.*`.
pub struct Pki {
    root: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub server: Pair,
    pub peer: Pair,
    pub client: Pair,
}

impl Pki {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etcd")).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "etcd-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        fs::write(root.path().join("etcd/ca.crt"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, key);

        let local = ["localhost", "127.0.0.1"];
        let sign = |name, leaf: Leaf| leaf.sign(&issuer, root.path(), name);
        let server = sign("etcd/server", Leaf::server(&local));
        let peer = sign("etcd/peer", Leaf::server(&local));
        let client = sign("apiserver-etcd-client", Leaf::client("apiserver-etcd-client"));
        Self { root, issuer, server, peer, client }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn ca(&self) -> PathBuf {
        self.root.path().join("etcd/ca.crt")
    }

    /// One more certificate of this authority, as `<name>.crt` and `<name>.key` below the root.
    pub fn issue(&self, name: &str, leaf: Leaf) -> Pair {
        leaf.sign(&self.issuer, self.root.path(), name)
    }
}

/// What a certificate will say.
pub struct Leaf(CertificateParams);

impl Leaf {
    /// etcd's auth takes the common name for the user's name.
    pub fn client(common_name: &str) -> Self {
        Self::new(common_name, &[], &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// For both directions: etcd's gateway is a client of its own server.
    pub fn server(names: &[&str]) -> Self {
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self::new("etcd", names, &usages)
    }

    /// A server's, which must not be taken for a client's.
    pub fn server_only(common_name: &str) -> Self {
        Self::new(common_name, &[], &[ExtendedKeyUsagePurpose::ServerAuth])
    }

    fn new(common_name: &str, names: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = usages.to_vec();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        Self(params)
    }

    pub fn expired(mut self) -> Self {
        self.0.not_after = date_time_ymd(2021, 1, 1);
        self
    }

    pub fn not_yet_valid(mut self) -> Self {
        self.0.not_before = date_time_ymd(2100, 1, 1);
        self
    }

    pub fn expires_in_days(mut self, days: u64) -> Self {
        let day = Utc::now().date_naive() + Days::new(days);
        let part = |value: u32| u8::try_from(value).unwrap();
        self.0.not_after = date_time_ymd(day.year(), part(day.month()), part(day.day()));
        self
    }

    fn sign(self, issuer: &Issuer<'_, KeyPair>, root: &Path, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = self.0.signed_by(&key, issuer).unwrap();
        let pair = Pair { cert: root.join(format!("{name}.crt")), key: root.join(format!("{name}.key")) };
        fs::write(&pair.cert, cert.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&pair.key, PermissionsExt::from_mode(0o600)).unwrap();
        pair
    }
}
