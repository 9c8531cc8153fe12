//! Tests of `support` itself: the programs that the other tests rely on are real and behave as assumed.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    http_proxy::{Action, HttpProxy},
    kubeadm,
    processes::is_alive,
    proxy::{Fault, Proxy},
    remote::Remote,
    run::Run,
    tls::{Leaf, Pair, Pki},
};

/// A read that is answered at once or not at all.
const GET: [&str; 3] = ["--command-timeout=1s", "get", "x"];

#[test]
fn three_members_form_a_cluster_over_tls() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::start(3);
    assert!(cluster.endpoint(0).starts_with("https://"));
    cluster.put_many(300, "/registry/pods/", 100);
    let keys = cluster.etcdctl(&["get", "/registry/", "--prefix", "--keys-only"]);
    assert_eq!(keys.lines().filter(|line| !line.is_empty()).count(), 300);
    let health = cluster.etcdctl(&["endpoint", "health"]);
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
}

#[test]
fn a_cluster_outlives_a_frozen_and_a_dead_member() {
    needs!("etcd", "etcdctl");
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.stop(follower);
    assert!(!cluster.etcdctl_at(&[follower], &GET).status.success());
    cluster.cont(follower);
    cluster.kill(leader);
    eventually(SOON, "another leader", || {
        let get = cluster.etcdctl_at(&[follower], &GET);
        get.status.success().then_some(())
    });
    assert_ne!(cluster.leader(), leader);
    cluster.restart(leader);
    assert_eq!(cluster.living(), [0, 1, 2]);
}

#[test]
fn a_learner_answers_status_and_no_reads() {
    needs!("etcd", "etcdctl");
    let mut cluster = Cluster::start(1);
    let learner = cluster.add_learner();
    let status = cluster.client(learner, async |client| client.status().await.unwrap());
    assert!(status.is_learner());
    assert!(!cluster.etcdctl_at(&[learner], &GET).status.success());
}

#[test]
fn alarms_are_raised() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::with(1).plain().quota(2 << 20).start();
    cluster.fill();
    cluster.raise_corrupt(0);
    let alarms = cluster.etcdctl(&["alarm", "list"]);
    assert!(alarms.contains("NOSPACE") && alarms.contains("CORRUPT"), "{alarms}");
}

#[test]
fn wrong_certificates_are_refused() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::start(1);
    let pki = cluster.pki();
    let answers = |pair| cluster.etcdctl_as(&pair, &[0], &GET).status.success();
    assert!(answers(pki.issue("backup", Leaf::client("backup").expires_in_days(3))));
    assert!(!answers(pki.issue("old", Leaf::client("backup").expired())));
    assert!(!answers(pki.issue("early", Leaf::client("backup").not_yet_valid())));
    assert!(!answers(Pki::new().client.clone()));
    let (one, other) = (pki.client.clone(), pki.server.clone());
    assert!(!answers(Pair { key: other.key, ..one }));

    let elsewhere = |pki: &Pki| pki.issue("elsewhere", Leaf::server(&["etcd.example"]));
    let cluster = Cluster::with(1).server(elsewhere).start();
    assert!(!cluster.etcdctl_at(&[0], &GET).status.success());
}

#[test]
fn a_dropped_cluster_is_dead() {
    needs!("etcd");
    let cluster = Cluster::single();
    let (pid, data) = (cluster.pid(0), cluster.data_dir(0));
    assert!(is_alive(pid) && data.exists());
    drop(cluster);
    assert!(!is_alive(pid) && !data.exists());
}

#[test]
fn kubeadm_files_say_where_etcd_is() {
    needs!("etcd");
    let cluster = Cluster::single();
    let text = fs::read_to_string(cluster.kubeadm_config()).unwrap();
    let url = cluster.endpoint(0);
    for text in [text, kubeadm::stacked_map(&url), kubeadm::stacked_list(&url)] {
        let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(file["kind"].as_str(), Some("ClusterConfiguration"));
        assert!(text.contains(&url));
    }
}

