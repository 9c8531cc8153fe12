//! What `put-back` prints at its end.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Action, LeftOut, Outcome, PlannedKey, Warning};
use crate::inspect::line::{JsonKey, printable};
use crate::member::Member;

/// How many keys were created, replaced and so on; in a plan, how many would be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub create: u64,
    pub replace: u64,
    /// Includes the overtaken ones.
    pub leave: u64,
    pub refuse: u64,
    /// Includes those whose outcome is unknown, and those that were not attempted.
    pub fail: u64,
    /// What Kubernetes makes anew, in the namespaces that were asked for.
    pub left_out: u64,
}

impl Totals {
    pub fn of(done: &[(PlannedKey, Outcome)], left_out: &LeftOut) -> Self {
        let mut totals = Self { left_out: left_out.total(), ..Self::default() };
        for (planned, outcome) in done {
            let count = match (planned.action, outcome) {
                (_, Outcome::Unknown(_) | Outcome::NotAttempted) => &mut totals.fail,
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
        let Self { create, replace, leave, refuse, fail, left_out } = self;
        write!(f, "{create} created, {replace} replaced, {leave} left alone, {refuse} refused")?;
        if *left_out > 0 {
            write!(f, ", {left_out} left out")?;
        }
        if *fail > 0 { write!(f, ", {fail} NOT DONE OR UNKNOWN") } else { Ok(()) }
    }
}

/// The fields of its JSON are an interface.
#[derive(Debug)]
pub struct Ending<'a> {
    pub backup: &'a str,
    /// The revision at which the backup was read.
    pub revision: u64,
    /// The member that the keys were written through.
    pub member: &'a Member,
    /// Whether keys were written, not only the plan printed.
    pub written: bool,
    pub done: &'a [(PlannedKey, Outcome)],
    pub left_out: &'a LeftOut,
    pub warnings: &'a [Warning],
    /// The command that carries out this plan, and no other one: it names the backup in full, where `latest` may be
    /// another one by then.
    pub carry_out: &'a str,
    pub error: Option<String>,
}

impl Ending<'_> {
    pub fn text(&self) -> String {
        let (totals, endpoint) = (self.totals(), &self.member.endpoint);
        let head = format!("from {} (revision {}) through {endpoint}:\n", self.backup, self.revision);
        let keys: String = self.done.iter().map(|(planned, outcome)| planned.text(outcome) + "\n").collect();
        let left_out: String = self.left_out.lines().map(|line| labelled("left out", &line)).collect();
        let warnings: String = self.warnings.iter().map(|warning| labelled("WARNING", &warning.text)).collect();
        let end = match (self.written, self.carry_out()) {
            (true, _) => String::new(),
            (false, None) => ": there is nothing to do".to_owned(),
            (false, Some(command)) => format!(" if you carry out this plan; nothing was written yet:\n{command}"),
        };
        format!("{head}{keys}{left_out}{warnings}{totals}{end}\n")
    }

    pub fn json(&self) -> Value {
        json!({
            "backup": self.backup,
            "revision": self.revision,
            "cluster_id": format!("{:x}", self.member.cluster_id),
            "member": self.member.endpoint.to_string(),
            "written": self.written,
            "counts": self.totals(),
            "keys": self.done.iter().map(|(planned, outcome)| planned.json(outcome)).collect::<Vec<_>>(),
            "left_out": self.left_out.json(),
            "warnings": self.warnings.iter().map(Warning::json).collect::<Vec<_>>(),
            "carry_out": self.carry_out(),
            "error": self.error,
        })
    }

    fn totals(&self) -> Totals {
        Totals::of(self.done, self.left_out)
    }

    /// `None` if nothing is left to do.
    fn carry_out(&self) -> Option<&str> {
        let is_plan = !self.written && self.done.iter().any(|(planned, _)| planned.action.is_change());
        is_plan.then_some(self.carry_out)
    }
}

/// The width of the longest label, `would replace`.
fn labelled(label: &str, text: &str) -> String {
    format!("{label:<13} {text}\n")
}

impl PlannedKey {
    /// The result as an identifier, and the reason for it.
    fn result(&self, outcome: &Outcome) -> (&'static str, Option<String>) {
        match (outcome, self.action) {
            (Outcome::Created(revision), _) => ("created", Some(format!("at revision {revision}"))),
            (Outcome::Replaced(revision), _) => ("replaced", Some(format!("at revision {revision}"))),
            (Outcome::Overtaken, _) => ("overtaken", Some("somebody else wrote it meanwhile".into())),
            (Outcome::Unknown(why), _) => ("unknown", Some(why.clone())),
            (Outcome::NotAttempted, _) => ("not-attempted", None),
            (Outcome::AsPlanned, Action::Create) => ("would-create", None),
            (Outcome::AsPlanned, Action::Replace { .. }) => ("would-replace", None),
            (Outcome::AsPlanned, Action::Leave(why)) => ("left-alone", Some(why.into())),
            (Outcome::AsPlanned, Action::Refuse(why)) => ("refused", Some(why.into())),
        }
    }

    pub fn text(&self, outcome: &Outcome) -> String {
        let (result, why) = self.result(outcome);
        let words: Vec<_> = why.into_iter().chain(self.note.clone()).collect();
        let why = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
        format!("{:<13} {}{why}", result.replace('-', " "), printable(&self.candidate.state.key))
    }

    pub fn json(&self, outcome: &Outcome) -> Value {
        let (state, (result, why)) = (&self.candidate.state, self.result(outcome));
        let mut line = json!(JsonKey::new(&state.key));
        line["result"] = result.into();
        line["reason"] = why.into();
        line["note"] = self.note.clone().into();
        line["backup_mod_revision"] = state.mod_revision.into();
        line["bytes"] = state.value_bytes.into();
        line
    }
}
