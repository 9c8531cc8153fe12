//! Where the members are: settings, kubeadm's file, and the member list.

use std::{fs, path::PathBuf};

use crate::support::{
    etcd::Cluster,
    kubeadm,
    output::Output,
    ports,
    remote::Remote,
    run::Run,
    tls::{Leaf, Pki},
};

/// The lines of the log that give a verdict on a member.
fn verdicts(output: &Output) -> Vec<&str> {
    output.stderr.lines().filter(|line| line.contains(" member http")).collect()
}

/// A kubeadm file in a folder of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn dead() -> String {
    format!("http://127.0.0.1:{}", ports::free())
}

#[test]
fn an_explicit_setting_wins_over_kubeadms_file() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::small();
    let (_folder, kubeadm) = file(&kubeadm::external(&[dead()]));
    let job = |run: Run| {
        let remote = Remote::folder();
        let output = run.store(&remote).env("KUBEADM_CONFIG", &kubeadm).exits(0);
        assert_eq!(output.report().text("member"), cluster.endpoint(0), "{output}");
        output
    };
    job(Run::new().env("ETCDCTL_ENDPOINTS", cluster.endpoint(0))).says(&["source=ETCDCTL_ENDPOINTS"]);
    let both = Run::new().args(["--endpoints", &cluster.endpoint(0)]).env("ETCDCTL_ENDPOINTS", dead());
    job(both).says(&["source=--endpoints"]);
    let map = Run::new().config_dir(&[("endpoints", &format!("{}\n", cluster.endpoint(0)))]);
    job(map).says(&["source=", "endpoints in ", "/config"]);
}

#[test]
fn kubeadms_file_is_read_in_each_shape() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::with(3).plain().start();
    cluster.put_many(1, "/a/", 10);
    let url = cluster.endpoint(1);
    let before = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\netcd: nonsense\n---\n";
    let after = "---\nkind: KubeletConfiguration\nunknown: [1, {a: b}]\n";
    let external = kubeadm::external(&cluster.endpoints());
    for (kind, text) in [
        ("external etcd", external.clone()),
        ("stacked etcd", kubeadm::stacked_map(&url)),
        ("stacked etcd", kubeadm::stacked_list(&url.replace("127.0.0.1", "0.0.0.0"))),
        ("external etcd", format!("{before}{external}{after}")),
    ] {
        let (_folder, path) = file(&text);
        let remote = Remote::folder();
        let run = Run::new().store(&remote).arg("--kubeadm-config").arg(&path);
        // An empty variable is no setting.
        let output = run.env("ETCDCTL_ENDPOINTS", "").exits(0);
        let output = output.says(&[kind, path.to_str().unwrap()]);
        assert_eq!(verdicts(&output).len(), 3, "each member is surveyed, from one seed too\n{output}");
    }
}

#[test]
fn one_seed_leads_to_every_member_once() {
    needs!("etcd", "etcdctl", "rclone");
    let cluster = Cluster::with(3).proxied().start();
    let job = |seeds: String| {
        let remote = Remote::folder();
        Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", seeds).exits(3)
    };
    let (first, second) = (cluster.endpoint(0), cluster.endpoint(1));
    let by_name = second.replace("127.0.0.1", "localhost");
    // The same member under two names, spaces, and a slash.
    for seeds in [first.clone(), format!(" {first} , {first}/,{second},{by_name}")] {
        let output = job(seeds);
        assert_eq!(verdicts(&output).len(), 3, "{output}");
        for endpoint in cluster.endpoints() {
            assert_eq!(output.stderr.matches(&format!(" member {endpoint} ")).count(), 1, "{output}");
        }
        assert_eq!(output.stderr.matches("verdict=\"chosen\"").count(), 1, "{output}");
        assert!(output.report().list("refused").is_empty(), "{output}");
    }

    // A seed that answered is not asked again at the address that it advertises.
    let asked = [0, 1, 2].map(|i| cluster.proxy(i).accepted());
    let output = job(cluster.direct(0));
    assert_eq!(verdicts(&output).len(), 3, "{output}");
    let asked: Vec<_> = (0..3).map(|i| cluster.proxy(i).accepted() - asked[i]).collect();
    assert!(asked[0] == 0 && asked[1] > 0 && asked[2] > 0, "{asked:?}\n{output}");
}

