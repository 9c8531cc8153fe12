//! The whole job, from a real cluster into real stores.

use serde_json::json;

use crate::support::{
    etcd::Cluster,
    output::{Output, Report},
    remote::Remote,
    run::Run,
    sha256,
};

#[test]
fn to_seaweedfs() {
    needs!("etcd", "etcdctl", "rclone", "weed");
    whole_job(&Remote::seaweedfs());
}

#[test]
fn to_rclones_own_s3() {
    needs!("etcd", "etcdctl", "rclone");
    whole_job(&Remote::rclone_s3());
}

#[test]
fn to_a_folder() {
    needs!("etcd", "etcdctl", "rclone");
    whole_job(&Remote::folder());
}

fn whole_job(remote: &Remote) {
    let cluster = Cluster::start(3);
    cluster.put_many(50, "/registry/pods/", 100);
    let output = Run::job(&cluster, remote).exits(0);
    let report = output.report();
    stored_is_what_was_reported(&report, remote);
    is_of_this_cluster(&report, &cluster);
    the_rest_is_told(&report, remote);

    let first = report.text("name").to_owned();
    let text = Run::job(&cluster, remote).env("OUTPUT", "text").exits(0);
    let mut names = remote.names();
    assert_eq!(names.len(), 2, "{names:?}");
    names.retain(|name| *name != first);
    text_says(&text, &names[0], remote);
}

fn stored_is_what_was_reported(report: &Report, remote: &Remote) {
    let name = report.text("name");
    assert_eq!(remote.names(), [name]);
    assert_eq!(name.strip_suffix(".etcdb").map(str::len), Some("202611210102".len()), "{name}");
    let stored = remote.read(name);
    assert_eq!(u64::try_from(stored.len()).unwrap(), report.number("bytes"));
    assert_eq!(sha256(&stored), report.text("sha256"));
    assert_eq!(remote.records(), [".since.json", &format!("{name}.json")]);
    let record = remote.record(&format!("{name}.json"));
    for field in "bytes sha256 revision keys hash storage_version kube_system member_id verdict confirmed".split(' ') {
        assert_eq!(&record[field], report.value(field), "{field}");
    }
}

fn is_of_this_cluster(report: &Report, cluster: &Cluster) {
    let member = cluster.endpoints().iter().position(|e| e.trim_end_matches('/') == report.text("member"));
    let member = member.unwrap_or_else(|| panic!("no member of ours: {report:?}"));
    let status = cluster.client(member, async |client| client.status().await.unwrap());
    assert_eq!(report.text("member_id"), format!("{:x}", status.header().unwrap().member_id()));
    assert_eq!(report.text("cluster_id"), format!("{:x}", status.header().unwrap().cluster_id()));
    assert_eq!(report.text("etcd_version"), status.version());
    assert_eq!(report.number("keys"), 50);
    assert_eq!(report.number("revision"), u64::try_from(status.header().unwrap().revision()).unwrap());
}

fn the_rest_is_told(report: &Report, remote: &Remote) {
    assert_eq!((report.text("outcome"), report.number("exit")), ("ok", 0));
    assert_eq!((report.text("command"), report.text("target")), ("run", remote.target()));
    for nothing in ["error", "held_back", "degraded"] {
        assert!(report.value(nothing).is_null(), "{nothing}: {report:?}");
    }
    assert_eq!(report.value("verdict"), &json!({ "is": "good" }));
    for empty in ["refused", "holds", "removed", "failed"] {
        assert_eq!(report.value(empty).as_array().unwrap().len(), 0, "{empty}: {report:?}");
    }
    assert_eq!(report.value("kept")[0]["name"], report.text("name"));
    let seconds = |stage: &str| report.value("seconds")[stage].as_f64().unwrap_or_else(|| panic!("no {stage}"));
    let stages = ["survey", "snapshot", "store", "prune"].map(seconds);
    assert!(stages.iter().all(|stage| *stage > 0.0), "{report:?}");
    assert!(stages.iter().sum::<f64>() <= seconds("total") + 0.01, "{report:?}");
}

fn text_says(output: &Output, name: &str, remote: &Remote) {
    let stored = remote.read(name);
    let lines: Vec<(&str, &str)> = output.stdout.lines().map(|line| (line[..10].trim(), line[11..].trim())).collect();
    let labels: Vec<_> = lines.iter().map(|(label, _)| *label).collect();
    assert_eq!(
        labels,
        ["command", "outcome", "stored", "size", "sha256", "content", "member", "confirmed", "kept", "took"],
        "{output}"
    );
    let says = |label: &str| lines.iter().find(|(l, _)| *l == label).unwrap().1;
    assert_eq!(says("command"), "run");
    assert_eq!(says("outcome"), "ok (exit 0: stored, confirmed, retention done)");
    assert_eq!(says("stored"), format!("{name} in {}", remote.target()));
    assert!(says("size").ends_with(&format!("({} bytes)", stored.len())), "{output}");
    assert_eq!(says("sha256"), sha256(&stored));
    assert!(says("content").ends_with(", 50 keys"), "{output}");
    assert!(says("member").starts_with("https://127.0.0.1:") && says("member").contains(", etcd 3."), "{output}");
    assert!(says("confirmed").starts_with("by "), "{output}");
    assert_eq!(says("kept"), "2 backups");
}

/// No server's storage is newer than this etcdutl's here, so the etcdutl says that it is older than it is.
#[test]
fn an_etcdutl_that_is_too_old_is_a_warning_while_there_is_time() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let cluster = Cluster::small();
    let version = |of: &str| {
        format!("#!/bin/sh\n[ \"$1\" != version ] || {{ echo 'etcdutl version: {of}'; exit; }}\nexec REAL \"$@\"\n")
    };
    let with = |etcdutl: &str| Run::job(&cluster, &Remote::folder()).program_is("etcdutl", &version(etcdutl)).exits(0);
    assert!(with("9.0.0").report().value("cannot_restore").is_null());
    let output = with("3.3.25");
    let storage = output.report().text("storage_version").to_owned();
    let words = [format!("storage version {storage}"), format!("ETCD_VERSION=v{storage}.x"), "etcdutl 3.3.25".into()];
    for word in &words {
        assert!(output.report().text("cannot_restore").contains(word), "{output}");
    }
    output.says(&words.each_ref().map(String::as_str));
}

#[test]
#[ignore = "slow: make test-all"]
fn an_etcdutl_that_hangs_or_fails_costs_no_backup() {
    needs!("etcd", "etcdctl", "etcdutl", "rclone");
    let cluster = Cluster::small();
    for script in ["#!/bin/sh\nexec sleep 600\n", "#!/bin/sh\necho broken >&2; exit 7\n"] {
        let remote = Remote::folder();
        let run = Run::job(&cluster, &remote).program_is("etcdutl", script).limit(std::time::Duration::from_secs(30));
        assert!(run.success().value("cannot_restore").is_null());
        assert_eq!(remote.names().len(), 1);
    }
}
