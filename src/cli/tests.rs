use super::*;

fn parsed(args: &[&str]) -> Command {
    parse(std::iter::once("etcd-backup").chain(args.iter().copied()).map(OsString::from)).unwrap().command
}

#[test]
fn run_is_the_default() {
    assert!(matches!(parsed(&[]), Command::Run(_)));
    assert!(matches!(parsed(&["--target", "a:b"]), Command::Run(_)));
    assert!(matches!(parsed(&["--output", "json", "prune"]), Command::Prune(_)));
}

#[test]
fn a_misspelt_command_is_not_an_argument_of_run() {
    let error = parse(["etcd-backup", "lst"].map(OsString::from)).unwrap_err().to_string();
    assert!(error.contains("unrecognized subcommand 'lst'") && error.contains("'list'"), "{error}");
}

#[test]
fn the_command_of_arguments_that_do_not_parse() {
    let of = |args: &[&str]| command_of(&args.iter().map(OsString::from).collect::<Vec<_>>()).0;
    assert_eq!(of(&["etcd-backup", "--output", "json", "prune", "--retention", "10"]), "prune");
    assert_eq!(of(&["etcd-backup", "--nonsense"]), "run");
}

#[test]
fn what_was_typed_is_known_from_what_was_not() {
    let typed = |args: &[&str]| match parsed(args) {
        Command::PutBack(args) => args.typed.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(typed(&["put-back", "latest", "/key", "--yes", "--target", "a:b", "--backup-prefix=p"]), [""; 0]);
    let args = ["--log-level", "debug", "put-back", "--namespace", "b", "latest", "--namespace=a", "--overwrite"];
    assert_eq!(typed(&args), ["--log-level", "debug"]);
    let args = [
        "put-back",
        "latest",
        "--prefix",
        "/a b",
        "--revision=7",
        "--rclone-flags",
        "--bwlimit 1M",
        "--endpoints=http://h:1",
    ];
    assert_eq!(typed(&args), ["--endpoints", "http://h:1", "--rclone-flags=--bwlimit 1M"]);
}

#[test]
fn the_description_is_sound() {
    command().debug_assert();
}

#[test]
fn commands_know_their_names() {
    for name in ["run", "snapshot", "store", "list", "verify", "inspect"] {
        assert_eq!(parsed(&[name]).name(), name);
    }
    assert_eq!(parsed(&["put-back", "latest", "/key"]).name(), "put-back");
    assert_eq!(parsed(&["accept", "202601020304.etcdb"]).name(), "accept");
    assert_eq!(parsed(&["dismiss", "202601020304.etcdb"]).name(), "dismiss");
    assert_eq!(parsed(&["completions", "bash"]).name(), "completions");
}

#[test]
fn no_step_says_what_another_does() {
    let says = |name: &str, words: &str| {
        let command = command();
        let help = command.find_subcommand(name).unwrap().get_after_help().unwrap().to_string();
        assert!(help.contains(words), "{name}: {help}");
    };
    says("run", "  0  stored, confirmed, retention done\n");
    says("snapshot", "  0  snapshot taken and proved; not stored yet (in place: ");
    says("store", "  0  stored and confirmed; not pruned yet\n");
    says("prune", "  0  retention done (with --after: ");
    says("list", "  0  done\n");
    assert_eq!(parsed(&["prune", "--after", "x"]).purpose(), Purpose::PruneAfter);
}
