//! A rendered pod, run without Kubernetes: each container's own arguments, environment, mounts, user and capabilities,
//! in namespaces of its own. What the kubelet would do with volumes and maps is done here from the rendered objects.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_yaml::Value;
use tempfile::TempDir;

use super::render::{Render, list, text};
use crate::support::tools;

/// The node and the cluster around the pod: what a volume or a reference finds there.
#[derive(Default)]
pub struct Surroundings {
    /// Folders of the node, by the path in `hostPath`, which may also be one below.
    pub host: BTreeMap<String, PathBuf>,
    /// Claims, by name. Their volumes give nothing to the pod's group, as those of NFS and hostPath do not.
    pub claims: BTreeMap<String, PathBuf>,
    /// kubeadm's `ClusterConfiguration`; without it there is no such ConfigMap.
    pub kubeadm: Option<String>,
}

impl Surroundings {
    fn on_the_node(&self, volume: &Value) -> PathBuf {
        let wanted = Path::new(text(&volume["path"]));
        let known = |(at, folder): (&String, &PathBuf)| wanted.strip_prefix(at).ok().map(|below| folder.join(below));
        let path = self.host.iter().find_map(known).unwrap_or_else(|| panic!("no {} on the node", wanted.display()));
        // The kubelet checks this before it starts a container.
        assert_eq!(path.is_file(), volume["type"] == "File", "{}", path.display());
        path
    }
}

pub struct Pod {
    render: Render,
    volumes: BTreeMap<String, PathBuf>,
    folder: TempDir,
}

impl Pod {
    pub fn new(render: Render, around: &Surroundings) -> Self {
        let mut pod = Self { render, volumes: BTreeMap::new(), folder: tempfile::tempdir().unwrap() };
        // Users other than root pass through it to the volumes.
        fs::set_permissions(pod.folder.path(), Permissions::from_mode(0o755)).unwrap();
        for volume in list(&pod.render.pod()["volumes"]).to_vec() {
            let path = pod.volume(&volume, around);
            pod.volumes.insert(text(&volume["name"]).to_owned(), path);
        }
        pod
    }

    /// Where the volume is on this machine.
    pub fn path(&self, volume: &str) -> &Path {
        &self.volumes[volume]
    }

    pub fn names(&self) -> Vec<String> {
        self.render.containers().iter().map(|container| text(&container["name"]).to_owned()).collect()
    }

