//! Snapshots with a number changed here and there, whose checksums all fit: what is accepted, etcdutl accepts.

use std::{fs, path::Path, thread, time::Duration};

use crate::support::{
    etcd::Cluster,
    kubernetes::save,
    output::Output,
    pages::{ENTRY, HEADER, Pages, header, meta},
    processes::peak_rss,
    run::Run,
    tools,
};

/// In KiB.
const MEMORY: u64 = 48 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Refused,
    /// etcdutl is asked.
    AsEtcdutl,
}
use Expected::{AsEtcdutl, Refused};

type Edit = (&'static str, Expected, Box<dyn Fn(&mut Pages) + Sync>);

fn edit(what: &'static str, expected: Expected, edit: impl Fn(&mut Pages) + Sync + 'static) -> Edit {
    (what, expected, Box::new(edit))
}

/// A branch over leaves, values that need overflow pages, buckets of every kind.
fn original() -> Pages {
    let cluster = Cluster::single();
    cluster.put_many(300, "/registry/pods/", 500);
    cluster.put_many(3, "/registry/secrets/", 20_000);
    Pages::of(&save(&cluster))
}

/// The branch of the history.
fn branch(pages: &Pages) -> u64 {
    let branch = pages.bucket_root("key");
    assert_eq!(pages.u16(branch, header::FLAGS), 1);
    branch
}

/// A leaf of the history.
fn leaf(pages: &Pages) -> u64 {
    pages.children(branch(pages))[1]
}

/// One with overflow.
fn big(pages: &Pages) -> u64 {
    let mut leaves = pages.children(branch(pages)).into_iter();
    leaves.find(|leaf| pages.u32(*leaf, header::OVERFLOW) > 1).expect("a value of several pages")
}

fn of_the_meta_pages() -> Vec<Edit> {
    let mut edits = Vec::new();
    for (page, what) in [
        (
            0,
            [
                "magic of page 0",
                "version of page 0",
                "checksum of page 0",
                "flags of page 0",
                "id of page 0",
                "page size 0 in page 0",
                "page size 2 GiB in page 0",
                "page size 8 KiB in page 0",
            ],
        ),
        (
            1,
            [
                "magic of page 1",
                "version of page 1",
                "checksum of page 1",
                "flags of page 1",
                "id of page 1",
                "page size 0 in page 1",
                "page size 2 GiB in page 1",
                "page size 8 KiB in page 1",
            ],
        ),
    ] {
        let size = |bytes: u32| move |p: &mut Pages| p.set_meta(page, meta::PAGE_SIZE, &bytes.to_le_bytes());
        edits.extend([
            edit(what[0], Refused, move |p| p.set_meta(page, meta::MAGIC, &[9])),
            edit(what[1], Refused, move |p| p.set_meta(page, meta::VERSION, &[9])),
            edit(what[2], Refused, move |p| p.set(page, meta::CHECKSUM, &[9, 9])),
            edit(what[3], Refused, move |p| p.set_u16(page, header::FLAGS, 2)),
            edit(what[4], Refused, move |p| p.set_u64(page, header::ID, 5)),
            edit(what[5], Refused, size(0)),
            edit(what[6], Refused, size(2 << 30)),
            edit(what[7], Refused, size(8192)),
        ]);
    }
    let both = |what, expected, at, number: u64| edit(what, expected, move |p| p.set_metas(at, &number.to_le_bytes()));
    let size = |what, bytes: u32| edit(what, Refused, move |p| p.set_metas(meta::PAGE_SIZE, &bytes.to_le_bytes()));
    edits.extend([
        size("page size 0 in both", 0),
        size("page size 8 KiB in both", 8192),
        size("page size 2 KiB in both", 2048),
        both("root 0", Refused, meta::ROOT, 0),
        both("root 1", Refused, meta::ROOT, 1),
        both("root behind the end", Refused, meta::ROOT, 1 << 40),
        both("root 2^64 - 1", Refused, meta::ROOT, u64::MAX),
        edit("root is a leaf of keys", Refused, |p| p.set_metas(meta::ROOT, &leaf(p).to_le_bytes())),
        edit("free list is the root", Refused, |p| p.set_metas(meta::FREELIST, &p.root().to_le_bytes())),
        both("free list behind the end", Refused, meta::FREELIST, 1 << 40),
        both("free list 0", Refused, meta::FREELIST, 0),
        both("high-water mark 2^64 - 1", Refused, meta::PAGES, u64::MAX),
        edit("high-water mark too high", Refused, |p| p.set_metas(meta::PAGES, &(p.count() + 1).to_le_bytes())),
        edit("high-water mark too low", Refused, |p| p.set_metas(meta::PAGES, &(p.count() - 1).to_le_bytes())),
        both("both of transaction 7", AsEtcdutl, meta::TXID, 7),
        both("both of transaction 0", AsEtcdutl, meta::TXID, 0),
        both("both of transaction 2^64 - 1", AsEtcdutl, meta::TXID, u64::MAX),
        edit("an older root of 0", AsEtcdutl, |p| p.set_meta(1, meta::ROOT, &[0; 8])),
        edit("an older high-water mark of 2^64 - 1", AsEtcdutl, |p| p.set_meta(1, meta::PAGES, &[0xff; 8])),
        edit("a newer root of 0", Refused, |p| {
            p.set_meta(1, meta::ROOT, &[0; 8]);
            p.set_meta(1, meta::TXID, &[0xff, 0xff, 0xff]);
        }),
    ]);
    edits
}

fn of_headers() -> Vec<Edit> {
    let u16 = |what, expected, at, number| edit(what, expected, move |p| p.set_u16(leaf(p), at, number));
    let overflow = |what, number: u32| edit(what, Refused, move |p| p.set_u32(leaf(p), header::OVERFLOW, number));
    vec![
        edit("another page's id", Refused, |p| p.set_u64(leaf(p), header::ID, leaf(p) + 1)),
        u16("a leaf that calls itself a branch", Refused, header::FLAGS, 1),
        u16("a leaf that calls itself a free list", Refused, header::FLAGS, 16),
        u16("a leaf without a type", Refused, header::FLAGS, 0),
        u16("a leaf of two types", Refused, header::FLAGS, 3),
        u16("65,535 elements", Refused, header::COUNT, u16::MAX),
        u16("no elements", AsEtcdutl, header::COUNT, 0),
        edit("an element less", AsEtcdutl, |p| p.set_u16(leaf(p), header::COUNT, p.u16(leaf(p), header::COUNT) - 1)),
        edit("an element more", Refused, |p| p.set_u16(leaf(p), header::COUNT, p.u16(leaf(p), header::COUNT) + 1)),
        overflow("a page of overflow that is another's", 1),
        overflow("131,072 pages of overflow", 131_072),
        overflow("2^32 - 1 pages of overflow", u32::MAX),
        edit("overflow that is left out", Refused, |p| p.set_u32(big(p), header::OVERFLOW, 0)),
        edit("a page less of overflow", Refused, |p| {
            p.set_u32(big(p), header::OVERFLOW, p.u32(big(p), header::OVERFLOW) - 1);
        }),
        edit("a page more of overflow", Refused, |p| {
            p.set_u32(big(p), header::OVERFLOW, p.u32(big(p), header::OVERFLOW) + 1);
        }),
        edit("a root that claims 128 MiB", Refused, |p| {
            let (root, new) = (usize::try_from(p.root()).unwrap() * Pages::SIZE, p.count());
            p.grow(1 << 15);
            p.bytes.copy_within(root..root + Pages::SIZE, usize::try_from(new).unwrap() * Pages::SIZE);
            p.set_u64(new, header::ID, new);
            p.set_u32(new, header::OVERFLOW, (1 << 15) - 1);
            p.set_metas(meta::ROOT, &new.to_le_bytes());
        }),
    ]
}

fn of_elements() -> Vec<Edit> {
    let entry = |what, at: usize, number: u32| edit(what, Refused, move |p| p.set_u32(leaf(p), HEADER + at, number));
    let child = |what, number: u64| edit(what, Refused, move |p| p.set_u64(branch(p), HEADER + 8, number));
    let bucket = |what, number: u64| edit(what, Refused, move |p| p.set_u64(p.root(), p.bucket("key").1, number));
    vec![
        entry("an element behind its page", 4, 5000),
        entry("an element at 2^32 - 1", 4, u32::MAX),
        entry("an element in the table", 4, 0),
        entry("a key of no bytes", 8, 0),
        entry("a key of 4 GiB", 8, u32::MAX),
        entry("a value of 4 GiB", 12, u32::MAX),
        entry("an element of an unknown type", 0, 2),
        entry("a key that calls itself a bucket", 0, 1),
        edit("keys that have changed places", Refused, |p| {
            let (page, keys) = (leaf(p), p.elements(leaf(p)));
            let key = p.bytes[usize::try_from(page).unwrap() * Pages::SIZE + keys[1].1..][..17].to_vec();
            p.set(page, keys[0].1, &key);
        }),
        edit("a history key of other bytes", Refused, |p| p.set(leaf(p), p.elements(leaf(p))[0].1 + 8, b"x")),
        edit("a change that is no message", Refused, |p| p.set(leaf(p), p.elements(leaf(p))[0].2, &[0xff; 12])),
        edit("two bytes of a value", AsEtcdutl, |p| {
            let at = p.elements(leaf(p))[0].2 + 90;
            p.set_u16(leaf(p), at, !p.u16(leaf(p), at));
        }),
        edit("a branch that leads to the root", Refused, |p| p.set_u64(branch(p), HEADER + 8, p.root())),
        child("a branch that leads to page 0", 0),
        child("a branch that leads behind the end", 1 << 40),
        edit("a branch that leads to itself", Refused, |p| p.set_u64(branch(p), HEADER + 8, branch(p))),
        edit("a branch that leads to one page twice", Refused, |p| p.set_u64(branch(p), HEADER + 8, leaf(p))),
        edit("children that have changed places", Refused, |p| {
            let (one, other) = (p.children(branch(p))[1], p.children(branch(p))[2]);
            p.set_u64(branch(p), HEADER + ENTRY + 8, other);
            p.set_u64(branch(p), HEADER + 2 * ENTRY + 8, one);
        }),
        edit("a branch without children", Refused, |p| p.set_u16(branch(p), header::COUNT, 0)),
        edit("a branch of higher keys", Refused, |p| p.set(branch(p), p.elements(branch(p))[1].1, &[0xff])),
        bucket("a bucket at page 1", 1),
        bucket("a bucket behind the end", 1 << 40),
        bucket("a bucket that is inline and has no page", 0),
        edit("a bucket at the root itself", Refused, |p| p.set_u64(p.root(), p.bucket("key").1, p.root())),
        edit("a bucket with the head cut off", Refused, |p| p.set_u32(p.root(), p.bucket("key").0 + 12, 8)),
        edit("a bucket that calls itself a pair", Refused, |p| p.set_u32(p.root(), p.bucket("key").0, 0)),
        edit("a bucket of another name", AsEtcdutl, |p| {
            let value = p.bucket("members").1;
            p.set(p.root(), value - 1, b"z");
        }),
        edit("no bucket of the history", Refused, |p| p.set(p.root(), p.bucket("key").1 - 1, b"z")),
        edit("no bucket of the meta data", Refused, |p| p.set(p.root(), p.bucket("meta").1 - 1, b"b")),
    ]
}

/// Where the entry of a pair is whose bucket is inline in the root.
fn inline(pages: &Pages, bucket: &str, key: &str) -> usize {
    let (root, leaf) = (pages.root(), pages.bucket(bucket).1 + 16);
    let entries = (0..pages.u16(root, leaf + header::COUNT)).map(|index| leaf + HEADER + usize::from(index) * ENTRY);
    let key_of = |entry: &usize| {
        let at = usize::try_from(root).unwrap() * Pages::SIZE + entry;
        let number = |field| usize::try_from(pages.u32(root, entry + field)).unwrap();
        pages.bytes[at + number(4)..][..number(8)] == *key.as_bytes()
    };
    entries.into_iter().find(key_of).expect("a key in this bucket")
}

fn of_etcds_own_numbers() -> Vec<Edit> {
    let length = |what, bucket, key, bytes: u32| {
        edit(what, AsEtcdutl, move |p| p.set_u32(p.root(), inline(p, bucket, key) + 12, bytes))
    };
    let name = |what, bucket, key| {
        edit(what, AsEtcdutl, move |p| {
            let entry = inline(p, bucket, key);
            let at = entry + usize::try_from(p.u32(p.root(), entry + 4)).unwrap() + key.len() - 1;
            p.set(p.root(), at, b"~");
        })
    };
    vec![
        length("a consistent index of 3 bytes", "meta", "consistent_index", 3),
        length("a consistent index of no bytes", "meta", "consistent_index", 0),
        length("a term of 3 bytes", "meta", "term", 3),
        length("half a confState", "meta", "confState", 5),
        length("a cluster version of 2 bytes", "cluster", "clusterVersion", 2),
        name("no consistent index", "meta", "consistent_index"),
        name("no term", "meta", "term"),
        name("no confState", "meta", "confState"),
    ]
}

fn etcdutl(args: &[&str]) -> Result<(), String> {
    let output = tools::command(tools::tool("etcdutl")).args(args).output().unwrap();
    let text = || String::from_utf8_lossy(&output.stderr).lines().take(4).collect::<Vec<_>>().join(" | ");
    if output.status.success() { Ok(()) } else { Err(format!("{}: {}", args[1], text())) }
}

/// Whether etcdutl reads and restores it.
fn judged(file: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", folder.path().join("data").display());
    let file = file.to_str().unwrap();
    etcdutl(&["snapshot", "status", file])?;
    etcdutl(&["snapshot", "restore", file, &data_dir])
}

/// The verdict and the most memory, in KiB.
fn verified(file: &Path) -> (Output, u64) {
    let job = Run::new().args(["verify", "--deep"]).arg(file).spawn();
    let mut peak = 0;
    while let Some(now) = peak_rss(job.id()) {
        peak = now.max(peak);
        thread::sleep(Duration::from_millis(2));
    }
    (job.wait(Duration::from_secs(30)), peak)
}

#[test]
fn what_is_accepted_etcdutl_accepts() {
    needs!("etcd", "etcdctl", "etcdutl");
    let original = original();
    let folder = tempfile::tempdir().unwrap();
    let mut edits = vec![edit("nothing", AsEtcdutl, |_| {})];
    edits.extend([of_the_meta_pages(), of_headers(), of_elements(), of_etcds_own_numbers()].into_iter().flatten());
    let mut faults = Vec::new();
    let mut good = 0;
    for (what, expected, edit) in &edits {
        let mut pages = original.clone();
        edit(&mut pages);
        assert!(*what == "nothing" || pages.bytes != original.bytes, "{what} is no change");
        let file = folder.path().join("edited");
        fs::write(&file, pages.sealed()).unwrap();
        let (output, peak) = verified(&file);
        let accepted = output.status.code() == Some(0);
        let theirs = if accepted { judged(&file) } else { Ok(()) };
        println!("{what}: exit {:?}, {peak} KiB, {theirs:?}", output.status.code());
        good += u32::from(accepted);
        let wrong = match (output.status.code(), expected) {
            (Some(0), Refused) => Some("is accepted"),
            (Some(0), AsEtcdutl) if theirs.is_err() => Some("is accepted, but not by etcdutl"),
            (Some(0 | 5), _) => None,
            _ => Some("has another exit"),
        };
        faults.extend(wrong.map(|wrong| format!("{what} {wrong}: {theirs:?}\n{output}")));
        if peak > MEMORY {
            faults.push(format!("{what} takes {peak} KiB"));
        }
    }
    println!("{} edits, {good} of them good", edits.len());
    assert!(good > 3, "the editor spoils every file");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
