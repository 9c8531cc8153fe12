//! Members, stores and rclones that fail while a snapshot streams, and those that lie.

use std::time::Instant;

use rstest::rstest;

use super::{SLOWLY, assert_nothing_new, assert_stored, job, uploading};
use crate::interrupt::on_a_disk_of;
use crate::support::{
    SOON,
    etcd::Cluster,
    eventually,
    http_proxy::{Action, HttpProxy},
    kubernetes::save,
    liar::{Act, Honest, Liar, SNAPSHOT, framed, messages},
    proxy::{Fault, Proxy},
    remote::Remote,
    run::Run,
    sha256,
};

/// What sends a stream to S3 in parts, and to others as it comes.
const IN_PARTS: &str = "--s3-upload-cutoff 5M --s3-chunk-size 5M --azureblob-chunk-size 5M --streaming-upload-cutoff 0";
const IN_ONE_PIECE: &str = "--s3-upload-cutoff 200M";
/// An rclone that sees the end of its input after `END` of its `size` bytes, and of these arguments.
const CUT_SHORT: &str = r#"#!/bin/bash
args=()
for arg in "$@"; do
    case "$arg" in --size=*) size=${arg#--size=}; ISGIVEN || continue;; esac
    args+=("$arg")
done
[ "$1" = rcat ] || exec REAL "$@"
{ head -c $((END)); exec cat >/dev/null; } | REAL "${args[@]}"
exit "${PIPESTATUS[1]}"
"#;

fn cut_short(end: &str, is_given: bool) -> String {
    CUT_SHORT.replace("END", end).replace("ISGIVEN", if is_given { "true" } else { "false" })
}

/// Nothing is killed: the input ends too early, and rclone lives on.
fn an_early_end_leaves_no_backup(remote: &Remote, ends: &[&str]) {
    let cluster = Cluster::with(1).mib(12).start();
    for (end, flags) in ends.iter().flat_map(|end| [(end, IN_PARTS), (end, IN_ONE_PIECE)]) {
        let run = job(&cluster, remote).args(["--rclone-flags", flags]).rclone_is(&cut_short(end, true));
        let output = run.exits(6);
        assert_nothing_new(remote, &format!("{end}\n{output}"));
        assert!(!remote.records().iter().any(|record| record.ends_with(".etcdb.json")), "{end}\n{output}");
    }
    assert_stored(remote, &job(&cluster, remote).args(["--rclone-flags", IN_PARTS]).exits(0));
    assert_eq!(remote.names().len(), 1, "{:?}", remote.names());
}

/// All but what is held back, two parts and a piece, one part, one piece, nothing.
const ENDS: [&str; 5] = ["size - 32", "11 << 20", "5 << 20", "32 << 10", "0"];

#[test]
fn a_stream_that_ends_early_leaves_no_backup() {
    needs!("etcd", "rclone");
    an_early_end_leaves_no_backup(&Remote::rclone_s3(), &ENDS[..1]);
}

#[rstest]
#[case::rclone_s3(Remote::rclone_s3)]
#[case::seaweedfs(Remote::seaweedfs)]
#[case::sftp(Remote::sftp)]
#[case::webdav(Remote::webdav)]
#[case::crypt_over_s3(|| Remote::seaweedfs().encrypted(true))]
#[ignore = "slow: make test-all"]
fn a_stream_that_ends_early_leaves_no_backup_anywhere(#[case] remote: fn() -> Remote) {
    needs!("etcd", "rclone", "weed");
    an_early_end_leaves_no_backup(&remote(), &ENDS);
}

#[rstest]
#[case::aws(Remote::aws)]
#[case::azure(Remote::azure)]
#[ignore = "slow: make test-all"]
fn a_stream_that_ends_early_leaves_no_backup_in_a_cloud(#[case] remote: fn() -> Remote) {
    needs!("etcd", "rclone");
    needs_clouds!();
    an_early_end_leaves_no_backup(&remote(), &ENDS);
}

/// As behind a proxy that limits what it lets through.
#[test]
#[ignore = "slow: make test-all"]
fn what_is_refused_in_one_piece_is_sent_in_parts() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(210).start(), Remote::seaweedfs());
    let config = remote.config_with("provider = Other", "provider = SeaweedFS");
    let refusing = r#"#!/bin/bash
case "$*" in *--s3-upload-cutoff=2G*)
    head -c 9000000 >/dev/null; echo '{"level":"error","msg":"EntityTooLarge"}' >&2; exit 1 ;;
esac
exec REAL "$@"
"#;
    let run = job(&cluster, &remote).env("RCLONE_CONFIG", &config);
    let output = run.rclone_is(refusing).exits(0).says(&["taking a new snapshot, to send it in parts"]);
    assert_eq!((output.report().text("confirmed"), remote.names().len()), ("store-md5-of-parts", 1), "{output}");
    let whole = job(&cluster, &remote).env("RCLONE_CONFIG", &config).exits(0);
    assert_eq!(whole.report().text("confirmed"), "store-md5");
}

