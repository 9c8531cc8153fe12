//! `verify`: stored backups are proved without restoring them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::input::{Source, StoredSource};
use super::inventory::Inventory;
use crate::backup::catalog::Class;
use crate::backup::select::SelectError;
use crate::config::{StoreConfig, VerifyConfig, WhichBackups};
use crate::exit::{Exit, Failure};
use crate::report::Answer;
use crate::report::verify::{self, Verdict, VerifiedBackup};
use crate::snapshot::{Contents, FileHash};
use crate::store::{self, Next, Store};

/// The contents are known only if every page was walked.
type Verification = Result<(FileHash, Option<Contents>), Failure>;

pub async fn verify(config: VerifyConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let VerifyConfig { which, deep } = config;
    let all = matches!(which, WhichBackups::All(_));
    let sources = match which {
        WhichBackups::One(input) => vec![Source::find(input, now).await?],
        WhichBackups::All(store) => stored(store).await?,
    };
    let mut outcomes = Vec::new();
    for source in &sources {
        let outcome = check(source, deep).await;
        match &outcome {
            Ok(_) => tracing::info!(name = source.label(), "good"),
            // A single failure is logged when the command ends.
            Err(failure) if all => tracing::error!(name = source.label(), "{}", failure.one_line()),
            Err(_) => {}
        }
        outcomes.push(outcome);
    }
    let verdicts = verdicts(&outcomes);
    let lines: Vec<_> = sources
        .iter()
        .zip(&outcomes)
        .zip(&verdicts)
        .map(|((source, outcome), verdict)| verified(source, deep, outcome, *verdict))
        .collect();
    *answer = verify::answer(&lines);
    conclude(&lines, outcomes)
}

async fn stored(config: StoreConfig) -> Result<Vec<Source>, Failure> {
    let store = Arc::new(Store::open(config, Next::Look).await?);
    let inventory = Inventory::read(&store).await?;
    if inventory.catalog.entries.is_empty() {
        return Err(Failure::new(Exit::Settings, SelectError::Empty));
    }
    let (foreign, series): (Vec<_>, Vec<_>) =
        inventory.catalog.entries.into_iter().partition(|entry| entry.class == Class::Foreign);
    for entry in &foreign {
        tracing::warn!(name = %entry.name, "not verified, as another program may have made it; to verify it, give its full name");
    }
    if series.is_empty() {
        let why = "none of the files there is known to be a backup of this program; to verify one, give its full name";
        return Err(Failure::settings(why));
    }
    let source = |entry| Source::Stored(Box::new(StoredSource::of(&store, entry)));
    Ok(series.into_iter().map(source).collect())
}

async fn check(source: &Source, deep: bool) -> Verification {
    if !deep {
        return Ok((source.prove_hash().await?, None));
    }
    let proof = source.prove_in_place().await?;
    Ok((proof.file, Some(proof.contents)))
}

fn verdicts(outcomes: &[Verification]) -> Vec<Verdict> {
    // If the password of a crypt remote decrypts one object, it is right, and an object that it does not decrypt is
    // damaged. If it decrypts none, it may as well be wrong.
    let decrypted = outcomes.iter().any(Result::is_ok);
    let is_undecryptable = |f: &Failure| matches!(f.error.downcast_ref(), Some(store::Error::Undecryptable { .. }));
    let verdict = |outcome: &Verification| match outcome {
        Ok(_) => Verdict::Good,
        Err(failure) if failure.exit == Exit::Proof || (decrypted && is_undecryptable(failure)) => Verdict::Bad,
        Err(_) => Verdict::Unread,
    };
    outcomes.iter().map(verdict).collect()
}

