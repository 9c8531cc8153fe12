//! The rules of bbolt's pages, each broken once.

use std::ops::ControlFlow;

use super::build::{
    FREELIST, SIZE, branch, bucket, damage, db, db_with, header, inline, leaf, meta, open, padded, patched, value,
};
use super::{file_of, with_trailer};
use crate::snapshot::bolt::Visit;
use crate::snapshot::bolt::meta::{NO_FREELIST, fnv1a};
use crate::snapshot::{Error, prove_file};

/// Bucket `b` with a branch over two leaves: a c | e g.
fn two_leaves() -> Vec<Vec<u8>> {
    vec![
        leaf(2, &[("b", bucket(3))]),
        branch(3, &[("a", 4), ("e", 5)]),
        leaf(4, &[("a", value("1")), ("c", value("2"))]),
        leaf(5, &[("e", value("3")), ("g", value(""))]),
    ]
}

fn walked(bytes: &[u8]) -> Vec<String> {
    let mut visited = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    open(bytes)
        .unwrap()
        .walk(|visit| {
            visited.push(match visit {
                Visit::Bucket { depth, name } => format!("{depth} [{}]", text(name)),
                Visit::Pair { depth, bucket, key, value, page } => {
                    format!("{depth} {}/{}={} @{page}", text(bucket), text(key), text(value))
                }
            });
            Ok::<_, Error>(())
        })
        .unwrap();
    visited
}

#[test]
fn pairs_come_in_key_order_with_their_buckets() {
    let inner = inline(&[("x", value("1"))]);
    let pages = [
        leaf(2, &[("first", bucket(3)), ("second", inline(&[("k", value("v"))])), ("third", inline(&[]))]),
        leaf(3, &[("a", value("1")), ("inner", inner), ("z", bucket(4))]),
        leaf(4, &[("deep", value("2"))]),
    ];
    let expected = [
        "0 [first]",
        "1 first/a=1 @3",
        "1 [inner]",
        "2 inner/x=1 @3",
        "1 [z]",
        "2 z/deep=2 @4",
        "0 [second]",
        "1 second/k=v @2",
        "0 [third]",
    ];
    assert_eq!(walked(&db(&pages)), expected);
}

