//! Deletes backups by their exact names, and lists what is left.

use super::{Detail, Error, Store};
use crate::backup::retention::{Age, Decision, Removal};
use crate::rclone::Call;

impl Store {
    /// Deletes exactly these backups. What could not be deleted is in [`Removal::failed`]; an error means that it is unknown
    /// what is left.
    pub async fn remove(&self, decisions: &[Decision], max_age: Option<&Age>) -> Result<Removal, Error> {
        let (expired, beyond_count): (Vec<_>, Vec<_>) = decisions.iter().partition(|d| d.is_expired());
        let mut complaint = None;
        if let (false, Some(age)) = (expired.is_empty(), max_age) {
            // A second opinion: rclone compares the time of the object itself with the limit, so a wrong date in a name does
            // not delete a young backup. `--files-from-raw` would need no patterns, but rclone refuses it beside `--min-age`.
            let min_age = format!("--min-age={}s", age.seconds());
            // Without the slash a pattern matches at any depth.
            let patterns = expired.iter().map(|d| format!("/{}", escape(&d.name.leaf())));
            complaint = self.delete(&["--include-from=-", &min_age], patterns.collect()).await.or(complaint);
        }
        if !beyond_count.is_empty() {
            let names = beyond_count.iter().map(|d| d.name.leaf());
            complaint = self.delete(&["--files-from-raw=-"], names.collect()).await.or(complaint);
        }
        // rclone's exit code does not tell which files are left.
        let left = self.list(Detail::Sizes).await?;
        let (failed, removed) = decisions.iter().map(|d| d.name.clone()).partition(|name| left.contains(name));
        Ok(Removal { removed, failed, complaint })
    }

    /// Deletes the files in the backups' directory that `filter` selects, which reads `lines` from stdin. Returns rclone's
    /// complaint.
    pub(super) async fn delete(&self, filter: &[&str], lines: Vec<String>) -> Option<String> {
        let directory = self.directory();
        // Should a pattern ever match more than it is meant to, rclone stops at this number.
        let max_delete = format!("--max-delete={}", lines.len());
        let defaults = ["--retries=1", "--low-level-retries=3", "--contimeout=10s", "--timeout=60s"];
        let mut args = vec![max_delete.as_str()];
        args.extend(filter);
        args.extend(["--", &directory]);
        let stdin = (lines.join("\n") + "\n").into_bytes();
        let call = Call { defaults: &defaults, stdin, ..Call::new("delete", &directory, &args) };
        let outcome = self.rclone.call(call).await;
        outcome.err().map(|e| Error::of(e, "delete there").to_string())
    }
}

/// Escapes the characters that have a meaning in rclone's patterns.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ']' | '{' | '}') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_themselves_alone() {
        assert_eq!(escape(r"p[1]{a,b}*?\-"), r"p\[1\]\{a,b\}\*\?\\-");
        assert_eq!(escape("dir-202601020304.etcdb"), "dir-202601020304.etcdb");
    }
}
