//! rclone's stderr: its log lines become ours, and the last complaint becomes the text of the error.

use std::io::{BufReader, Read};

use serde::Deserialize;

use super::dump::Dump;
use super::redact::Redactor;
use crate::system::lines::{LONGEST, Line, lines};

/// What GCS's backend says, as an error, of the header that only S3 understands. It uploads all the same.
const NO_SUCH_HEADER: &str = "Don't know how to set key \"If-None-Match\" on upload";
/// Before the first backup that is as it should be, and whoever minds it says so.
const NO_DIRECTORY: &str = "directory not found";
/// Of a line's parts in an error of Azure, the one that begins the answer's body.
const BODY: &str = "<?xml";

/// One line of `--use-json-log`.
#[derive(Deserialize)]
pub struct LogLine {
    pub level: String,
    pub msg: String,
    object: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct ErrorOutput {
    /// The last complaint, without secrets; empty if there was none.
    pub complaint: String,
    /// How many names a crypt remote left out because its password does not decrypt them.
    pub undecryptable: usize,
    /// The objects of which it said that it deleted them.
    pub deleted: Vec<String>,
    pub last_error: LastError,
    /// If headers were dumped.
    pub dump: Option<Dump>,
}

/// The last line about an error. It is not logged when it comes, because the error of the whole call may have its words; if
/// that is not so, it is logged when this is dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LastError {
    subcommand: String,
    line: String,
}

impl LastError {
    fn replace(&mut self, subcommand: &str, line: &str) {
        self.forget_if_in(line);
        *self = Self { subcommand: subcommand.to_owned(), line: line.to_owned() };
    }

    /// Logs nothing if `text` has the reason, too.
    pub fn forget_if_in(&mut self, text: &str) {
        // As in `name: Failed to copy: reason`.
        let mut reasons = self.line.splitn(3, ": ").scan(0, |at, part| {
            *at += part.len() + 2;
            Some(self.line.get(*at..).unwrap_or_default())
        });
        if text.contains(&self.line) || reasons.any(|reason| !reason.is_empty() && text.contains(reason)) {
            self.line.clear();
        }
    }
}

impl Drop for LastError {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            tracing::warn!(rclone = self.subcommand, "{}", self.line);
        }
    }
}

struct Complaint {
    text: String,
    /// Whether it is about one object. Otherwise it is a summary.
    of_object: bool,
    /// Whether it is a line of its own, which is worth a warning. Otherwise rclone ends with it.
    is_error: bool,
}

/// Logs every line until the end of stderr, errors as warnings unless it is to be `quiet`, and all but the last of them.
pub fn relay(stderr: impl Read, subcommand: &str, quiet: bool, redactor: &Redactor) -> ErrorOutput {
    read(stderr, subcommand, quiet, redactor, None)
}

/// As [`relay`], of a call that dumps headers. None of its lines at the debug level is logged.
pub fn relay_dump(stderr: impl Read, subcommand: &str, quiet: bool, redactor: &Redactor) -> ErrorOutput {
    read(stderr, subcommand, quiet, redactor, Some(Dump::default()))
}

fn read(stderr: impl Read, subcommand: &str, quiet: bool, redactor: &Redactor, dump: Option<Dump>) -> ErrorOutput {
    let mut output = ErrorOutput { dump, ..ErrorOutput::default() };
    let mut cause = String::new();
    for line in lines(BufReader::new(stderr)) {
        let Line::Text(line) = line else {
            // Not even its beginning is logged: where it is cut could be the midst of a secret.
            output.complaint = format!("it printed a line of more than {LONGEST} bytes");
            tracing::debug!(rclone = subcommand, "{}", output.complaint);
            continue;
        };
        let line = line.trim();
        if line.is_empty() || output.dump.as_mut().is_some_and(|dump| dump.takes(line)) {
            continue;
        }
        output.undecryptable += usize::from(line.contains("Skipping undecryptable file name"));
        output.deleted.extend(deleted(line));
        if let Some(Complaint { text, of_object, is_error }) = log(line, subcommand, redactor) {
            if is_error && !quiet {
                output.last_error.replace(subcommand, &text);
            }
            if of_object {
                cause.clone_from(&text);
            }
            output.complaint = text;
        }
    }
    // A summary such as `failed to delete 2 files` has no reason. The line about one of the files has it, as in
    // `name: Couldn't delete: reason`.
    let reason = cause.splitn(3, ": ").nth(2).unwrap_or_default();
    if !output.complaint.contains(reason) {
        output.complaint = format!("{} ({cause})", output.complaint);
    }
    output
}