#[test]
fn a_scan_begins_and_ends_where_it_is_told() {
    let db = open(&db(&two_leaves())).unwrap();
    for (from, expected) in [("", "aceg"), ("b", "ceg"), ("c", "ceg"), ("d", "eg"), ("g", "g"), ("h", "")] {
        let mut keys = String::new();
        db.scan(b"b", from.as_bytes(), |key, _| {
            keys.push_str(std::str::from_utf8(key).unwrap());
            Ok::<_, Error>(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(keys, expected, "from {from:?}");
    }
    assert_eq!(db.get(b"b", b"e").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(db.get(b"b", b"g").unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(db.get(b"b", b"d").unwrap(), None);
    assert_eq!(db.get(b"c", b"e").unwrap(), None);
    assert_eq!(db.get(b"", b"e").unwrap(), None);
}

#[test]
fn a_page_may_overflow() {
    let long = "x".repeat(3 * SIZE);
    let mut big = leaf(3, &[("a", value(&long))]);
    let overflow = u32::try_from(big.len() / SIZE).unwrap() - 1;
    big = patched(big, 12, &overflow.to_le_bytes());
    let pages = [leaf(2, &[("b", bucket(3))]), big];
    assert_eq!(walked(&db(&pages))[1].len(), "1 b/a= @3".len() + long.len());
    // Older versions of bbolt add a page to one that is full to its last byte.
    let long = "x".repeat(2 * SIZE - 33);
    let full = patched(leaf(3, &[("a", value(&long))]), 12, &2_u32.to_le_bytes());
    assert_eq!(full.len(), 2 * SIZE);
    assert_eq!(walked(&db(&[leaf(2, &[("b", bucket(3))]), full, vec![0; SIZE]])).len(), 2);
}

#[test]
fn a_page_takes_as_much_memory_as_its_elements() {
    let page = |claimed: u32, value_len: u32, file_pages: usize| {
        let page = leaf(3, &[("a", value("1"))]);
        let page = patched(patched(page, 12, &claimed.to_le_bytes()), 28, &value_len.to_le_bytes());
        damage(&db(&[leaf(2, &[("b", bucket(3))]), page, vec![0; file_pages * SIZE]]))
    };
    assert_eq!(page(8, 1, 8), "page 3: it claims 8 more pages, but its elements end after 34 bytes");
    assert_eq!(page(8, 4095 - 33, 8), "page 3: it claims 8 more pages, but its elements end after 4095 bytes");
    assert_eq!(page(8, 9 * 512, 8), "page 3: element 0 points outside its page");
    assert_eq!(page(8, u32::MAX, 8), "page 3: element 0 points outside its page");
    // 128 MiB and a byte.
    let most = u32::try_from(128 << 20).unwrap();
    let cannot = "page 3: cannot hold a page of 134217729 bytes in memory";
    assert_eq!(page(most / 512, most + 1 - 33, (128 << 20) / SIZE), cannot);
}

#[test]
fn both_meta_pages_of_a_snapshot_are_sound() {
    let pages = [leaf(2, &[]), leaf(3, &[("key", inline(&[])), ("meta", inline(&[]))])].concat();
    let with_size = |size: u32| {
        let mut bytes = patched(meta(1, 3, NO_FREELIST, 4, 7), 24, &size.to_le_bytes());
        let sum = fnv1a(&bytes[16..72]);
        bytes[72..80].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    let first = meta(0, 2, NO_FREELIST, 4, 6);
    let proved = |first: &[u8], second: &[u8]| {
        let whole = with_trailer(&[first, second, &pages].concat());
        prove_file(file_of(&whole).path(), &[]).map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    };
    assert!(proved(&first, &with_size(512)).is_ok());
    // The older root has no buckets.
    let older = meta(1, 3, NO_FREELIST, 4, 5);
    assert!(proved(&first, &older).unwrap_err().contains("no bucket `key`, which every etcd has"));
    let second = meta(1, 3, NO_FREELIST, 4, 7);
    for (first, second, why) in [
        (first.clone(), with_size(0), "page 1: a page size of 0 bytes is impossible"),
        (first.clone(), with_size(2 << 30), "page 1: a page size of 2147483648 bytes is impossible"),
        (first.clone(), with_size(1024), "page 1: a page size of 1024 bytes, but 512 in page 0"),
        (first.clone(), patched(second.clone(), 20, &[9]), "page 1: bbolt format version 9 is unknown"),
        (first.clone(), patched(second.clone(), 60, &[9]), "page 1: the checksum of the meta page does not match"),
        (first.clone(), vec![0; SIZE], "page 1: not a bbolt database"),
        (patched(first, 60, &[9]), second, "page 0: the checksum of the meta page does not match"),
    ] {
        let refused = proved(&first, &second).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn the_newer_sound_meta_page_is_used() {
    let pages = [leaf(2, &[]), leaf(3, &[("newer", inline(&[]))])].concat();
    let old = meta(0, 2, NO_FREELIST, 4, 6);
    let new = meta(1, 3, NO_FREELIST, 4, 7);
    assert_eq!(walked(&[old.clone(), new.clone(), pages.clone()].concat()), ["0 [newer]"]);

    let torn = patched(new.clone(), 20, &[9]);
    assert_eq!(walked(&[old.clone(), torn.clone(), pages.clone()].concat()), [""; 0]);

    let zeroed = vec![0; SIZE];
    assert_eq!(walked(&[zeroed.clone(), new, pages.clone()].concat()), ["0 [newer]"]);
    assert!(damage(&[zeroed, torn, pages].concat()).contains("magic number"));
}

#[test]
fn a_written_free_list_is_checked() {
    let counted =
        |flagged: usize, first: u64| padded([header(3, FREELIST, flagged, 0), first.to_le_bytes().to_vec()].concat());
    let root = leaf(2, &[]);
    let free = || vec![7; SIZE];
    assert_eq!(walked(&db_with(&[root.clone(), counted(1, 4), free()], 2, 3)), [""; 0]);
    // A count of 0xFFFF says that the first number is the count.
    let many: Vec<u8> = [header(3, FREELIST, 0xFFFF, 0), 61_u64.to_le_bytes().to_vec()].concat();
    let listed = |ids: std::ops::Range<u64>| ids.flat_map(u64::to_le_bytes).collect::<Vec<_>>();
    let pages = [vec![root.clone(), [many, listed(4..65)].concat()], vec![free(); 61]].concat();
    assert_eq!(walked(&db_with(&pages, 2, 3)), [""; 0]);
    for (ids, why) in [
        (vec![2], "page 2: the page is referenced twice"),
        (vec![3], "page 3: the page is referenced twice"),
        (vec![4, 4], "page 4: the page is referenced twice"),
        (vec![5], "page 5: it lies outside the 5 pages of the file"),
        (vec![1], "page 3: it lists a meta page as free"),
    ] {
        let list = [header(3, FREELIST, ids.len(), 0), ids.into_iter().flat_map(u64::to_le_bytes).collect()].concat();
        assert_eq!(damage(&db_with(&[root.clone(), padded(list), free()], 2, 3)), why);
    }
    // 62 numbers have room.
    for bad in [counted(63, 9), counted(0xFFFF, 62), counted(0xFFFF, u64::MAX), leaf(3, &[])] {
        let pages = [root.clone(), bad];
        assert_eq!(
            damage(&db_with(&pages, 2, 3)),
            "page 3: the meta page says that the free pages are listed here, but they are not"
        );
    }
    assert!(damage(&db_with(&[root], 2, 3)).contains("outside"));
}

#[test]
fn every_broken_rule_is_found_on_its_page() {
    let one = |page: Vec<u8>| db(&[leaf(2, &[("b", bucket(3))]), page]);
    let with = |at: usize, page: Vec<u8>| {
        let mut pages = two_leaves();
        pages[at - 2] = page;
        db(&pages)
    };
    let pair = || leaf(3, &[("a", value("1")), ("b", value("2"))]);
    let cases = [
        (one(leaf(4, &[])), "page 3: its header says that it is page 4"),
        (one(padded(header(3, FREELIST, 0, 0))), "page 3: a page of the tree has type 0x10, neither branch nor leaf"),
        (one(padded(header(3, 3, 0, 0))), "page 3: a page of the tree has type 0x3, neither branch nor leaf"),
        (one(branch(3, &[])), "page 3: a branch without children"),
        (one(padded(header(3, 2, 32, 0))), "page 3: 32 elements do not fit into the page"),
        (one(patched(pair(), 12, &[1])), "page 3: it lies outside the 4 pages of the file"),
        (one(patched(pair(), 12, &[0xFF; 4])), "page 3: it lies outside the 4 pages of the file"),
        (one(patched(pair(), 16, &[2])), "page 3: element 0 points outside its page"),
        (one(patched(pair(), 20, &[0xFF; 4])), "page 3: element 0 points outside its page"),
        (one(patched(pair(), 20, &[0])), "page 3: element 0 points outside its page"),
        (one(patched(pair(), 24, &[0xFF; 8])), "page 3: element 0 points outside its page"),
        (one(patched(pair(), 36, &[16])), "page 3: element 1 points outside its page"),
        (one(leaf(3, &[("b", value("")), ("a", value(""))])), "page 3: element 1 is out of order"),
        (one(leaf(3, &[("a", value("")), ("a", value(""))])), "page 3: element 1 is out of order"),
        (one(leaf(3, &[("", value(""))])), "page 3: element 0 has no key"),
        (one(leaf(3, &[("a", (1, vec![1; 15]))])), "page 3: a bucket's header is cut off"),
        (one(leaf(3, &[("a", (1, vec![0; 20]))])), "page 3: an inline bucket without its page"),
        (one(leaf(3, &[("a", (1, vec![0; 32]))])), "page 3: an inline bucket whose page is not a leaf"),
        (one(leaf(3, &[("a", bucket(3))])), "page 3: the page is referenced twice"),
        (one(leaf(3, &[("a", bucket(1))])), "page 1: it lies outside the 4 pages of the file"),
        (
            one(leaf(3, &[("a", bucket(u64::MAX))])),
            "page 18446744073709551615: it lies outside the 4 pages of the file",
        ),
        (one(branch(3, &[("a", 3)])), "page 3: the page is referenced twice"),
        (db(&[leaf(2, &[("a", value(""))])]), "page 2: a pair outside every bucket"),
        (with(3, branch(3, &[("a", 4), ("e", 4)])), "page 4: the page is referenced twice"),
        (with(3, branch(3, &[("e", 4), ("a", 5)])), "page 4: a key lies outside the range that its branch gives"),
        (with(3, branch(3, &[("b", 4), ("e", 5)])), "page 4: a key lies outside the range that its branch gives"),
        (with(3, branch(3, &[("a", 4), ("f", 5)])), "page 5: a key lies outside the range that its branch gives"),
        (
            with(4, leaf(4, &[("a", value("")), ("e", value(""))])),
            "page 4: a key lies outside the range that its branch gives",
        ),
        (
            with(4, leaf(4, &[("a", value("")), ("e\0", value(""))])),
            "page 4: a key lies outside the range that its branch gives",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(damage(&bytes), expected);
    }
}

#[test]
fn depth_is_bounded() {
    let count = 60_u64;
    let mut chain: Vec<_> = (3..count).map(|id| branch(id, &[("a", id + 1)])).collect();
    chain.insert(0, leaf(2, &[("b", bucket(3))]));
    chain.push(leaf(count, &[("a", value(""))]));
    assert!(damage(&db(&chain)).contains("too deep"));

    let mut nested: Vec<_> = (2..count).map(|id| leaf(id, &[("b", bucket(id + 1))])).collect();
    nested.push(leaf(count, &[]));
    assert!(damage(&db(&nested)).contains("nested too deep"));
}

#[test]
fn the_size_is_pages_times_page_size() {
    let bytes = db(&two_leaves());
    assert!(damage(&bytes[..bytes.len() - SIZE]).contains("2560 bytes of pages, but the meta page says 6 pages"));
    assert!(damage(&[bytes, vec![0; SIZE]].concat()).contains("3584 bytes of pages"));
    for size in [0, 1, 16, 79, 80, 511, 512, 600] {
        assert!(!damage(&vec![0; size]).is_empty());
    }
}
