//! `--help` of the program and of every command.

use std::{collections::BTreeSet, fs, path::Path};

use super::assert_golden;
use crate::support::run::Run;

/// In the width of a terminal of old, whatever the machine's is.
fn help(args: &[&str]) -> String {
    Run::new().args(args).arg("--help").env("COLUMNS", "100").exits(0).stdout
}

/// The names in the section `Commands:`, which are indented by two; longer texts go on further right.
fn commands(help: &str) -> Vec<&str> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = section.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn help_of_every_command() {
    let program = help(&[]);
    assert_golden("help", "etcd-backup", &program);
    let commands = commands(&program);
    assert!(commands.contains(&"run") && commands.contains(&"copy-tls"), "{commands:?}");
    for command in &commands {
        assert_golden("help", command, &help(&[command]));
    }
    let expected: BTreeSet<_> =
        commands.into_iter().chain(["etcd-backup"]).map(|name| format!("{name}.snap")).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let present = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(present.collect::<BTreeSet<_>>(), expected, "a file for a command that there is no more");
}
