//! A member that answers what no real one would costs some seconds, never the backup: the next member is tried.

use std::{
    fs,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::support::{
    etcd::Cluster,
    kubernetes::save,
    liar::{
        ALARM, Act, Honest, LIAR, Liar, ListedMember, MEMBER_LIST, MemberListResponse, RANGE, SNAPSHOT, STATUS, Script,
        SnapshotResponse, framed, messages, unary,
    },
    output::Output,
    processes::peak_rss,
    run::Run,
    sha256,
};

/// The idle timeout or the limit of a request, and some time for a busy machine.
const WITHIN: Duration = Duration::from_secs(20);
const IDLE: &str = "no bytes from the member for 2 s";
/// In KiB.
const MEMORY: u64 = 48 << 10;
/// How many runs there are at a time.
const AT_ONCE: usize = 8;

enum Expected {
    /// The real member's snapshot is taken, and the reason against the liar has these words.
    Next(&'static str),
    /// A good snapshot of either member: the lie is about nothing that a backup needs.
    Good,
    Exit(i32, &'static str),
}
use Expected::{Exit, Good, Next};

struct Lie {
    what: &'static str,
    script: Script,
    expected: Expected,
    /// Whether it is told in the snapshot, so that nothing is tried if nobody asks for one.
    in_snapshot: bool,
}

fn end() -> Act {
    Act::Status(0, String::new())
}

fn message(remaining_bytes: u64, blob: &[u8]) -> Act {
    Act::Send(framed(&SnapshotResponse { remaining_bytes, blob: blob.to_vec() }))
}

fn sent(messages: &[SnapshotResponse]) -> Vec<Act> {
    messages.iter().map(|message| Act::Send(framed(message))).collect()
}

type Told = (&'static str, Vec<Act>, Expected);

fn then(mut acts: Vec<Act>, more: &[Act]) -> Vec<Act> {
    acts.extend_from_slice(more);
    acts
}

/// The lies in the stream of a snapshot. `old` is a snapshot of an earlier revision.
fn about_the_snapshot(honest: &Honest, old: &[u8]) -> Vec<Lie> {
    let told = about_its_bytes(honest, old).into_iter().chain(about_its_stream(honest));
    let script = |acts| {
        let mut script = honest.script();
        script.insert(SNAPSHOT, acts);
        script
    };
    told.map(|(what, acts, expected)| Lie { what, script: script(acts), expected, in_snapshot: true }).collect()
}

/// Whole messages, and the end.
fn about_its_bytes(honest: &Honest, old: &[u8]) -> Vec<Told> {
    let all = honest.messages();
    let changed = |change: &dyn Fn(&mut Vec<SnapshotResponse>)| {
        let mut messages = honest.messages();
        change(&mut messages);
        then(sent(&messages), &[end()])
    };
    vec![
        ("announces 2^63 bytes", vec![message(1 << 63, &all[0].blob), Act::Hang], Next("announces")),
        ("announces 2^64 - 1 bytes", vec![message(u64::MAX, &all[0].blob), Act::Hang], Next("announces")),
        ("announces nothing and sends all", changed(&|m| m[0].remaining_bytes = 0), Next("more bytes arrived")),
        ("announces less than it sends", changed(&|m| m[0].remaining_bytes -= 512), Next("more bytes arrived")),
        ("announces more than it sends", changed(&|m| m[0].remaining_bytes += 512), Next("were announced")),
        (
            "says the same remaining bytes in each message",
            changed(&|m| m.iter_mut().skip(1).for_each(|m| m.remaining_bytes = 9)),
            Good,
        ),
        (
            "counts the remaining bytes up",
            changed(&|m| m.iter_mut().skip(1).zip(1..).for_each(|(m, n)| m.remaining_bytes = n << 40)),
            Good,
        ),
        ("flips a bit", changed(&|m| m[1].blob[99] ^= 1), Next("does not match")),
        ("leaves the trailer out", changed(&|m| m.truncate(m.len() - 1)), Next("were announced")),
        ("sends the trailer twice", changed(&|m| m.push(m[m.len() - 1].clone())), Next("more bytes arrived")),
        (
            "sends the blobs in another order",
            changed(&|m| {
                let first = std::mem::take(&mut m[1].blob);
                m[1].blob = std::mem::replace(&mut m[2].blob, first);
            }),
            Next("does not match"),
        ),
        ("sends an earlier state", then(sent(&messages(old)), &[end()]), Next("already at")),
        (
            "sends pages of zeros that fit their trailer",
            {
                let zeros = vec![0; honest.snapshot.len() - 32];
                let file = [&zeros[..], &hex(&sha256(&zeros))].concat();
                then(sent(&messages(&file)), &[end()])
            },
            Next("magic number"),
        ),
    ]
}

/// What no message says, and messages for ever.
fn about_its_stream(honest: &Honest) -> Vec<Told> {
    let all = honest.messages();
    let total = u64::try_from(honest.snapshot.len()).unwrap() - 32;
    let half = || sent(&all[..all.len() / 2]);
    let for_ever = |remaining_bytes, blob: &[u8]| match message(remaining_bytes, blob) {
        Act::Send(bytes) => Act::SendForEver(bytes),
        other => other,
    };
    let first = framed(&all[0]);
    let raw = |bytes: &[u8]| vec![Act::Send(Bytes::copy_from_slice(bytes)), end()];
    vec![
        ("empty messages with nothing to come, for ever", vec![for_ever(0, b"")], Next(IDLE)),
        ("empty messages after the whole file, for ever", then(sent(&all), &[for_ever(0, b"")]), Next(IDLE)),
        (
            "empty messages with bytes to come, for ever",
            then(half(), &[for_ever(total / 2, b"")]),
            Next("empty messages"),
        ),
        ("an empty message first, then single bytes", vec![message(total, b""), for_ever(total, b"x")], Next("empty")),
        ("single bytes, for ever", vec![message(total, b"x"), for_ever(total, b"x")], Next("more bytes arrived")),
        ("ends after half of it, as if that were all", then(half(), &[end()]), Next("were announced")),
        ("ends after half of it, without a status", then(half(), &[Act::End]), Next("")),
        (
            "sends half a message and no more",
            then(half(), &[Act::Send(first.slice(..first.len() / 2)), Act::Hang]),
            Next(IDLE),
        ),
        ("sends nothing at all", vec![Act::Hang], Next(IDLE)),
        ("breaks the stream off", then(half(), &[Act::Reset]), Next("")),
        ("fails in its midst", then(half(), &[Act::Status(14, "etcdserver: gone".into())]), Next("etcdserver: gone")),
        ("fails at once", vec![Act::Status(2, "etcdserver: no".into())], Next("etcdserver: no")),
        (
            "fails with 8 kB of text and colours",
            vec![Act::Status(2, format!("\u{1b}[31mred\nline\r{}", "x".repeat(8_000)))],
            Next("red"),
        ),
        ("says that a message has 2 GiB", raw(&[0, 0x80, 0, 0, 0, 1, 2, 3]), Next("")),
        ("says that a message is compressed", raw(&[&[1], &first[1..]].concat()), Next("")),
        ("sends what is no message", raw(&[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]), Next("")),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The lies in the answers before it.
fn about_the_member(honest: &Honest) -> Vec<Lie> {
    let with = |path, acts: Vec<Act>| {
        let mut script = honest.script();
        script.insert(path, acts);
        script
    };
    let status = |change: &dyn Fn(&mut crate::support::liar::StatusResponse)| {
        let mut status = honest.status.clone();
        change(&mut status);
        with(STATUS, unary(&status))
    };
    let list = |members: Vec<ListedMember>| {
        with(MEMBER_LIST, unary(&MemberListResponse { header: Some(honest.header.clone()), members }))
    };
    let listed = |id, url: String| ListedMember { id, name: "m".into(), client_urls: vec![url] };
    let many = |count: u64| (1..=count).map(|id| listed(id, format!("http://127.0.0.1:{}", id % 65_000 + 1))).collect();
    let garbage =
        ["", "http://", "\u{1b}[31m", "https://[::1", "http://user:pw@h:1", "unix:///tmp/x", "http://127.0.0.1:99999"];
    [
        ("a database of no bytes", status(&|s| s.db_size = 0), Good),
        ("a database of 2^63 - 1 bytes", status(&|s| s.db_size = i64::MAX), Good),
        ("a database of fewer bytes than none", status(&|s| s.db_size = -1), Good),
        (
            "a database of 2 TiB, as its snapshot",
            {
                let mut script = status(&|s| s.db_size = 1 << 41);
                script.insert(SNAPSHOT, vec![message(1 << 41, b"x"), Act::Hang]);
                script
            },
            Good,
        ),
        ("a database that grows to 2 TiB", with(SNAPSHOT, vec![message(1 << 41, b"x"), Act::Hang]), Next("announces")),
        ("no header", status(&|s| s.header = None), Exit(2, "different clusters")),
        ("an id of 0", status(&|s| s.header.as_mut().unwrap().member_id = 0), Good),
        (
            "another cluster's id",
            status(&|s| s.header.as_mut().unwrap().cluster_id ^= 1),
            Exit(2, "different clusters"),
        ),
        ("the highest revision", status(&|s| s.header.as_mut().unwrap().revision = i64::MAX), Good),
        ("a revision below 0", status(&|s| s.header.as_mut().unwrap().revision = -1), Good),
        ("the highest applied index", status(&|s| s.raft_applied_index = u64::MAX), Good),
        ("a status that never comes", with(STATUS, vec![Act::Hang]), Next("status: no answer")),
        (
            "a status that is no message",
            with(STATUS, vec![Act::Send(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff])), end()]),
            Next(""),
        ),
        ("a status of many messages", with(STATUS, vec![Act::SendForEver(framed(&honest.status))]), Next("")),
        ("no answer about alarms", with(ALARM, vec![Act::Hang]), Next("alarm list: no answer")),
        ("no linearizable read", with(RANGE, vec![Act::Hang]), Next("linearizable read: no answer")),
        (
            "a list of members without itself",
            list(honest.members.iter().filter(|m| m.id != LIAR).cloned().collect()),
            Good,
        ),
        ("a list of members that is empty", list(vec![]), Good),
        (
            "a list of members with no addresses",
            list(garbage.into_iter().zip(1..).map(|(url, id)| listed(id, url.into())).collect()),
            Good,
        ),
        ("a list of 100,000 members", list(many(100_000)), Good),
        ("a list of 30,000 members", list(many(30_000)), Good),
    ]
    .into_iter()
    .map(|(what, script, expected)| Lie { what, script, expected, in_snapshot: false })
    .collect()
}

/// Runs it with the liar and the real member, and watches its memory.
fn told(lie: &Lie, cluster: &Cluster) -> (Output, u64, Vec<String>, tempfile::TempDir) {
    let liar = Liar::start(lie.script.clone());
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new().args(["snapshot", "--idle-timeout", "2s"]).arg("--work-dir").arg(folder.path());
    // With a target elsewhere it leaves its snapshot for the next step, and needs no rclone.
    let run = run.env("TARGET", "elsewhere:x");
    let job = run.env("ETCDCTL_ENDPOINTS", format!("{},{}", liar.endpoint(), cluster.endpoint(0))).spawn();
    let began = Instant::now();
    let mut peak = 0;
    while let Some(now) = peak_rss(job.id()) {
        peak = now.max(peak);
        if began.elapsed() > WITHIN {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = job.wait(WITHIN);
    (output, peak, liar.asked(), folder)
}

fn check(lie: &Lie, cluster: &Cluster, revision: u64) {
    let (output, peak, asked, folder) = told(lie, cluster);
    let snapshots = asked.iter().filter(|path| *path == SNAPSHOT).count();
    println!(
        "{}: exit {:?}, {:?}, {peak} KiB, asked {} times, {snapshots} of them for a snapshot",
        lie.what,
        output.status.code(),
        output.took,
        asked.len()
    );
    assert!(!asked.is_empty() && (snapshots == 1 || !lie.in_snapshot), "{}: nobody heard it\n{output}", lie.what);
    assert!(peak < MEMORY, "{}: {peak} KiB\n{output}", lie.what);
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let report = output.report();
    let real = cluster.endpoint(0);
    match lie.expected {
        Exit(code, words) => {
            output.assert().code(code);
            assert!(output.stderr.contains(words), "{}\n{output}", lie.what);
            assert_eq!(left, [""; 0], "{}\n{output}", lie.what);
            return;
        }
        Good => output.assert().code(0),
        Next(words) => {
            output.assert().code(0);
            assert_eq!(report.text("member"), real, "{}\n{output}", lie.what);
            let reasons = report.value("refused").to_string();
            assert!(reasons.contains(words) && !reasons.contains(&real), "{}: {reasons}\n{output}", lie.what);
            output.assert()
        }
    };
    assert_eq!(report.number("revision"), revision, "{}\n{output}", lie.what);
    assert_eq!(left.len(), 2, "{}: {left:?}\n{output}", lie.what);
    let file = fs::metadata(folder.path().join(&left[1])).unwrap().len();
    assert_eq!(file, report.number("bytes"), "{}\n{output}", lie.what);
}

#[test]
fn no_lie_of_a_member_costs_the_backup() {
    needs!("etcd", "etcdctl");
    let cluster = Cluster::single();
    cluster.put_many(20, "/registry/pods/", 10_000);
    let old = save(&cluster);
    cluster.put_many(20, "/registry/secrets/", 10_000);
    let honest = Honest::new(&cluster, save(&cluster));
    let revision = u64::try_from(honest.header.revision).unwrap();
    let mut lies = about_the_snapshot(&honest, &old);
    lies.extend(about_the_member(&honest));
    let picked = std::env::var("LIE").unwrap_or_default();
    lies.retain(|lie| lie.what.contains(&picked));
    println!("{} lies", lies.len());
    let next = Mutex::new(lies.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let lie = next.lock().unwrap().next();
                    let Some(lie) = lie else { return };
                    check(lie, &cluster, revision);
                }
            });
        }
    });
}
