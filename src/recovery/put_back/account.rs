//! What becomes of each key, and how `put-back` prints it, whatever ends it.

use std::fmt;
use std::io::{self, Write};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Action, LeftOut, Outcome, PlannedKey, Warning};
use crate::inspect::line::{JsonKey, printable};
use crate::plain::escaped;
use crate::url::Url;

/// How many keys were created, replaced and so on; in a plan, how many would be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub create: u64,
    pub replace: u64,
    /// Includes the overtaken ones.
    pub leave: u64,
    pub refuse: u64,
    /// Includes those whose outcome is unknown, and those that were not written or not attempted.
    pub fail: u64,
    /// Those whose outcome is unknown.
    pub unknown: u64,
    /// What Kubernetes makes anew, in the namespaces that were asked for.
    pub left_out: u64,
}

impl Totals {
    pub fn of(keys: &[(PlannedKey, Outcome)], left_out: &LeftOut) -> Self {
        let mut totals = Self { left_out: left_out.total(), ..Self::default() };
        for (planned, outcome) in keys {
            totals.unknown += u64::from(matches!(outcome, Outcome::Unknown(_)));
            let count = match (planned.action, outcome) {
                (_, Outcome::Unknown(_) | Outcome::NotWritten(_) | Outcome::NotAttempted) => &mut totals.fail,
                (_, Outcome::Overtaken) | (Action::Leave(_), _) => &mut totals.leave,
                (Action::Create, _) => &mut totals.create,
                (Action::Replace { .. }, _) => &mut totals.replace,
                (Action::Refuse(_), _) => &mut totals.refuse,
            };
            *count += 1;
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { create, replace, leave, refuse, fail, unknown, left_out } = self;
        write!(f, "{create} created, {replace} replaced, {leave} left alone, {refuse} refused")?;
        if *left_out > 0 {
            write!(f, ", {left_out} left out")?;
        }
        if *unknown > 0 {
            write!(f, ", {unknown} UNKNOWN")?;
        }
        let not_written = fail - unknown;
        if not_written > 0 { write!(f, ", {not_written} NOT WRITTEN") } else { Ok(()) }
    }
}

/// Kept while keys are written, so that it can be printed even if that is cut short. The fields of its JSON are an
/// interface.
#[derive(Debug)]
pub struct Account {
    pub backup: String,
    /// The revision at which the backup was read.
    pub revision: u64,
    pub cluster_id: u64,
    /// The member that the keys are written through.
    pub member: Url,
    /// Whether keys are written, not only the plan printed.
    pub writes: bool,
    pub keys: Vec<(PlannedKey, Outcome)>,
    pub left_out: LeftOut,
    pub warnings: Vec<Warning>,
    /// The command that carries out this plan, or the rest of it, and no other one: it names the backup in full, where
    /// `latest` may be another one by then.
    pub carry_out: String,
    pub error: Option<String>,
}

impl Account {
    /// Nothing is written yet.
    pub fn begin(&mut self) {
        self.writes = true;
        for (planned, outcome) in &mut self.keys {
            if planned.action.is_change() {
                *outcome = Outcome::NotAttempted;
            }
        }
    }

    pub fn set(&mut self, place: usize, outcome: Outcome) {
        if let Some((_, its)) = self.keys.get_mut(place) {
            *its = outcome;
        }
    }

    pub fn totals(&self) -> Totals {
        Totals::of(&self.keys, &self.left_out)
    }

    /// What an error adds about keys that were to be written; `None` if all of them were begun.
    pub fn unfinished(&self) -> Option<String> {
        let totals = self.totals();
        let is_unfinished = self.writes && totals.fail > 0;
        is_unfinished.then(|| format!("{totals}; the report tells which, and the command that goes on from there"))
    }

