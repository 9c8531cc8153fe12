//! `kubectl kustomize`, and what it answers.

use std::{fs, path::Path, sync::OnceLock};

use serde::Deserialize;
use serde_yaml::Value;
use tempfile::TempDir;

use crate::support::tools;

pub const PACKAGES: [&str; 2] = ["etcd-backup-s3", "etcd-backup-pvc"];
pub const COMPONENTS: [&str; 4] = ["cluster-dns", "kubeadm-stacked", "no-host-network", "single"];

/// The repository, which the packages are part of.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The objects that one `kubectl apply -k` would send.
pub struct Render {
    pub text: String,
    objects: Vec<Value>,
}

impl Render {
    /// What is below `kustomize`, by its path there.
    pub fn shipped(path: &str) -> Self {
        Self::folder(&root().join("kustomize").join(path))
    }

    pub fn folder(folder: &Path) -> Self {
        let output =
            tools::command(tools::tool("kubectl")).arg("kustomize").arg(folder).output().expect("kubectl starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", folder.display());
        assert!(errors.is_empty(), "{}: {errors}", folder.display());
        let text = String::from_utf8(output.stdout).unwrap();
        let objects =
            serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect();
        Self { text, objects }
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    pub fn cron_job(&self) -> &Value {
        let jobs = self.of_kind("CronJob");
        assert_eq!(jobs.len(), 1, "{}", self.text);
        jobs[0]
    }

    pub fn job(&self) -> &Value {
        &self.cron_job()["spec"]["jobTemplate"]["spec"]
    }

    pub fn pod(&self) -> &Value {
        &self.job()["template"]["spec"]
    }

    /// The same objects, the job's pod replaced by this one.
    pub fn with_pod(&self, pod: Value) -> Self {
        let mut objects = self.objects.clone();
        let job = objects.iter_mut().find(|object| object["kind"] == "CronJob").expect("a CronJob");
        job["spec"]["jobTemplate"]["spec"]["template"]["spec"] = pod;
        Self { text: self.text.clone(), objects }
    }

    /// Init containers first, as they run.
    pub fn containers(&self) -> Vec<&Value> {
        let pod = self.pod();
        list(&pod["initContainers"]).iter().chain(list(&pod["containers"])).collect()
    }

    pub fn container(&self, name: &str) -> &Value {
        let found = self.containers().into_iter().find(|container| container["name"] == name);
        found.unwrap_or_else(|| panic!("no container {name} in\n{}", self.text))
    }

    /// The one generated object of this kind whose name is `name` and a hash.
    pub fn generated(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| {
            let full = text(&object["metadata"]["name"]);
            full.rsplit_once('-').is_some_and(|(stem, hash)| stem == name && hash.len() == 10)
        };
        let found: Vec<_> = self.of_kind(kind).into_iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{kind} {name} in\n{}", self.text);
        found[0]
    }

    pub fn config(&self, name: &str) -> &Value {
        &self.generated("ConfigMap", name)["data"]
    }
}

/// A user's own folder with a kustomization, beside the packages.
pub struct Overlay(TempDir);

impl Overlay {
    /// `BASE` in the text stands for the way to the folder `kustomize`.
    pub fn new(kustomization: &str) -> Self {
        let parent = root().join("target/overlays");
        fs::create_dir_all(&parent).unwrap();
        let overlay = Self(tempfile::tempdir_in(parent).unwrap());
        let text = kustomization.replace("BASE", "../../../kustomize");
        overlay.file("kustomization.yaml", &text)
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    pub fn render(&self) -> Render {
        Render::folder(self.0.path())
    }

    /// By which an overlay over this one finds it: `../NAME`.
    pub fn folder_name(&self) -> &str {
        self.0.path().file_name().unwrap().to_str().unwrap()
    }
}

/// A package with one component.
pub fn with_component(package: &str, component: &str) -> Render {
    Overlay::new(&format!("resources: [BASE/{package}]\ncomponents: [BASE/components/{component}]\n")).render()
}

/// Everything that is shipped, each under the name of its golden file; rendered once for all tests.
pub fn everything() -> &'static [(String, Render)] {
    static EVERYTHING: OnceLock<Vec<(String, Render)>> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        let packages = PACKAGES.map(|name| (name.to_owned(), Render::shipped(name)));
        let components = COMPONENTS.into_iter().flat_map(|component| {
            PACKAGES.map(|package| (format!("{package}-{component}"), with_component(package, component)))
        });
        let examples = folders("kustomize/examples")
            .into_iter()
            .map(|name| (format!("example-{name}"), Render::shipped(&format!("examples/{name}"))));
        packages.into_iter().chain(components).chain(examples).collect()
    })
}

/// The names of the folders in a folder of the repository, in order.
pub fn folders(path: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root().join(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn list(value: &Value) -> &[Value] {
    value.as_sequence().map(Vec::as_slice).unwrap_or_default()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One field of each item of a list.
pub fn each<'a>(items: &'a Value, field: &str) -> Vec<&'a str> {
    list(items).iter().map(|item| text(&item[field])).collect()
}