#[test]
fn a_seed_stays_of_use_when_the_members_advertise_what_cannot_be_verified() {
    needs!("etcd", "etcdctl", "rclone");
    let only_address = |pki: &Pki| pki.issue("etcd/address", Leaf::server(&["127.0.0.1"]));
    let cluster = Cluster::with(3).server(only_address).advertised_as("localhost").start();
    cluster.put_many(1, "/a/", 10);
    let remote = Remote::folder();
    let run = Run::job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", cluster.direct(2));
    let output = run.exits(0).says(&["TLS_SERVER_NAME"]);
    let report = output.report();
    assert_eq!(report.text("member"), cluster.direct(2));
    let refused: Vec<_> = report.value("refused").as_array().unwrap().iter().collect();
    assert_eq!(refused.len(), 2, "{output}");
    assert!(refused.iter().all(|r| r["endpoint"].as_str().unwrap().starts_with("https://localhost:")), "{output}");

    // The setting that the message names is the remedy.
    let run = Run::job(&cluster, &remote).env("TLS_SERVER_NAME", "127.0.0.1");
    assert!(run.exits(0).report().value("refused").as_array().unwrap().is_empty());
}

#[test]
fn where_nothing_is_found_every_source_is_named() {
    needs!("rclone");
    let remote = Remote::folder();
    let nowhere = || Run::new().store(&remote);
    let sources = ["endpoints: no etcd member is named", "ETCDCTL_ENDPOINTS", "/config", "/k8s/config.yaml"];
    nowhere().config_dir(&[]).exits(2).says(&sources);
    nowhere().config_dir(&[("endpoints", "\n")]).exits(2).says(&sources);
    let (_folder, empty) = file("kind: ClusterConfiguration\netcd:\n  external: {caFile: /x}\n");
    let sources = ["ETCDCTL_ENDPOINTS", "/config", empty.to_str().unwrap(), "no endpoints"];
    nowhere().config_dir(&[]).arg("--kubeadm-config").arg(&empty).exits(2).says(&sources);
}

#[test]
fn what_names_no_member_is_refused_before_anything_is_done() {
    for (list, words) in [
        ("null", "begin with http:// or https://"),
        ("https://null:2379", "names no host"),
        ("https://10.0.0.1:2379,,https://10.0.0.2:2379", "is empty"),
        ("10.0.0.1:2379", "begin with http:// or https://"),
        ("https://10.0.0.1", "names no port"),
        ("https://::1:2379", "is not a URL"),
        ("https://10.0.0.1:2379/v3", "has a path"),
    ] {
        let run = Run::new().env("TARGET", "elsewhere:x").env("ETCDCTL_ENDPOINTS", list);
        run.exits(2).says(&["endpoints", words, "https://10.0.0.1:2379"]);
    }
    let idle = Run::new().env("TARGET", "elsewhere:x").env("ETCDCTL_ENDPOINTS", "http://127.0.0.1:1");
    idle.env("IDLE_TIMEOUT", "0s").exits(2).says(&["idle-timeout", "60s"]);
    let run = Run::new().env("TARGET", "elsewhere:x").secret("hunter2");
    run.env("ETCDCTL_ENDPOINTS", "https://root:hunter2@10.0.0.1:2379").exits(2).says(&["ETCDCTL_USER"]);
}

#[test]
fn a_kubeadm_file_that_cannot_be_read_is_refused() {
    for (text, words) in [
        ("a: [", "is not YAML"),
        ("", "kind ClusterConfiguration"),
        ("kind: ConfigMap\ndata: {}\n", "kind ClusterConfiguration"),
        ("kind: ClusterConfiguration\netcd: 7\n", "is not a ClusterConfiguration"),
        ("kind: ClusterConfiguration\netcd: {external: {endpoints: [null]}}\n", "`null`"),
        ("kind: ClusterConfiguration\netcd: {external: {endpoints: ['10.0.0.1:2379']}}\n", "`10.0.0.1:2379`"),
    ] {
        let (_folder, path) = file(text);
        let run = Run::new().env("TARGET", "elsewhere:x").env("KUBEADM_CONFIG", &path);
        run.exits(2).says(&["kubeadm-config", path.to_str().unwrap(), words]);
    }
    let missing = Run::new().env("TARGET", "elsewhere:x").env("KUBEADM_CONFIG", "/nonexistent/config.yaml");
    missing.exits(2).says(&["kubeadm-config", "/nonexistent/config.yaml", "No such file"]);
}
