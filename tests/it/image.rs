//! The container image as a pod would run it: nothing writable, no capability, any user. `make test-image` builds it
//! and runs these; they are ignored elsewhere, because they need Docker.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt, core::Mount, runners::AsyncRunner};
use tokio::{runtime::Runtime, time::sleep};

use crate::support::{etcd::Cluster, remote::Remote, tls::Leaf};

/// Neither root nor the image's own user.
const USER: u32 = 12345;
const LIMIT: Duration = Duration::from_mins(1);

fn image_name() -> String {
    env::var("ETCD_BACKUP_IMAGE").expect("`make test-image` says which image")
}

fn image() -> GenericImage {
    let image = image_name();
    let (name, tag) = image.rsplit_once(':').expect("an image with a tag");
    GenericImage::new(name, tag)
}

/// Files that a container may read, owned by its user.
struct Files(TempDir);

impl Files {
    fn of(cluster: &Cluster, remote: &Remote) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        chown(files.0.path(), Some(USER), None).unwrap();
        let pki = cluster.pki();
        files.put("ca.crt", &pki.ca());
        files.put("client.crt", &pki.client.cert);
        files.put("client.key", &pki.client.key);
        files.put("rclone.conf", remote.config());
        files
    }

    fn put(&self, name: &str, from: &Path) {
        let path = self.0.path().join(name);
        fs::copy(from, &path).unwrap();
        chown(&path, Some(USER), None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }
}

/// One container, locked down as the packages lock theirs down.
fn container(image: GenericImage, args: &[&str]) -> ContainerRequest<GenericImage> {
    image
        .with_cmd(args.iter().copied())
        .with_user(format!("{USER}:{USER}"))
        .with_network("host")
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_security_opt("no-new-privileges")
        .with_mount(Mount::tmpfs_mount("/backup"))
        .with_mount(Mount::tmpfs_mount("/tmp"))
}

/// The whole job, with the settings that a cluster and a remote ask for.
fn job(files: &Files, endpoints: &str, remote: &Remote) -> ContainerRequest<GenericImage> {
    container(image(), &["run"])
        .with_mount(Mount::bind_mount(files.0.path().to_str().unwrap(), "/config/rclone"))
        .with_env_var("ETCDCTL_ENDPOINTS", endpoints)
        .with_env_var("ETCDCTL_CACERT", "/config/rclone/ca.crt")
        .with_env_var("ETCDCTL_CERT", "/config/rclone/client.crt")
        .with_env_var("ETCDCTL_KEY", "/config/rclone/client.key")
        .with_env_var("TARGET", remote.target())
        .with_env_var("BACKUP_PREFIX", "image-")
}

struct Ended {
    code: i64,
    said: String,
}

