//! The documents say what is true: links lead somewhere, commands parse, tables agree with `--help` and with `src/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::support::run::Run;

/// Nobody reads a longer one from top to bottom.
const README_LINES: usize = 200;

/// They have no flag, because other processes can read arguments, or because other programs read them too.
const VARIABLES_ALONE: [&str; 3] = ["ETCDCTL_USER", "ETCDCTL_PASSWORD", "TZ"];

/// What the troubleshooting quotes from others: a command that is put together, and an answer of S3.
const WORDS_OF_OTHERS: [&str; 2] = ["rclone copyto", "InvalidAccessKeyId"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `folder` with this extension; what is built and what git keeps is left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let skipped = |path: &PathBuf| ["target", ".git"].into_iter().any(|name| path.ends_with(name));
    let below = folders.into_iter().filter(|path| !skipped(path)).flat_map(|path| self::files(&path, extension));
    files.into_iter().filter(|path| path.extension() == Some(OsStr::new(extension))).chain(below).collect()
}

struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    fn all() -> Vec<Self> {
        let read = |path: PathBuf| Self { text: fs::read_to_string(&path).unwrap(), path };
        let all: Vec<_> = files(root(), "md").into_iter().map(read).collect();
        assert!(all.len() > 5, "the documents are found");
        all
    }

    /// Lines, each with the language of the fence that it is in.
    fn lines(&self) -> Vec<(Option<&str>, &str)> {
        let mut fence = None;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            match (line.strip_prefix("```"), fence) {
                (Some(language), None) => fence = Some(language),
                (Some(_), Some(_)) => fence = None,
                (None, _) => lines.push((fence, line)),
            }
        }
        assert_eq!(fence, None, "{}: a fence is not closed", self.path.display());
        lines
    }

    fn prose(&self) -> impl Iterator<Item = &str> {
        self.lines().into_iter().filter(|(fence, _)| fence.is_none()).map(|(_, line)| line)
    }

    /// What GitHub calls its headings in links.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        headings
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }

    /// Where its links lead, outside code.
    fn links(&self) -> Vec<String> {
        let outside_code = |line: &str| line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let of_line = |line: &str| {
            let line = outside_code(line);
            let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            ends.map(|(link, _)| link.to_owned()).collect::<Vec<_>>()
        };
        self.prose().flat_map(of_line).collect()
    }

    /// What it says in code, outside fences.
    fn code(&self) -> Vec<&str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }

    /// What it tells to type, with lines that a backslash continues put together.
    fn commands(&self) -> Vec<String> {
        let fenced = self.lines().into_iter().filter(|(fence, _)| matches!(fence, Some("console" | "sh")));
        let text = fenced.map(|(_, line)| line).collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        text.lines().map(|line| line.trim_start_matches("$ ").to_owned()).collect()
    }
}

/// The rows of the first table below a heading, each as its cells.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let section = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        // An escaped bar is not the end of a cell.
        let line = line.replace("\\|", "\u{0}");
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
    };
    let rows: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "no table in {heading}");
    rows
}

/// What a cell or a sentence has in code.
fn in_code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn help(args: &[&str]) -> String {
    Run::new().args(args).arg("--help").exits(0).stdout
}

/// The names of all commands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split_once("\nCommands:\n").expect("a list of commands").1;
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).map(|line| line.split(' ').next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

/// A flag, as one command's help explains it.
#[derive(Debug)]
struct Flag {
    name: String,
    variable: Option<String>,
    default: Option<String>,
}

fn flags(help: &str) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    let bracketed =
        |line: &str, word: &str| Some(line.trim().strip_prefix(&format!("[{word}: "))?.strip_suffix(']')?.to_owned());
    for line in help.lines() {
        let start = ["      --", "  -h, --", "  -V, --"].into_iter().find_map(|start| line.strip_prefix(start));
        if let Some(rest) = start {
            let name = rest.split([' ', '=']).next().unwrap();
            flags.push(Flag { name: format!("--{name}"), variable: None, default: None });
        } else if let Some(flag) = flags.last_mut() {
            flag.variable = bracketed(line, "env").or(flag.variable.take());
            flag.default = bracketed(line, "default").or(flag.default.take());
        }
    }
    flags
}

/// The flags of every command.
fn flags_of_commands() -> BTreeMap<String, Vec<Flag>> {
    commands().into_iter().map(|name| (name.clone(), flags(&help(&[&name])))).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines; move something to where its readers are");
}

