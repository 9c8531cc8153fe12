//! `restore`, and the plan of one.

use std::path::PathBuf;

use clap::Args;

use super::ReadArgs;
use super::stored::NAME;
use super::values::bump;
use crate::backup::select::PointInTime;
use crate::kubernetes::kubeadm::Topology;

/// One of the two uses needs what the other has no use for.
const RESTORE: &str = "etcd-backup restore <NAME> --data-dir <DIR> [OPTIONS]
       etcd-backup restore [NAME] --plan [OPTIONS]";

#[derive(Args, Clone, Debug)]
#[command(override_usage = RESTORE)]
pub struct RestoreArgs {
    #[arg(value_name = "NAME", required_unless_present_any = ["before", "plan"], help = NAME)]
    pub backup: Option<String>,
    /// Take the newest backup that was taken by then: 2026-01-02T03:04:05Z, or 2026-01-02 and 2026-01-02T03:04 in the zone TZ
    #[arg(long, value_name = "TIME", conflicts_with = "backup")]
    pub before: Option<PointInTime>,
    /// The member's data directory, new or empty; with --plan, where it is on the members
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    pub data_dir: Option<PathBuf>,
    /// The directory of its write-ahead log, new or empty, if etcd has one outside of the data directory [default: none;
    /// with --plan, as etcd's file or kubeadm's says]
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// etcd's manifest or systemd unit (`….service`) on this machine, which says where its data and its log are; empty for
    /// none, such as for a drill
    /// [default: /etc/kubernetes/manifests/etcd.yaml, or the one that a plan moved aside, and etcd.service]
    #[arg(long, value_name = "FILE")]
    pub etcd_file: Option<String>,
    /// Restore nothing: print the commands for the whole cluster, member by member
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// The identity of the restored member.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Member")]
pub struct IdentityArgs {
    /// The member's name [default: that of the only member]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// All members and their peer URLs: a=https://1.2.3.4:2380,b=… [default: those in the snapshot]
    #[arg(long, value_name = "LIST", conflicts_with = "plan")]
    pub initial_cluster: Option<String>,
    /// The new cluster's token: the same on every member, and not the old cluster's [default: made from the backup's SHA-256]
    #[arg(long, value_name = "TOKEN")]
    pub initial_cluster_token: Option<String>,
    /// The member's own peer URLs [default: those in the initial cluster]
    #[arg(long, value_name = "URLS", conflicts_with = "plan")]
    pub initial_advertise_peer_urls: Option<String>,
    /// Raise the revision by this much and mark what was before as compacted, so that every watcher starts anew; 0 does
    /// not [default: 1000000000 if etcdutl can]
    #[arg(long, value_name = "N", value_parser = bump)]
    pub bump_revision: Option<u64>,
}

/// What the plan is for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Plan")]
pub struct ClusterArgs {
    /// A member of the restored cluster, `name=https://host:2380`; once for each [default: those in the snapshot]
    #[arg(long, value_name = "MEMBER", requires = "plan")]
    pub member: Vec<String>,
    /// kubeadm's ClusterConfiguration [default: /k8s/config.yaml if it is there, else the one in the backup]
    #[arg(long, env = "KUBEADM_CONFIG", value_name = "FILE")]
    pub kubeadm_config: Option<String>,
    /// Client URLs of the members, separated by commas [default: the snapshot's, the kubeadm file's, else port 2379]
    #[arg(long, env = "ETCDCTL_ENDPOINTS", value_name = "URLS")]
    pub endpoints: Option<String>,
    /// How etcd is run [default: as --kubeadm-config or kubeadm's ConfigMap in the backup says]; without --plan, whether
    /// its manifest or its unit on this machine counts [default: both]
    #[arg(long, value_enum)]
    pub etcd: Option<Topology>,
    /// Certificate authorities on the machine that checks the restored etcd, PEM [default: kubeadm's]
    #[arg(long, value_name = "FILE", requires_all = ["plan", "cert", "key"])]
    pub cacert: Option<String>,
    /// Client certificate on that machine, PEM
    #[arg(long, value_name = "FILE", requires_all = ["plan", "cacert"])]
    pub cert: Option<String>,
    /// Key of the client certificate on that machine, PEM
    #[arg(long, value_name = "FILE", requires_all = ["plan", "cacert"])]
    pub key: Option<String>,
}
