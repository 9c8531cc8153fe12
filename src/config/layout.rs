//! Where the members of a cluster that is to be restored have their etcd, by flags and files; the backup adds what it knows.

use std::path::{Path, PathBuf};

use super::endpoints::layout;
use super::etcd_files::EtcdFile;
use crate::cli::{ClusterArgs, RestoreArgs};
use crate::exit::Failure;
use crate::kubernetes::kubeadm::{Layout, TlsFiles, Topology};
use crate::recovery::etcd_settings::Setting;

/// What is known of the cluster's layout without the backup.
#[derive(Debug)]
pub struct LayoutSettings {
    /// kubeadm's file, and what it says.
    kubeadm: Option<(PathBuf, Layout)>,
    /// Of this machine, which may be one of the cluster's.
    etcd_files: Vec<EtcdFile>,
    // The flags, which overrule both.
    etcd: Option<Topology>,
    client: Option<TlsFiles>,
    data_dir: Option<PathBuf>,
    wal_dir: Option<PathBuf>,
}

/// The layout, with where it comes from for the head of a plan.
#[derive(Debug)]
pub struct FoundLayout {
    pub layout: Layout,
    /// Where the topology comes from, such as `according to --etcd`.
    pub topology_source: String,
    /// The same for the directories; `None` if they are only the usual ones.
    pub directories_source: Option<String>,
    /// What this machine's own file says and is not used, as sentences.
    pub not_used: Vec<String>,
}

