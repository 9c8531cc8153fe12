//! What is wrong with a command line that does not parse.

use std::ffi::OsString;

use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue};

use super::Format;
use crate::plain::{cut, escaped};

/// clap repeats values as they are: a value of many megabytes, or one that forges a line of the log.
pub fn tidied(mut error: clap::Error) -> clap::Error {
    let long_or_odd = |(kind, value): (ContextKind, &ContextValue)| match value {
        ContextValue::String(text) => {
            let plain = escaped(cut(text).as_ref()).into_owned();
            (plain != *text).then_some((kind, plain))
        }
        _ => None,
    };
    let found: Vec<_> = error.context().filter_map(long_or_odd).collect();
    for (kind, plain) in found {
        error.insert(kind, ContextValue::String(plain));
    }
    error
}

/// The error and its tips in one line, without the usage that clap adds.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let words: Vec<_> = text.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

/// The form of the report that was asked for, as far as it can be read from what does not parse. `variable` is `OUTPUT`.
pub fn format_of(args: &[OsString], variable: Option<&str>) -> Format {
    let args = args.iter().map(|arg| arg.to_string_lossy());
    let args: Vec<_> = args.take_while(|arg| arg != "--").collect();
    let after = args.iter().zip(args.iter().skip(1)).filter(|(arg, _)| *arg == "--output").map(|(_, value)| &**value);
    let within = args.iter().filter_map(|arg| arg.strip_prefix("--output="));
    let written = after.chain(within).last().or(variable);
    written.and_then(|text| Format::from_str(text, false).ok()).unwrap_or(Format::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found_in_what_does_not_parse() {
        let of = |args: &[&str], variable| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            format_of(&args, variable) == Format::Json
        };
        assert!(of(&["etcd-backup", "--output", "json", "--nonsense"], None));
        assert!(of(&["etcd-backup", "list", "--nonsense", "--output=json"], Some("text")));
        assert!(of(&["etcd-backup"], Some("json")));
        assert!(!of(&["etcd-backup", "--output", "text"], Some("json")));
        assert!(!of(&["etcd-backup", "--", "--output=json"], None));
        assert!(!of(&["etcd-backup", "--output"], Some("yaml")));
    }

    #[test]
    fn a_value_is_neither_a_line_of_its_own_nor_megabytes_long() {
        let error = |retention: &str| {
            let args = ["etcd-backup", "run", "--retention", retention].map(OsString::from);
            tidied(crate::cli::parse(args).unwrap_err()).to_string()
        };
        let forged = error("1\n2026-01-02T03:04:05 ERROR \u{1b}[31mforged");
        assert!(forged.lines().all(|line| !line.starts_with("2026")), "{forged}");
        assert!(forged.contains(r"1\n2026-01-02T03:04:05 ERROR \u{1b}[31mforged"), "{forged}");
        let long = error(&"9x".repeat(1_000_000));
        assert!(long.len() < 3000, "{}", long.len());
    }

    #[test]
    fn parsers_say_what_is_allowed() {
        for (args, allowed) in [
            (["run", "--keep-last", "many"], "a whole number from 1 on"),
            (["run", "--retention-count", "0"], "a whole number from 1 on"),
            (["run", "--timeout", "soon"], "such as 90s, 30m or 1h"),
            (["run", "--idle-timeout", "5"], "such as 90s, 30m or 1h"),
            (["export", "x", "--revision=many"], "allowed is a whole number"),
        ] {
            let args = ["etcd-backup"].into_iter().chain(args).map(OsString::from);
            let said = one_line(&crate::cli::parse(args).unwrap_err());
            assert!(said.contains(allowed) && !said.contains('\n') && !said.contains("digit"), "{said}");
        }
    }
}
