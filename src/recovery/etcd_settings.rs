//! Where etcd keeps its data and its log, as its static pod's manifest or its systemd unit says. Pure: files that those
//! name are read by the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

/// Directories on the machine, not in the pod. What is not set is etcd's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdSettings {
    pub data_dir: Option<Setting>,
    pub wal_dir: Option<Setting>,
}

/// A word of etcd's command line, or the value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in the file. Only variables that hold a whole path are replaced.
    pub written: String,
    /// With all variables replaced that are known.
    value: String,
}

impl Setting {
    fn literal(text: String) -> Self {
        Self { written: text.clone(), value: text }
    }

    /// The path, unless it is relative or has parts that only systemd or a shell can replace.
    pub fn here(&self) -> Option<&str> {
        Some(self.value.as_str()).filter(|path| path.starts_with('/') && !has_variables(path))
    }

    /// The path, if nothing in it is of this machine or member alone.
    pub fn everywhere(&self) -> Option<&str> {
        self.here().filter(|_| !has_variables(&self.written))
    }
}

/// systemd's `%H` and `${NAME}`, the kubelet's `$(NAME)`, a shell's `$NAME`.
fn has_variables(text: &str) -> bool {
    text.contains(['%', '$'])
}

/// Reads a file that another one names; `None` if it cannot be read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// What etcd is started with.
#[derive(Debug, Default)]
struct Started {
    words: Vec<Setting>,
    environment: BTreeMap<String, String>,
}

impl Started {
    fn settings(&self, read: ReadFile<'_>) -> Result<EtcdSettings, String> {
        // With this file etcd reads neither the other flags nor the variables.
        if let Some(file) = self.setting("config-file") {
            let file = file.value;
            let text = read(Path::new(&file)).ok_or_else(|| format!("names {file}, which cannot be read"))?;
            let file: ConfigFile = serde_yaml::from_str(&text).map_err(|e| format!("names {file}, which has {e}"))?;
            let wal_dir = file.wal_dir.filter(|dir| !dir.is_empty());
            return Ok(EtcdSettings {
                data_dir: file.data_dir.map(Setting::literal),
                wal_dir: wal_dir.map(Setting::literal),
            });
        }
        Ok(EtcdSettings { data_dir: self.setting("data-dir"), wal_dir: self.setting("wal-dir") })
    }