    fn volume(&self, volume: &Value, around: &Surroundings) -> PathBuf {
        let own = self.folder.path().join("volumes").join(text(&volume["name"]));
        if volume["hostPath"].is_mapping() {
            return around.on_the_node(&volume["hostPath"]);
        }
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            return around.claims[claim].clone();
        }
        fs::create_dir_all(&own).unwrap();
        if volume["emptyDir"].is_mapping() {
            fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
            self.give_to_group(&own, 0o2777);
            return own;
        }
        let (files, mode) = if let Some(name) = volume["secret"]["secretName"].as_str() {
            (decoded(self.object("Secret", name)), volume["secret"]["defaultMode"].as_u64())
        } else {
            (self.config_map(&volume["configMap"], around), None)
        };
        let mode = u32::try_from(mode.unwrap_or(0o644)).unwrap();
        project(&own, &files, mode, self.fs_group());
        own
    }

    fn config_map(&self, source: &Value, around: &Surroundings) -> BTreeMap<String, Vec<u8>> {
        if source["name"] == "kubeadm-config" {
            assert_eq!(source["optional"], true);
            let path = text(&source["items"][0]["path"]).to_owned();
            return around.kubeadm.iter().map(|config| (path.clone(), config.clone().into_bytes())).collect();
        }
        pairs(&self.object("ConfigMap", text(&source["name"]))["data"])
            .map(|(key, value)| (key, value.into_bytes()))
            .collect()
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let mut all = self.render.of_kind(kind).into_iter();
        all.find(|object| object["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn fs_group(&self) -> Option<u32> {
        self.render.pod()["securityContext"]["fsGroup"].as_u64().map(|group| u32::try_from(group).unwrap())
    }

    fn give_to_group(&self, path: &Path, mode: u32) {
        if let Some(group) = self.fs_group() {
            chown(path, None, Some(group)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }

    fn environment(&self, container: &Value) -> Vec<(String, String)> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for from in list(&container["envFrom"]) {
            all.extend(pairs(&self.object("ConfigMap", text(&from["configMapRef"]["name"]))["data"]));
        }
        for variable in list(&container["env"]) {
            let name = text(&variable["name"]).to_owned();
            if let Some(value) = self.value(variable) {
                all.insert(name, value);
            }
        }
        all.into_iter().collect()
    }

    fn value(&self, variable: &Value) -> Option<String> {
        let from = &variable["valueFrom"];
        if let Some(key) = from["configMapKeyRef"]["key"].as_str() {
            let map = self.object("ConfigMap", text(&from["configMapKeyRef"]["name"]));
            let value = map["data"][key].as_str().map(str::to_owned);
            let optional = from["configMapKeyRef"]["optional"] == true;
            assert!(value.is_some() || optional, "the container would not start without {key}");
            return value;
        }
        if from["fieldRef"]["fieldPath"] == "status.hostIP" {
            return Some("127.0.0.1".to_owned());
        }
        Some(text(&variable["value"]).to_owned())
    }

    /// Runs one container to its end.
    pub fn run(&self, name: &str) -> ContainerResult {
        let container = self.render.container(name);
        let root = self.folder.path().join(format!("root-{name}"));
        let last_words = self.folder.path().join(format!("termination-log-{name}"));
        fs::create_dir(&root).unwrap();
        fs::write(&last_words, "").unwrap();
        fs::set_permissions(&last_words, Permissions::from_mode(0o666)).unwrap();
        let mut script = Script::new(root);
        for mount in list(&container["volumeMounts"]) {
            let path = self.path(text(&mount["name"]));
            script.bind(path, text(&mount["mountPath"]), mount["readOnly"] == true);
        }
        script.bind(&last_words, "/dev/termination-log", false);
        let environment = self.environment(container);
        let script = script.exec(&self.identity(container), &environment, &container["args"]);
        let output = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", &script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("unshare");
        ContainerResult { output, last_words: fs::read_to_string(last_words).unwrap() }
    }

    /// All containers, each of which must succeed; answers the last one's report.
    pub fn succeeds(&self) -> ContainerResult {
        let mut last = None;
        for name in self.names() {
            last = Some(self.run(&name).exits(0));
        }
        last.expect("a container")
    }

    /// As flags of `setpriv`.
    fn identity(&self, container: &Value) -> String {
        let of = |field: &str| {
            let own = container["securityContext"][field].as_u64();
            own.or_else(|| self.render.pod()["securityContext"][field].as_u64()).expect(field)
        };
        let groups = self.fs_group().map_or("--clear-groups".to_owned(), |group| format!("--groups={group}"));
        let added = list(&container["securityContext"]["capabilities"]["add"]);
        let added: String = added.iter().flat_map(|name| [",+", text(name)]).collect();
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        format!(
            "--reuid={} --regid={} {groups} --inh-caps=-all --bounding-set=-all{} --no-new-privs",
            of("runAsUser"),
            of("runAsGroup"),
            added.to_lowercase()
        )
    }
}

/// The result of a container that has ended.
pub struct ContainerResult {
    output: Output,
    pub last_words: String,
}

impl ContainerResult {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.said());
        self
    }

    pub fn said(&self) -> String {
        let words = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
        format!("{}\n{}", words(&self.output.stdout), words(&self.output.stderr))
    }
}

/// What prepares a container's root, a read-only one, and becomes its process.
struct Script {
    root: PathBuf,
    lines: Vec<String>,
}

