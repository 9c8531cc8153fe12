//! Deletes backups by their exact names, and lists what is left.

use std::collections::BTreeSet;

use super::read::ONE_OBJECT;
use super::{Error, FAIL_FAST, Store};
use crate::backup::name::BackupName;
use crate::backup::retention::{Age, Decision, Removal};
use crate::rclone::Call;

/// What rclone told of a deletion.
#[derive(Debug, Default)]
pub struct Deletion {
    /// The files that it says are gone, without their directory.
    pub leaves: Vec<String>,
    pub complaint: Option<String>,
}

impl Deletion {
    fn add(&mut self, later: Self) {
        self.leaves.extend(later.leaves);
        self.complaint = later.complaint.or(self.complaint.take());
    }
}

impl Store {
    /// Deletes exactly these backups. [`Self::look_after`] tells what is left.
    pub async fn remove(&self, decisions: &[Decision], max_age: Option<&Age>) -> Deletion {
        let (expired, beyond_count): (Vec<_>, Vec<_>) = decisions.iter().partition(|d| d.is_expired());
        let mut deletion = Deletion::default();
        let directory = self.directory();
        if let (false, Some(age)) = (expired.is_empty(), max_age) {
            // A second opinion: rclone compares the time of the object itself with the limit, so a wrong date in a name does
            // not delete a young backup. `--files-from-raw` would need no patterns, but rclone refuses it beside `--min-age`.
            let min_age = format!("--min-age={}s", age.seconds());
            // Without the slash a pattern matches at any depth.
            let patterns = expired.iter().map(|d| format!("/{}", escape(&d.name.leaf())));
            deletion.add(self.delete(&directory, &["--include-from=-", &min_age], patterns.collect(), false).await);
        }
        if !beyond_count.is_empty() {
            let names = beyond_count.iter().map(|d| d.name.leaf());
            deletion.add(self.delete(&directory, &["--files-from-raw=-"], names.collect(), false).await);
        }
        deletion
    }

    /// Lists what is left of backups that were to be deleted: rclone's exit code does not tell, and its word is not the
    /// store's.
    pub async fn look_after(&self, deletion: Deletion, decisions: &[Decision]) -> Result<Removal, Error> {
        let left = self.list().await?;
        let left: BTreeSet<_> = left.names().map(BackupName::leaf).collect();
        let (failed, removed) = decisions.iter().map(|d| d.name.clone()).partition(|name| left.contains(&name.leaf()));
        Ok(Removal { removed, failed, complaint: deletion.complaint })
    }

    /// Those of these backups that are not in the store, by an exact look at each name.
    pub async fn orphans(&self, leaves: &[String]) -> Result<Vec<String>, Error> {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        // A listing fails if the directory is missing: perhaps a disk is not mounted. But it may be stale. Without one, rclone
        // asks for each of the names, leaves out those that are not there, and fails if it cannot tell of one.
        let directory = self.directory();
        let mut found = String::new();
        for how in [&[][..], &[ONE_OBJECT]] {
            let args = [how, &["--files-only", "--files-from-raw=-", "--", &directory]].concat();
            let stdin = as_lines(leaves);
            let call = Call { defaults: &FAIL_FAST, stdin, ..Call::new("lsf", &directory, &args) };
            let stdout = self.rclone.call(call).await.map_err(|e| Error::of(e, "read there"))?;
            found.push_str(&String::from_utf8_lossy(&stdout));
        }
        let is_absent = |leaf: &&String| !found.lines().any(|line| line == leaf.as_str());
        Ok(leaves.iter().filter(is_absent).cloned().collect())
    }

    /// Deletes the files in a directory that `filter` selects, which reads `lines` from stdin.
    pub(super) async fn delete(&self, directory: &str, filter: &[&str], lines: Vec<String>, quiet: bool) -> Deletion {
        // A filter without lines may select everything.
        if lines.is_empty() {
            return Deletion::default();
        }
        // Should a pattern ever match more than it is meant to, rclone stops at this number.
        let max_delete = format!("--max-delete={}", lines.len());
        let defaults = ["--retries=1", "--low-level-retries=3", "--contimeout=10s", "--timeout=60s"];
        let mut args = vec![max_delete.as_str()];
        args.extend(filter);
        args.extend(["--", directory]);
        let stdin = as_lines(&lines);
        let call = Call { defaults: &defaults, stdin, quiet, ..Call::new("delete", directory, &args) };
        let (leaves, outcome) = self.rclone.delete(call).await;
        Deletion { leaves, complaint: outcome.err().map(|e| Error::of(e, "delete there").to_string()) }
    }
}

/// For rclone's flags that read names from stdin.
pub(super) fn as_lines(names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| [name.as_bytes(), b"\n"]).flatten().copied().collect()
}

/// Escapes the characters that have a meaning in rclone's patterns.
pub(super) fn escape(name: &str) -> String {
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