#[test]
fn every_link_leads_somewhere() {
    let documents = Document::all();
    let mut wrong = Vec::new();
    for document in &documents {
        for link in document.links().iter().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').map_or((link.as_str(), None), |(p, a)| (p, Some(a)));
            let target = if path.is_empty() { document.path.clone() } else { document.path.with_file_name(path) };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link}: there is no such file", document.path.display()));
                continue;
            };
            let Some(anchor) = anchor else { continue };
            let other = documents.iter().find(|other| other.path.canonicalize().unwrap() == target);
            if other.is_none_or(|other| !other.anchors().contains(anchor)) {
                wrong.push(format!("{}: {link}: there is no such heading", document.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let count: usize = documents.iter().map(|document| document.links().len()).sum();
    assert!(count > 30, "the links are found: {count}");
}

#[test]
fn every_flag_in_the_documents_exists() {
    let known = flags_of_commands();
    let mut seen = 0;
    for document in Document::all() {
        let typed = document.commands();
        let code = document.code().into_iter().chain(typed.iter().map(String::as_str));
        for text in code.filter_map(|code| code.strip_prefix("etcd-backup ")) {
            let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
            let name = words[0];
            if name.chars().all(char::is_uppercase) {
                continue;
            }
            let name = if name.starts_with("--") { "run" } else { name };
            let flags = known.get(name).unwrap_or_else(|| panic!("{}: no command {name}", document.path.display()));
            for word in words.iter().filter(|word| word.starts_with("--")) {
                let exists = flags.iter().any(|flag| flag.name == **word);
                assert!(exists, "{}: `etcd-backup {text}`: there is no {word}", document.path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "the commands are found: {seen} flags");
}

#[test]
fn every_typed_command_parses() {
    let mut seen = 0;
    for document in Document::all() {
        for command in document.commands().iter().filter_map(|line| line.strip_prefix("etcd-backup ")) {
            // A command that parses is refused for this setting, before it does anything.
            let output = Run::new().args(shlex::split(command).unwrap()).env("TIMEOUT", "0s").exits(2);
            let is_usage = output.stderr.contains("For more information, try '--help'");
            assert!(!is_usage, "{}: `etcd-backup {command}`\n{output}", document.path.display());
            seen += 1;
        }
    }
    assert!(seen > 2, "the commands are found: {seen}");
}

#[test]
fn the_readme_has_every_command() {
    let rows = table(&read("README.md"), "Commands");
    let words = |cell: &String| in_code(cell).iter().flat_map(|code| code.split(' ').map(str::to_owned)).collect();
    let named: BTreeSet<String> =
        rows.iter().filter_map(|row| row.first()).map(words).flat_map(Vec::into_iter).collect();
    // These two are for a shell and not for backups; the section says them in a sentence.
    for command in commands().iter().filter(|name| !["completions", "man"].contains(&name.as_str())) {
        assert!(named.contains(command), "README.md, Commands: {command} is missing");
    }
}

#[test]
fn the_settings_of_the_readme_are_those_of_the_help() {
    let flags: Vec<Flag> = flags_of_commands().into_values().flatten().collect();
    let with_variable = |flag: &Flag| Some((flag.name.clone(), flag.variable.clone()?));
    let real: BTreeSet<_> = flags.iter().filter_map(with_variable).collect();

    let rows = table(&read("README.md"), "Settings");
    let mut documented = BTreeSet::new();
    let mut alone = BTreeSet::new();
    for row in &rows {
        let [_, names, variables, _, default] = row.as_slice() else { panic!("{row:?}") };
        let (names, variables) = (in_code(names), in_code(variables));
        if names.is_empty() {
            alone.extend(variables);
            continue;
        }
        assert_eq!(names.len(), variables.len(), "one variable for each flag: {row:?}");
        for flag in flags.iter().filter(|flag| names.contains(&flag.name)) {
            let told = flag.default.as_deref().is_none_or(|real| default.contains(real));
            assert!(told, "the default of {}: {row:?}", flag.name);
        }
        documented.extend(names.into_iter().zip(variables));
    }
    assert_eq!(documented, real, "left: README.md, right: --help");
    assert_eq!(alone, VARIABLES_ALONE.map(str::to_owned).into());
}

#[test]
fn the_config_map_keys_of_the_readme_are_those_that_are_read() {
    let rows = table(&read("README.md"), "Settings");
    let documented: BTreeSet<_> = rows.iter().flat_map(|row| in_code(&row[3])).collect();
    let flags = flags_of_commands();
    let names: BTreeSet<_> = flags.values().flatten().map(|flag| flag.name.trim_start_matches('-')).collect();
    let keys: Vec<_> = names.iter().map(|name| (*name, "1h")).collect();
    let output = Run::new().arg("prune").config_dir(&keys).exits(2);
    let read = names.iter().filter(|name| !output.stderr.contains(&format!("unknown key `{name}`")));
    let read: BTreeSet<_> = read.map(|name| (*name).to_owned()).collect();
    assert_eq!(documented, read, "left: README.md, right: keys without a warning\n{output}");
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_help() {
    let rows = table(&read("README.md"), "Exit codes");
    // The cells of one column, with the exits that they are about.
    let column = |at: usize| -> Vec<(String, String)> {
        let cells = rows.iter().filter(|row| row[at] != "–");
        cells.map(|row| (row[0].clone(), if row[at] == "same" { &row[1] } else { &row[at] }.clone())).collect()
    };
    let mut of_others = BTreeSet::new();
    for command in commands() {
        let help = help(&[&command]);
        let codes = help.split_once("Exit codes:\n").expect("exit codes").1;
        let pair = |line: &str| line.trim().split_once("  ").map(|(code, meaning)| (code.into(), meaning.into()));
        let real: Vec<(String, String)> = codes.lines().filter_map(pair).collect();
        match ["run", "snapshot", "store", "prune"].iter().position(|name| *name == command) {
            Some(at) => assert_eq!(column(at + 1), real, "{command}; left: README.md, right: --help"),
            None => of_others.extend(real),
        }
    }
    // No other command can give all of them.
    assert_eq!(BTreeSet::from_iter(column(5)), of_others, "left: README.md, right: --help");
}

#[test]
fn the_messages_in_the_troubleshooting_are_those_of_the_source() {
    let sources = files(&root().join("src"), "rs").into_iter().map(|path| fs::read_to_string(path).unwrap());
    // A string that goes on in the next line is one.
    let joined = sources.map(|text| text.split("\\\n").map(str::trim_start).collect::<String>());
    let source: String = joined.collect();
    for row in table(&read("README.md"), "Troubleshooting") {
        for message in in_code(&row[0]) {
            let pieces = message.split('…').map(str::trim).filter(|piece| piece.len() >= 8);
            for piece in pieces.filter(|piece| !WORDS_OF_OTHERS.contains(piece)) {
                assert!(source.contains(piece), "README.md, Troubleshooting: nothing in src/ says `{piece}`");
            }
        }
    }
}

#[test]
fn the_architecture_names_every_module_and_no_other() {
    let source = root().join("src");
    let module = |path: PathBuf| {
        let path = path.strip_prefix(&source).unwrap().with_extension("");
        if path.ends_with("mod") { path.parent().unwrap().to_owned() } else { path }
    };
    let inside = |path: &PathBuf| path.strip_prefix(&source).unwrap().to_owned();
    let is_test = |path: &PathBuf| inside(path).iter().any(|part| part == "tests" || part == "tests.rs");
    let real: BTreeSet<_> = files(&source, "rs").into_iter().filter(|path| !is_test(path)).map(module).collect();

    let mut named = BTreeSet::new();
    for row in table(&read("ARCHITECTURE.md"), "Rooms") {
        for room in in_code(&row[0]) {
            let room = PathBuf::from(room.trim_end_matches('/').trim_end_matches(".rs"));
            named.extend(in_code(&row[1]).iter().map(|module| room.join(module)));
            named.insert(room);
        }
    }
    let unnamed: Vec<_> = real.difference(&named).collect();
    let gone: Vec<_> = named.difference(&real).collect();
    assert!(unnamed.is_empty() && gone.is_empty(), "ARCHITECTURE.md lacks {unnamed:?}, and has {gone:?} too much");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = |args: &[&str]| Run::new().arg("man").args(args).exits(0).stdout;
    let all = page(&[]);
    assert!(all.contains(".TH etcd-backup 1"), "{all}");
    for (command, flags) in flags_of_commands() {
        let page = page(&[&command]);
        assert!(page.contains(&format!(".TH etcd-backup-{command} 1")), "{page}");
        assert!(all.contains(&format!("etcd\\-backup\\-{}(1)", command.replace('-', "\\-"))), "{command}: {all}");
        for flag in flags {
            assert!(page.contains(&flag.name.replace('-', "\\-")), "{command} {}: {page}", flag.name);
            let variable = flag.variable.unwrap_or_default();
            assert!(page.contains(&variable), "{command} {variable}: {page}");
        }
    }
    Run::new().args(["man", "backup"]).exits(2).says(&["man: there is no command `backup`"]);
}