#[test]
fn every_remote_keeps_what_is_put() {
    needs!("rclone", "weed");
    let makers: [fn() -> Remote; 5] =
        [Remote::folder, Remote::rclone_s3, Remote::seaweedfs, Remote::webdav, Remote::sftp];
    for make in makers {
        let remote = make();
        assert_eq!(remote.names(), [""; 0]);
        remote.put("one", b"first");
        remote.put_aged("sub/two", b"second", Duration::from_hours(24));
        assert_eq!(remote.names(), ["one", "sub/two"]);
        assert_eq!(remote.read("sub/two"), b"second");
        let listing = remote.lsjson();
        let stamp = |i: usize| listing[i]["ModTime"].as_str().unwrap()[..10].to_owned();
        assert_ne!(stamp(0), stamp(1), "the age is kept: {listing:?}");
        let mode = fs::metadata(remote.config()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_wrong_secret_is_refused_by_each_server() {
    needs!("rclone", "weed");
    for remote in [Remote::rclone_s3(), Remote::seaweedfs(), Remote::webdav(), Remote::sftp()] {
        let secret = remote.secret().unwrap();
        let wrong = remote.config_with(secret, "wrong");
        assert!(!remote.rclone_with(&wrong, &["lsf", remote.target()]).status.success());
    }
}

#[test]
fn what_crypt_hides_can_be_altered() {
    needs!("rclone");
    for remote in [Remote::folder(), Remote::webdav(), Remote::sftp()] {
        let remote = remote.encrypted(true);
        remote.put_aged("sub/two", b"second", Duration::from_hours(24));
        assert_eq!((remote.names(), remote.read("sub/two")), (vec!["sub/two".to_owned()], b"second".to_vec()));
        let raw = remote.raw_name("sub/two");
        let before = remote.read_raw(&raw);
        assert_eq!(remote.raw_names(), [raw.as_str()]);
        remote.flip_raw(&raw, 50..54);
        let after = remote.read_raw(&raw);
        assert!(after.len() == before.len() && after != before);
        let read = remote.rclone_with(remote.config(), &["cat", "vault:backups/sub/two"]);
        assert!(!read.status.success(), "{read:?}");
    }
}

#[test]
fn an_http_proxy_delays_and_alters() {
    needs!("rclone");
    let remote = Remote::webdav();
    remote.put("one", b"first");
    let proxy = HttpProxy::to(remote.port(), |request| match request.path.rsplit('/').next() {
        Some("late") if request.method == "PUT" => Action::Delay(Duration::from_secs(3)),
        Some("altered") if request.method == "PUT" => Action::FlipRequest(1),
        Some("one") if request.method == "GET" => Action::FlipAnswer(4),
        _ => Action::Forward,
    });
    let config = remote.config_by(proxy.port());
    let at = |args: &[&str]| remote.rclone_with(&config, args);
    assert_eq!(at(&["cat", "store:etcd/one"]).stdout, b"firsu");
    let local = tempfile::NamedTempFile::new().unwrap();
    fs::write(local.path(), b"x\x01z").unwrap();
    let put = |name| at(&["copyto", local.path().to_str().unwrap(), name]);
    assert!(put("store:etcd/altered").status.success());
    assert_eq!(remote.read("altered"), b"x\0z");
    thread::scope(|scope| {
        let late = scope.spawn(|| put("store:etcd/late"));
        thread::sleep(Duration::from_millis(500));
        assert!(put("store:etcd/soon").status.success());
        assert!(!late.is_finished(), "the others waited for the delayed one");
        assert!(late.join().unwrap().status.success());
    });
    assert_eq!(remote.names(), ["altered", "late", "one", "soon"]);
}

#[test]
fn seaweedfs_makes_no_bucket_by_itself() {
    needs!("rclone", "weed");
    let remote = Remote::seaweedfs();
    remote.put("x", b"x");
    let object = format!("{}/x", remote.target());
    let copy = ["--s3-no-check-bucket", "copyto", &object, "store:missing/x"];
    let answer = remote.rclone_with(remote.config(), &copy);
    assert!(!answer.status.success(), "{answer:?}");
}

/// A server that echoes whatever it is sent.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream
}

#[test]
fn a_proxy_forwards_and_counts() {
    let proxy = Proxy::to(echo());
    let mut stream = dial(&proxy);
    stream.write_all(&[7; 1000]).unwrap();
    let mut back = [0; 1000];
    stream.read_exact(&mut back).unwrap();
    assert_eq!((back, proxy.passed(), proxy.accepted()), ([7; 1000], 2000, 1));
}

#[test]
fn a_proxy_cuts_stalls_and_slows() {
    let proxy = Proxy::to(echo());
    proxy.set(Fault::CutAfter(1500));
    let mut stream = dial(&proxy);
    stream.write_all(&[7; 1000]).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).ok();
    assert_eq!(back.len(), 500);

    proxy.set(Fault::StallAfter(1500));
    let mut stream = dial(&proxy);
    stream.write_all(&[7; 1000]).unwrap();
    let error = stream.read(&mut [0; 1000]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

    proxy.set(Fault::Throttle(10_000));
    let start = Instant::now();
    let mut stream = dial(&proxy);
    stream.write_all(&[7; 1000]).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_silent_port_is_silent() {
    let proxy = Proxy::silent();
    let mut stream = dial(&proxy);
    stream.write_all(b"hello").unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_proxied_cluster_can_be_cut_off() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::with(3).proxied().start();
    cluster.proxy(1).set(Fault::Silent);
    let at = |i| {
        let url = cluster.endpoint(i);
        let flags = ["--command-timeout=1s", "--endpoints", &url, "get", "x"];
        cluster.etcdctl_at(&[], &flags).status.success()
    };
    assert!(at(0) && !at(1));
    assert!(cluster.proxy(0).passed() > 0);
}

#[test]
fn the_binary_starts_in_a_clean_environment() {
    Run::new().arg("--version").exits(0);
}
