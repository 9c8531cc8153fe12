//! What is shipped renders to exactly what was reviewed.

use std::{collections::BTreeSet, env, fs};

use super::render::{COMPONENTS, everything, folders, root};

/// `UPDATE_GOLDEN=1 cargo test golden` writes the files anew; git then shows what a change does.
#[test]
fn everything_renders_to_its_golden_file() {
    let folder = root().join("tests/golden/kustomize");
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
    }
    let mut expected = BTreeSet::new();
    for (name, render) in everything() {
        let file = format!("{name}.yaml");
        if update {
            fs::write(folder.join(&file), &render.text).unwrap();
        }
        let golden = fs::read_to_string(folder.join(&file)).unwrap_or_default();
        if let Some((line, (is, was))) = first_difference(&render.text, &golden) {
            panic!("{file}:{}: renders {is:?}, golden {was:?}", line + 1);
        }
        expected.insert(file);
    }
    let present: BTreeSet<_> = folders("tests/golden/kustomize").into_iter().collect();
    assert_eq!(present, expected, "golden files of nothing");
}

fn first_difference<'a>(is: &'a str, was: &'a str) -> Option<(usize, (&'a str, &'a str))> {
    let end = std::iter::once("<end>");
    is.lines().chain(end.clone()).zip(was.lines().chain(end)).enumerate().find(|(_, (is, was))| is != was)
}

#[test]
fn no_component_is_forgotten() {
    assert_eq!(folders("kustomize/components"), COMPONENTS);
}