impl Script {
    fn new(root: PathBuf) -> Self {
        let at = quoted(&root);
        let mut script = Self { root, lines: Vec::new() };
        script.line("mount --make-rprivate /");
        script.line(&format!("mount -t tmpfs -o mode=755 root {at}"));
        // The image's own files: the binary under test and rclone; the libraries of this machine for both.
        for link in ["bin", "lib", "lib64"] {
            script.line(&format!("ln -s usr/{link} {at}/{link}"));
        }
        script.bind(Path::new("/usr"), "/usr", true);
        script.bind(&tools::tool("rclone").canonicalize().unwrap(), "/image/rclone", true);
        script.bind(Path::new(env!("CARGO_BIN_EXE_etcd-backup")), "/image/etcd-backup", true);
        for device in ["null", "urandom"] {
            script.bind(&Path::new("/dev").join(device), &format!("/dev/{device}"), false);
        }
        script.line(&format!("mkdir {at}/proc; mount -t proc proc {at}/proc"));
        script
    }

    fn line(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    fn bind(&mut self, from: &Path, to: &str, read_only: bool) {
        let place = quoted(&self.root.join(to.trim_start_matches('/')));
        let make = if from.is_dir() { "mkdir -p" } else { "touch" };
        self.line(&format!("mkdir -p \"$(dirname {place})\"; {make} {place}; mount --bind {} {place}", quoted(from)));
        if read_only {
            self.line(&format!("mount -o remount,bind,ro {place}"));
        }
    }

    fn exec(mut self, identity: &str, environment: &[(String, String)], args: &Value) -> String {
        let at = quoted(&self.root);
        self.line(&format!("mount -o remount,ro {at}"));
        let variables: Vec<_> =
            environment.iter().map(|(name, value)| quoted(Path::new(&format!("{name}={value}")))).collect();
        let args: Vec<_> = list(args).iter().map(|arg| quoted(Path::new(text(arg)))).collect();
        self.line(&format!(
            "exec chroot {at} /usr/bin/setpriv {identity} /usr/bin/env -i PATH=/image HOME=/tmp {} /image/etcd-backup {}",
            variables.join(" "),
            args.join(" ")
        ));
        self.lines.join("\n")
    }
}

fn quoted(path: &Path) -> String {
    shlex::try_quote(path.to_str().expect("UTF-8")).expect("no NUL").into_owned()
}

/// A map's keys and values.
fn pairs(data: &Value) -> impl Iterator<Item = (String, String)> {
    data.as_mapping().into_iter().flatten().map(|(key, value)| (text(key).to_owned(), text(value).to_owned()))
}

fn decoded(secret: &Value) -> BTreeMap<String, Vec<u8>> {
    pairs(&secret["data"]).map(|(key, value)| (key, base64(&value))).collect()
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| alphabet.iter().position(|known| *known == byte);
    let digits: Vec<usize> = text.bytes().filter_map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | chunk.get(i).copied().unwrap_or(0));
        [bits >> 16 & 255, bits >> 8 & 255, bits & 255].into_iter().take(chunk.len() - 1)
    });
    bytes.map(|byte| u8::try_from(byte).unwrap()).collect()
}

/// As the kubelet mounts maps and Secrets: the keys are links through `..data` to a dated folder.
fn project(folder: &Path, files: &BTreeMap<String, Vec<u8>>, mode: u32, group: Option<u32>) {
    let dated = "..2026_01_02_03_04_05.678901234";
    fs::create_dir(folder.join(dated)).unwrap();
    symlink(dated, folder.join("..data")).unwrap();
    for (key, bytes) in files {
        let path = folder.join(dated).join(key);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, None, group).unwrap();
        symlink(format!("..data/{key}"), folder.join(key)).unwrap();
    }
}

/// Owner, group and permissions, as `0:65532 640`.
pub fn ownership(path: &Path) -> String {
    let metadata = fs::metadata(path).unwrap();
    format!("{}:{} {:o}", metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}
