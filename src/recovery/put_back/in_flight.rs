//! What became of the one key whose transaction gave no answer. Pure.

use super::{Action, Outcome};

/// What the cluster has under the key when it is asked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedAfter {
    pub mod_revision: i64,
    pub has_our_value: bool,
}

/// `now` is `None` if the cluster does not have the key. That it is not written proves nothing: the transaction may still be
/// on its way.
pub fn asked_after(action: Action, why: &str, now: Option<AskedAfter>) -> Outcome {
    let unknown = |found: &str| Outcome::Unknown(format!("{why}; {found} when it was asked after").into());
    match (action, now) {
        // Somebody else who wrote the very same has done what was wanted.
        (Action::Create, Some(AskedAfter { mod_revision, has_our_value: true })) => Outcome::Created(mod_revision),
        (Action::Replace { .. }, Some(AskedAfter { mod_revision, has_our_value: true })) => {
            Outcome::Replaced(mod_revision)
        }
        (Action::Replace { mod_revision: planned }, Some(now)) if now.mod_revision == planned => {
            unknown("it was not replaced yet")
        }
        (_, Some(_)) => unknown("it had another value"),
        (_, None) => unknown("it was not there"),
    }
}

/// Where it cannot be asked after either.
pub fn after_no_answer(why: &str, error: &str) -> Outcome {
    Outcome::Unknown(format!("{why}; it could not be asked after: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_known() {
        let now = |mod_revision, has_our_value| Some(AskedAfter { mod_revision, has_our_value });
        let replace = Action::Replace { mod_revision: 5 };
        let ask = |action, now| asked_after(action, "no answer", now);
        assert_eq!(ask(Action::Create, now(9, true)), Outcome::Created(9));
        assert_eq!(ask(replace, now(9, true)), Outcome::Replaced(9));
        for (action, now, why) in [
            (Action::Create, None, "no answer; it was not there when it was asked after"),
            (Action::Create, now(9, false), "no answer; it had another value when it was asked after"),
            (replace, now(5, false), "no answer; it was not replaced yet when it was asked after"),
            (replace, now(9, false), "no answer; it had another value when it was asked after"),
            (replace, None, "no answer; it was not there when it was asked after"),
        ] {
            assert_eq!(ask(action, now), Outcome::Unknown(why.into()));
        }
    }
}
