//! What a run of the binary has left: its status, both streams, its report.

use std::{
    ffi::OsString,
    fmt::{self, Display},
    fs,
    path::PathBuf,
    process::{self, ExitStatus},
    time::Duration,
};

use assert_cmd::assert::Assert;
use serde_json::Value;

pub struct Output {
    pub argv: Vec<OsString>,
    pub status: ExitStatus,
    pub stdout: String,
    /// The same, byte for byte.
    pub written: Vec<u8>,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// The one line of JSON on stdout.
    pub fn report(&self) -> Report {
        let mut lines = self.stdout.lines();
        let line = lines.next().unwrap_or_else(|| panic!("no report\n{self}"));
        assert_eq!(lines.next(), None, "more than a report\n{self}");
        let value = serde_json::from_str(line);
        Report(value.unwrap_or_else(|error| panic!("{error}\n{self}")))
    }

    /// Each of these words is somewhere on stderr.
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said\n{self}");
        }
        self
    }

    /// No secret in either stream.
    pub fn assert_discreet(&self, secrets: &[String]) {
        for secret in secrets {
            let seen = self.stdout.contains(secret) || self.stderr.contains(secret);
            assert!(!seen, "a secret was printed\n{self}");
        }
    }

    /// None of these folders holds anything.
    pub fn assert_tidy(&self, folders: &[PathBuf]) {
        for folder in folders {
            let entries = fs::read_dir(folder).into_iter().flatten();
            let left: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "left behind: {left:?}\n{self}");
        }
    }

    /// For a verdict on the exit code in `assert_cmd`'s words.
    pub fn assert(&self) -> Assert {
        let output = process::Output {
            status: self.status,
            stdout: self.stdout.clone().into_bytes(),
            stderr: self.stderr.clone().into_bytes(),
        };
        let argv = format!("{:?}", self.argv);
        Assert::new(output).append_context("argv", argv)
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "argv: {:?}\n{} after {:?}", self.argv, self.status, self.took)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// The binary's report in JSON.
#[derive(Debug)]
pub struct Report(Value);

impl Report {
    /// The names of its fields, sorted.
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<_> = self.0.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    pub fn value(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or_else(|| panic!("no {field:?} in {}", self.0))
    }

    pub fn text(&self, field: &str) -> &str {
        let value = self.value(field);
        value.as_str().unwrap_or_else(|| panic!("{field}: {value}"))
    }

    pub fn number(&self, field: &str) -> u64 {
        let value = self.value(field);
        value.as_u64().unwrap_or_else(|| panic!("{field}: {value}"))
    }

    pub fn list(&self, field: &str) -> Vec<&str> {
        let value = self.value(field).as_array();
        let list = value.unwrap_or_else(|| panic!("{field} in {}", self.0));
        list.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{field}: {item}"))).collect()
    }
}
