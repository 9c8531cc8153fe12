//! `copy-tls`.

use std::path::PathBuf;

use clap::Args;

/// `copy-tls`.
#[derive(Args, Debug)]
pub struct CopyTlsArgs {
    /// Folder that the TLS files are in
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Folder for the copies, which keep their places
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Authorities that sign the members' certificates
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Client key
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
}
