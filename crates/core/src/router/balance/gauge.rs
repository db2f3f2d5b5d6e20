//! What is observed of one target: the calls under way, and how long it took to its first content lately.
//!
//! Only targets that somebody compares have a gauge: members of balanced groups, and those of routes that hedge. Times of streamed and of whole answers are kept apart: a whole answer's first
//! content is its end. One moving peak is for comparing (`order.rs`), the last times themselves for their 95th part in a hundred (`../hedge.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Fault};
use crate::ids::ProviderId;
use crate::provider::Target;
use crate::router::resolve::Planned;

/// In this time an old observation loses two thirds of its weight.
const FADES: Duration = Duration::from_secs(10);
/// A failure counts as an answer that took at least so long: who fails fast is not quick.
const FAILURE: Duration = Duration::from_secs(5);
/// A time in seconds that says something of a target of which nothing else is known, although nobody waited longer.
const UNKNOWN: f64 = 1.0;
/// How many of the last times are kept.
const KEPT: usize = 64;
/// The most gauges of one provider; a further target has none, and counts as one that was never asked.
const MOST: usize = 256;

/// What is observed of one target.
#[derive(Debug, Default)]
pub(in crate::router) struct Gauge {
    in_flight: AtomicU32,
    whole: Mutex<Times>,
    streamed: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// The peak, in seconds, as it was at that moment.
    peak: Option<(f64, Instant)>,
    /// The last times to a first content, the oldest overwritten.
    last: Vec<Duration>,
    next: usize,
}

impl Gauge {
    /// Calls under way.
    pub(in crate::router) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The time to the first content lately, in seconds: up at once with a longer one, down slowly, and down with time alone. `None` where nothing was observed yet.
    pub(super) fn peak(&self, streamed: bool, now: Instant) -> Option<f64> {
        self.times(streamed, |times| times.peak.map(|(peak, at)| peak * faded(at, now)))
    }

    /// What 95 of a hundred times lately were at most, where there were at least so many.
    pub(in crate::router) fn p95(&self, streamed: bool, least: usize) -> Option<Duration> {
        self.times(streamed, |times| {
            let mut last = times.last.clone();
            last.sort_unstable();
            let at = (last.len() * 95).div_ceil(100).saturating_sub(1);
            (last.len() >= least).then(|| last.get(at).copied()).flatten()
        })
    }

