use super::*;
use crate::kubernetes::kubeadm::Layout;

const TWO: &str = "a=https://10.0.0.1:2380,b=https://10.0.0.2:2380";

fn runbook(topology: Topology, members: &str) -> Runbook {
    let members: InitialCluster = members.parse().unwrap();
    let layout = Layout { topology, ..Layout::default() };
    Runbook {
        backup: "prod-2026.etcdb".into(),
        content: "revision 5, 7 keys".into(),
        keys: 7,
        topology,
        topology_source: "according to --etcd".into(),
        data_dir: "/var/lib/etcd".into(),
        endpoints: members.client_urls(&[], &layout),
        recorded: TWO.parse().unwrap(),
        members,
        client: layout.client,
        token: "etcd-restore-0a1b2c3d".into(),
        backup_id: "0a1b2c3d".into(),
        store: vec![("target", "minio:etcd".into())],
        bump_revision: None,
        files: vec![],
    }
}

/// Title, machines and commands of every block.
fn blocks(runbook: &Runbook) -> Vec<(String, String, String)> {
    let steps = runbook.steps().unwrap();
    let of = |step: &Step| {
        let title = step.title.clone();
        let block = |block: &Block| (title.clone(), block.on.clone(), block.commands.join("\n"));
        step.blocks.iter().map(block).collect::<Vec<_>>()
    };
    steps.iter().flat_map(of).collect()
}

fn titles(runbook: &Runbook) -> Vec<String> {
    runbook.steps().unwrap().into_iter().map(|step| step.title).collect()
}

#[test]
fn a_stacked_etcd_is_stopped_and_started_by_its_manifest() {
    let runbook = runbook(Topology::Stacked, TWO);
    assert_eq!(
        titles(&runbook),
        [
            "Stop the control plane and etcd",
            "Wait for etcd to end, then move its data aside",
            "Restore the same backup on every member",
            "Start etcd on all members",
            "Check etcd",
            "Start the control plane",
            "Check the API and restart the kubelets",
            "After the next backup",
        ]
    );
    let blocks = blocks(&runbook);
    let machines: Vec<_> = blocks.iter().map(|(_, on, _)| on.as_str()).collect();
    let (a, b) = ("a (10.0.0.1)", "b (10.0.0.2)");
    assert_eq!(machines, [a, b, a, b, a, b, a, b, a, a, b, a, "every node", a]);
    assert!(blocks[0].2.contains("for pod in kube-apiserver kube-controller-manager kube-scheduler etcd; do"));
    assert_eq!(blocks[6].2, "mv /etc/kubernetes/stopped-0a1b2c3d/etcd.yaml /etc/kubernetes/manifests/");
    assert!(blocks.iter().all(|(_, _, commands)| !commands.contains("systemctl start")));
    assert!(
        runbook.text(&runbook.steps().unwrap()).contains("# etcd is stacked (static pods), according to --etcd.\n")
    );
}

#[test]
fn an_external_etcd_is_a_service_of_its_own_machines() {
    let runbook = Runbook { client: None, ..runbook(Topology::External, TWO) };
    assert_eq!(titles(&runbook)[..2], ["Stop the control plane", "Stop etcd"]);
    let blocks = blocks(&runbook);
    assert_eq!(blocks[0].1, "every control-plane node");
    assert!(!blocks[0].2.contains("etcd;"), "{}", blocks[0].2);
    assert_eq!((blocks[1].1.as_str(), blocks[1].2.as_str()), ("a (10.0.0.1)", "systemctl stop etcd"));
    assert!(blocks.iter().any(|(_, on, what)| on == "b (10.0.0.2)" && what == "systemctl start --no-block etcd"));
    assert!(blocks.iter().any(|(title, on, _)| title == "Check etcd" && on == "a control-plane node"));
    let text = runbook.text(&runbook.steps().unwrap());
    assert!(text.contains("# first set ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY\n"), "{text}");
}

#[test]
fn every_member_restores_the_same_backup_as_itself() {
    let blocks = blocks(&runbook(Topology::Stacked, TWO));
    let restores: Vec<_> = blocks.iter().filter(|(title, ..)| title.starts_with("Restore")).collect();
    assert_eq!(
        restores[1].2,
        "etcd-backup restore prod-2026.etcdb --target=minio:etcd --data-dir=/var/lib/etcd --name=b \
         --initial-cluster='a=https://10.0.0.1:2380,b=https://10.0.0.2:2380' \
         --initial-cluster-token=etcd-restore-0a1b2c3d --initial-advertise-peer-urls=https://10.0.0.2:2380"
    );
    assert_eq!(
        restores[1].2.replace("=b ", "=a ").replace("urls=https://10.0.0.2", "urls=https://10.0.0.1"),
        restores[0].2
    );
}

