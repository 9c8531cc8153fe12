//! The keys at a revision, against a model that replays every change.

use std::collections::BTreeMap;
use std::hash::RandomState;

use proptest::prelude::*;
use prost::Message;

use super::build::{SIZE, Value, bucket, db, leaf, open, patched};
use super::{KeyValueMessage, fixture};
use crate::snapshot::{Db, KeyState, Newest, Revision, SortedKeys, changes, find, find_all, prove_file};

const REVISION: Revision = Revision { main: 7, sub: 1, tombstone: false };

/// The keys, sorted, with value and version, as a client would get them.
pub type State = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;
type KeyAndState = (Vec<u8>, (Vec<u8>, i64));

/// A put of a value, or a deletion, of one of a few keys.
pub type Op = (Vec<u8>, Option<Vec<u8>>);

/// A database with this history, each op a revision of its own from 2 on, and the state after each.
pub fn store(ops: &[Op]) -> (Db, Vec<State>) {
    let mut state = State::new();
    let mut states = vec![state.clone(), state.clone()];
    let mut pairs = Vec::new();
    for (at, (key, value)) in ops.iter().enumerate() {
        let main = u64::try_from(at).unwrap() + 2;
        let revision = Revision { main, sub: 0, tombstone: value.is_none() };
        let mut record = KeyValueMessage { key: key.clone(), ..KeyValueMessage::default() };
        if let Some(value) = value {
            record.version = state.get(key).map_or(0, |(_, version)| *version) + 1;
            record.mod_revision = main.cast_signed();
            record.value.clone_from(value);
            state.insert(key.clone(), (value.clone(), record.version));
        } else {
            state.remove(key);
        }
        states.push(state.clone());
        // Up to 127 a revision is text.
        pairs.push((String::from_utf8(revision.to_key()).unwrap(), (0, record.encode_to_vec())));
    }
    let pairs: Vec<(&str, Value)> = pairs.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let history = leaf(3, &pairs);
    let overflow = u32::try_from(history.len() / SIZE - 1).unwrap();
    let history = patched(history, 12, &overflow.to_le_bytes());
    (open(&db(&[leaf(2, &[("key", bucket(3))]), history])).unwrap(), states)
}

/// The newest states after this history.
pub fn newest(ops: &[Op], keys: &'static [&'static [u8]]) -> Vec<Newest> {
    Newest::read(&store(ops).0, keys).unwrap()
}

fn state_of(db: &Db, items: impl IntoIterator<Item = KeyState>) -> Vec<KeyAndState> {
    items.into_iter().map(|item| (item.key.clone(), (item.value(db).unwrap(), item.version))).collect()
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = prop::collection::vec(prop::sample::select(b"ab/\xff".to_vec()), 1..4);
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::vec((key, value), 0..100)
}

proptest! {
    #[test]
    fn keys_are_those_of_the_model_at_every_revision(ops in ops(), budget in 1_usize..4000, prefix in "[ab]{0,2}") {
        let (db, states) = store(&ops);
        for (at, state) in states.iter().enumerate().rev().step_by(7) {
            let at = u64::try_from(at).unwrap();
            let prefix = prefix.as_bytes();
            let sorted = SortedKeys::new(&db, prefix, at).with_budget(budget);
            let sorted = state_of(&db, sorted.map(Result::unwrap));
            let expected: Vec<_> = state.clone().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
            prop_assert_eq!(&sorted, &expected);
            let mut all = state_of(&db, find_all(&db, at, usize::MAX, |key| key.starts_with(prefix)).unwrap().unwrap());
            all.sort();
            prop_assert_eq!(&all, &expected);
            if let Some(fewer) = expected.len().checked_sub(1) {
                prop_assert!(find_all(&db, at, fewer, |key| key.starts_with(prefix)).unwrap().is_none());
            }

            let keys = [b"a".to_vec(), b"ab".to_vec(), b"\xff".to_vec()];
            let mut found = state_of(&db, find(&db, &keys, at).unwrap());
            found.sort();
            let expected: Vec<_> = state.clone().into_iter().filter(|(key, _)| keys.contains(key)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn fingerprints_tell_values_apart() {
    let put = |key: &str, value: &str| (key.into(), Some(value.into()));
    let (db, _) = store(&[put("a", "same"), put("b", "same"), put("c", "other")]);
    let hasher = RandomState::new();
    let items: Vec<_> = SortedKeys::new(&db, b"", 4).with_fingerprints(&hasher).map(Result::unwrap).collect();
    assert_eq!(items[0].fingerprint, items[1].fingerprint);
    assert_ne!(items[0].fingerprint, items[2].fingerprint);
}

#[test]
fn a_revision_that_changes_no_key_is_skipped() {
    // As `etcdutl snapshot restore --bump-revision` writes it.
    let key = |main: u64| String::from_utf8(Revision { main, ..REVISION }.to_key()).unwrap();
    let record = KeyValueMessage { key: b"k".to_vec(), mod_revision: 2, version: 1, ..KeyValueMessage::default() };
    let pairs = [(key(2), (0, record.encode_to_vec())), (key(100), (0, vec![]))];
    let pairs: Vec<(&str, Value)> = pairs.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let db = open(&db(&[leaf(2, &[("key", bucket(3))]), leaf(3, &pairs)])).unwrap();
    assert_eq!(SortedKeys::new(&db, b"", 100).count(), 1);
}

#[test]
fn a_value_that_cannot_be_read_is_damage() {
    let key = String::from_utf8(REVISION.to_key()).unwrap();
    let pairs = [(key.as_str(), (0, b"\x0a\x05ab".to_vec()))];
    let db = open(&db(&[leaf(2, &[("key", bucket(3))]), leaf(3, &pairs)])).unwrap();
    let error = changes(&db, 9, |_| Ok::<_, crate::snapshot::Error>(())).unwrap_err();
    assert!(format!("{error:?}").contains("the value of revision 7 cannot be read"), "{error:?}");
}

#[test]
fn revisions_are_refused_in_etcds_words() {
    let contents = prove_file(&fixture("etcd-3.5.1"), &[]).unwrap().contents;
    assert_eq!((contents.compact_revision, contents.revision), (3, 8));
    for (asked, read) in [(None, 8), (Some(3), 3), (Some(8), 8)] {
        assert_eq!(contents.revision_to_read(asked), Ok(read));
    }
    let refusal = |asked| contents.revision_to_read(Some(asked)).unwrap_err().to_string();
    assert!(refusal(2).contains("required revision 2 has been compacted"), "{}", refusal(2));
    assert!(refusal(9).contains("required revision 9 is a future revision"), "{}", refusal(9));
}
