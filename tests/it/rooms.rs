//! The rooms of `src/` import each other in one direction only, so that each can be read without the ones above it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which rooms each room imports, as `crate::` paths in its files say; unit tests aside.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "main" || inside.iter().any(|part| part == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let others = code.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        imports.entry(room.clone()).or_default().extend(others.filter(|other| *other != room && !other.is_empty()));
    }
    imports
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn no_two_rooms_import_each_other() {
    let mut left = imports();
    assert!(left.len() > 10 && left["command"].contains("config"), "{left:?}");
    // Takes away the rooms that import none of those that are left, until nothing more can be taken.
    loop {
        let rooms: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imported| imported.iter().any(|other| rooms.contains(other)));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "a circle of imports among {:?}", left.keys().collect::<Vec<_>>());
}