impl Ended {
    #[track_caller]
    fn exits(self, code: i64) -> Self {
        assert_eq!(self.code, code, "{}", self.said);
        self
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(request: ContainerRequest<GenericImage>) -> Ended {
    runtime().block_on(async { ended(&request.start().await.unwrap()).await })
}

async fn ended(container: &ContainerAsync<GenericImage>) -> Ended {
    let begun = Instant::now();
    loop {
        if let Some(code) = container.exit_code().await.unwrap() {
            return Ended { code, said: said(container).await };
        }
        assert!(begun.elapsed() < LIMIT, "still running: {}", said(container).await);
        sleep(Duration::from_millis(20)).await;
    }
}

async fn said(container: &ContainerAsync<GenericImage>) -> String {
    let (out, err) = (container.stdout_to_vec().await.unwrap(), container.stderr_to_vec().await.unwrap());
    format!("{}\n{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
}

fn cluster() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.put_many(5, "/registry/pods/", 100);
    cluster
}

#[test]
#[ignore = "make test-image"]
fn a_backup_is_made_and_can_be_restored_with_what_is_in_the_image() {
    let (cluster, remote) = (cluster(), Remote::seaweedfs());
    let files = Files::of(&cluster, &remote);
    run(job(&files, &cluster.endpoint(0), &remote)).exits(0);
    let names = remote.names();
    assert_eq!(names.len(), 1);

    fs::write(files.0.path().join("backup.etcdb"), remote.read(&names[0])).unwrap();
    let folder = files.0.path().to_str().unwrap();
    let args = ["snapshot", "restore", "/files/backup.etcdb", "--data-dir", "/files/restored"];
    let etcdutl = image().with_entrypoint("/usr/local/bin/etcdutl");
    run(container(etcdutl, &args).with_mount(Mount::bind_mount(folder, "/files"))).exits(0);
    assert!(files.0.path().join("restored/member/snap/db").exists());
}

/// The binary is static, and so has its own resolver, with the image's nsswitch.conf.
#[test]
#[ignore = "make test-image"]
fn names_are_resolved() {
    let (cluster, remote) = (cluster(), Remote::seaweedfs());
    let files = Files::of(&cluster, &remote);
    let by_name = cluster.endpoint(0).replace("127.0.0.1", "localhost");
    run(job(&files, &by_name, &remote)).exits(0);
    assert_eq!(remote.names().len(), 1);
}

#[test]
#[ignore = "make test-image"]
fn wrong_settings_are_refused() {
    let (cluster, remote) = (cluster(), Remote::seaweedfs());
    let files = Files::of(&cluster, &remote);
    let ended = run(job(&files, &cluster.endpoint(0), &remote).with_env_var("RETENTION", "10")).exits(2);
    assert!(ended.said.contains("retention"), "{}", ended.said);
    assert!(remote.names().is_empty());
}

#[test]
#[ignore = "make test-image"]
fn a_renewed_certificate_is_seen_by_the_next_run() {
    let (cluster, remote) = (cluster(), Remote::seaweedfs());
    let files = Files::of(&cluster, &remote);
    let expired = cluster.pki().issue("expired", Leaf::client("backup").expired());
    files.put("client.crt", &expired.cert);
    files.put("client.key", &expired.key);
    run(job(&files, &cluster.endpoint(0), &remote)).exits(2);

    let renewed = cluster.pki().issue("renewed", Leaf::client("backup"));
    files.put("client.crt", &renewed.cert);
    files.put("client.key", &renewed.key);
    run(job(&files, &cluster.endpoint(0), &remote)).exits(0);
    assert_eq!(remote.names().len(), 1);
}

#[test]
#[ignore = "make test-image"]
fn a_sigterm_ends_it_within_the_grace_period() {
    let (cluster, remote) = (cluster(), Remote::seaweedfs());
    let files = Files::of(&cluster, &remote);
    // A member that accepts connections and never answers: the job is in the midst of asking.
    cluster.stop(0);
    let (ended, took) = runtime().block_on(async {
        let container = job(&files, &cluster.endpoint(0), &remote).start().await.unwrap();
        let begun = Instant::now();
        while !said(&container).await.contains("looking for members") {
            assert!(begun.elapsed() < LIMIT, "{}", said(&container).await);
            sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        container.stop_with_timeout(Some(30)).await.unwrap();
        let took = begun.elapsed();
        (ended(&container).await, took)
    });
    ended.exits(143);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(remote.names().is_empty());
}

#[test]
#[ignore = "make test-image"]
fn it_explains_itself() {
    let help = run(container(image(), &["--help"])).exits(0).said;
    for word in ["run", "snapshot", "store", "prune", "Exit codes"] {
        assert!(help.contains(word), "{help}");
    }
    let script = run(container(image(), &["completions", "bash"])).exits(0).said;
    assert!(script.contains("complete"), "{script}");
}

/// A file of the image, copied out of a container that is never started.
fn copied(folder: &TempDir, path: &str) -> PathBuf {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let container = docker(&["create", &image_name()]);
    let place = folder.path().join(path.rsplit('/').next().unwrap());
    docker(&["cp", &format!("{container}:{path}"), place.to_str().unwrap()]);
    docker(&["rm", &container]);
    place
}

#[test]
#[ignore = "make test-image"]
fn it_is_small_and_holds_no_more_than_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let programs = copied(&folder, "/usr/local/bin");
    let mut sizes: Vec<(String, u64)> = fs::read_dir(programs)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        })
        .collect();
    sizes.sort();
    let names: Vec<_> = sizes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["etcd-backup", "etcdutl", "rclone"]);
    assert!(sizes[0].1 < 10_000_000, "{sizes:?}");
    assert!(sizes.iter().map(|(_, size)| size).sum::<u64>() < 140_000_000, "{sizes:?}");
    assert!(fs::metadata(copied(&folder, "/etc/ssl/certs/ca-certificates.crt")).unwrap().len() > 100_000);
}

#[test]
#[ignore = "make test-image"]
fn the_bill_of_materials_says_what_is_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("container/sbom")).args(["--image", &image_name()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill = String::from_utf8(output.stdout).unwrap();
    for part in ["pkg:cargo/etcd-backup@", "pkg:cargo/tokio@", "pkg:golang/github.com/rclone/rclone@", "etcdutl"] {
        assert!(bill.contains(part), "{part}");
    }
    // The standard's own schema, which came with checkov.
    let judge = "import sys; from cyclonedx.schema import SchemaVersion; \
                 from cyclonedx.validation.json import JsonStrictValidator; \
                 sys.exit(str(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()) or ''))";
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bill).unwrap();
    let output = Command::new("python3")
        .env("PYTHONPATH", root.join("target/judges"))
        .args(["-c", judge, file.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.stderr.trim_ascii().is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
