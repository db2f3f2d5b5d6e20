//! The request's time until its first event: how much of it each target gets. Pure.
//!
//! While another target remains, one gets half of what is left at most, all tries at it together, so that somebody who stays silent leaves time for the next; the
//! last one gets the rest. What is left is kept as a share: targets may have different times of their own, and each gets this share of its own. Nobody is
//! asked with less than an eighth of its time, for nobody could answer in that; where nothing is left, nobody is asked any more.
//! Who waits by it: `attempts.rs` for all tries at a target, `opening.rs` for one.

use std::time::Duration;

use tokio::time::Instant;

use super::resolve::Planned;
use crate::error::Error;
use crate::provider::Liveness;
use crate::request::Request;

/// The least share of its own time with which a target is asked.
const LEAST: f64 = 1.0 / 8.0;
/// Less than this is nothing: timers count in milliseconds.
const NOTHING: f64 = 0.001;

/// What is left of a request's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstEvent {
    left: f64,
    /// Whether there is such a time at all: a whole answer has no first event.
    streamed: bool,
}

/// What one target got of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    own: Duration,
    got: Duration,
    began: Instant,
}

impl FirstEvent {
    /// All of it.
    pub(super) fn of(request: &Request) -> Self {
        Self { left: 1.0, streamed: request.stream }
    }

    /// Gives a target its share; where nothing is left for it, it is only looked at for stored answers.
    pub(super) fn turn(&self, planned: &mut Planned, others: bool, now: Instant) -> Option<Turn> {
        // Of one that shows how it gets on with the prompt that counts, and not the time.
        let content = planned.provider.describe().liveness == Liveness::Content;
        if !self.streamed || !content || planned.held.is_some() {
            return None;
        }
        let own = planned.deadlines.first_event;
        match self.share(own, others) {
            Some(got) => planned.deadlines.first_event = got,
            None => {
                planned.unreached.get_or_insert_with(|| used_up(own));
            }
        }
        Some(Turn { own, got: planned.deadlines.first_event, began: now })
    }

    /// Takes off what a target used that did not answer. One that showed that it was at work the whole time used no more than it was given.
    pub(super) fn spend(&mut self, turn: Option<Turn>, now: Instant) {
        let Some(Turn { own, got, began }) = turn else { return };
        let used = now.saturating_duration_since(began).min(got);
        if !own.is_zero() {
            self.left -= used.as_secs_f64() / own.as_secs_f64();
        }
    }

    fn share(&self, own: Duration, others: bool) -> Option<Duration> {
        if self.left < NOTHING {
            return None;
        }
        let share = if others { self.left / 2.0 } else { self.left };
        Some(own.mul_f64(share.clamp(LEAST, 1.0)))
    }
}

/// The share of the first of several targets: what a call has that several callers share.
pub(super) fn first_share(own: Duration, others: bool) -> Duration {
    if others { own / 2 } else { own }
}

/// The wait before the same target is asked again with what is `left` of its share; none where it would have no time to answer then. A wait of our own is shortened
/// where time is short, one that the target named is not.
pub(super) fn wait_within(wait: Duration, error: &Error, left: Duration, share: Duration) -> Option<Duration> {
    let spare = left.checked_sub(share.mul_f64(LEAST))?;
    let wait = if error.retry_after().is_some() { wait } else { wait.min(spare / 2) };
    (wait <= spare).then_some(wait)
}

/// Whether a target that did not answer in so much time shows itself as one that fails: not where it had but little of its own time, left over by others.
pub(super) fn is_fair(got: Duration, own: Duration) -> bool {
    got >= own / 2
}

fn used_up(own: Duration) -> Error {
    Error::timeout(format!(
        "not asked: the request's time for a first event, {} s, is used up by the targets before",
        own.as_secs_f64()
    ))
    .with_hint("allow more with `timeouts.first_event` of [router] in the config, or of the request")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OWN: Duration = Duration::from_secs(16);

    fn shares(left: &mut FirstEvent, own: Duration, others: &[bool]) -> Vec<u64> {
        let mut now = Instant::now();
        let mut shares = Vec::new();
        for &others in others {
            let Some(got) = left.share(own, others) else { break };
            left.spend(Some(Turn { own, got, began: now }), now + got);
            now += got;
            shares.push(u64::try_from(got.as_millis()).unwrap());
        }
        shares
    }

    fn all() -> FirstEvent {
        FirstEvent { left: 1.0, streamed: true }
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_what_is_left_and_all_of_it_for_the_last() {
        assert_eq!(shares(&mut all(), OWN, &[false]), [16_000]);
        assert_eq!(shares(&mut all(), OWN, &[true, false]), [8_000, 8_000]);
        assert_eq!(shares(&mut all(), OWN, &[true, true, false]), [8_000, 4_000, 4_000]);
        let many = shares(&mut all(), OWN, &[true; 9]);
        assert_eq!(many, [8_000, 4_000, 2_000, 2_000], "nobody is asked with less than an eighth, and the sum is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_with_more_time_of_its_own_leaves_the_others_theirs() {
        let mut left = all();
        assert_eq!(shares(&mut left, 4 * OWN, &[true]), [32_000]);
        assert_eq!(shares(&mut left, OWN, &[false]), [8_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_at_once_costs_nothing_and_little_left_is_rounded_up_once() {
        let (mut left, now) = (all(), Instant::now());
        left.spend(Some(Turn { own: OWN, got: OWN / 2, began: now }), now);
        assert_eq!(left.share(OWN, true), Some(OWN / 2));
        left.left = 0.01;
        assert_eq!(left.share(OWN, false), Some(OWN / 8));
        left.spend(Some(Turn { own: OWN, got: OWN / 8, began: now }), now + OWN / 8);
        assert_eq!(left.share(OWN, false), None);
    }

    #[test]
    fn a_wait_of_our_own_is_shortened_and_one_that_is_named_is_kept() {
        let failed = Error::connection("reset");
        let named = Error::connection("busy").with_retry_after(Duration::from_secs(5));
        let wait = |error: &Error, seconds, left| {
            wait_within(Duration::from_secs(seconds), error, Duration::from_secs(left), OWN)
        };
        assert_eq!(wait(&failed, 1, 16), Some(Duration::from_secs(1)));
        assert_eq!(wait(&failed, 5, 4), Some(Duration::from_secs(1)), "two seconds stay for the answer");
        assert_eq!(wait(&failed, 5, 1), None);
        assert_eq!((wait(&named, 5, 8), wait(&named, 5, 6)), (Some(Duration::from_secs(5)), None));
    }

    #[test]
    fn little_time_teaches_nothing() {
        assert!(is_fair(OWN / 2, OWN) && !is_fair(OWN / 4, OWN));
    }
}