    /// A flag as it counts, which is the last one, else its variable.
    fn setting(&self, name: &str) -> Option<Setting> {
        let mut found = None;
        for (n, word) in self.words.iter().enumerate() {
            let text = &word.value;
            let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).and_then(|w| w.strip_prefix(name));
            match flag.map(|rest| (rest, rest.strip_prefix('='))) {
                Some(("", _)) => found = self.words.get(n + 1).cloned(),
                Some((_, Some(value))) => {
                    let written = word.written.split_once('=').map_or("", |(_, written)| written);
                    found = Some(Setting { written: written.to_owned(), value: value.to_owned() });
                }
                _ => {}
            }
        }
        let variable = format!("ETCD_{}", name.to_uppercase().replace('-', "_"));
        let found = found.or_else(|| self.environment.get(&variable).cloned().map(Setting::literal));
        found.filter(|setting| !setting.value.is_empty())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ConfigFile {
    data_dir: Option<String>,
    wal_dir: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    kind: String,
    spec: Option<PodSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
    volumes: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<Variable>,
    volume_mounts: Vec<Mount>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Mount {
    name: String,
    #[serde(rename = "mountPath")]
    inside: PathBuf,
    #[serde(default, rename = "subPath")]
    sub_path: String,
}

/// Reads the manifest of a static pod. Its directories are those of the machine that are mounted there.
pub fn of_manifest(text: &str, read: ReadFile<'_>) -> Result<EtcdSettings, String> {
    let pod: Pod = serde_yaml::from_str(text).map_err(|e| format!("is not a pod's manifest: {e}"))?;
    if pod.kind != "Pod" {
        return Err("is not a pod's manifest".into());
    }
    let spec = pod.spec.unwrap_or_default();
    let is_etcd = |container: &&Container| container.name == "etcd";
    let Some(container) = spec.containers.iter().find(is_etcd).or_else(|| spec.containers.first()) else {
        return Ok(EtcdSettings::default());
    };
    let on_machine = |path: &str| on_machine(Path::new(path), container, &spec.volumes);
    // A shell's command line is one argument.
    let words = container.command.iter().chain(&container.args).flat_map(|word| {
        let words = shlex::split(word).filter(|words| words.len() > 1 && word.contains("etcd "));
        words.unwrap_or_else(|| vec![word.clone()])
    });
    let environment = container.env.iter().map(|v| (v.name.clone(), v.value.clone())).collect();
    let started = Started { words: words.map(Setting::literal).collect(), environment };
    let inside = started.settings(&|path| read(Path::new(&on_machine(&path.to_string_lossy()))))?;
    let outside = |dir: Setting| Setting { value: on_machine(&dir.value), ..dir };
    Ok(EtcdSettings { data_dir: inside.data_dir.map(outside), wal_dir: inside.wal_dir.map(outside) })
}

/// A path in the container, as a path on the machine, by the innermost volume that it is on.
fn on_machine(path: &Path, container: &Container, volumes: &[Value]) -> String {
    let host_path = |mount: &Mount| {
        let volume = volumes.iter().find(|volume| volume["name"].as_str() == Some(&mount.name))?;
        Some(Path::new(volume["hostPath"]["path"].as_str()?).join(&mount.sub_path))
    };
    let over = container.volume_mounts.iter().filter(|mount| path.starts_with(&mount.inside));
    let mount = over.max_by_key(|mount| mount.inside.components().count());
    let found = mount.and_then(|mount| Some(host_path(mount)?.join(path.strip_prefix(&mount.inside).ok()?)));
    found.unwrap_or_else(|| path.to_owned()).components().collect::<PathBuf>().to_string_lossy().into_owned()
}

/// Reads a unit of systemd, and after it the text of its drop-ins, in their order.
pub fn of_unit(text: &str, read: ReadFile<'_>) -> Result<EtcdSettings, String> {
    let mut environment = BTreeMap::new();
    let (mut files, mut command) = (Vec::new(), String::new());
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let Some((name, value)) = line.split_once('=') else { continue };
        match (name.trim(), value.trim()) {
            ("Environment", "") => environment.clear(),
            ("Environment", pairs) => environment.extend(variables(&shlex::split(pairs).unwrap_or_default())),
            ("EnvironmentFile", "") => files.clear(),
            ("EnvironmentFile", file) => files.push(file.to_owned()),
            ("ExecStart", value) => value.clone_into(&mut command),
            _ => {}
        }
    }
    if command.is_empty() {
        return Err("is not a service's unit: it has no ExecStart".into());
    }
    for file in files {
        // The variables of files win over those of the unit. A `-` means that the file may be missing.
        match (read(Path::new(file.trim_start_matches('-'))), file.starts_with('-')) {
            (Some(text), _) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
                let lines: Vec<_> = lines.map(|line| shlex::split(line).unwrap_or_default().join(" ")).collect();
                environment.extend(variables(&lines));
            }
            (None, true) => {}
            (None, false) => return Err(format!("names {file}, which cannot be read")),
        }
    }
    let words = shlex::split(&command).ok_or("has an ExecStart with a quote that is not closed")?;
    let paths = environment.iter().filter(|(_, value)| value.starts_with('/'));
    let paths = paths.map(|(name, value)| (name.clone(), value.clone())).collect();
    let words = words.iter().flat_map(|word| match several(word, &environment) {
        Some(words) => words.into_iter().map(Setting::literal).collect(),
        None => vec![Setting { written: expanded(word, &paths), value: expanded(word, &environment) }],
    });
    Started { words: words.collect(), environment }.settings(read)
}

