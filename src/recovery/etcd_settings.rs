//! Where etcd keeps its data and its log, as its static pod's manifest or its systemd unit says. Pure: files that those
//! name are read by the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

/// Directories on the machine, not in the pod. What is not set is etcd's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdSettings {
    pub data_dir: Option<String>,
    pub wal_dir: Option<String>,
}

/// Reads a file that another one names; `None` if it cannot be read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// What etcd is started with.
#[derive(Debug, Default)]
struct Started {
    words: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Started {
    fn settings(&self, read: ReadFile<'_>) -> Result<EtcdSettings, String> {
        // With this file etcd reads neither the other flags nor the variables.
        if let Some(file) = self.setting("config-file") {
            let text = read(Path::new(&file)).ok_or_else(|| format!("names {file}, which cannot be read"))?;
            let file: ConfigFile = serde_yaml::from_str(&text).map_err(|e| format!("names {file}, which has {e}"))?;
            return Ok(EtcdSettings { data_dir: file.data_dir, wal_dir: file.wal_dir.filter(|dir| !dir.is_empty()) });
        }
        Ok(EtcdSettings { data_dir: self.setting("data-dir"), wal_dir: self.setting("wal-dir") })
    }

    /// A flag as it counts, which is the last one, else its variable.
    fn setting(&self, name: &str) -> Option<String> {
        let mut found = None;
        for (n, word) in self.words.iter().enumerate() {
            let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).and_then(|w| w.strip_prefix(name));
            match flag {
                Some("") => found = self.words.get(n + 1).cloned(),
                Some(rest) => found = rest.strip_prefix('=').map(str::to_owned).or(found),
                None => {}
            }
        }
        let variable = format!("ETCD_{}", name.to_uppercase().replace('-', "_"));
        found.or_else(|| self.environment.get(&variable).cloned()).filter(|value| !value.is_empty())
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
    let started = Started { words: words.collect(), environment };
    let inside = started.settings(&|path| read(Path::new(&on_machine(&path.to_string_lossy()))))?;
    Ok(EtcdSettings {
        data_dir: inside.data_dir.map(|dir| on_machine(&dir)),
        wal_dir: inside.wal_dir.map(|dir| on_machine(&dir)),
    })
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
    let words = words.iter().map(|word| expanded(word, &environment)).collect();
    Started { words, environment }.settings(read)
}

fn variables(pairs: &[String]) -> Vec<(String, String)> {
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
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

    fn settings(data_dir: Option<&str>, wal_dir: Option<&str>) -> EtcdSettings {
        EtcdSettings { data_dir: data_dir.map(str::to_owned), wal_dir: wal_dir.map(str::to_owned) }
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
            assert_eq!(of_manifest(&text, &files).unwrap(), settings(Some("/data"), Some("/wal")));
        } else {
            assert_eq!(of_manifest(&text, &files).unwrap(), settings(data_dir, wal_dir), "{text}");
        }
    }

    #[test]
    fn a_manifest_that_is_none_or_says_little() {
        assert_eq!(of_manifest("kind: Pod", &files).unwrap(), EtcdSettings::default());
        let shell = "kind: Pod\nspec: {containers: [{command: [sh, -c, 'exec etcd --wal-dir=/w']}]}";
        assert_eq!(of_manifest(shell, &files).unwrap(), settings(None, Some("/w")));
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
    #[case(
        "#ExecStart=etcd --wal-dir=/no\nExecStart=-etcd --config-file=/etc/etcd.yaml --wal-dir=/no",
        Some("/data"),
        Some("/wal")
    )]
    fn units(#[case] service: &str, #[case] data_dir: Option<&str>, #[case] wal_dir: Option<&str>) {
        let text = format!("[Unit]\nDescription=etcd = a store\n\n[Service]\nType=notify\n{service}\n");
        assert_eq!(of_unit(&text, &files).unwrap(), settings(data_dir, wal_dir), "{text}");
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
