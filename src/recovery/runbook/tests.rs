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
        wal_dir: None,
        directories_source: Some("according to --data-dir".into()),
        not_used: vec![],
        image_repository: None,
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
            "See that every machine has what it needs",
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
    assert_eq!(machines, [a, b, a, a, b, a, b, a, b, a, b, a, a, b, a, "every node", a]);
    assert!(blocks[3].2.contains("for pod in kube-apiserver kube-controller-manager kube-scheduler etcd; do"));
    let start = &blocks[9].2;
    assert!(start.contains("mv -n /etc/kubernetes/stopped-0a1b2c3d/$pod.yaml /etc/kubernetes/manifests/"), "{start}");
    let restored = "if [ -e /var/lib/etcd/before-restore-0a1b2c3d ] && [ -e /var/lib/etcd/member/snap/db ] && find -H ";
    assert!(start.starts_with(restored), "{start}");
    assert!(blocks.iter().all(|(_, _, commands)| !commands.contains("systemctl start")));
    assert!(
        runbook.text(&runbook.steps().unwrap()).contains("# etcd is stacked (static pods), according to --etcd.\n")
    );
}

#[test]
fn an_external_etcd_is_a_service_of_its_own_machines() {
    let runbook = Runbook { client: None, ..runbook(Topology::External, TWO) };
    assert_eq!(titles(&runbook)[1..3], ["Stop the control plane", "Stop etcd"]);
    let blocks = blocks(&runbook);
    assert_eq!(blocks[3].1, "every control-plane node");
    assert!(!blocks[3].2.contains("etcd;"), "{}", blocks[3].2);
    assert_eq!((blocks[4].1.as_str(), blocks[4].2.as_str()), ("a (10.0.0.1)", "systemctl disable --now etcd"));
    let starts = |what: &str| what.contains("\n  systemctl enable etcd\n  systemctl start --no-block etcd\n");
    assert!(blocks.iter().any(|(_, on, what)| on == "b (10.0.0.2)" && starts(what)));
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
        "etcd-backup restore prod-2026.etcdb --target=minio:etcd --etcd=stacked --data-dir=/var/lib/etcd --name=b \
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
        words.extend(shlex::split(&commands).unwrap_or_else(|| panic!("a quote is not closed: {commands}")));
    }
    for word in [
        "/mnt/a b.etcdb",
        "--data-dir=/data/it's etcd",
        "/data/it's etcd/member/snap/db",
        "/data/it's etcd/before-restore-0a1b2c3d",
        "ETCDCTL_CACERT=/p k/ca",
        "ETCDCTL_CERT=/$HOME/c",
        "ETCDCTL_KEY=/k;ls",
    ] {
        assert!(words.iter().any(|found| found == word), "{word}: {words:?}");
    }
}

#[test]
fn data_are_moved_aside_in_the_same_line_as_the_checks() {
    let with_log = Runbook { wal_dir: Some("/wal".into()), ..runbook(Topology::Stacked, TWO) };
    let blocks = blocks(&with_log);
    let (.., commands) = blocks.iter().find(|(title, ..)| title.starts_with("Wait")).unwrap();
    // A shell goes on with the next line after one that has failed.
    let moves: Vec<_> = commands.lines().filter(|line| line.contains("mv -T ")).collect();
    let aside = ["/before-restore-0a1b2c3d-wal", "/var/lib/etcd/before-restore-0a1b2c3d"];
    assert_eq!(moves.len(), aside.len(), "{commands}");
    for (line, aside) in moves.iter().zip(aside) {
        let (checks, rename) = line.split_at(line.rfind(" && mkdir").or_else(|| line.find(" && mv")).unwrap());
        let locked = "flock --verbose --timeout 60 /var/lib/etcd/member/snap/db true";
        assert!(checks.trim().starts_with("etcd_has_ended && {") && checks.contains(locked), "{line}");
        let commands = shlex::split(checks).unwrap();
        assert!(rename.ends_with(aside) && !commands.contains(&"mv".to_owned()), "{line}");
    }
}

#[test]
fn the_ports_are_those_of_the_member() {
    let members = "a=https://10.0.0.1:2380,b=https://10.0.0.2:3380,b=https://10.0.0.3:3380";
    let listens = |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|url| url.parse().unwrap()).collect();
        let blocks = blocks(&Runbook { endpoints, ..runbook(Topology::Stacked, members) });
        let waits = blocks.into_iter().filter(|(title, ..)| title.starts_with("Wait"));
        waits.map(|(.., commands)| commands.split('"').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let pattern = |ports: &str| format!(":({ports}) [0-9A-F]+:0000 0A ");
    let own = ["https://10.0.0.1:2379", "https://10.0.0.3:4001"];
    assert_eq!(listens(&own), [pattern("094B|094C"), pattern("0D34|0FA1")]);
    // Endpoints under other names can be of any member.
    assert_eq!(listens(&["https://etcd.example:2379"]), [pattern("094B|094C"), pattern("094B|0D34")]);
}

