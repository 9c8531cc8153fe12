//! A decision about a backup, as `accept` and `dismiss` print it. Pure.

use serde::Serialize;

use super::job::HeldBackup;
use super::table::labelled;

/// What `--output json` prints. Its fields are an interface.
#[derive(Debug, Serialize)]
pub struct Ruled {
    pub name: String,
    /// `accepted` or `dismissed`.
    pub ruling: &'static str,
    pub by: String,
    /// The file names of the backups that the decision is about; none if there was nothing to decide.
    pub covers: Vec<String>,
    /// What holds retention back now.
    pub holds: Vec<HeldBackup>,
}

impl Ruled {
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.covers.is_empty() {
            lines.push(("unchanged", format!("{} was {} already", self.name, self.state())));
        } else {
            lines.push((self.ruling, format!("{} by {}", self.name, self.by)));
            let others = self.covers.iter().skip(1);
            lines.extend(others.map(|covered| ("with it", covered.clone())));
        }
        if self.holds.is_empty() {
            lines.push(("retention", "nothing holds it back".to_owned()));
        }
        lines.extend(HeldBackup::all_lines(&self.holds));
        labelled(lines)
    }

    fn state(&self) -> &'static str {
        if self.ruling == "accepted" { "good" } else { "dismissed" }
    }
}
