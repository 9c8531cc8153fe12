//! The TLS files, read and checked before anything is dialled: the errors of a failed handshake do not name a file.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Duration, Utc};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::tls_keys;
use crate::system::fs::read_small;

/// A certificate that expires within this time is worth a warning.
const EXPIRES_SOON: Duration = Duration::days(14);

/// Said of a key.
const CANNOT_BE_USED: &str =
    "etcd-backup cannot use; issue one with P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits";

#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name to expect in the members' certificates, if it is not the host of the URL.
    pub server_name: Option<String>,
}

/// Checked PEM texts.
#[derive(Clone)]
pub struct Tls {
    pub ca: Vec<u8>,
    /// Certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// See [`TlsSettings::server_name`].
    pub server_name: Option<String>,
    /// Certificates that expire soon, for the log.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Reads and checks the files: they are PEM, valid at `now`, and the key is that of the certificate. An error names the
/// file and what is wrong with it, never its content.
pub fn load(files: &TlsSettings, now: DateTime<Utc>) -> Result<Tls, String> {
    let mut warnings = Vec::new();
    if let Some(name) = &files.server_name {
        check_server_name(name)?;
    }
    let Some(ca_path) = &files.cacert else {
        return Err("cacert: is not set, and https:// endpoints are verified against it; set ETCDCTL_CACERT".into());
    };
    let ca = read("cacert", ca_path)?;
    let authorities = certificates("cacert", ca_path, &ca)?;
    check_authorities(ca_path, &authorities, now)?;
    let identity = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some(load_identity(cert, key, now, &mut warnings)?),
        (None, None) => None,
        (Some(_), None) => return Err("key: is not set, but cert is; set ETCDCTL_KEY".into()),
        (None, Some(_)) => return Err("cert: is not set, but key is; set ETCDCTL_CERT".into()),
    };
    Ok(Tls { ca, identity, server_name: files.server_name.clone(), warnings })
}

fn check_server_name(name: &str) -> Result<(), String> {
    let why = "is no name that a certificate can have; allowed is a DNS name such as etcd.example or an IP address";
    ServerName::try_from(name).map(|_| ()).map_err(|_| format!("tls-server-name: `{}` {why}", name.escape_debug()))
}

fn load_identity(
    cert: &Path,
    key: &Path,
    now: DateTime<Utc>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<u8>, Vec<u8>), String> {
    let cert_pem = read("cert", cert)?;
    let key_pem = read("key", key)?;
    let chain = certificates("cert", cert, &cert_pem)?;
    let private = private_key(key, &key_pem)?;
    if let Some(leaf) = chain.first() {
        warnings.extend(check_validity("cert", cert, leaf, now)?);
    }
    let signer = rustls::crypto::ring::sign::any_supported_type(&private).map_err(|_| {
        format!("key: {} is {}, which {CANNOT_BE_USED}", key.display(), tls_keys::refused(private.secret_der()))
    })?;
    match CertifiedKey::new(chain, signer).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(format!("key: {} is not the key of the certificate {}", key.display(), cert.display()))
        }
        // The other errors are about the chain, which the members check.
        _ => Ok((cert_pem, key_pem)),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    let text = read_small(path).map_err(|e| format!("{setting}: cannot read {}: {e}", path.display()))?;
    if text.is_empty() {
        return Err(format!("{setting}: {} is empty", path.display()));
    }
    Ok(text)
}

fn certificates(setting: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all.into_iter().map(CertificateDer::into_owned).collect()),
        Ok(_) => {
            let what = format!("{setting}: {} holds no PEM certificate (-----BEGIN CERTIFICATE-----)", path.display());
            Err(what + &der_hint(pem, "x509"))
        }
        Err(e) => Err(format!("{setting}: {} is not PEM: {e}", path.display())),
    }
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let encrypted = ["ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"].iter();
    if encrypted.into_iter().any(|mark| pem.windows(mark.len()).any(|w| w == mark.as_bytes())) {
        return Err(format!("key: {} is encrypted with a password; etcd clients need a plain key", path.display()));
    }
    PrivateKeyDer::from_pem_slice(pem)
        // The parser's error may repeat a line of the file.
        .map_err(|_| format!("key: {} holds no PEM private key (-----BEGIN … PRIVATE KEY-----)", path.display()))
        .map_err(|what| what + &der_hint(pem, "pkey"))
}

/// A hint for DER, the binary form of the same content.
fn der_hint(bytes: &[u8], command: &str) -> String {
    // The tag of a sequence, and a length of one or two more bytes.
    let looks_like_it = bytes.starts_with(&[0x30, 0x81]) || bytes.starts_with(&[0x30, 0x82]);
    let hint = format!("; it looks like DER, convert it with `openssl {command} -inform der`");
    if looks_like_it { hint } else { String::new() }
}

fn check_authorities(path: &Path, all: &[CertificateDer<'_>], now: DateTime<Utc>) -> Result<(), String> {
    // One valid authority is enough: after a change of authorities, a bundle keeps the old one for some time.
    let mut last = Ok(());
    for authority in all {
        match check_validity("cacert", path, authority, now).and_then(|_| check_key(path, authority)) {
            Ok(()) => return Ok(()),
            Err(e) => last = Err(e),
        }
    }
    last
}

fn check_key(path: &Path, authority: &CertificateDer<'_>) -> Result<(), String> {
    let kind = X509Certificate::from_der(authority).ok().and_then(|(_, it)| tls_keys::unusable(it.public_key()));
    kind.map_or(Ok(()), |kind| Err(format!("cacert: {} has {kind}, which {CANNOT_BE_USED}", path.display())))
}

/// An error if it is not valid now, a warning if it soon will not be.
fn check_validity(
    setting: &str,
    path: &Path,
    der: &CertificateDer<'_>,
    now: DateTime<Utc>,
) -> Result<Option<String>, String> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|e| format!("{setting}: {} is not an X.509 certificate: {e}", path.display()))?;
    let time = |t: x509_parser::time::ASN1Time| DateTime::from_timestamp(t.timestamp(), 0).unwrap_or_default();
    let (from, to) = (time(certificate.validity().not_before), time(certificate.validity().not_after));
    let window = format!("valid from {} to {}", from.format("%Y-%m-%d %H:%M:%SZ"), to.format("%Y-%m-%d %H:%M:%SZ"));
    if now < from {
        return Err(format!("{setting}: {} is not valid yet ({window}); look at this machine's clock", path.display()));
    }
    if now > to {
        return Err(format!("{setting}: {} has expired ({window}); renew it", path.display()));
    }
    Ok((to - now < EXPIRES_SOON)
        .then(|| format!("{setting}: {} expires in {} days ({window})", path.display(), (to - now).num_days())))
}