    /// A call that begins now.
    pub(in crate::router) fn enter(self: &Arc<Self>, streamed: bool, now: Instant) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy { gauge: Arc::clone(self), streamed, began: now, told: false }
    }

    fn times<T>(&self, streamed: bool, look: impl FnOnce(&mut Times) -> T) -> T {
        let times = if streamed { &self.streamed } else { &self.whole };
        look(&mut times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn faded(since: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(since).as_secs_f64() / FADES.as_secs_f64()).exp()
}

impl Times {
    fn see(&mut self, took: Duration, now: Instant) {
        let new = took.as_secs_f64();
        let peak = match self.peak {
            Some((old, at)) if new < old => {
                let weight = faded(at, now);
                old * weight + new * (1.0 - weight)
            }
            _ => new,
        };
        self.peak = Some((peak, now));
    }

    fn keep(&mut self, took: Duration) {
        match self.last.get_mut(self.next) {
            Some(place) => *place = took,
            None => self.last.push(took),
        }
        self.next = (self.next + 1) % KEPT;
    }
}

/// A call under way; dropping it says that it is over.
#[derive(Debug)]
pub(in crate::router) struct Busy {
    gauge: Arc<Gauge>,
    streamed: bool,
    began: Instant,
    /// Whether it is known how long its first content took, or that none came.
    told: bool,
}

impl Busy {
    /// Its first content came.
    pub(in crate::router) fn answered(&mut self, now: Instant) {
        self.told = true;
        let took = now.saturating_duration_since(self.began);
        self.gauge.times(self.streamed, |times| {
            times.see(took, now);
            times.keep(took);
        });
    }

    /// It failed; what is not the target's fault says nothing of it.
    pub(in crate::router) fn failed(&mut self, error: &Error, now: Instant) {
        self.told = true;
        if error.fault() == Fault::Provider {
            let took = now.saturating_duration_since(self.began).max(FAILURE);
            self.gauge.times(self.streamed, |times| times.see(took, now));
        }
    }
}

impl Drop for Busy {
    /// Of one that nobody waited for to the end it is known only that it took longer, which is news where it took longer than others.
    fn drop(&mut self) {
        if !self.told {
            let now = Instant::now();
            let took = now.saturating_duration_since(self.began);
            self.gauge.times(self.streamed, |times| {
                let usual = times.peak.map_or(UNKNOWN, |(peak, at)| peak * faded(at, now));
                if took.as_secs_f64() > usual {
                    times.see(took, now);
                    times.keep(took);
                }
            });
        }
        self.gauge.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The gauges of all targets that have one, shared by all routers of the same dependencies.
#[derive(Debug, Default)]
pub(in crate::router) struct Gauges(Mutex<HashMap<ProviderId, Vec<Known>>>);

/// A target, with which key it is asked, and its gauge.
type Known = (Target, Option<u32>, Arc<Gauge>);

impl Gauges {
    /// The gauge of a target; none where there are too many.
    pub(in crate::router) fn of(&self, planned: &Planned) -> Option<Arc<Gauge>> {
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_provider = match gauges.get_mut(&planned.target.provider) {
            Some(known) => known,
            None => gauges.entry(planned.target.provider.clone()).or_default(),
        };
        let same = |(target, key, _): &&Known| *target == planned.target && *key == planned.key;
        if let Some((.., gauge)) = of_provider.iter().find(same) {
            return Some(Arc::clone(gauge));
        }
        (of_provider.len() < MOST).then(|| {
            let gauge = Arc::new(Gauge::default());
            of_provider.push((planned.target.clone(), planned.key, Arc::clone(&gauge)));
            gauge
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::ErrorKind;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test(start_paused = true)]
    async fn a_peak_rises_at_once_and_falls_with_time() {
        let gauge = Arc::new(Gauge::default());
        let begin = Instant::now();
        assert_eq!(gauge.peak(true, begin), None);
        let seen = |took: u64, at: Instant| gauge.enter(true, at).answered(at + MS(took));
        seen(100, begin);
        seen(900, begin);
        let now = begin + MS(900);
        assert!((gauge.peak(true, now).unwrap() - 0.9).abs() < 1e-9);
        seen(100, now);
        assert!(gauge.peak(true, now).unwrap() > 0.85, "one quick answer does not forgive a slow one");
        assert!(gauge.peak(true, now + MS(30_000)).unwrap() < 0.05, "time does");
        assert_eq!(gauge.peak(false, now), None, "whole answers are another matter");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_slow_and_the_callers_own_says_nothing() {
        let gauge = Arc::new(Gauge::default());
        let now = Instant::now();
        gauge.enter(false, now).failed(&Error::invalid("no"), now);
        assert_eq!(gauge.peak(false, now), None);
        gauge.enter(false, now).failed(&Error::new(ErrorKind::ProviderServerError, "no"), now);
        assert_eq!(gauge.peak(false, now), Some(5.0));
        assert_eq!(gauge.p95(false, 1), None, "it is no time to a first content");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_until_they_are_over() {
        let gauge = Arc::new(Gauge::default());
        let both = (gauge.enter(true, Instant::now()), gauge.enter(false, Instant::now()));
        assert_eq!(gauge.in_flight(), 2);
        drop(both);
        assert_eq!(gauge.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_95th_of_a_hundred_is_of_the_last_times() {
        let gauge = Arc::new(Gauge::default());
        let now = Instant::now();
        for millis in 1..=200 {
            gauge.enter(true, now).answered(now + MS(millis));
        }
        assert_eq!(gauge.p95(true, 65), None);
        assert_eq!(gauge.p95(true, 64), Some(MS(197)), "of 137 to 200");
    }
}
