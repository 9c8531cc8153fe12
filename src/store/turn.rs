//! Lets only one run at a time move its finished upload to a name, where the store itself would let the second one replace
//! the first.
//!
//! Until it is moved, an upload lies under a name of its own in the folder of the parts, where other runs see it: this is how
//! a run says which name it is about to take. Each looks there after its own part is complete and before it moves it. Of two
//! runs at least the later one sees the other's part, or what that has become, however long either of them takes between its
//! look and its move.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{Doubt, Left};
use super::remove::escape;
use super::{Error, PARTS, Store};

/// How long other runs may take to move, or to give up, what they have on its way to the same name.
const OTHERS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Ours,
    /// Others are about to move, or see this run's part and give up.
    AfterOthers,
    /// Another run waits for this one to give up.
    Never,
    /// The store does not show this run's own part, so it may not show another's.
    Unknown,
}

impl Store {
    /// Waits until no other run has an upload on its way to `place`. Fails with [`Error::OnItsWay`] if this one has to take
    /// another name. The own part must have so many `bytes`, if they are given and the store tells them.
    pub(super) async fn await_turn(&self, place: &str, bytes: Option<u64>) -> Result<(), Error> {
        let (own, folder) = (self.part_name(place), self.path_of(PARTS));
        let leaf = place.rsplit_once('/').map_or(place, |(_, leaf)| leaf);
        let include = format!("--include=/{}.????????.part", escape(leaf));
        let begun = Instant::now();
        loop {
            let parts = self.objects(&folder, &["--no-modtime", &include], true).await?;
            let stored = parts.iter().find(|part| part.name == own).and_then(|part| u64::try_from(part.size).ok());
            let other_size = stored.zip(bytes).filter(|(stored, sent)| stored != sent);
            let parts: Vec<String> = parts.into_iter().map(|object| object.name).collect();
            let is_late = begun.elapsed() >= OTHERS;
            match turn(&own, &parts) {
                Turn::Ours => match other_size {
                    None => return Ok(()),
                    Some((stored, sent)) if is_late => return Err(cut_short(place, stored, sent)),
                    // The store may not show all of it yet.
                    Some(_) => {}
                },
                Turn::Unknown if is_late => {
                    tracing::warn!(
                        "{folder} does not show what was just written there, so whether another run is about to store under \
                         the same name is not known"
                    );
                    return Ok(());
                }
                Turn::AfterOthers if !is_late => {
                    tracing::info!(?parts, "waiting for another run that is about to store under the same name");
                }
                Turn::Unknown => {}
                Turn::AfterOthers | Turn::Never => return Err(Error::OnItsWay(self.path_of(place))),
            }
            sleep(PAUSE).await;
        }
    }
}

fn cut_short(place: &str, stored: u64, sent: u64) -> Error {
    let doubt = Doubt::Differs(format!("its part has {stored} bytes, {sent} were sent"));
    Error::NotConfirmed { name: place.to_owned(), doubt, left: Left::Nothing }
}

/// `parts` are those on their way to one name, this run's `own` among them.
fn turn(own: &str, parts: &[String]) -> Turn {
    if !parts.iter().any(|part| part == own) {
        return Turn::Unknown;
    }
    match parts.iter().filter(|part| *part != own).min() {
        None => Turn::Ours,
        // Were both to give up, they could meet again at the next name. Were both to go on, one would be replaced.
        Some(first) if own < first.as_str() => Turn::AfterOthers,
        Some(_) => Turn::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_that_see_each_other_one_stays() {
        let parts = ["x.1.part", "x.2.part", "x.3.part"].map(str::to_owned);
        assert_eq!(turn("x.2.part", &parts[1..2]), Turn::Ours);
        assert_eq!(turn("x.1.part", &parts), Turn::AfterOthers);
        assert_eq!(turn("x.2.part", &parts), Turn::Never);
        assert_eq!(turn("x.3.part", &parts), Turn::Never);
        // Also if the others are not seen by all.
        assert_eq!(turn("x.2.part", &parts[1..]), Turn::AfterOthers);
    }

    #[test]
    fn a_store_that_does_not_show_the_own_part_tells_nothing() {
        assert_eq!(turn("x.1.part", &[]), Turn::Unknown);
        assert_eq!(turn("x.1.part", &["x.2.part".to_owned()]), Turn::Unknown);
    }
}