/// As if it had never been told the size: what there is of a part is all right to it.
#[rstest]
#[case::sftp(Remote::sftp, "its part has")]
#[case::s3(Remote::seaweedfs, "it was removed")]
fn an_rclone_that_sends_less_and_says_nothing_is_found_out(#[case] remote: fn() -> Remote, #[case] words: &str) {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::small(), remote());
    let output = job(&cluster, &remote).rclone_is(&cut_short("size - 4096", false)).exits(6);
    output.says(&["cannot confirm", words]);
    assert_eq!(remote.names(), [""; 0]);
}

#[test]
fn a_folder_that_is_too_small_is_told_before_a_byte_is_written() {
    needs!("etcd", "rclone", "unshare");
    let (cluster, remote) = (Cluster::with(1).mib(8).start(), Remote::folder());
    let run = Run::job(&cluster, &remote).args(["--staging", "none"]);
    let target = run.work_dir();
    let output = on_a_disk_of(8, "", run.env("TARGET", target)).exits(6);
    let output = output.says(&["no room in", " bytes needed, ", "each member is tried once, whatever retry-for says"]);
    assert!(output.report().value("refused").as_array().unwrap().is_empty(), "no member is to blame\n{output}");
}

#[test]
fn a_name_that_another_takes_meanwhile_costs_a_new_snapshot() {
    needs!("etcd", "rclone", "weed");
    let remote = std::sync::Arc::new(Remote::seaweedfs());
    let (inside, mut first) = (std::sync::Arc::clone(&remote), true);
    let hooked = HttpProxy::to(remote.port(), move |request| {
        if request.is_upload() && std::mem::take(&mut first) {
            assert_eq!(request.header("if-none-match"), Some("*"));
            let path = request.path.split('?').next().unwrap();
            inside.put(path.rsplit('/').next().unwrap(), b"another run's");
        }
        Action::Forward
    });
    let cluster = Cluster::small();
    let output = job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(hooked.port())).exits(0);
    assert_stored(&remote, &output);
    let names = remote.names();
    let others = names.iter().find(|name| *name != output.report().text("name")).unwrap();
    assert_eq!((names.len(), remote.read(others)), (2, b"another run's".to_vec()), "{output}");
    output.says(&["is already there; it is never overwritten; taking a new snapshot, for another name"]);
}

#[test]
fn a_store_without_conditions_is_used_without() {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    let hooked = HttpProxy::to(remote.port(), |request| {
        let refused = request.is_upload() && request.header("if-none-match").is_some();
        if refused { Action::Refuse(501, "NotImplemented") } else { Action::Forward }
    });
    let output = job(&Cluster::small(), &remote).env("RCLONE_CONFIG", remote.config_by(hooked.port())).exits(0);
    assert_stored(&remote, &output);
    output.says(&["the store has no conditional uploads"]);
}

/// It does not refuse the name itself, so that is looked at once more before the last bytes.
#[test]
fn a_name_that_is_taken_meanwhile_is_not_replaced_without_conditions() {
    needs!("etcd", "rclone", "weed");
    let remote = std::sync::Arc::new(Remote::seaweedfs());
    let (inside, mut first) = (std::sync::Arc::clone(&remote), true);
    let hooked = HttpProxy::to(remote.port(), move |request| {
        if request.is_upload() && request.header("if-none-match").is_some() {
            return Action::Refuse(501, "NotImplemented");
        }
        if request.is_upload() && std::mem::take(&mut first) {
            let path = request.path.split('?').next().unwrap();
            inside.put(path.rsplit('/').next().unwrap(), b"another run's");
        }
        Action::Forward
    });
    let cluster = Cluster::with(1).mib(4).start();
    let run = job(&cluster, &remote).args(SLOWLY).env("RCLONE_CONFIG", remote.config_by(hooked.port()));
    let output = run.exits(0);
    assert_stored(&remote, &output);
    let names = remote.names();
    let others = names.iter().find(|name| *name != output.report().text("name")).unwrap();
    assert_eq!((names.len(), remote.read(others)), (2, b"another run's".to_vec()), "{output}");
    output.says(&["the store has no conditional uploads", "taking a new snapshot, for another name"]);
}

/// Nothing was asked of it that it might not know, so another try would end the same.
#[test]
fn a_refusal_of_a_part_is_not_one_of_a_condition() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::sftp());
    let refusing = "#!/bin/sh\n[ \"$1\" = rcat ] || exec REAL \"$@\"\necho '{\"level\":\"error\",\"msg\":\"api error NotImplemented: no\"}' >&2\nexit 1\n";
    let output = job(&cluster, &remote).rclone_is(refusing).exits(6).says(&["api error NotImplemented"]);
    assert!(!output.stderr.contains("conditional"), "{output}");
    assert_eq!(output.stderr.matches("as it comes").count(), 1, "{output}");
    assert_nothing_new(&remote, "refused");
}

