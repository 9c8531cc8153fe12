//! `accept` and `dismiss`: a person says what a backup is.

use rstest::rstest;

use crate::support::run::Run;

const PREFIX: &str = "clusters/prod-";

/// Exit 2 with these words, and rclone was not started.
fn refused(command: &str, args: &[&str], user: Option<&str>, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let run = Run::new().arg(command).args(args).env("TARGET", folder.path()).env("BACKUP_PREFIX", PREFIX);
    let run = run.rclone_is(&format!("#!/bin/sh\ntouch {}\n", started.display()));
    let run = user.into_iter().fold(run, |run, user| run.env("USER", user));
    run.exits(2).says(words);
    assert!(!started.exists(), "rclone was started");
}

#[rstest]
fn only_a_full_name_is_taken(
    #[values("accept", "dismiss")] command: &str,
    #[values("latest", "", "2026", "staging-202601020304.etcdb", "./clusters/prod-202601020304.etcdb")] name: &str,
) {
    let example = "`etcd-backup list` shows, such as `clusters/prod-202601020304.etcdb`";
    refused(command, &[name, "--by", "alice"], None, &[&format!("name: `{name}` is not"), "full name", example]);
}

#[rstest]
fn a_name_without_its_ending_is_completed_in_the_refusal(#[values("accept", "dismiss")] command: &str) {
    let meant = "write `clusters/prod-202601020304.etcdb`";
    refused(command, &["prod-202601020304", "--by", "alice"], None, &[meant]);
}

#[test]
fn a_name_is_required() {
    refused("accept", &["--by", "alice"], None, &["<NAME>"]);
}

#[rstest]
fn somebody_has_to_say_so(#[values("accept", "dismiss")] command: &str) {
    let name = "prod-202601020304.etcdb";
    let unset = ["by: is not set", "USER", "--by WHO"];
    refused(command, &[name], None, &unset);
    refused(command, &[name], Some(""), &unset);
    refused(command, &[name, "--by", " "], Some("alice"), &unset);
    refused(command, &[name], Some("a\tb"), &["by: has a control character"]);
}
