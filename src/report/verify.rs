//! What `verify` found, as it prints it. Pure.

use bytesize::ByteSize;
use serde::Serialize;

use super::Answer;
use super::table::{Align, Table, known, labelled};

/// The result for one backup, as `verify --output json` prints it. Its fields are an interface; what is not known is
/// `null`.
#[derive(Debug, Serialize)]
pub struct VerifiedBackup {
    /// Its name below the target, or the path of a local file.
    pub name: String,
    pub verdict: Verdict,
    pub error: Option<String>,
    /// Of the snapshot, as is the SHA-256, also if it is stored compressed.
    pub bytes: Option<u64>,
    /// Of the whole file, in hexadecimal.
    pub sha256: Option<String>,
    /// Whether the SHA-256 could be compared with the one from when the backup was stored.
    pub sha256_noted: bool,
    /// Whether every page was walked.
    pub deep: bool,
    /// Known only if every page was walked, as are the keys.
    pub revision: Option<u64>,
    pub keys: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// etcd could not be restored from it.
    Bad,
    /// It could not be read to its end.
    Unread,
}

/// One backup as labelled lines, several as a table.
pub fn answer(lines: &[VerifiedBackup]) -> Answer {
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let json = serde_json::json!({
        "backups": lines,
        "good": count(Verdict::Good), "bad": count(Verdict::Bad), "unread": count(Verdict::Unread),
    });
    let text = if let [only] = lines { only.text() } else { table(lines) };
    Answer::Document { text, json }
}

fn table(lines: &[VerifiedBackup]) -> String {
    let left = Align::Left;
    let mut table = Table::new([("VERDICT", left), ("NAME", left), ("SIZE", Align::Right), ("WHY", left)]);
    for line in lines {
        let why = line.error.clone().unwrap_or_default();
        table.row([line.verdict.word().to_owned(), line.name.clone(), known(line.bytes.map(ByteSize)), why]);
    }
    table.to_string()
}

impl VerifiedBackup {
    fn text(&self) -> String {
        let mut lines = vec![(self.verdict.word(), self.name.clone())];
        lines.extend(self.error.iter().map(|error| ("why", error.clone())));
        if let Some((bytes, sha256)) = self.bytes.zip(self.sha256.as_ref()) {
            let compared =
                if self.sha256_noted { "the same as when it was stored" } else { "not recorded when it was stored" };
            lines.push(("size", format!("{} ({bytes} bytes)", ByteSize(bytes))));
            lines.push(("sha256", format!("{sha256} ({compared})")));
            lines.push(("checked", self.checked()));
        }
        labelled(lines)
    }

    fn checked(&self) -> String {
        match self.revision.zip(self.keys) {
            Some((revision, keys)) => {
                format!("the SHA-256 at its end and every page: revision {revision}, {keys} keys")
            }
            None => "the SHA-256 at its end; --deep also walks every page".to_owned(),
        }
    }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "BAD",
            Self::Unread => "NOT READ",
        }
    }
}
