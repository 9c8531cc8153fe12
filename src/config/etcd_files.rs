//! What etcd's own manifest or unit on this machine says about its directories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::kubernetes::kubeadm::Topology;
use crate::recovery::data_dir::{own_wal_dir, plain};
use crate::recovery::etcd_settings::{self, EtcdSettings, Setting};
use crate::system::fs::read_small_text;

const KUBERNETES: &str = "/etc/kubernetes";
const MANIFEST: &str = "manifests/etcd.yaml";
/// How the directory below [`KUBERNETES`] begins to which a plan moves the manifests.
const STOPPED: &str = "stopped-";
/// In systemd's order: the first one counts.
const UNITS: [&str; 5] = [
    "/etc/systemd/system/etcd.service",
    "/run/systemd/system/etcd.service",
    "/usr/local/lib/systemd/system/etcd.service",
    "/usr/lib/systemd/system/etcd.service",
    "/lib/systemd/system/etcd.service",
];

/// A file that says how etcd is started on this machine.
#[derive(Debug)]
pub struct EtcdFile {
    pub path: PathBuf,
    pub topology: Topology,
    pub settings: EtcdSettings,
}

impl EtcdFile {
    /// Reads the file of the flag, or without it those that are in their usual places. An empty flag is for none.
    pub fn find(flag: Option<&str>) -> Result<Vec<Self>, Failure> {
        match flag {
            Some("") => Ok(vec![]),
            Some(path) => {
                let path = PathBuf::from(path);
                let text = read_small_text(&path).map_err(|e| refused(&path, &format!("cannot be read: {e}")))?;
                let unit = path.extension().is_some_and(|extension| extension == "service");
                let topology = if unit { Topology::External } else { Topology::Stacked };
                let file = Self::parse(path.clone(), topology, &text).map_err(|why| refused(&path, &why))?;
                Ok(vec![file])
            }
            None => {
                let manifests = manifests().into_iter().map(|path| (path, Topology::Stacked));
                let unit = UNITS.iter().map(PathBuf::from).find(|path| path.exists());
                let files = manifests.chain(unit.map(|path| (path, Topology::External)));
                Ok(files.filter_map(|(path, topology)| Self::usual(&path, topology)).collect())
            }
        }
    }