/// The object that a line of `rclone delete` says is gone (`DeleteFile` in `fs/operations`).
fn deleted(line: &str) -> Option<String> {
    let line: LogLine = serde_json::from_str(line).ok()?;
    if line.level == "info" && line.msg == "Deleted" { line.object } else { None }
}

/// Logs one line of stderr for developers, and returns it if it is a complaint.
fn log(text: &str, subcommand: &str, redactor: &Redactor) -> Option<Complaint> {
    let Ok(line) = serde_json::from_str::<LogLine>(text) else {
        let text = redactor.clean(text);
        tracing::debug!(rclone = subcommand, "{text}");
        return plain(&text).map(|text| Complaint { text: text.to_owned(), of_object: false, is_error: false });
    };
    let object = line.object.filter(|object| !object.is_empty());
    let of_object = object.is_some();
    let message = object.map_or(line.msg.clone(), |object| format!("{object}: {}", line.msg));
    // Cleaned only now, because JSON may have escaped characters of a secret.
    let message = without_body(&redactor.clean(&message));
    match line.level.as_str() {
        "error" if message.ends_with(NO_SUCH_HEADER) => {
            tracing::debug!(rclone = subcommand, "{message}");
            None
        }
        "error" => {
            tracing::debug!(rclone = subcommand, "{message}");
            let is_error = !message.ends_with(NO_DIRECTORY);
            Some(Complaint { text: message, of_object, is_error })
        }
        // These end rclone, and their text is in the error of the call, so they are not logged here.
        "critical" | "alert" | "emergency" => Some(Complaint { text: message, of_object, is_error: false }),
        // rclone logs a failure's summary at this level, but also each try (`Attempt 1/3 failed`).
        "notice" if message.starts_with("Failed to") => {
            Some(Complaint { text: message, of_object: false, is_error: false })
        }
        _ => {
            tracing::debug!(rclone = subcommand, "{message}");
            None
        }
    }
}

/// In one line. Azure's errors are of several, divided by rules of dashes, and end with the answer in XML, which says it all
/// again.
fn without_body(message: &str) -> String {
    let is_rule = |word: &&str| word.len() > 3 && word.bytes().all(|byte| byte == b'-');
    let head = message.split(BODY).next().unwrap_or_default();
    head.split_whitespace().filter(|word| !is_rule(word)).collect::<Vec<_>>().join(" ")
}

