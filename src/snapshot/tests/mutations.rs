//! Random bytes and altered snapshots: none may panic, and none may be taken for a good snapshot.

use proptest::prelude::*;
use proptest::sample::Index;

use super::build::{SIZE, meta, open};
use super::{file_of, fixture_bytes, with_trailer};
use crate::snapshot::bolt::meta::NO_FREELIST;
use crate::snapshot::{Contents, Db, Error, alarms, members, prove_file};

#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Overwrite(Index, Vec<u8>),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Truncate(Index),
    Swap(Index, Index),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << (bit % 8),
            Self::Overwrite(at, with) => {
                let at = at.index(len);
                let end = (at + with.len()).min(len);
                bytes[at..end].copy_from_slice(&with[..end - at]);
            }
            Self::Remove(at, count) => {
                let at = at.index(len);
                bytes.drain(at..(at + count).min(len));
            }
            Self::Insert(at, with) => {
                let at = at.index(len);
                bytes.splice(at..at, with.iter().copied());
            }
            Self::Truncate(at) => bytes.truncate(at.index(len)),
            Self::Swap(one, other) => {
                let pages = len / 4096;
                for offset in 0..if pages > 0 { 4096 } else { 0 } {
                    bytes.swap(one.index(pages) * 4096 + offset, other.index(pages) * 4096 + offset);
                }
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let blob = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), blob()).prop_map(|(at, with)| Mutation::Overwrite(at, with)),
        (any::<Index>(), 1_usize..5000).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<Index>(), blob()).prop_map(|(at, with)| Mutation::Insert(at, with)),
        any::<Index>().prop_map(Mutation::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Mutation::Swap(one, other)),
    ]
}

/// Reads everything that can be read. Only a panic would be wrong here.
fn read_all(db: &Db) {
    let _ = (Contents::read(db), members(db), alarms(db), db.get(b"key", b"\0"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_altered_snapshot_is_refused(mutations in prop::collection::vec(mutation(), 1..4)) {
        for name in ["etcd-3.5.1", "etcd-3.4.23"] {
            let original = fixture_bytes(name);
            let mut bytes = original.clone();
            for mutation in &mutations { mutation.apply(&mut bytes); }
            let proof = prove_file(file_of(&bytes).path(), &[]);
            let refused = matches!(proof, Err(Error::Damaged { .. }));
            prop_assert_eq!(refused, bytes != original, "{:?}", proof);
        }
    }

    #[test]
    fn altered_pages_with_a_matching_trailer_do_not_panic(mutations in prop::collection::vec(mutation(), 1..8)) {
        for name in ["etcd-3.5.1", "etcd-3.4.23"] {
            let mut bytes = fixture_bytes(name);
            bytes.truncate(bytes.len() - 32);
            // The meta pages stay, as nothing else would be read without them.
            let metas: Vec<u8> = bytes.drain(..8192).collect();
            let len = bytes.len();
            for mutation in &mutations { mutation.apply(&mut bytes); }
            bytes.resize(len, 0);
            let file = file_of(&with_trailer(&[metas, bytes].concat()));
            let _ = prove_file(file.path(), &[]);
            read_all(&Db::open_path(file.path()).unwrap());
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(
        body in prop::collection::vec(any::<u8>(), 0..6 * SIZE),
        root in 0_u64..8,
        freelist in prop_oneof![Just(NO_FREELIST), 0_u64..8],
    ) {
        let _ = prove_file(file_of(&body).path(), &[]);
        let _ = prove_file(file_of(&with_trailer(&body)).path(), &[]);
        // Small numbers are more likely than others to be valid in headers and positions.
        let pages: Vec<u8> = body.chunks_exact(SIZE).zip(2_u8..).flat_map(|(page, id)| {
            let mut page: Vec<u8> = page.iter().map(|byte| byte % 24).collect();
            let header = [id, 0, 0, 0, 0, 0, 0, 0, 1 + page[8] % 2, 0, page[10], 0, page[12] / 20, 0, 0, 0];
            page[..16].copy_from_slice(&header);
            page
        }).collect();
        let count = u64::try_from(pages.len() / SIZE).unwrap() + 2;
        let bytes = [meta(0, root, freelist, count, 1), meta(1, root, freelist, count, 0), pages].concat();
        read_all(&open(&bytes).unwrap());
    }
}
