//! Settings of `restore`, for one member or for the plan of a whole cluster.

use std::path::{Path, PathBuf};

use super::endpoints::{given, layout};
use super::{Input, ReadConfig, Settings, work_dir};
use crate::backup::select::Selector;
use crate::cli::{ClusterArgs, RestoreArgs};
use crate::exit::Failure;
use crate::kubernetes::kubeadm::{Layout, TlsFiles, Topology};
use crate::recovery::initial_cluster::InitialCluster;
use crate::url::Url;

#[derive(Debug)]
pub enum RestoreConfig {
    Member(Box<MemberConfig>),
    Plan(Box<PlanConfig>),
}

#[derive(Debug)]
pub struct MemberConfig {
    pub input: Input,
    pub data_dir: PathBuf,
    /// Where a stored backup is put while it is read; `None` for the disk of the data directory.
    pub work_dir: Option<PathBuf>,
    pub identity: IdentityConfig,
    /// 0 leaves the revision as it is; `None` raises it if etcdutl can.
    pub bump_revision: Option<u64>,
}

/// What is not set here comes from the snapshot.
#[derive(Debug)]
pub struct IdentityConfig {
    pub name: Option<String>,
    pub initial_cluster: Option<InitialCluster>,
    pub peer_urls: Option<String>,
    /// `None` for one that is made from the backup.
    pub token: Option<String>,
}

#[derive(Debug)]
pub struct PlanConfig {
    pub backup: ReadConfig,
    /// What the kubeadm file says, and the flags that overrule it.
    pub layout: Layout,
    /// Where the topology comes from, for the head of the plan.
    pub topology_source: String,
    /// Empty for the members that the snapshot records.
    pub members: InitialCluster,
    pub endpoints: Option<Vec<Url>>,
    /// `None` for one that is made from the backup.
    pub token: Option<String>,
    pub bump_revision: Option<u64>,
}

impl Settings {
    pub fn restore(&self, args: &RestoreArgs) -> Result<RestoreConfig, Failure> {
        match &args.data_dir {
            Some(data_dir) if !args.plan => {
                let config = self.restore_of_member(args, data_dir)?;
                Ok(RestoreConfig::Member(Box::new(config)))
            }
            _ => Ok(RestoreConfig::Plan(Box::new(self.restore_plan(args)?))),
        }
    }

    fn restore_of_member(&self, args: &RestoreArgs, data_dir: &Path) -> Result<MemberConfig, Failure> {
        let flags = &args.identity;
        let initial_cluster = flags.initial_cluster.as_ref().map(|list| list.parse()).transpose();
        let identity = IdentityConfig {
            name: flags.name.clone(),
            initial_cluster: initial_cluster.map_err(|why| Failure::settings(format!("initial-cluster: {why}")))?,
            peer_urls: flags.initial_advertise_peer_urls.clone(),
            token: flags.initial_cluster_token.clone(),
        };
        Ok(MemberConfig {
            input: self.restored_backup(args)?,
            data_dir: data_dir.to_owned(),
            work_dir: args.read.work.work_dir.clone(),
            identity,
            bump_revision: flags.bump_revision,
        })
    }

    fn restore_plan(&self, args: &RestoreArgs) -> Result<PlanConfig, Failure> {
        let (layout, topology_source) = planned_layout(&args.cluster, args.data_dir.as_deref())?;
        let mut members = InitialCluster::default();
        for member in &args.cluster.member {
            members.add(member).map_err(|why| Failure::settings(format!("member: {why}")))?;
        }
        let endpoints = given(args.cluster.endpoints.as_deref())?;
        Ok(PlanConfig {
            backup: ReadConfig { input: self.restored_backup(args)?, work_dir: work_dir(&args.read.work) },
            layout,
            topology_source,
            members,
            endpoints,
            token: args.identity.initial_cluster_token.clone(),
            bump_revision: args.identity.bump_revision,
        })
    }

    fn restored_backup(&self, args: &RestoreArgs) -> Result<Input, Failure> {
        match args.before {
            Some(time) => self.stored(Selector::Before(time.at(self.zone()?)), &args.read),
            // clap has checked that only a plan leaves the name out.
            None => Ok(self.backup(args.backup.as_deref().unwrap_or("latest"), &args.read)?.input),
        }
    }
}

/// The layout of the cluster to restore, and where its topology comes from.
fn planned_layout(args: &ClusterArgs, data_dir: Option<&Path>) -> Result<(Layout, String), Failure> {
    let (mut layout, mut source) = match layout(args.kubeadm_config.as_deref())? {
        Some((path, layout)) => (layout, format!("according to {}", path.display())),
        None => (
            Layout::default(),
            "which is kubeadm's default; set --kubeadm-config or --etcd if this cluster differs".to_owned(),
        ),
    };
    if let Some(topology) = args.etcd {
        source = String::from("according to --etcd");
        layout = with_topology(layout, topology);
    }
    if let (Some(ca), Some(cert), Some(key)) = (&args.cacert, &args.cert, &args.key) {
        layout.client = Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() });
    }
    if let Some(dir) = data_dir {
        layout.data_dir = dir.to_string_lossy().into_owned();
    }
    Ok((layout, source))
}

fn with_topology(layout: Layout, topology: Topology) -> Layout {
    if topology == layout.topology {
        return layout;
    }
    // The endpoints are those of the other kind of etcd, and so are kubeadm's own client files.
    let client = layout.client.filter(|_| topology == Topology::Stacked);
    Layout { topology, client, endpoints: Vec::new(), ..layout }
}