#[test]
fn a_log_of_its_own_is_in_every_step() {
    let with_log = Runbook { wal_dir: Some("/w al".into()), ..runbook(Topology::External, TWO) };
    let text = with_log.text(&with_log.steps().unwrap());
    for part in [
        "# It has its data in /var/lib/etcd, and its log in /w al, according to --data-dir.\n",
        " --data-dir=/var/lib/etcd --wal-dir='/w al' --name=a ",
        " && find -H '/w al' -maxdepth 1 -name '*.wal' | grep -q .; then",
        "/var/lib/etcd/before-restore-0a1b2c3d, /before-restore-0a1b2c3d-w al and ",
        "; then\n  systemctl enable",
        "if [ -e /var/lib/etcd/before-restore-0a1b2c3d ] && [ -e '/before-restore-0a1b2c3d-w al' ] && [ -e ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn every_line_is_a_comment_or_a_part_of_a_command() {
    let runbook = Runbook { files: vec!["/etc/rclone.conf".into()], ..runbook(Topology::Stacked, TWO) };
    let steps = runbook.steps().unwrap();
    let text = runbook.text(&steps);
    let commands: Vec<_> = steps.iter().flat_map(|step| &step.blocks).flat_map(|block| &block.commands).collect();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(lines, commands.iter().flat_map(|command| command.lines()).collect::<Vec<_>>());
}

#[test]
fn what_each_machine_needs_is_listed_and_looked_for() {
    let needs = |topology| {
        let image_repository = Some("images.example".to_owned());
        let runbook = Runbook { files: vec!["/my rclone.conf".into()], image_repository, ..runbook(topology, TWO) };
        let text = runbook.text(&runbook.steps().unwrap());
        text.split_once("## 2.").unwrap().0.to_owned()
    };
    for topology in [Topology::Stacked, Topology::External] {
        let text = needs(topology);
        let programs = "etcd-backup, etcdutl, rclone, flock, timeout, find, grep, /my rclone.conf";
        assert!(text.contains(&format!("# Every member needs {programs}.\n")), "{text}");
        assert!(text.contains("needs etcdctl and kubectl too."), "{text}");
        let image = format!("images mount docker.io/library/etcd-backup:{} /run/", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&image) && text.contains("ctr --namespace k8s.io images import -"), "{text}");
        for looks in
            ["for program in etcd-backup etcdutl rclone ", "for program in etcdctl kubectl;", "in '/my rclone.conf';"]
        {
            assert!(text.contains(looks), "{looks}: {text}");
        }
        assert_eq!(text.contains("etcd's own image, images.example/etcd,"), topology == Topology::Stacked, "{text}");
    }
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
    assert!(unknown[0].starts_with("If the restore said `raised by`, skip this step."), "{unknown:?}");
    assert_eq!(unknown.last().unwrap(), &format!("etcd-backup accept NAME {flags}"));
    assert_eq!(list, [format!("etcd-backup list {flags}")]);
    assert_eq!(notes(Some(0), store()).unwrap().0, unknown[1..]);
    assert_eq!(notes(Some(1), store()), None);
    let (of_file, list) = notes(Some(0), vec![]).unwrap();
    assert_eq!((of_file.last().unwrap().as_str(), list.len()), ("etcd-backup accept NAME", 0));
}

#[test]
fn the_step_to_go_back_to_is_the_one_that_moves() {
    for topology in [Topology::Stacked, Topology::External] {
        let runbook = runbook(topology, TWO);
        let at = titles(&runbook).iter().position(|title| title.contains("move its data aside")).unwrap() + 1;
        let starts: Vec<_> =
            blocks(&runbook).into_iter().filter(|(title, ..)| title.starts_with("Start etcd")).collect();
        assert_eq!(starts.len(), 2);
        for (.., start) in starts {
            assert!(start.contains(&format!("never moved aside: go back to step {at}")), "{start}");
        }
    }
}

#[test]
fn directories_that_are_assumed_are_no_facts() {
    let not_used = vec!["Not used: a thing.".to_owned()];
    let assumed = Runbook { directories_source: None, not_used, ..runbook(Topology::External, TWO) };
    let text = assumed.text(&assumed.steps().unwrap());
    assert!(
        text.contains("# Assumed: it has its data and its log in /var/lib/etcd. If that is wrong, give --data-dir")
    );
    assert!(text.contains("\n# Not used: a thing.\n") && !text.contains("# It has its data"), "{text}");
}