    /// `None` for a file that is not there, that only root may read, or that cannot be followed: it may be of no etcd
    /// that is restored here.
    fn usual(path: &Path, topology: Topology) -> Option<Self> {
        let file = match read_small_text(path) {
            Ok(text) => Self::parse(path.to_owned(), topology, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        let warn = |why| tracing::warn!("{} may name other directories of etcd, but {why}", path.display());
        file.map_err(warn).ok()
    }

    fn parse(path: PathBuf, topology: Topology, text: &str) -> Result<Self, String> {
        let read = |path: &Path| read_small_text(path).ok();
        let settings = match topology {
            Topology::Stacked => etcd_settings::of_manifest(text, &read),
            Topology::External => etcd_settings::of_unit(&with_drop_ins(&path, text), &read),
        }?;
        Ok(Self { path, topology, settings })
    }

    fn data_dir(&self) -> Option<&Path> {
        self.settings.data_dir.as_ref().and_then(Setting::here).map(Path::new)
    }

    fn is_of(&self, data_dir: &Path) -> bool {
        let resolved = |path: &Path| path.canonicalize().ok();
        let is_same = |dir: &Path| {
            plain(dir) == plain(data_dir) || resolved(dir).is_some_and(|dir| Some(dir) == resolved(data_dir))
        };
        self.data_dir().is_some_and(is_same)
    }

    /// Checks that etcd will look for its data and its log where the restore puts them. On others it would start as
    /// what they are, and on none empty. A file that does not tell has no say.
    pub fn check(files: &[Self], data_dir: &Path, wal_dir: Option<&Path>) -> Result<(), Failure> {
        let other = files.iter().find_map(|file| Some((file.path.display(), file.data_dir()?.display())));
        match other.filter(|_| !files.iter().any(|file| file.is_of(data_dir))) {
            Some((file, dir)) => Err(Failure::settings(format!(
                "data-dir: {file} has etcd keep its data in {dir}, not in {}: etcd would start on what is there; give \
                 --data-dir={dir}, or, if this restore is for another etcd, --etcd-file=''",
                data_dir.display()
            ))),
            None => files.iter().try_for_each(|file| file.check_wal_dir(data_dir, wal_dir)),
        }
    }

    fn check_wal_dir(&self, data_dir: &Path, given: Option<&Path>) -> Result<(), Failure> {
        let known = self.settings.wal_dir.as_ref().map(Setting::here);
        if !self.is_of(data_dir) || known == Some(None) {
            return Ok(());
        }
        let expected = own_wal_dir(data_dir, known.flatten().map(Path::new))?;
        if expected == own_wal_dir(data_dir, given)? {
            return Ok(());
        }
        let file = self.path.display();
        let advice = match &expected {
            Some(dir) => format!("{file} has etcd keep its log in {}: give --wal-dir={0}", dir.display()),
            None => format!("{file} has etcd keep its log in the data directory: leave --wal-dir out"),
        };
        Err(Failure::settings(format!(
            "wal-dir: {advice}; if that file is not this etcd's, point --etcd-file to the right one, or give it empty"
        )))
    }
}

fn refused(path: &Path, why: &str) -> Failure {
    let advice = "point --etcd-file to etcd's manifest or unit, or give it empty to look at none";
    Failure::settings(format!("etcd-file: {} {why}; {advice}", path.display()))
}

/// The static pod's manifest, or those that plans have moved aside.
fn manifests() -> Vec<PathBuf> {
    let manifest = Path::new(KUBERNETES).join(MANIFEST);
    if manifest.exists() {
        return vec![manifest];
    }
    let mut stopped: Vec<_> = fs::read_dir(KUBERNETES).into_iter().flatten().flatten().collect();
    stopped.retain(|entry| entry.file_name().to_string_lossy().starts_with(STOPPED));
    stopped.into_iter().map(|entry| entry.path().join("etcd.yaml")).collect()
}

/// A unit with its drop-ins behind it, which overrule it.
fn with_drop_ins(unit: &Path, text: &str) -> String {
    let name = unit.file_name().unwrap_or_default().to_string_lossy();
    let mut dirs = vec![unit.with_file_name(format!("{name}.d"))];
    if UNITS.iter().any(|usual| Path::new(usual) == unit) {
        dirs.push(PathBuf::from(format!("{}.d", UNITS[0])));
        dirs.dedup();
    }
    let mut files: Vec<_> = dirs.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let texts = files.iter().filter_map(|path| read_small_text(path).ok());
    [text.to_owned()].into_iter().chain(texts).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_agrees_with_etcds_own_files_about_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, flags: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("[Service]\nEnvironment=N=m1\nExecStart=etcd {flags}\n")).unwrap();
            EtcdFile::find(path.to_str()).unwrap().remove(0)
        };
        let checked =
            |files: &[EtcdFile], data: &str| EtcdFile::check(files, Path::new(data), None).map_err(|e| e.one_line());
        let d = || file("d.service", "--data-dir=/d");
        let refusal = checked(&[d()], "/var/lib/etcd").unwrap_err();
        for part in
            ["data-dir: /", "d.service has etcd keep its data in /d, not in /var/lib/etcd", "give --data-dir=/d, or"]
        {
            assert!(refusal.contains(part) && refusal.ends_with("--etcd-file=''"), "{refusal}");
        }
        assert_eq!(checked(&[d()], "/d/"), Ok(()));
        // One of several is enough, such as of the manifests that plans have moved.
        assert_eq!(checked(&[file("e.service", "--data-dir=/e"), d()], "/d"), Ok(()));
        assert!(checked(&[file("n.service", "--data-dir=/d/${N}")], "/d").unwrap_err().contains("--data-dir=/d/m1"));
        for says_nothing in ["", "--data-dir=/d/%H", "--data-dir=rel", "--data-dir=/${X}"] {
            assert_eq!(checked(&[file("x.service", says_nothing)], "/d"), Ok(()), "{says_nothing}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let real = file("l.service", &format!("--data-dir={}", dir.path().display()));
        assert_eq!(checked(&[real], link.to_str().unwrap()), Ok(()));
    }

    #[test]
    fn a_restore_agrees_with_etcds_own_file_about_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("etcd.service");
        let checked = |flags: &str, data: &str, wal: Option<&str>| {
            std::fs::write(&unit, format!("[Service]\nExecStart=etcd {flags}\n")).unwrap();
            let files = EtcdFile::find(unit.to_str()).unwrap();
            EtcdFile::check(&files, Path::new(data), wal.map(Path::new)).map_err(|e| e.one_line())
        };
        let both = "--data-dir=/d --wal-dir=/w";
        assert_eq!(checked(both, "/d/", Some("/w/")), Ok(()));
        assert_eq!(checked("--data-dir=/d", "/d", Some("/d/member/wal")), Ok(()));
        let missing = checked(both, "/d", None).unwrap_err();
        assert!(missing.contains("has etcd keep its log in /w: give --wal-dir=/w"), "{missing}");
        assert!(checked(both, "/d", Some("/x")).unwrap_err().contains("give --wal-dir=/w"));
        let too_much = checked("--data-dir=/d", "/d", Some("/w")).unwrap_err();
        assert!(too_much.contains("in the data directory: leave --wal-dir out"), "{too_much}");
        // A drop-in has the last word.
        std::fs::create_dir(dir.path().join("etcd.service.d")).unwrap();
        std::fs::write(
            dir.path().join("etcd.service.d/wal.conf"),
            "[Service]\nExecStart=\nExecStart=etcd --data-dir=/d",
        )
        .unwrap();
        assert_eq!(checked(both, "/d", None), Ok(()));
        assert!(EtcdFile::find(Some("")).unwrap().is_empty());
        assert!(EtcdFile::find(dir.path().join("no").to_str()).unwrap_err().one_line().starts_with("etcd-file: "));
    }
}
