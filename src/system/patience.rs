//! Tries again what fails because something is away, until it works or the time for it is up.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// How long each outage is waited out. To drop a wait is to end it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    limit: Duration,
}

impl Patience {
    /// With a limit of zero nothing is waited for.
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }

    /// Runs `attempt` until it succeeds, fails with an error that is not away, or the outage has lasted for the whole limit,
    /// at whose end is the last try. `what` begins the line in the log, as in `the store is away`.
    pub async fn wait_out<T, E: Display>(
        &self,
        what: &str,
        is_away: impl Fn(&E) -> bool,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut pause = FIRST_PAUSE;
        let mut logged = Duration::ZERO;
        let mut since: Option<Instant> = None;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            let left = self.limit.saturating_sub(waited);
            if !is_away(&error) {
                return Err(error);
            }
            if left.is_zero() {
                if !waited.is_zero() {
                    tracing::warn!("{what}: giving up after {}", spoken(waited));
                }
                return Err(error);
            }
            let this_pause = pause.min(left);
            if this_pause > logged {
                let (pause, left) = (spoken(this_pause), spoken(left));
                tracing::warn!("{what}: {error}; trying again in {pause}, and for {left} more before giving up");
                logged = this_pause;
            }
            tokio::time::sleep(this_pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// In whole seconds, and at least one.
fn spoken(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.saturating_add(HALF_A_SECOND).as_secs().max(1)))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Runs a wait on a stopped clock. The attempt is given its number, from 1; it returns when each attempt began.
    async fn times(
        limit: u64,
        attempt: impl Fn(u32) -> Result<(), &'static str>,
    ) -> (Vec<u64>, Result<(), &'static str>) {
        let begin = Instant::now();
        let patience = Patience::new(Duration::from_secs(limit));
        let (at, number) = (RefCell::new(Vec::new()), Cell::new(0));
        let outcome = patience
            .wait_out(
                "the store is away",
                |error| *error == "away",
                async || {
                    at.borrow_mut().push(begin.elapsed().as_secs());
                    number.set(number.get() + 1);
                    attempt(number.get())
                },
            )
            .await;
        (at.into_inner(), outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute_and_the_last_try_is_at_the_deadline() {
        let (at, outcome) = times(300, |_| Err("away")).await;
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 300]);
        assert_eq!(outcome, Err("away"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_succeeds() {
        let (at, outcome) = times(300, |number| if number < 4 { Err("away") } else { Ok(()) }).await;
        assert_eq!((at, outcome), (vec![0, 1, 3, 7], Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn another_failure_ends_it_at_once() {
        let (at, outcome) = times(300, |number| if number < 3 { Err("away") } else { Err("denied") }).await;
        assert_eq!((at, outcome), (vec![0, 1, 3], Err("denied")));
        let (at, outcome) = times(300, |_| Err("denied")).await;
        assert_eq!((at, outcome), (vec![0], Err("denied")));
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_is_one_try() {
        let (at, outcome) = times(0, |_| Err("away")).await;
        assert_eq!((at, outcome), (vec![0], Err("away")));
    }

    #[tokio::test(start_paused = true)]
    async fn each_outage_has_the_whole_time() {
        let patience = Patience::new(Duration::from_secs(10));
        let begin = Instant::now();
        for outage in 1..=2 {
            let outcome = patience.wait_out("x", |_| true, async || Err::<(), _>("away")).await;
            assert_eq!((outcome, begin.elapsed().as_secs()), (Err("away"), outage * 10));
        }
    }
}