/// The complaint in a line that is not JSON: wrong usage, and in versions before 1.65 whatever ends rclone.
fn plain(text: &str) -> Option<&str> {
    let after = |label: &str| text.find(label).map(|at| text[at..].trim_start_matches(label).trim());
    let summary = text.find("Failed to ").map(|at| &text[at..]);
    summary.or_else(|| ["Fatal error:", "Error:"].into_iter().find_map(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_kept_and_clean() {
        let log = r#"{"level":"error","msg":"first"}
            {"level":"notice","msg":"Failed to copyto: key abc\"\u003cdefg\n is bad"}
            {"level":"info","msg":"x"}"#;
        let redactor = Redactor::new("pass = abc\"<defg", &std::collections::BTreeMap::new());
        assert_eq!(relay(log.as_bytes(), "copyto", false, &redactor).complaint, "Failed to copyto: key *** is bad");
        let fatal = "2026/11/21 05:54:46 Failed to create file system for \"x:\": didn't find section in config file\n";
        let fatal = relay(fatal.as_bytes(), "backend", false, &redactor).complaint;
        assert_eq!(fatal, "Failed to create file system for \"x:\": didn't find section in config file");
        let usage = relay(&b"Error: unknown flag: --x\nUsage:\n\xff\n"[..], "copyto", false, &redactor);
        assert_eq!(usage, ErrorOutput { complaint: "unknown flag: --x".into(), ..ErrorOutput::default() });
    }

    #[test]
    fn of_a_dump_only_what_is_wrong_is_kept() {
        let log = "Error: X-Amz-Security-Token: secret
            {\"level\":\"debug\",\"msg\":\"HEAD / HTTP/1.1\\r\\nX-Amz-Security-Token: secret\"}
            {\"level\":\"notice\",\"msg\":\"Failed to lsjson: denied\"}
            Failed to see X-Amz-Security-Token: secret";
        let output = relay_dump(log.as_bytes(), "lsjson", false, &Redactor::default());
        assert_eq!(output.complaint, "Failed to lsjson: denied");
        assert_eq!(output.dump, Some(Dump::default()));
    }

    #[test]
    fn a_reason_that_the_summary_leaves_out_is_added() {
        let of = |log: &str| relay(log.as_bytes(), "x", false, &Redactor::default()).complaint;
        let object = r#"{"level":"error","msg":"Couldn't delete: api error AccessDenied","object":"a"}"#;
        let summary = r#"{"level":"notice","msg":"Failed to delete: failed to delete 2 files"}"#;
        assert_eq!(
            of(&format!("{object}\n{summary}")),
            "Failed to delete: failed to delete 2 files (a: Couldn't delete: api error AccessDenied)"
        );
        let object = r#"{"level":"error","msg":"Failed to copy: api error SlowDown","object":"a"}"#;
        let summary = r#"{"level":"notice","msg":"Failed to copyto: api error SlowDown"}"#;
        assert_eq!(of(&format!("{object}\n{summary}")), "Failed to copyto: api error SlowDown");
        assert_eq!(of(summary), "Failed to copyto: api error SlowDown");
    }

    #[test]
    fn a_line_whose_reason_is_said_again_is_forgotten() {
        let left = |lines: &[&str], text: &str| {
            let mut last = LastError::default();
            for line in lines {
                last.replace("x", line);
            }
            last.forget_if_in(text);
            std::mem::take(&mut last.line)
        };
        assert_eq!(left(&["error listing: api error A: b"], "Failed to lsjson with 2 errors: api error A: b (1)"), "");
        assert_eq!(left(&["name: Failed to copy: denied"], "Failed to copyto: denied"), "");
        assert_eq!(left(&["name: Failed to copy: denied", "Attempt 1/2 failed: denied"], "denied"), "");
        assert_eq!(
            left(&["name: Failed to copy: denied"], "Failed to copyto: not found"),
            "name: Failed to copy: denied"
        );
        assert_eq!(left(&["odd"], "x"), "odd");
    }

    #[test]
    fn what_was_deleted_is_kept() {
        let log = r#"{"level":"info","msg":"Deleted","object":"a","objectType":"*s3.Object"}
            {"level":"error","msg":"Couldn't delete: api error AccessDenied","object":"b"}
            {"level":"info","msg":"Copied (new)","object":"c"}"#;
        assert_eq!(relay(log.as_bytes(), "delete", false, &Redactor::default()).deleted, ["a"]);
    }

    #[test]
    fn an_error_of_azure_is_one_line() {
        let text = "Failed to lsjson: GET https://a.example/c\n----------\nRESPONSE 403: 403 Server failed.\nERROR CODE: AuthorizationFailure\n----------\n<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationFailure</Code></Error>\n----------\n";
        let log = serde_json::json!({ "level": "notice", "msg": text }).to_string();
        let complaint = relay(log.as_bytes(), "lsjson", false, &Redactor::default()).complaint;
        assert_eq!(
            complaint,
            "Failed to lsjson: GET https://a.example/c RESPONSE 403: 403 Server failed. ERROR CODE: AuthorizationFailure"
        );
    }

    #[test]
    fn a_header_that_google_does_not_know_is_no_complaint() {
        let log = r#"{"level":"error","msg":"Don't know how to set key \"If-None-Match\" on upload","object":"a"}"#;
        assert_eq!(relay(log.as_bytes(), "copyto", false, &Redactor::default()), ErrorOutput::default());
    }
}
