//! Of two runs that take one name at the same time, one takes another, where the store would let it replace the first.

use super::*;
use crate::store::Error;

/// Looks whether the name is free, is held up, and then moves, as rclone does within a millisecond.
const HELD_UP: &str = r#"#!/bin/bash
to="${@: -1}"
if [ "$1" = moveto ] && [[ "$to" == *.etcdb ]]; then
    args=()
    for arg in "$@"; do
        [ "$previous" = --config ] && config="$arg"
        previous="$arg"
        case "$arg" in --ignore-existing|--error-on-no-transfer) ;; *) args+=("$arg");; esac
    done
    [ -z "$(REAL --config "$config" lsf "$to" 2>/dev/null)" ] || exit 9
    touch LOOKED
    sleep 3
    exec REAL "${args[@]}"
fi
exec REAL "$@"
"#;

/// Two runs at once, of which the first is held up between its look and its move.
fn one_takes_another_name(of: impl Fn(&Path) -> Store) {
    let (first, second) = (Sent::new(b"first"), Sent::new(b"second"));
    let looked = first.folder.path().join("looked");
    let script = HELD_UP.replace("LOOKED", looked.to_str().unwrap());
    let (held_up, ahead) = (of(&first.rclone_is(&script)), of(&tools::tool("rclone")));
    let name = name("a/p-", "202601020304");
    let (of_first, of_second) = wait(async {
        tokio::join!(held_up.put(&first.path, &name, &first.content), async {
            while !looked.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            ahead.put(&second.path, &name, &second.content).await
        })
    });
    assert!(matches!(of_second, Err(Error::Taken(_) | Error::OnItsWay(_))), "{of_second:?}");
    of_first.unwrap();
    wait(held_up.confirm(&name, &first.content)).unwrap();
    let parts = wait(ahead.objects(&ahead.path_of(crate::store::PARTS), &[], true)).unwrap();
    assert!(parts.is_empty(), "{parts:?}");
}

/// A remote of this kind in front of a directory, which `DATA` stands for.
fn in_front_of_a_directory(target: &str, section: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("rclone.conf"));
    fs::create_dir(&data).unwrap();
    fs::write(&config, section.replace("DATA", data.to_str().unwrap())).unwrap();
    one_takes_another_name(|rclone| store_with(target, &config, "a/p-", rclone));
}

#[test]
fn of_two_runs_at_one_name_one_takes_another() {
    needs!("rclone");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let sftp = Served::new("sftp");
            one_takes_another_name(|rclone| sftp.store_with("a/p-", rclone));
        });
        scope.spawn(|| in_front_of_a_directory("near:x", "[near]\ntype = alias\nremote = DATA\n"));
    });
}

#[test]
#[ignore = "slow: make test-all"]
fn the_same_on_every_other_store_that_moves() {
    needs!("rclone");
    let webdav = Served::new("webdav");
    one_takes_another_name(|rclone| webdav.store_with("a/p-", rclone));
    in_front_of_a_directory("near:x", "[near]\ntype = combine\nupstreams = x=DATA\n");
    in_front_of_a_directory("near:x", "[near]\ntype = union\nupstreams = DATA/one DATA/two\ncreate_policy = ff\n");
    let password = support::file_server::obscured("right");
    in_front_of_a_directory("vault:x", &format!("[vault]\ntype = crypt\nremote = DATA\npassword = {password}\n"));
}

/// A part that a killed run left on the way to this leaf.
fn leave_part(served: &Served, leaf: &str) {
    let parts = served.data().join(".etcd-backup/parts");
    fs::create_dir_all(&parts).unwrap();
    // Before any that this process could write.
    fs::write(parts.join(format!("{leaf}.00000000.part")), "cut").unwrap();
}

#[test]
fn what_a_killed_run_left_keeps_no_record_from_being_written() {
    needs!("rclone");
    let served = Served::new("sftp");
    let store = served.store("p-");
    leave_part(&served, "p-.since.json");
    wait(store.create_record("p-.since.json", b"{}")).unwrap();
    assert_eq!(fs::read(served.data().join(".etcd-backup/p-.since.json")).unwrap(), b"{}\n");
}

#[test]
fn a_name_that_is_only_on_its_way_is_not_called_taken() {
    needs!("rclone");
    let served = Served::new("sftp");
    let (store, sent) = (served.store("p-"), Sent::new(b"a snapshot"));
    leave_part(&served, "p-202601020304.etcdb");
    let error = wait(store.put(&sent.path, &name("p-", "202601020304"), &sent.content)).unwrap_err();
    assert!(error.to_string().ends_with("or was killed with one"), "{error}");
    assert!(!served.data().join("p-202601020304.etcdb").exists());
    // So another one is chosen at once.
    let inventory = wait(store.look()).unwrap().1;
    assert_eq!(inventory.parts, ["p-202601020304.etcdb.00000000.part"]);
}
