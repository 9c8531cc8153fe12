//! The one transaction that is under way: it is not lost when the command is cut short.

use std::io::Write as _;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cli::Format;
use crate::etcd::{self, Writer};
use crate::exit::{Exit, Failure};
use crate::inspect::line::printable;
use crate::recovery::put_back::{Account, Action, AskedAfter, Outcome, after_no_answer, asked_after};
use crate::report::{Answer, Report};

/// How long an answer is waited for after the command was cut short, and then how long the key is asked after: with the
/// rest of the end, less than the ten seconds that `docker stop` waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer is the revision, or `None` if somebody else wrote the key meanwhile.
type Answered = Result<Option<i64>, etcd::Error>;

/// What a command that is cut short leaves open. It outlives the command.
#[derive(Default)]
pub struct Unfinished {
    /// What has become of the keys so far.
    pub account: Option<Account>,
    pub under_way: UnderWay,
}

#[derive(Default)]
pub struct UnderWay(Option<InFlight>);

struct InFlight {
    /// Among the keys of the account.
    place: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    action: Action,
    writer: Writer,
    state: State,
}

enum State {
    /// In a task of its own, which goes on when the command is dropped.
    Begun(JoinHandle<Answered>),
    Failed(etcd::Error),
}

impl UnderWay {
    /// Writes one key. If the future is dropped, the outcome is still found by [`Unfinished::settle`].
    pub async fn write(
        &mut self,
        place: usize,
        key: Vec<u8>,
        value: Vec<u8>,
        action: Action,
        writer: &Writer,
    ) -> (Outcome, Option<etcd::Error>) {
        let begun = self.0.insert(InFlight::begin(place, key, value, action, writer.clone()));
        let outcome = match begun.answered().await {
            Ok(revision) => (begun.outcome(revision), None),
            Err(error) => (begun.after(&error).await, Some(error)),
        };
        log(&begun.key, &outcome.0);
        self.0 = None;
        outcome
    }
}

impl Unfinished {
    /// Completes the account of a command, its failure and its report.
    pub async fn settle(self, outcome: Result<Exit, Failure>, report: &mut Report) -> Result<Exit, Failure> {
        let Some(mut account) = self.account else {
            let more = outcome.as_ref().err().and_then(|failure| report.cut_short(failure.exit));
            return outcome.map_err(|failure| failure.and(more.as_deref()));
        };
        let mut outcome = outcome;
        if let Err(failure) = outcome {
            if let Some(in_flight) = self.under_way.0 {
                let (place, key) = (in_flight.place, in_flight.key.clone());
                let its = in_flight.settle(&failure.one_line()).await;
                log(&key, &its);
                account.set(place, its);
            }
            let failure = failure.and(account.unfinished().as_deref());
            account.error = Some(failure.one_line());
            outcome = Err(failure);
        }
        report.answer = Answer::KeyByKey(Box::new(move |out, format| match format {
            Format::Text => account.write_text(out),
            Format::Json => {
                serde_json::to_writer(&mut *out, &account)?;
                writeln!(out)
            }
        }));
        outcome
    }
}

/// The log tells of every key, because the report may be lost.
fn log(key: &[u8], outcome: &Outcome) {
    let key = printable(key);
    match outcome {
        Outcome::Created(_) | Outcome::Replaced(_) => tracing::info!("put back {key}"),
        Outcome::Overtaken => tracing::warn!("left alone {key}: somebody else wrote it meanwhile"),
        Outcome::Unknown(why) => tracing::warn!("it is unknown whether {key} was put back: {why}"),
        Outcome::NotWritten(why) => tracing::warn!("{key} was not put back: {why}"),
        Outcome::AsPlanned | Outcome::NotAttempted => {}
    }
}

impl InFlight {
    fn begin(place: usize, key: Vec<u8>, value: Vec<u8>, action: Action, writer: Writer) -> Self {
        let (mut own, at, new) = (writer.clone(), key.clone(), value.clone());
        let task = tokio::spawn(async move {
            match action {
                Action::Replace { mod_revision } => own.replace(&at, new, mod_revision).await,
                Action::Create | Action::Leave(_) | Action::Refuse(_) => own.create(&at, new).await,
            }
        });
        Self { place, key, value, action, writer, state: State::Begun(task) }
    }

    async fn answered(&mut self) -> Answered {
        let answered = match &mut self.state {
            State::Begun(task) => match task.await {
                Ok(answered) => answered,
                Err(error) => {
                    let reason = format!("it was cut short: {error}");
                    Err(etcd::Error::Failed { what: "writing a key", reason })
                }
            },
            State::Failed(error) => Err(error.clone()),
        };
        // A task has one answer, and the key may still be asked after when the command is cut short.
        if let Err(error) = &answered {
            self.state = State::Failed(error.clone());
        }
        answered
    }

    /// What has become of the key after this failure.
    async fn after(&mut self, error: &etcd::Error) -> Outcome {
        let why = error.to_string();
        if error.is_refusal() { Outcome::NotWritten(why.into()) } else { self.ask_after(&why).await }
    }

    const fn outcome(&self, revision: Option<i64>) -> Outcome {
        match (revision, self.action) {
            (None, _) => Outcome::Overtaken,
            (Some(revision), Action::Replace { .. }) => Outcome::Replaced(revision),
            (Some(revision), _) => Outcome::Created(revision),
        }
    }

    /// `why` is what cut it short.
    async fn settle(mut self, why: &str) -> Outcome {
        match tokio::time::timeout(PATIENCE, self.answered()).await {
            Ok(Ok(revision)) => self.outcome(revision),
            Ok(Err(error)) => self.after(&error).await,
            Err(_) => self.ask_after(why).await,
        }
    }

    /// Reads the key that got no answer, for the reason `why`.
    async fn ask_after(&mut self, why: &str) -> Outcome {
        match tokio::time::timeout(PATIENCE, self.writer.get(&self.key)).await {
            Ok(Ok(now)) => {
                let found = now.map(|now| AskedAfter {
                    mod_revision: now.mod_revision,
                    has_our_value: now.value == self.value && now.lease == 0,
                });
                asked_after(self.action, why, found)
            }
            Ok(Err(error)) => after_no_answer(why, &error.to_string()),
            Err(_) => after_no_answer(why, &format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}