/// The liar is liked best, and there is nobody else.
#[rstest]
#[case::s3(Remote::seaweedfs)]
#[case::folder(Remote::folder)]
#[case::sftp(Remote::sftp)]
fn no_lie_of_a_member_gets_a_name(#[case] remote: fn() -> Remote) {
    needs!("etcd", "etcdctl", "rclone", "weed");
    let (cluster, remote) = (Cluster::single(), remote());
    cluster.put_many(20, "/registry/pods/", 10_000);
    let old = save(&cluster);
    cluster.put_many(20, "/registry/secrets/", 10_000);
    let mut honest = Honest::new(&cluster, save(&cluster));
    honest.members.clear();
    let end = || Act::Status(0, String::new());
    let sent = |file: &[u8]| -> Vec<Act> {
        messages(file).iter().map(|message| Act::Send(framed(message))).chain([end()]).collect()
    };
    let mut flipped = honest.snapshot.clone();
    flipped[40_000] ^= 1;
    let zeros = vec![0; honest.snapshot.len() - 32];
    let digest = sha256(&zeros);
    let digest = (0..32).map(|at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap()).collect();
    let garbage = [zeros, digest].concat();
    let all = messages(&honest.snapshot);
    let without_trailer: Vec<Act> = all[..all.len() - 1].iter().map(|message| Act::Send(framed(message))).collect();
    let more = [sent(&honest.snapshot)[..all.len()].to_vec(), vec![Act::Send(framed(&all[all.len() - 1])), end()]];
    let stalled = [without_trailer.clone(), vec![Act::Hang]].concat();
    let broken = [without_trailer.clone(), vec![Act::Reset]].concat();
    for (what, acts, words) in [
        ("a flipped bit", sent(&flipped), "does not match"),
        ("pages of zeros that fit their trailer", sent(&garbage), "is not a valid snapshot"),
        ("an earlier state", sent(&old), "already at"),
        ("no trailer", [without_trailer, vec![end()]].concat(), "were announced"),
        ("more than was announced", more.concat(), "more bytes arrived"),
        ("no end", stalled, "no bytes from the member for 2 s"),
        ("a broken stream", broken, ""),
    ] {
        let mut script = honest.script();
        script.insert(SNAPSHOT, acts);
        let liar = Liar::start(script);
        let run = job(&cluster, &remote).env("ETCDCTL_ENDPOINTS", liar.endpoint()).args(["--idle-timeout", "2s"]);
        let output = run.exits(5);
        assert!(output.stderr.contains(words), "{what}\n{output}");
        assert_eq!(remote.names(), [""; 0], "{what}\n{output}");
    }
}

#[test]
fn a_member_that_dies_meanwhile_costs_the_backup_nothing() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::with(3).proxied().mib(4).start(), Remote::rclone_s3());
    let job = job(&cluster, &remote).args(SLOWLY).spawn();
    uploading(&job);
    let log = job.stderr();
    let chosen = log.split("storing the snapshot of ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let at = (0..3).find(|at| cluster.endpoint(*at) == chosen).unwrap();
    cluster.proxy(at).set(Fault::CutAfter(0));
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    let report = output.report();
    assert_ne!(report.text("member"), chosen, "{output}");
    assert!(report.value("refused").to_string().contains(&chosen), "{output}");
    assert_eq!(remote.names().len(), 1);
}

#[test]
fn a_store_that_is_away_is_waited_for_before_a_snapshot_is_taken() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::small(), Remote::rclone_s3());
    remote.server().stop();
    let job = job(&cluster, &remote).args(["--rclone-flags", "--retries=1 --low-level-retries=1"]).spawn();
    eventually(SOON, "a wait", || job.stderr().contains("trying again in").then_some(()));
    remote.server().start_again();
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    assert_eq!(output.stderr.matches("as it comes").count(), 1, "{output}");
    output.says(&["no snapshot is taken before it is there"]);
}

#[test]
fn a_store_that_goes_away_meanwhile_costs_a_new_snapshot() {
    needs!("etcd", "rclone");
    let (cluster, remote) = (Cluster::with(3).mib(4).start(), Remote::rclone_s3());
    let flags = "--bwlimit 2M --retries=1 --low-level-retries=1";
    let job = job(&cluster, &remote).args(["--rclone-flags", flags]).spawn();
    uploading(&job);
    remote.server().stop();
    eventually(SOON, "a failure", || job.stderr().contains("from the next member").then_some(()));
    remote.server().start_again();
    let output = job.wait_further(SOON);
    assert_stored(&remote, &output);
    assert_eq!(output.stderr.matches("as it comes").count(), 2, "{output}");
}

#[test]
fn a_store_that_stalls_is_given_up() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::with(1).mib(4).start(), Remote::seaweedfs());
    let proxy = Proxy::to(remote.port());
    let run = job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    let flags = "--bwlimit 2M --retries=1 --low-level-retries=1 --timeout 3s";
    let job = run.args(["--retry-for", "0s", "--rclone-flags", flags]).spawn();
    uploading(&job);
    proxy.set(Fault::StallAfter(0));
    let began = Instant::now();
    let output = job.wait_further(SOON);
    output.assert().code(6);
    println!("after {:?}", began.elapsed());
    proxy.set(Fault::None);
    assert_nothing_new(&remote, "stalled");
}
