//! What rclone said on stderr: its log lines become ours, and the last complaint is kept as the error's words.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;

use super::redact::Redactor;
use crate::exit::Exit;

/// The longest complaint that is repeated.
const LONGEST: usize = 600;

#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
    object: Option<String>,
}

/// What was heard until the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ErrorOutput {
    /// The last complaint, without secrets.
    pub complaint: String,
    /// How many files' names a crypt remote's password did not fit.
    pub undecryptable: usize,
}

/// One line that says what went wrong.
struct Complaint {
    text: String,
    /// It is about one object, and not a summary.
    of_object: bool,
}

/// Reads to the end, logging as it goes.
pub fn listen(stderr: impl Read, verb: &str, redactor: &Redactor) -> ErrorOutput {
    let mut heard = ErrorOutput::default();
    let mut cause = String::new();
    let mut lines = BufReader::new(stderr);
    let mut raw = Vec::new();
    while matches!(lines.read_until(b'\n', &mut raw), Ok(n) if n > 0) {
        let line = String::from_utf8_lossy(&raw).trim().to_owned();
        raw.clear();
        if line.is_empty() {
            continue;
        }
        heard.undecryptable += usize::from(line.contains("Skipping undecryptable file name"));
        if let Some(Complaint { text, of_object }) = log(&line, verb, redactor) {
            if of_object {
                cause.clone_from(&text);
            }
            heard.complaint = text;
        }
    }
    // A summary such as `failed to delete 2 files` leaves the reason out.
    let reason = cause.splitn(3, ": ").nth(2).unwrap_or_default();
    if !heard.complaint.contains(reason) {
        heard.complaint = format!("{} ({cause})", heard.complaint);
    }
    heard.complaint.truncate(heard.complaint.floor_char_boundary(LONGEST));
    heard
}

/// Logs one line; returns it when it is a complaint. Nearly everything is JSON, in which a
/// secret may be escaped: it is taken out of the message, not of the line.
fn log(text: &str, verb: &str, redactor: &Redactor) -> Option<Complaint> {
    let Ok(line) = serde_json::from_str::<LogLine>(text) else {
        let text = redactor.clean(text);
        tracing::debug!(rclone = verb, "{text}");
        return plain(&text).map(|text| Complaint { text: text.to_owned(), of_object: false });
    };
    let of_object = line.object.as_ref().is_some_and(|o| !o.is_empty());
    let message = line.object.filter(|o| !o.is_empty()).map_or(line.msg.clone(), |o| format!("{o}: {}", line.msg));
    let message = redactor.clean(&message).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.level.as_str() {
        "error" => {
            tracing::warn!(rclone = verb, "{message}");
            Some(Complaint { text: message, of_object })
        }
        "critical" | "alert" | "emergency" => Some(Complaint { text: message, of_object }),
        // The summary of a failure; the retries' count before it says nothing.
        "notice" if message.starts_with("Failed to") => Some(Complaint { text: message, of_object: false }),
        "notice" => {
            tracing::debug!(rclone = verb, "{message}");
            None
        }
        _ => {
            tracing::debug!(rclone = verb, "{message}");
            None
        }
    }
}

/// What is complained of in a line that is not JSON: wrong usage, and in versions before 1.65 all that ends rclone.
fn plain(text: &str) -> Option<&str> {
    let behind = |mark: &str| text.find(mark).map(|at| text[at..].trim_start_matches(mark).trim());
    let ended = text.find("Failed to ").map(|at| &text[at..]);
    ended.or_else(|| ["Fatal error:", "Error:"].into_iter().find_map(behind))
}

/// Sorts a failure by rclone's words; its exit code is 1 for nearly everything. `code` 2 is a usage error.
pub fn classify(code: Option<i32>, complaint: &str) -> Exit {
    let said = complaint.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    let settings = [
        "didn't find section in config file",
        "didn't find backend called",
        "failed to load config",
        "couldn't parse config item",
        "not found in config",
        "unknown flag",
        "invalid argument \"",
        "nosuchbucket",
        "bucket does not exist",
        "access_key_id not found",
        "secret_access_key not found",
        "unable to decrypt configuration",
        "couldn't decrypt configuration",
        "couldn't find type of fs",
        "password not set",
        "failed to make password",
    ];
    let denied = [
        "accessdenied",
        "access denied",
        "permission denied",
        "signaturedoesnotmatch",
        "invalidaccesskeyid",
        "requesttimetooskewed",
        "expiredtoken",
        "invalidtoken",
        "unauthorized",
        "forbidden",
        "statuscode: 403",
        "statuscode: 401",
        "authenticationfailed",
        "authorizationfailure",
        "invalid_grant",
        "unable to authenticate",
        "no such access key",
        "authorization header is malformed",
        "operation not permitted",
    ];
    if code == Some(2) && has(&["unknown flag", "usage"]) || has(&settings) {
        Exit::Settings
    } else if has(&denied) {
        Exit::Denied
    } else {
        Exit::Store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_kept_and_clean() {
        let log = r#"{"level":"error","msg":"first"}
            {"level":"notice","msg":"Failed to copyto: key abc\"\u003cdef\n is bad"}
            {"level":"info","msg":"x"}"#;
        let redactor = Redactor::new("k = abc\"<def", std::iter::empty());
        assert_eq!(listen(log.as_bytes(), "copyto", &redactor).complaint, "Failed to copyto: key *** is bad");
        let fatal = "2026/11/21 05:54:46 Failed to create file system for \"x:\": didn't find section in config file\n";
        let fatal = listen(fatal.as_bytes(), "backend", &redactor).complaint;
        assert_eq!(fatal, "Failed to create file system for \"x:\": didn't find section in config file");
        let usage = listen(&b"Error: unknown flag: --x\nUsage:\n\xff\n"[..], "copyto", &redactor);
        assert_eq!(usage, ErrorOutput { complaint: "unknown flag: --x".into(), undecryptable: 0 });
    }

    #[test]
    fn a_reason_that_the_summary_leaves_out_is_added() {
        let of = |log: &str| listen(log.as_bytes(), "x", &Redactor::default()).complaint;
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
    fn classes() {
        assert_eq!(classify(Some(1), "didn't find section in config file (\"x\")"), Exit::Settings);
        assert_eq!(classify(Some(1), "api error SignatureDoesNotMatch: The request"), Exit::Denied);
        assert_eq!(classify(Some(5), "dial tcp: connection refused"), Exit::Store);
        assert_eq!(classify(None, ""), Exit::Store);
    }
}