fn verified(source: &Source, deep: bool, outcome: &Verification, verdict: Verdict) -> VerifiedBackup {
    let good = outcome.as_ref().ok();
    let contents = good.and_then(|(_, contents)| contents.as_ref());
    VerifiedBackup {
        name: source.label(),
        verdict,
        error: outcome.as_ref().err().map(Failure::one_line),
        bytes: good.map(|(file, _)| file.bytes),
        sha256: good.map(|(file, _)| file.sha256.clone()),
        sha256_noted: matches!(source, Source::Stored(stored) if stored.known.is_some()),
        deep,
        revision: contents.map(|contents| contents.revision),
        keys: contents.map(|contents| contents.live_keys),
    }
}

fn conclude(lines: &[VerifiedBackup], outcomes: Vec<Verification>) -> Result<(), Failure> {
    let failed: Vec<_> = lines.iter().filter(|line| line.verdict != Verdict::Good).map(|l| l.name.as_str()).collect();
    // A damaged backup is the worst finding, whatever went wrong with the others.
    let bad = lines.iter().any(|line| line.verdict == Verdict::Bad);
    let Some(first) = outcomes.into_iter().find_map(Result::err) else { return Ok(()) };
    let exit = if bad { Exit::Proof } else { first.exit };
    if let [_] = lines {
        return Err(Failure { exit, ..first });
    }
    let (some, of) = (failed.len(), lines.len());
    Err(Failure::message(exit, format!("{some} of {of} backups did not prove good: {}", failed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rclone;

    fn outcome(failure: Option<Failure>) -> Verification {
        failure.map_or_else(|| Ok((FileHash { bytes: 1, sha256: "ab".into() }, None)), Err)
    }

    fn good() -> Verification {
        outcome(None)
    }

    fn failed(exit: Exit) -> Verification {
        outcome(Some(Failure::message(exit, "why")))
    }

    fn undecryptable() -> Verification {
        let cause = rclone::Error::Missing { path: String::new() };
        outcome(Some(store::Error::Undecryptable { object: "r:b".into(), read: 0, cause: Box::new(cause) }.into()))
    }

    fn concluded(outcomes: Vec<Verification>) -> Result<(), (Exit, String)> {
        let named = verdicts(&outcomes).into_iter().zip(["a", "b", "c"]);
        let line = |(verdict, name): (Verdict, &str)| VerifiedBackup {
            name: name.to_owned(),
            verdict,
            error: None,
            bytes: None,
            sha256: None,
            sha256_noted: false,
            deep: false,
            revision: None,
            keys: None,
        };
        conclude(&named.map(line).collect::<Vec<_>>(), outcomes).map_err(|failure| (failure.exit, failure.one_line()))
    }

    #[test]
    fn only_a_failed_proof_is_bad() {
        let outcomes = [good(), failed(Exit::Proof), failed(Exit::Store), failed(Exit::Disk)];
        assert_eq!(verdicts(&outcomes), [Verdict::Good, Verdict::Bad, Verdict::Unread, Verdict::Unread]);
    }

    #[test]
    fn a_password_that_decrypts_one_backup_is_right() {
        assert_eq!(verdicts(&[undecryptable()]), [Verdict::Unread]);
        assert_eq!(verdicts(&[undecryptable(), undecryptable()]), [Verdict::Unread, Verdict::Unread]);
        assert_eq!(verdicts(&[good(), undecryptable()]), [Verdict::Good, Verdict::Bad]);
    }

    #[test]
    fn the_exit_is_that_of_the_worst() {
        assert_eq!(concluded(vec![good(), good()]), Ok(()));
        assert_eq!(concluded(vec![failed(Exit::Store)]), Err((Exit::Store, "why".into())));
        let some = |exit, text: &str| Err((exit, format!("{text} backups did not prove good: a, b")));
        assert_eq!(concluded(vec![failed(Exit::Store), failed(Exit::Proof), good()]), some(Exit::Proof, "2 of 3"));
        assert_eq!(concluded(vec![failed(Exit::Store), failed(Exit::Store)]), some(Exit::Store, "2 of 2"));
        let (exit, _) = concluded(vec![good(), undecryptable()]).unwrap_err();
        assert_eq!(exit, Exit::Proof);
    }
}
