//! Tries again what fails because something is away, until it works or the time for it is up.

#![cfg_attr(not(test), expect(dead_code, reason = "the commands that wait for the store are next"))]

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// The time that all the waits of one command have together. It begins when this is made. To drop a wait is to end it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    deadline: Instant,
}

/// The last failure of all the tries.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp<E> {
    pub error: E,
    /// How long it was waited for; zero if it was not, because the first failure was of another kind or no time was left.
    pub waited: Duration,
}

impl Patience {
    /// With a limit of zero nothing is waited for.
    pub fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit }
    }

    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs `attempt` until it succeeds, fails with an error that is not away, or no time is left. The last
    /// try is at the deadline itself. `what` begins the line in the log, as in `the store is away`.
    pub async fn wait_out<T, E: Display, F: Future<Output = Result<T, E>>>(
        &self,
        what: &str,
        is_away: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, GivenUp<E>> {
        let mut pause = FIRST_PAUSE;
        let mut logged = Duration::ZERO;
        let mut since: Option<Instant> = None;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let left = self.left();
            if left.is_zero() || !is_away(&error) {
                return Err(GivenUp { error, waited: since.map_or(Duration::ZERO, |since| since.elapsed()) });
            }
            since.get_or_insert_with(Instant::now);
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

impl<E: Display> Display for GivenUp<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)?;
        if self.waited.is_zero() { Ok(()) } else { write!(f, "; waited {} for it", spoken(self.waited)) }
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
    ) -> (Vec<u64>, Result<(), GivenUp<&'static str>>) {
        let begin = Instant::now();
        let patience = Patience::new(Duration::from_secs(limit));
        let (at, number) = (RefCell::new(Vec::new()), Cell::new(0));
        let outcome = patience
            .wait_out(
                "the store is away",
                |error| *error == "away",
                || {
                    at.borrow_mut().push(begin.elapsed().as_secs());
                    number.set(number.get() + 1);
                    std::future::ready(attempt(number.get()))
                },
            )
            .await;
        (at.into_inner(), outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute_and_the_last_try_is_at_the_deadline() {
        let (at, outcome) = times(300, |_| Err("away")).await;
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 300]);
        let given_up = outcome.unwrap_err();
        assert_eq!(given_up, GivenUp { error: "away", waited: Duration::from_mins(5) });
        assert_eq!(given_up.to_string(), "away; waited 5m for it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_succeeds() {
        let (at, outcome) = times(300, |number| if number < 4 { Err("away") } else { Ok(()) }).await;
        assert_eq!((at, outcome), (vec![0, 1, 3, 7], Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn another_failure_ends_it_at_once() {
        let (at, outcome) = times(300, |number| if number < 3 { Err("away") } else { Err("denied") }).await;
        assert_eq!((at, outcome), (vec![0, 1, 3], Err(GivenUp { error: "denied", waited: Duration::from_secs(3) })));
        let (at, outcome) = times(300, |_| Err("denied")).await;
        assert_eq!((at, outcome.unwrap_err().to_string()), (vec![0], "denied".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_is_one_try() {
        let (at, outcome) = times(0, |_| Err("away")).await;
        assert_eq!((at, outcome), (vec![0], Err(GivenUp { error: "away", waited: Duration::ZERO })));
    }

    #[tokio::test(start_paused = true)]
    async fn all_waits_share_the_time() {
        let patience = Patience::new(Duration::from_secs(10));
        let wait = || patience.wait_out("x", |_| true, || std::future::ready(Err::<(), _>("away")));
        assert_eq!(wait().await.unwrap_err().waited, Duration::from_secs(10));
        assert_eq!(wait().await.unwrap_err().waited, Duration::ZERO);
        assert_eq!(patience.left(), Duration::ZERO);
    }
}
