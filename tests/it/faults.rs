//! A bucket behind a proxy that drops, flips, cuts, hangs or refuses one kind of request: whatever comes of it, what counts
//! as a backup is one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use rstest::rstest;

use crate::support::{
    LONG_AGO,
    etcd::Cluster,
    http_proxy::{Action, HttpProxy, Request},
    remote::Remote,
    run::Run,
    sample, sha256,
};

const OLD: &str = "202001010000.etcdb";
/// The least time that tells a stalled connection from a slow one.
const IMPATIENT: [&str; 2] = ["--rclone-flags", "--timeout 2s --contimeout 2s"];

fn is_record(request: &Request) -> bool {
    request.method == "PUT" && request.path.contains(".json")
}

/// Of the new backup, as the old one is read to compare.
fn is_read_back(request: &Request) -> bool {
    request.method == "GET" && request.path.contains(".etcdb?") && !request.path.contains(OLD) && !request.is_list()
}

/// Which requests meet the fault, how many of them, and how the job may end.
#[rstest]
#[case::upload_cut(Request::is_upload, 1, Action::CutRequest, &[0])]
#[case::upload_always_flipped(Request::is_upload, u32::MAX, Action::FlipRequest(9000), &[6])]
#[case::reading_back_flipped(is_read_back, 1, Action::FlipAnswer(9000), &[6])]
#[case::list_refused(Request::is_list, u32::MAX, Action::Refuse(403, "AccessDenied"), &[9])]
fn what_counts_is_a_backup(
    #[case] meets: fn(&Request) -> bool,
    #[case] times: u32,
    #[case] action: Action,
    #[case] ends: &[i32],
) {
    meet(meets, times, action, ends);
}

#[rstest]
#[case::upload_dropped(Request::is_upload, 1, Action::Drop, &[0])]
#[case::upload_flipped(Request::is_upload, 1, Action::FlipRequest(9000), &[0])]
#[case::upload_hangs(Request::is_upload, 1, Action::Hang, &[0])]
#[case::answer_lost(Request::is_upload, 1, Action::DropAnswer, &[0])]
#[case::record_dropped(is_record, 1, Action::Drop, &[0])]
#[case::record_answer_lost(is_record, 1, Action::DropAnswer, &[0])]
#[case::reading_back_dropped(is_read_back, 1, Action::Drop, &[0])]
#[case::reading_back_hangs(is_read_back, 1, Action::Hang, &[0])]
#[case::list_dropped(Request::is_list, 1, Action::Drop, &[0])]
#[case::list_hangs(Request::is_list, 1, Action::Hang, &[0])]
#[ignore = "slow: make test-all"]
fn the_same_for_what_is_tried_again(
    #[case] meets: fn(&Request) -> bool,
    #[case] times: u32,
    #[case] action: Action,
    #[case] ends: &[i32],
) {
    meet(meets, times, action, ends);
}

fn meet(meets: fn(&Request) -> bool, times: u32, action: Action, ends: &[i32]) {
    needs!("etcd", "rclone", "weed");
    let remote = Remote::seaweedfs();
    remote.put_aged(OLD, sample::snapshot(), LONG_AGO);
    let met = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&met);
    let proxy = HttpProxy::to(remote.port(), move |request| {
        let is_due = meets(request) && counted.load(SeqCst) < times;
        counted.fetch_add(is_due.into(), SeqCst);
        if is_due { action } else { Action::Forward }
    });
    let cluster = Cluster::small();
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", remote.config_by(proxy.port()));
    let job = run.args(IMPATIENT).env("RETRY_FOR", "20s").env("RETENTION", "10d").env("KEEP_LAST", "1").spawn();
    let output = job.wait(Duration::from_mins(1));
    let code = output.status.code().unwrap();
    println!("{action:?} met {} requests, exit {code}, {:?}", met.load(SeqCst), output.took);
    assert!(met.load(SeqCst) > 0, "nothing was tried\n{output}");
    assert!(ends.contains(&code), "{code}, not {ends:?}\n{output}");
    let verified = Run::new().args(["verify", "--all"]).store(&remote).exits(0).report();
    let report = output.report();
    if code == 0 {
        assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"), "{output}");
    } else {
        assert!(remote.names().iter().any(|name| name == OLD), "an old backup is gone\n{output}");
        assert_eq!(verified.number("good"), 1, "{verified:?}");
    }
}
