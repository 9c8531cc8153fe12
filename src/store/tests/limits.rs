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

#[test]
fn names_are_as_long_as_the_store_keeps_them() {
    needs!("rclone", "weed");
    let off = Remote::folder().encrypted(false);
    let sealed = Remote::folder().encrypted(true);
    let sealed_bucket = Remote::seaweedfs().encrypted(true);
    for (remote, longest) in [
        (Remote::folder(), 255 - 32 - 14),
        (Remote::seaweedfs(), 255 - 32),
        (off, 255 - 4 - 32 - 14),
        (sealed, 143 - 32 - 14),
        (sealed_bucket, 143 - 32),
    ] {
        let store = store(&remote, "");
        assert!(is_accepted(&store, longest), "{longest}");
        assert!(!is_accepted(&store, longest + 1), "{longest}");
        stores_the_longest(&store, longest);
    }
    // The limits are those of the stores, and not only ours.
    for (remote, too_long) in [(Remote::folder(), 210), (Remote::folder().encrypted(true), 98)] {
        let record = format!("{}.20261121T010203Z.dismissed.json", "x".repeat(too_long));
        assert!(wait(store(&remote, "").create_record(&record, b"{}")).is_err(), "{too_long}");
    }
}