    /// Written key by key, because the text of a million keys would not fit into memory.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "from {} (revision {}) through {}:", self.backup, self.revision, self.member)?;
        for (planned, outcome) in &self.keys {
            writeln!(out, "{}", escaped(&planned.text(outcome)))?;
        }
        for line in self.left_out.lines() {
            writeln!(out, "{}", labelled("left out", &line))?;
        }
        for warning in &self.warnings {
            writeln!(out, "{}", labelled("WARNING", &escaped(&warning.text)))?;
        }
        write!(out, "{}", self.totals())?;
        match (self.writes, self.carry_out()) {
            (true, None) => writeln!(out),
            (true, Some(command)) => writeln!(out, ". {GO_ON}:\n{command}"),
            (false, None) => writeln!(out, ": there is nothing to do"),
            (false, Some(command)) => {
                writeln!(out, " if you carry out this plan; nothing was written yet:\n{command}")
            }
        }
    }

    /// `None` if nothing is left to do.
    fn carry_out(&self) -> Option<&str> {
        let is_left = |(planned, outcome): &(PlannedKey, Outcome)| match outcome {
            Outcome::AsPlanned => planned.action.is_change(),
            Outcome::Unknown(_) | Outcome::NotWritten(_) | Outcome::NotAttempted => true,
            Outcome::Created(_) | Outcome::Replaced(_) | Outcome::Overtaken => false,
        };
        self.keys.iter().any(is_left).then_some(self.carry_out.as_str())
    }
}

/// What the same command does when it is run again.
const GO_ON: &str = "To go on, run this, which leaves alone what is there by then and is the same";

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Account", 11)?;
        fields.serialize_field("backup", &self.backup)?;
        fields.serialize_field("revision", &self.revision)?;
        fields.serialize_field("cluster_id", &format!("{:x}", self.cluster_id))?;
        fields.serialize_field("member", &self.member.to_string())?;
        fields.serialize_field("written", &self.writes)?;
        fields.serialize_field("counts", &self.totals())?;
        fields.serialize_field("keys", &Lines(&self.keys))?;
        fields.serialize_field("left_out", &self.left_out.json())?;
        fields.serialize_field("warnings", &self.warnings)?;
        fields.serialize_field("carry_out", &self.carry_out())?;
        fields.serialize_field("error", &self.error)?;
        fields.end()
    }
}

struct Lines<'a>(&'a [(PlannedKey, Outcome)]);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(planned, outcome)| planned.line(outcome)))
    }
}

#[derive(Serialize)]
pub struct Line<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    result: &'static str,
    reason: Option<String>,
    note: Option<&'a str>,
    backup_mod_revision: i64,
    bytes: usize,
}

/// The width of the longest label, `would replace`.
fn labelled(label: &str, text: &str) -> String {
    format!("{label:<13} {text}")
}

impl PlannedKey {
    /// The result as an identifier, and the reason for it.
    fn result(&self, outcome: &Outcome) -> (&'static str, Option<String>) {
        match (outcome, self.action) {
            (Outcome::Created(revision), _) => ("created", Some(format!("at revision {revision}"))),
            (Outcome::Replaced(revision), _) => ("replaced", Some(format!("at revision {revision}"))),
            (Outcome::Overtaken, _) => ("overtaken", Some("somebody else wrote it meanwhile".into())),
            (Outcome::Unknown(why), _) => ("unknown", Some(why.clone().into())),
            (Outcome::NotWritten(why), _) => ("not-written", Some(why.clone().into())),
            (Outcome::NotAttempted, _) => ("not-attempted", None),
            (Outcome::AsPlanned, Action::Create) => ("would-create", None),
            (Outcome::AsPlanned, Action::Replace { .. }) => ("would-replace", None),
            (Outcome::AsPlanned, Action::Leave(why)) => ("left-alone", Some(why.into())),
            (Outcome::AsPlanned, Action::Refuse(why)) => ("refused", Some(why.into())),
        }
    }

    pub fn text(&self, outcome: &Outcome) -> String {
        let (result, why) = self.result(outcome);
        let words: Vec<_> = why.into_iter().chain(self.note.as_deref().map(str::to_owned)).collect();
        let why = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
        labelled(&result.replace('-', " "), &printable(&self.candidate.state.key)) + &why
    }

    pub fn line(&self, outcome: &Outcome) -> Line<'_> {
        let (state, (result, reason)) = (&self.candidate.state, self.result(outcome));
        Line {
            key: JsonKey::new(&state.key),
            result,
            reason,
            note: self.note.as_deref(),
            backup_mod_revision: state.mod_revision,
            bytes: state.value_bytes,
        }
    }
}
