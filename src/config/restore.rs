//! Settings of `restore`, for one member or for the plan of a whole cluster.

use std::path::{Path, PathBuf};

use super::endpoints::given;
use super::etcd_files::EtcdFile;
use super::layout::LayoutSettings;
use super::{Input, ReadConfig, Settings, work_dir};
use crate::backup::select::Selector;
use crate::cli::RestoreArgs;
use crate::exit::Failure;
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
    /// Where etcd has its log, if not in the data directory.
    pub wal_dir: Option<PathBuf>,
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
    pub layout: LayoutSettings,
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
        // Before the backup is looked for: this refusal needs nothing but this machine.
        let mut files = EtcdFile::find(args.etcd_file.as_deref())?;
        if args.etcd_file.is_none() {
            // A machine of a stacked etcd can have a unit that nobody uses, and the other way round.
            files.retain(|file| args.cluster.etcd.is_none_or(|topology| file.topology == topology));
        }
        EtcdFile::check(&files, data_dir, args.wal_dir.as_deref())?;
        Ok(MemberConfig {
            input: self.restored_backup(args)?,
            data_dir: data_dir.to_owned(),
            wal_dir: args.wal_dir.clone(),
            work_dir: args.read.work.work_dir.clone(),
            identity,
            bump_revision: flags.bump_revision,
        })
    }

    fn restore_plan(&self, args: &RestoreArgs) -> Result<PlanConfig, Failure> {
        let layout = LayoutSettings::read(args)?;
        let mut members = InitialCluster::default();
        for member in &args.cluster.member {
            members.add(member).map_err(|why| Failure::settings(format!("member: {why}")))?;
        }
        let endpoints = given(args.cluster.endpoints.as_deref())?;
        Ok(PlanConfig {
            backup: ReadConfig { input: self.restored_backup(args)?, work_dir: work_dir(&args.read.work) },
            layout,
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
