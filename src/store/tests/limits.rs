//! The longest names that a store can keep.

use super::*;
use crate::exit::{Exit, Failure};

/// Whether a store takes all that belongs to a backup with such a long name.
fn is_accepted(store: &Store, leaf: usize) -> bool {
    match wait(store.check_name_length(leaf)) {
        Ok(()) => true,
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("backup-prefix: ") && text.contains("shorten"), "{text}");
            assert_eq!(Failure::from(error).exit, Exit::Settings);
            false
        }
    }
}

/// The longest record, and its part, are really stored.
fn stores_the_longest(store: &Store, leaf: usize) {
    let record = format!("{}.20261121T010203Z.dismissed.json", "x".repeat(leaf));
    wait(store.create_record(&record, b"{}")).unwrap_or_else(|error| panic!("{leaf}: {error}"));
}

fn keeps_names_of(remote: &Remote, longest: usize) {
    let store = store(remote, "");
    assert!(is_accepted(&store, longest), "{longest}");
    assert!(!is_accepted(&store, longest + 1), "{longest}");
    stores_the_longest(&store, longest);
}

#[test]
fn names_are_as_long_as_the_store_keeps_them() {
    needs!("rclone");
    keeps_names_of(&Remote::folder(), 255 - 32 - 14);
    keeps_names_of(&Remote::folder().encrypted(true), 143 - 32 - 14);
    // The limits are those of the stores, and not only ours.
    for (remote, too_long) in [(Remote::folder(), 210), (Remote::folder().encrypted(true), 98)] {
        let record = format!("{}.20261121T010203Z.dismissed.json", "x".repeat(too_long));
        assert!(wait(store(&remote, "").create_record(&record, b"{}")).is_err(), "{too_long}");
    }
}

#[test]
#[ignore = "slow: make test-all"]
fn names_in_buckets_need_no_parts() {
    needs!("rclone", "weed");
    keeps_names_of(&Remote::folder().encrypted(false), 255 - 4 - 32 - 14);
    keeps_names_of(&Remote::seaweedfs(), 255 - 32);
    keeps_names_of(&Remote::seaweedfs().encrypted(true), 143 - 32);
}
