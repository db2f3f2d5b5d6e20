//! Rates: at most so much in *any* sixty seconds, and at most so many at once.
//!
//! A [`Window`] remembers what passed in ticks of ten milliseconds, so it is bounded (6,001 ticks) and never lets more through than its limit in any minute, wherever that
//! minute begins; what it gives up is a tick: room comes back up to 10 ms late. It is pure: time is handed in. Who holds windows is `../limits.rs`.

use std::collections::VecDeque;
use std::time::Duration;

/// Ticks in a second.
const TICKS: u64 = 100;
/// After as many ticks what passed counts no more. One more than a minute has: something may have passed at the very end of its tick.
const SPAN: u64 = 60 * TICKS + 1;

/// What passed in the last minute, each thing with its weight.
#[derive(Debug, Default)]
pub struct Window {
    /// Tick and weight, the oldest first.
    passed: VecDeque<(u64, u64)>,
    sum: u64,
}

/// Why something may not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It may after this time, if nothing else passes meanwhile.
    For(Duration),
    /// It is more than the limit alone.
    ForEver,
}

/// How much room a window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The most in a minute.
    pub limit: u64,
    /// What may pass now.
    pub remaining: u64,
    /// Until all that passed counts no more.
    pub reset: Duration,
}

impl Window {
    /// Lets `weight` pass at `now` if no minute then holds more than `limit`, and gives the tick under which it counts.
    ///
    /// `now` is any steady time; one that goes back counts as the latest.
    ///
    /// # Errors
    /// [`Full`] with the wait.
    pub fn take(&mut self, now: Duration, weight: u64, limit: u64) -> Result<u64, Full> {
        if weight > limit {
            return Err(Full::ForEver);
        }
        let tick = self.tick(now);
        let excess = self.sum.saturating_add(weight).saturating_sub(limit);
        if excess > 0 {
            return Err(Full::For(self.until(excess, now)));
        }
        self.add(tick, weight);
        Ok(tick)
    }

    /// Counts what passed elsewhere, whatever the limit, and gives the tick under which it counts.
    pub fn note(&mut self, now: Duration, weight: u64) -> u64 {
        let tick = self.tick(now);
        self.add(tick, weight);
        tick
    }

    fn add(&mut self, tick: u64, weight: u64) {
        match self.passed.back_mut() {
            Some((last, sum)) if *last == tick => *sum = sum.saturating_add(weight),
            _ => self.passed.push_back((tick, weight)),
        }
        self.sum = self.sum.saturating_add(weight);
    }

    /// Changes what passed under `tick` from one weight to another: its true one is known later than it passes. What counts no more is left alone.
    pub fn correct(&mut self, tick: u64, from: u64, to: u64) {
        let Ok(at) = self.passed.binary_search_by_key(&tick, |(tick, _)| *tick) else { return };
        let Some((_, sum)) = self.passed.get_mut(at) else { return };
        let changed = sum.saturating_sub(from).saturating_add(to);
        self.sum = self.sum.saturating_sub(*sum).saturating_add(changed);
        *sum = changed;
    }

    /// How much room there is.
    pub fn standing(&mut self, now: Duration, limit: u64) -> Standing {
        let reset = self.empty_in(now);
        Standing { limit, remaining: limit.saturating_sub(self.sum), reset }
    }

    /// How long something counts that passed, if nothing else does; zero where nothing counts.
    pub fn empty_in(&mut self, now: Duration) -> Duration {
        self.tick(now);
        if self.sum == 0 { Duration::ZERO } else { self.until(self.sum, now) }
    }

    /// The tick of `now`; what counts no more is forgotten.
    fn tick(&mut self, now: Duration) -> u64 {
        let tick = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) * TICKS / 1000;
        let tick = self.passed.back().map_or(tick, |(last, _)| tick.max(*last));
        while let Some((_, weight)) = self.passed.front().filter(|(passed, _)| passed.saturating_add(SPAN) <= tick) {
            self.sum = self.sum.saturating_sub(*weight);
            self.passed.pop_front();
        }
        tick
    }

    /// Until as much counts no more.
    fn until(&self, amount: u64, now: Duration) -> Duration {
        let mut gone = 0_u64;
        let last = self.passed.iter().find(|(_, weight)| {
            gone = gone.saturating_add(*weight);
            gone >= amount
        });
        let at = last.map_or(0, |(tick, _)| tick.saturating_add(SPAN));
        Duration::from_millis(at.saturating_mul(1000 / TICKS)).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_minutes_worth_passes_and_then_waits_for_the_first_to_be_a_minute_old() {
        let mut window = Window::default();
        for at in 0..100 {
            window.take(MS(at * 300), 1, 100).unwrap();
        }
        let Err(Full::For(wait)) = window.take(MS(30_000), 1, 100) else { panic!("the limit holds") };
        assert_eq!(wait, MS(30_010), "a minute after the first, and a tick");
        assert!(window.take(MS(30_000) + wait - MS(10), 1, 100).is_err());
        assert!(window.take(MS(30_000) + wait, 1, 100).is_ok());
    }

    #[test]
    fn a_weight_may_turn_out_to_be_another_one() {
        let mut window = Window::default();
        let tick = window.take(MS(5), 90, 100).unwrap();
        assert_eq!(window.take(MS(5), 20, 100), Err(Full::For(MS(60_005))));
        assert_eq!(window.take(MS(5), 101, 100), Err(Full::ForEver));
        window.correct(tick, 90, 30);
        assert_eq!(window.standing(MS(1_000), 100), Standing { limit: 100, remaining: 70, reset: MS(59_010) });
        window.correct(tick, 30, 250);
        assert_eq!(window.standing(MS(1_000), 100).remaining, 0, "what cost more than was thought counts in full");
        assert_eq!(window.empty_in(MS(1_000)), MS(59_010));
        window.standing(MS(61_000), 100);
        window.correct(tick, 250, 7);
        assert_eq!(window.standing(MS(61_000), 100).remaining, 100, "what is over is over");
        let tick = window.take(MS(61_000), 1, 100).unwrap();
        window.correct(tick, 1, 0);
        assert_eq!(window.empty_in(MS(61_000)), MS(0), "what was taken back counts for no time");
    }

    proptest! {
        #[test]
        fn no_minute_holds_more_than_the_limit(
            limit in 1_u64..40,
            steps in prop::collection::vec((0_u64..4_000, 1_u64..5), 1..400),
        ) {
            let (mut window, mut now, mut passed) = (Window::default(), 0, Vec::new());
            for (step, weight) in steps {
                now += step;
                if window.take(MS(now), weight, limit).is_ok() {
                    passed.push((now, weight));
                }
                let minute: u64 = passed.iter().filter(|(at, _)| at + 60_000 >= now).map(|(_, weight)| weight).sum();
                prop_assert!(minute <= limit, "{minute} within a minute of {now} ms");
            }
        }

        #[test]
        fn whoever_waits_as_told_passes(limit in 1_u64..20, steps in prop::collection::vec(0_u64..900, 1..200)) {
            let (mut window, mut now) = (Window::default(), 0);
            for step in steps {
                now += step;
                if let Err(Full::For(wait)) = window.take(MS(now), 1, limit) {
                    now += u64::try_from(wait.as_millis()).unwrap();
                    prop_assert!(window.take(MS(now), 1, limit).is_ok());
                }
            }
        }
    }
}
