//! `copy-tls`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Debug)]
pub struct CopyTlsArgs {
    /// Directory that the TLS files are in
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Directory for the copies, which keep their paths below it
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Certificate authorities that sign the members' certificates, PEM
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
}
