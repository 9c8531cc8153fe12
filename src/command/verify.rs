//! `verify`: stored backups are proved, and none is restored.

use std::path::Path;
use std::sync::Arc;

use bytesize::ByteSize;
use serde::Serialize;

use super::input::{Source, StoredSource};
use crate::backup::select::SelectError;
use crate::config::{StoreConfig, VerifyConfig, WhichBackups};
use crate::exit::{Exit, Failure};
use crate::report::Answer;
use crate::report::table::{Align, Table, known, labelled};
use crate::snapshot::{Digest, Facts};
use crate::store::{self, Detail, Store, StoredBackup};

/// What was read of a good one; the facts when every page was walked.
type Outcome = Result<(Digest, Option<Facts>), Failure>;

/// What was found out of one backup, as `verify --output json` prints it. Its fields are an interface; what is not
/// known is `null`.
#[derive(Debug, Serialize)]
struct VerifiedBackup {
    /// Its name below the target, or the path of a local file.
    name: String,
    /// Whether it is good.
    verdict: Verdict,
    /// What is wrong.
    error: Option<String>,
    /// Size of the file.
    bytes: Option<u64>,
    /// SHA-256 of the file.
    sha256: Option<String>,
    /// Whether a SHA-256 was noted when it was stored. A file with another one is bad.
    sha256_noted: bool,
    /// Whether every page was walked.
    deep: bool,
    /// The store's revision, if every page was walked.
    revision: Option<u64>,
    /// Live keys, if every page was walked.
    keys: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// It proved good.
    Good,
    /// etcd could not be restored from it.
    Bad,
    /// It could not be read to its end.
    Unread,
}

pub async fn verify(config: VerifyConfig, answer: &mut Answer) -> Result<(), Failure> {
    let VerifyConfig { which, work_dir, deep } = config;
    let all = matches!(which, WhichBackups::All(_));
    let sources = match which {
        WhichBackups::One(input) => vec![Source::find(input).await?],
        WhichBackups::All(store) => stored(store).await?,
    };
    let mut outcomes = Vec::new();
    for source in &sources {
        let outcome = check(source, deep, &work_dir).await;
        match &outcome {
            Ok(_) => tracing::info!(name = source.label(), "good"),
            // A single failure is logged when the command ends.
            Err(failure) if all => tracing::error!(name = source.label(), "{}", failure.words()),
            Err(_) => {}
        }
        outcomes.push(outcome);
    }
    let verdicts = judge(&outcomes);
    let lines: Vec<_> = sources.iter().zip(&outcomes).zip(&verdicts).map(|((s, o), v)| line(s, deep, o, *v)).collect();
    *answer = document(&lines)?;
    conclude(&lines, outcomes)
}

async fn stored(config: StoreConfig) -> Result<Vec<Source>, Failure> {
    let store = Arc::new(Store::open(config).await?);
    let listing = store.list(Detail::Metadata).await?;
    if listing.backups.is_empty() {
        return Err(Failure::new(Exit::Settings, SelectError::Empty));
    }
    let source = |backup: StoredBackup| Source::Stored(Box::new(StoredSource { store: Arc::clone(&store), backup }));
    Ok(listing.backups.into_iter().map(source).collect())
}

async fn check(source: &Source, deep: bool, work_dir: &Path) -> Outcome {
    if !deep {
        return Ok((source.prove_passing().await?, None));
    }
    let proved = source.prove(work_dir).await?;
    Ok((proved.proof.digest, Some(proved.proof.facts)))
}

/// A crypt remote's password that opens one object is right, and an object that it does not open is damaged.
fn judge(outcomes: &[Outcome]) -> Vec<Verdict> {
    let opened = outcomes.iter().any(Result::is_ok);
    let is_undecryptable = |f: &Failure| matches!(f.error.downcast_ref(), Some(store::Error::Undecryptable { .. }));
    let verdict = |outcome: &Outcome| match outcome {
        Ok(_) => Verdict::Good,
        Err(failure) if failure.exit == Exit::Proof || (opened && is_undecryptable(failure)) => Verdict::Bad,
        Err(_) => Verdict::Unread,
    };
    outcomes.iter().map(verdict).collect()
}

fn line(source: &Source, deep: bool, outcome: &Outcome, verdict: Verdict) -> VerifiedBackup {
    let good = outcome.as_ref().ok();
    let facts = good.and_then(|(_, facts)| facts.as_ref());
    VerifiedBackup {
        name: source.label(),
        verdict,
        error: outcome.as_ref().err().map(Failure::words),
        bytes: good.map(|(digest, _)| digest.bytes),
        sha256: good.map(|(digest, _)| digest.sha256.clone()),
        sha256_noted: matches!(source, Source::Stored(found) if found.backup.metadata.sha256.is_some()),
        deep,
        revision: facts.map(|facts| facts.revision),
        keys: facts.map(|facts| facts.live_keys),
    }
}

fn conclude(lines: &[VerifiedBackup], outcomes: Vec<Outcome>) -> Result<(), Failure> {
    let spoilt: Vec<_> = lines.iter().filter(|line| line.verdict != Verdict::Good).map(|l| l.name.as_str()).collect();
    let bad = lines.iter().any(|line| line.verdict == Verdict::Bad);
    let Some(first) = outcomes.into_iter().find_map(Result::err) else { return Ok(()) };
    let exit = if bad { Exit::Proof } else { first.exit };
    if let [_] = lines {
        return Err(Failure { exit, ..first });
    }
    let (some, of) = (spoilt.len(), lines.len());
    Err(Failure::message(exit, format!("{some} of {of} backups did not prove good: {}", spoilt.join(", "))))
}

fn document(lines: &[VerifiedBackup]) -> Result<Answer, Failure> {
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let json = serde_json::json!({
        "backups": serde_json::to_value(lines).map_err(|e| Failure::new(Exit::Unexpected, e))?,
        "good": count(Verdict::Good), "bad": count(Verdict::Bad), "unread": count(Verdict::Unread),
    });
    let text = if let [only] = lines { only.text() } else { table(lines) };
    Ok(Answer::Document { text, json })
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
            let noted = if self.sha256_noted { "as noted when it was stored" } else { "none was noted to compare" };
            lines.push(("size", format!("{} ({bytes} bytes)", ByteSize(bytes))));
            lines.push(("sha256", format!("{sha256} ({noted})")));
            lines.push(("checked", self.checked()));
        }
        labelled(lines)
    }

    fn checked(&self) -> String {
        match self.revision.zip(self.keys) {
            Some((revision, keys)) => {
                format!("the sha-256 at its end and every page: revision {revision}, {keys} keys")
            }
            None => "the sha-256 at its end; --deep walks every page, too".to_owned(),
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