fn variables(pairs: &[String]) -> Vec<(String, String)> {
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// What systemd makes of a word `$NAME` that stands for several.
fn several(word: &str, environment: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let words = shlex::split(environment.get(word.strip_prefix('$')?)?)?;
    Some(words).filter(|words| words.len() > 1 || words.iter().any(|word| word.starts_with('-')))
}

/// `${NAME}`, and `$NAME` as a whole word, as systemd puts in their values.
fn expanded(word: &str, environment: &BTreeMap<String, String>) -> String {
    if let Some(value) = word.strip_prefix('$').and_then(|name| environment.get(name)) {
        return value.clone();
    }
    environment.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("${{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Both directories, which each have to be the same on every member, or not set.
    fn paths(settings: &EtcdSettings) -> (Option<&str>, Option<&str>) {
        let mut set = settings.data_dir.iter().chain(&settings.wal_dir);
        assert!(set.all(|dir| dir.everywhere().is_some()), "{settings:?}");
        let [data_dir, wal_dir] = [&settings.data_dir, &settings.wal_dir].map(|dir| dir.as_ref()?.everywhere());
        (data_dir, wal_dir)
    }

    fn files(path: &Path) -> Option<String> {
        match path.to_str()? {
            "/etc/default/etcd" => Some("# for etcd\nETCD_DATA_DIR=\"/data\"\nETCD_WAL_DIR='/a wal'\n".into()),
            "/etc/etcd.yaml" | "/host/etcd.yaml" => Some("name: m\ndata-dir: /data\nwal-dir: /wal\n".into()),
            "/etc/odd.yaml" => Some("wal-dir: [1]".into()),
            _ => None,
        }
    }

    /// As kubeadm writes it, with what is not read left out.
    fn manifest(flags: &str, rest: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: etcd}}\nspec:\n  containers:\n  - command:\n    - etcd\n    - --name=m\n    - --data-dir=/var/lib/etcd\n{flags}    image: images.example/etcd:3.5.16-0\n    name: etcd\n    volumeMounts:\n    - mountPath: /var/lib/etcd\n      name: etcd-data\n    - mountPath: /etc/kubernetes/pki/etcd\n      name: etcd-certs\n{rest}  hostNetwork: true\n  volumes:\n  - hostPath:\n      path: /etc/kubernetes/pki/etcd\n      type: DirectoryOrCreate\n    name: etcd-certs\n  - hostPath: {{path: /var/lib/etcd, type: DirectoryOrCreate}}\n    name: etcd-data\n  - hostPath: {{path: /fast/disk/}}\n    name: wal\n"
        )
    }

    #[rstest]
    #[case("", "", Some("/var/lib/etcd"), None)]
    #[case("    - --wal-dir=/var/lib/etcd/wal\n", "", Some("/var/lib/etcd"), Some("/var/lib/etcd/wal"))]
    #[case("    - --wal-dir\n    - /w\n", "", Some("/var/lib/etcd"), Some("/w"))]
    #[case("    - -wal-dir=/x\n    - --wal-dir=/y\n", "", Some("/var/lib/etcd"), Some("/y"))]
    #[case("    - --wal-dir=\n", "", Some("/var/lib/etcd"), None)]
    #[case(
        "    - --wal-dir=/wal/a\n",
        "    - {mountPath: /wal, name: wal, subPath: s}\n",
        Some("/var/lib/etcd"),
        Some("/fast/disk/s/a")
    )]
    #[case("", "    env:\n    - {name: ETCD_WAL_DIR, value: /e}\n", Some("/var/lib/etcd"), Some("/e"))]
    #[case("    - --config-file=/c/etcd.yaml\n", "    - {mountPath: /c, name: c}\n", None, None)]
    fn manifests(
        #[case] flags: &str,
        #[case] rest: &str,
        #[case] data_dir: Option<&str>,
        #[case] wal_dir: Option<&str>,
    ) {
        let text = manifest(flags, rest);
        if data_dir.is_none() {
            assert!(of_manifest(&text, &files).unwrap_err().contains("/c/etcd.yaml, which cannot be read"));
            let text = text.replace("name: wal\n", "name: wal\n  - hostPath: {path: /host}\n    name: c\n");
            assert_eq!(paths(&of_manifest(&text, &files).unwrap()), (Some("/data"), Some("/wal")));
        } else {
            assert_eq!(paths(&of_manifest(&text, &files).unwrap()), (data_dir, wal_dir), "{text}");
        }
    }

    #[test]
    fn a_manifest_that_is_none_or_says_little() {
        assert_eq!(of_manifest("kind: Pod", &files).unwrap(), EtcdSettings::default());
        let shell = "kind: Pod\nspec: {containers: [{command: [sh, -c, 'exec etcd --wal-dir=/w']}]}";
        assert_eq!(paths(&of_manifest(shell, &files).unwrap()), (None, Some("/w")));
        for text in ["", "a: [", "kind: Job", "kind: Pod\nspec: 5"] {
            assert!(of_manifest(text, &files).unwrap_err().contains("is not a pod's manifest"), "{text}");
        }
    }

    #[rstest]
    #[case("ExecStart=/usr/bin/etcd", None, None)]
    #[case("ExecStart=/usr/bin/etcd --data-dir=/d \\\n  --wal-dir /w", Some("/d"), Some("/w"))]
    #[case("ExecStart=/usr/bin/etcd --data-dir /d\nExecStart=\nExecStart=etcd --wal-dir=/w", None, Some("/w"))]
    #[case("Environment=\"ETCD_WAL_DIR=/w x\" ETCD_DATA_DIR=/d\nExecStart=etcd", Some("/d"), Some("/w x"))]
    #[case("Environment=ETCD_WAL_DIR=/w\nEnvironment=\nExecStart=etcd", None, None)]
    #[case("EnvironmentFile=-/etc/default/etcd\nExecStart=etcd", Some("/data"), Some("/a wal"))]
    #[case("EnvironmentFile=-/nowhere\nExecStart=etcd --wal-dir=/w", None, Some("/w"))]
    #[case(
        "EnvironmentFile=/etc/default/etcd\nExecStart=etcd --wal-dir=${ETCD_DATA_DIR}/w",
        Some("/data"),
        Some("/data/w")
    )]
    #[case("Environment=W=/w\nExecStart=etcd --wal-dir $W", None, Some("/w"))]
    #[case("Environment=\"ARGS=--data-dir /d --wal-dir=/w\"\nExecStart=etcd $ARGS", Some("/d"), Some("/w"))]
    #[case(
        "#ExecStart=etcd --wal-dir=/no\nExecStart=-etcd --config-file=/etc/etcd.yaml --wal-dir=/no",
        Some("/data"),
        Some("/wal")
    )]
    fn units(#[case] service: &str, #[case] data_dir: Option<&str>, #[case] wal_dir: Option<&str>) {
        let text = format!("[Unit]\nDescription=etcd = a store\n\n[Service]\nType=notify\n{service}\n");
        assert_eq!(paths(&of_unit(&text, &files).unwrap()), (data_dir, wal_dir), "{text}");
    }

    #[rstest]
    #[case("ExecStart=etcd --data-dir=/var/lib/etcd/%H", None, "/var/lib/etcd/%H")]
    #[case("Environment=ETCD_DATA_DIR=/d/%H\nExecStart=etcd", None, "/d/%H")]
    #[case("Environment=N=m1\nExecStart=etcd --data-dir /d/${N}.etcd", Some("/d/m1.etcd"), "/d/${N}.etcd")]
    #[case("Environment=D=/d N=m1\nExecStart=etcd --data-dir=${D}/${N}", Some("/d/m1"), "/d/${N}")]
    #[case("ExecStart=etcd --data-dir=${N}.etcd", None, "${N}.etcd")]
    #[case("ExecStart=etcd --data-dir=default.etcd", None, "default.etcd")]
    fn directories_of_one_member(#[case] service: &str, #[case] here: Option<&str>, #[case] written: &str) {
        let found = of_unit(&format!("[Service]\n{service}\n"), &files).unwrap().data_dir.unwrap();
        assert_eq!((found.here(), found.everywhere(), found.written.as_str()), (here, None, written));
    }

    #[test]
    fn a_unit_that_cannot_be_followed_is_an_error() {
        for (text, why) in [
            ("[Service]\n", "no ExecStart"),
            ("EnvironmentFile=/nowhere\nExecStart=etcd", "names /nowhere, which cannot be read"),
            ("ExecStart=etcd '", "not closed"),
            ("ExecStart=etcd --config-file=/nowhere", "names /nowhere"),
            ("ExecStart=etcd --config-file=/etc/odd.yaml", "names /etc/odd.yaml, which has"),
        ] {
            let error = of_unit(text, &files).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