#[test]
fn a_new_address_is_to_be_set_before_etcd_is_started() {
    let runbook = runbook(Topology::Stacked, "a=https://10.0.0.1:2380,b=https://[fd00::2]:2380");
    let steps = runbook.steps().unwrap();
    let start = steps.iter().find(|step| step.title == "Start etcd on all members").unwrap();
    assert!(start.blocks[0].notes.is_empty(), "{start:?}");
    assert_eq!(start.blocks[1].on, "b ([fd00::2])");
    let note = &start.blocks[1].notes[0];
    assert!(note.contains("b has a new name or new peer URLs"), "{note}");
    assert!(note.contains("(https://[fd00::2]:2380)") && note.ends_with("stopped-0a1b2c3d/etcd.yaml"), "{note}");
    assert!(!runbook.text(&steps).contains("Not restored"));
}

#[test]
fn a_member_that_is_gone_is_named() {
    let runbook = runbook(Topology::External, "a=https://10.0.0.1:2380");
    let text = runbook.text(&runbook.steps().unwrap());
    assert!(
        text.contains("# The restored members are a.\n") && text.contains("# Not restored: b. Stop etcd"),
        "{text}"
    );
    assert!(!text.contains("10.0.0.2"), "{text}");
}

#[test]
fn odd_paths_are_quoted() {
    let odd = Runbook {
        backup: "/mnt/a b.etcdb".into(),
        data_dir: "/data/it's etcd".into(),
        client: Some(TlsFiles { ca: "/p k/ca".into(), cert: "/$HOME/c".into(), key: "/k;ls".into() }),
        ..runbook(Topology::Stacked, TWO)
    };
    let mut words = Vec::new();
    for (_, _, commands) in blocks(&odd) {
        words.extend(commands.lines().flat_map(|line| shlex::split(line).expect("balanced quotes")));
    }
    for word in [
        "/mnt/a b.etcdb",
        "--data-dir=/data/it's etcd",
        "/data/it's etcd/member/snap/db",
        "/data/it's etcd-before-0a1b2c3d",
        "ETCDCTL_CACERT=/p k/ca",
        "ETCDCTL_CERT=/$HOME/c",
        "ETCDCTL_KEY=/k;ls",
    ] {
        assert!(words.iter().any(|found| found == word), "{word}: {words:?}");
    }
}

#[test]
fn data_are_moved_aside_only_after_the_wait_has_succeeded() {
    let blocks = blocks(&runbook(Topology::Stacked, TWO));
    let (.., commands) = blocks.iter().find(|(title, ..)| title.starts_with("Wait")).unwrap();
    // A shell goes on with the next line after one that has failed.
    assert_eq!(commands.lines().count(), 1, "{commands}");
    let (wait, rename) = commands.split_once(" && ").unwrap();
    assert!(wait.contains("flock") && !wait.contains("mv "), "{commands}");
    assert!(rename.contains("mv -T /var/lib/etcd/member /var/lib/etcd-before-0a1b2c3d"), "{commands}");
}

#[test]
fn every_line_is_a_comment_or_a_command() {
    let runbook = Runbook { files: vec!["/etc/rclone.conf".into()], ..runbook(Topology::Stacked, TWO) };
    let steps = runbook.steps().unwrap();
    let text = runbook.text(&steps);
    let commands: Vec<_> = steps.iter().flat_map(|step| &step.blocks).flat_map(|block| &block.commands).collect();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines, commands);
    assert!(text.contains("# Every member needs etcd-backup, etcdutl, rclone, flock, /etc/rclone.conf.\n"), "{text}");
}

#[test]
fn the_next_backup_is_accepted_where_the_revision_was_not_raised() {
    let notes = |bump_revision, store| {
        let runbook = Runbook { store, bump_revision, ..runbook(Topology::Stacked, TWO) };
        let steps = runbook.steps().unwrap();
        let last = steps.last().filter(|step| step.title == "After the next backup");
        last.map(|step| (step.blocks[0].notes.clone(), step.blocks[0].commands.clone()))
    };
    let store = || vec![("target", "minio:etcd".to_owned()), ("backup-prefix", "it's-".to_owned())];
    let flags = "--target=minio:etcd --backup-prefix=\"it's-\"";
    let (unknown, list) = notes(None, store()).unwrap();
    assert!(unknown[0].contains("`raised by`, skip this step"), "{unknown:?}");
    assert_eq!(unknown.last().unwrap(), &format!("etcd-backup accept NAME {flags}"));
    assert_eq!(list, [format!("etcd-backup list {flags}")]);
    assert_eq!(notes(Some(0), store()).unwrap().0, unknown[1..]);
    assert_eq!(notes(Some(1), store()), None);
    let (of_file, list) = notes(Some(0), vec![]).unwrap();
    assert_eq!((of_file.last().unwrap().as_str(), list.len()), ("etcd-backup accept NAME", 0));
}