impl LayoutSettings {
    pub fn read(args: &RestoreArgs) -> Result<Self, Failure> {
        let flags: &ClusterArgs = &args.cluster;
        let client = match (&flags.cacert, &flags.cert, &flags.key) {
            (Some(ca), Some(cert), Some(key)) => {
                Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ => None,
        };
        for (setting, dir) in [("data-dir", &args.data_dir), ("wal-dir", &args.wal_dir)] {
            if let Some(dir) = dir.as_ref().filter(|dir| dir.is_relative()) {
                return Err(Failure::settings(format!(
                    "{setting}: {} is relative; give its whole path, because a plan is for other machines",
                    dir.display()
                )));
            }
        }
        Ok(Self {
            kubeadm: layout(flags.kubeadm_config.as_deref())?,
            etcd_files: EtcdFile::find(args.etcd_file.as_deref())?,
            etcd: flags.etcd,
            client,
            data_dir: args.data_dir.clone(),
            wal_dir: args.wal_dir.clone(),
        })
    }

    /// Whether the layout in the backup has no say, because there is a file of kubeadm.
    pub const fn is_given(&self) -> bool {
        self.kubeadm.is_some()
    }

    /// The layout. One in the backup that is not known is the reason why. Where nothing tells the topology, it is not
    /// guessed.
    pub fn layout(&self, in_backup: Result<Layout, String>) -> Result<FoundLayout, Failure> {
        let (found, source) = match &self.kubeadm {
            Some((path, layout)) => (Ok(layout.clone()), format!("according to {}", path.display())),
            None => (in_backup, "according to kubeadm's ConfigMap in the backup".to_owned()),
        };
        // kubeadm does not know the directories of an external etcd.
        let by_kubeadm =
            found.as_ref().is_ok_and(|layout| layout.topology == Topology::Stacked).then(|| source.clone());
        let (mut layout, topology_source) = match (self.etcd, found) {
            (Some(topology), found) => {
                (with_topology(found.unwrap_or_default(), topology), "according to --etcd".to_owned())
            }
            (None, Ok(layout)) => (layout, source),
            (None, Err(why)) => {
                return Err(Failure::settings(format!(
                    "etcd: {why}, and neither --etcd nor --kubeadm-config is set; give --etcd=stacked if etcd runs as \
                     kubeadm's static pods, --etcd=external if it runs as systemd's service `etcd`"
                )));
            }
        };
        let own = self.etcd_files.iter().find(|file| file.topology == layout.topology);
        let by_kubeadm = by_kubeadm.filter(|_| layout.topology == Topology::Stacked);
        let directories_source = self.set_directories(&mut layout, own).or(by_kubeadm);
        if self.client.is_some() {
            layout.client.clone_from(&self.client);
        }
        let not_used = own.map(|file| self.not_used(file)).unwrap_or_default();
        Ok(FoundLayout { layout, topology_source, directories_source, not_used })
    }

    /// Each directory by its flag, else by etcd's own file, else by kubeadm. A log belongs to one data directory. Tells
    /// the source, if it is one of the first two.
    fn set_directories(&self, layout: &mut Layout, file: Option<&EtcdFile>) -> Option<String> {
        let own = file.and_then(|file| Some((file, everywhere(file.settings.data_dir.as_ref())?)));
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (data_dir, source) = match (&self.data_dir, own) {
            (Some(dir), _) => (text(dir), Some("according to --data-dir".to_owned())),
            (None, Some((file, dir))) => (dir.to_owned(), Some(format!("according to {}", file.path.display()))),
            (None, None) => (layout.data_dir.clone(), None),
        };
        let wal_dir = match own {
            _ if self.wal_dir.is_some() => self.wal_dir.as_ref().map(text),
            Some((file, dir)) if Path::new(dir) == Path::new(&data_dir) => {
                everywhere(file.settings.wal_dir.as_ref()).map(str::to_owned)
            }
            _ => layout.wal_dir.take().filter(|_| Path::new(&layout.data_dir) == Path::new(&data_dir)),
        };
        (layout.data_dir, layout.wal_dir) = (data_dir, wal_dir);
        source
    }

    fn not_used(&self, file: &EtcdFile) -> Vec<String> {
        let (data_dir, wal_dir) = (file.settings.data_dir.as_ref(), file.settings.wal_dir.as_ref());
        let is_other = |dir: Option<&Setting>| everywhere(dir).is_none();
        let data = data_dir.filter(|_| self.data_dir.is_none() && is_other(data_dir));
        let log = wal_dir.filter(|_| self.wal_dir.is_none() && (is_other(wal_dir) || is_other(data_dir)));
        let said = [("data", "data-dir", data), ("log", "wal-dir", log)].into_iter().filter_map(|(what, flag, dir)| {
            Some(format!(
                "Not used: {} of this machine has etcd's {what} in `{}`, which need not be the same directory on every \
                 member. Give --{flag}.",
                file.path.display(),
                dir?.written
            ))
        });
        said.collect()
    }
}

fn everywhere(dir: Option<&Setting>) -> Option<&str> {
    dir.and_then(Setting::everywhere)
}

fn with_topology(layout: Layout, topology: Topology) -> Layout {
    if topology == layout.topology {
        return layout;
    }
    // The endpoints and directories are those of the other kind of etcd, and so are kubeadm's own client files.
    let client = layout.client.filter(|_| topology == Topology::Stacked);
    Layout { topology, client, endpoints: Vec::new(), ..Layout::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kubeadm::Topology::{External, Stacked};

    const NONE: LayoutSettings =
        LayoutSettings { kubeadm: None, etcd_files: vec![], etcd: None, client: None, data_dir: None, wal_dir: None };

    fn by_kubeadm(data_dir: &str, wal_dir: Option<&str>) -> Layout {
        Layout { data_dir: data_dir.into(), wal_dir: wal_dir.map(str::to_owned), ..Layout::default() }
    }

    fn unknown() -> Result<Layout, String> {
        Err("nothing is known".into())
    }

    #[test]
    fn the_topology_is_never_guessed() {
        let external = || Layout { topology: External, ..Layout::default() };
        let file = || LayoutSettings { kubeadm: Some(("/k".into(), external())), ..NONE };
        let topology = |settings: LayoutSettings, in_backup| {
            settings
                .layout(in_backup)
                .map(|found| (found.layout.topology, found.topology_source))
                .map_err(|e| e.one_line())
        };
        let found = |topology, source: &str| Ok((topology, format!("according to {source}")));
        assert_eq!(topology(NONE, Ok(external())), found(External, "kubeadm's ConfigMap in the backup"));
        assert_eq!(topology(file(), Ok(Layout::default())), found(External, "/k"));
        let flag = LayoutSettings { etcd: Some(Stacked), ..file() };
        assert_eq!(topology(flag, unknown()), found(Stacked, "--etcd"));
        assert_eq!(topology(LayoutSettings { etcd: Some(External), ..NONE }, unknown()), found(External, "--etcd"));
        let refusal = topology(NONE, unknown()).unwrap_err();
        assert!(refusal.starts_with("etcd: nothing is known, and neither --etcd nor"), "{refusal}");
        assert!(refusal.contains("--etcd=stacked") && refusal.contains("--etcd=external"), "{refusal}");
    }

    #[test]
    fn what_else_the_backup_knows_is_taken_with_the_flag() {
        let flag = LayoutSettings { etcd: Some(Stacked), ..NONE };
        assert_eq!(flag.layout(Ok(by_kubeadm("/d", Some("/w")))).unwrap().layout, by_kubeadm("/d", Some("/w")));
        // But not the directories of another kind of etcd.
        let flag = LayoutSettings { etcd: Some(External), ..NONE };
        let layout = flag.layout(Ok(by_kubeadm("/d", Some("/w")))).unwrap().layout;
        assert_eq!((layout.data_dir.as_str(), layout.wal_dir, layout.client), ("/var/lib/etcd", None, None));
    }

    #[test]
    fn a_log_belongs_to_its_data_directory() {
        let dirs = |flags: (Option<&str>, Option<&str>), own: Option<(&str, Option<&str>)>| {
            let dir = tempfile::tempdir().unwrap();
            let manifest = dir.path().join("etcd.yaml");
            let files = own.map(|(data, wal)| {
                let wal = wal.map(|wal| format!(", --wal-dir={wal}")).unwrap_or_default();
                let text = format!("kind: Pod\nspec: {{containers: [{{command: [etcd, --data-dir={data}{wal}]}}]}}");
                std::fs::write(&manifest, text).unwrap();
                EtcdFile::find(manifest.to_str()).unwrap()
            });
            let settings = LayoutSettings {
                data_dir: flags.0.map(PathBuf::from),
                wal_dir: flags.1.map(PathBuf::from),
                etcd_files: files.unwrap_or_default(),
                ..NONE
            };
            let layout = settings.layout(Ok(by_kubeadm("/k", Some("/kw")))).unwrap().layout;
            (layout.data_dir, layout.wal_dir.unwrap_or_default())
        };
        let expected = |data: &str, wal: &str| (data.to_owned(), wal.to_owned());
        assert_eq!(dirs((None, None), None), expected("/k", "/kw"));
        assert_eq!(dirs((Some("/f"), None), None), expected("/f", ""));
        assert_eq!(dirs((Some("/k/"), None), None), expected("/k/", "/kw"));
        assert_eq!(dirs((None, Some("/fw")), None), expected("/k", "/fw"));
        assert_eq!(dirs((None, None), Some(("/m", Some("/mw")))), expected("/m", "/mw"));
        assert_eq!(dirs((None, None), Some(("/k", None))), expected("/k", ""));
        assert_eq!(dirs((Some("/k"), None), Some(("/m", Some("/mw")))), expected("/k", "/kw"));
    }

    #[test]
    fn a_plan_says_where_its_directories_come_from() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("etcd.service");
        let of = |flags: Option<&str>, settings: LayoutSettings, in_backup| {
            let etcd_files = flags.map(|flags| {
                let text = format!("[Service]\nEnvironment=N=m1\nExecStart=etcd {flags}\n");
                std::fs::write(&unit, text).unwrap();
                EtcdFile::find(unit.to_str()).unwrap()
            });
            let settings = LayoutSettings { etcd_files: etcd_files.unwrap_or_default(), ..settings };
            let found = settings.layout(in_backup).unwrap();
            let layout = (found.layout.data_dir, found.layout.wal_dir);
            (layout, found.directories_source, found.not_used.join(" "))
        };
        let external = || LayoutSettings { etcd: Some(External), ..NONE };
        let dirs = |data: &str, wal: Option<&str>| (data.to_owned(), wal.map(str::to_owned));
        let usual = dirs("/var/lib/etcd", None);
        let by_flag = || LayoutSettings { data_dir: Some("/f".into()), ..external() };
        let flag = Some("according to --data-dir".to_owned());
        let by_file = Some(format!("according to {}", unit.display()));
        assert_eq!(of(None, external(), unknown()), (usual.clone(), None, String::new()));
        assert_eq!(of(None, by_flag(), unknown()), (dirs("/f", None), flag.clone(), String::new()));
        let kubeadm = "according to kubeadm's ConfigMap in the backup".to_owned();
        assert_eq!(of(None, NONE, Ok(by_kubeadm("/k", None))), (dirs("/k", None), Some(kubeadm), String::new()));
        let external_by_kubeadm = Layout { topology: External, ..Layout::default() };
        assert_eq!(of(None, NONE, Ok(external_by_kubeadm)).1, None);
        assert_eq!(of(None, external(), Ok(by_kubeadm("/k", None))).1, None);
        let found = of(Some("--data-dir=/d --wal-dir=/w"), external(), unknown());
        assert_eq!(found, (dirs("/d", Some("/w")), by_file.clone(), String::new()));

        for own in ["/d/%H", "/d/${N}.etcd", "rel"] {
            let (dirs, source, not_used) = of(Some(&format!("--data-dir={own}")), external(), unknown());
            assert_eq!((dirs, source), (usual.clone(), None), "{own}");
            assert!(not_used.contains(&format!("data in `{own}`")) && not_used.ends_with("Give --data-dir."), "{own}");
            assert_eq!(of(Some(&format!("--data-dir={own}")), by_flag(), unknown()).2, "", "{own}");
            let (found, source, not_used) = of(Some(&format!("--data-dir=/d --wal-dir={own}")), external(), unknown());
            assert_eq!((found, &source), (("/d".to_owned(), None), &by_file), "{own}");
            assert!(not_used.contains(&format!("log in `{own}`")) && not_used.ends_with("Give --wal-dir."), "{own}");
        }
    }
}
