//! One breaker: closed, open until a time, or half-open with one probe under way. Pure: the time and the chance are handed in.
//!
//! What a failure teaches is decided here too, by the kind of its error. Who asks before a call and tells afterwards is `../breaker.rs`.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::ids::ModelName;

/// Failures in a row that open a breaker: as many as one request may have at one target.
pub(super) const IN_A_ROW: u32 = crate::router::retry::MAX_ATTEMPTS;
/// How long a breaker is open after such failures the first time; doubled with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses, whatever chance adds: where there are two requests a second, a target that is back is used again within five.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long a refused login or an unpaid bill keeps a target from being asked, where no reset is named: then one request tries.
const LASTING: Duration = crate::router::refused::PASSED_OVER;
/// The longest that a rate limit closes a target: it may be one of long requests only.
const LONGEST_LIMIT: Duration = Duration::from_secs(60);
/// The longest reset time that is believed without asking in between.
const LONGEST_RESET: Duration = Duration::from_secs(24 * 60 * 60);
/// After so long without a failure, or without anybody who would probe, nothing is known any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What a breaker is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of a provider: it cannot be reached.
    Provider,
    /// One model of it.
    Model(Option<ModelName>),
    /// What one key may ask of one model: limits of rate and quotas are each key's own.
    Allowance(Option<ModelName>, Option<String>),
    /// The keys or the login in use, by their one-way mark: other ones get their chance at once.
    Credential(Option<String>),
}

/// The part of a target that an error names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Provider,
    Model,
    Allowance,
    Credential,
}

/// What one attempt teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// It is there and answers.
    Alive,
    /// Nothing: the failure is not the target's.
    Nothing,
    /// It failed; often in a row, and it is left alone.
    Failed(Part),
    /// It will not answer for so long, and then one request tries whether it does.
    Barred(Part, Duration),
    /// It will not answer before its reset, and then it will.
    Limited(Part, Duration),
}

/// What an error teaches. The caller's and the router's own errors say nothing bad of a target.
pub(super) fn lesson(error: &Error) -> Lesson {
    match (error.kind(), error.retry_after()) {
        (ErrorKind::ProviderConnection, _) => Lesson::Failed(Part::Provider),
        (ErrorKind::ProviderTimeout, _) if error.is_unsent() => Lesson::Failed(Part::Provider),
        (ErrorKind::ProviderTimeout | ErrorKind::ProviderServerError | ErrorKind::ProviderProtocol, _) => {
            Lesson::Failed(Part::Model)
        }
        // Without a status it is a queue of this machine that is full, not an upstream.
        (ErrorKind::ProviderOverloaded, _) if error.status().is_some() => Lesson::Failed(Part::Model),
        (ErrorKind::ProviderAuth | ErrorKind::ProviderBilling, after) => {
            Lesson::Barred(Part::Credential, after.unwrap_or(LASTING).min(LONGEST_RESET))
        }
        (ErrorKind::ProviderQuotaExhausted, Some(after)) => Lesson::Limited(Part::Allowance, after.min(LONGEST_RESET)),
        (ErrorKind::ProviderQuotaExhausted, None) => Lesson::Barred(Part::Allowance, LASTING),
        (ErrorKind::ProviderRateLimited, Some(after)) => Lesson::Limited(Part::Allowance, after.min(LONGEST_LIMIT)),
        _ if error.status().is_some() => Lesson::Alive,
        _ => Lesson::Nothing,
    }
}

/// The state of one breaker.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) scope: Scope,
    /// The kind of the last failure.
    pub(super) kind: ErrorKind,
    /// Failures in a row.
    pub(super) run: u32,
    /// How often in a row it opened.
    trips: u32,
    /// Open until then, half-open from then on; `None` is closed.
    pub(super) until: Option<Instant>,
    /// Whether it closes by itself when that time has come.
    limited: bool,
    pub(super) probing: bool,
    touched: Instant,
}

impl Cell {
    pub(super) fn new(scope: Scope, kind: ErrorKind, now: Instant) -> Self {
        Self { scope, kind, run: 0, trips: 0, until: None, limited: false, probing: false, touched: now }
    }

    /// Whether nothing passes: before its time, and while a probe is under way.
    pub(super) fn is_shut(&self, now: Instant) -> bool {
        self.probing || self.is_open(now)
    }

    /// Whether its time has not come yet.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether the next request is a probe.
    pub(super) fn is_half_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it says nothing any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let since = self.until.unwrap_or(self.touched);
        let passed = self.limited && self.is_half_open(now);
        !self.probing && (passed || now.saturating_duration_since(since) > FORGOTTEN)
    }

    /// Lets everybody pass again, without forgetting: the next failure closes it for longer.
    pub(super) fn trust(&mut self, now: Instant) {
        (self.until, self.probing, self.touched) = (None, false, now);
    }

    /// Learns from a failure that happened now.
    pub(super) fn learn(&mut self, lesson: Lesson, kind: ErrorKind, now: Instant, jitter: f64) {
        match lesson {
            Lesson::Alive | Lesson::Nothing => return,
            // It was sent before the breaker opened and says nothing new.
            Lesson::Failed(_) if self.is_open(now) => return,
            Lesson::Failed(_) => {
                self.run = self.run.saturating_add(1);
                if self.probing || self.run >= IN_A_ROW {
                    self.trips = self.trips.saturating_add(1);
                    self.until = now.checked_add(pause(self.trips, jitter));
                }
            }
            Lesson::Barred(_, time) | Lesson::Limited(_, time) => {
                self.until = self.until.max(now.checked_add(time));
                self.limited = matches!(lesson, Lesson::Limited(..));
            }
        }
        (self.kind, self.probing, self.touched) = (kind, false, now);
    }
}

/// The pause after the breaker opened so often in a row: 1, 2, 4 s, each a fifth longer or shorter by chance, but never longer than the longest.
fn pause(trips: u32, jitter: f64) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << trips.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
    pause.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FAILED: Lesson = Lesson::Failed(Part::Provider);
    const KIND: ErrorKind = ErrorKind::ProviderConnection;

    fn cell(now: Instant) -> Cell {
        Cell::new(Scope::Provider, KIND, now)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_for_one_two_and_four_seconds_and_no_longer() {
        let mut now = Instant::now();
        let mut cell = cell(now);
        for _ in 1..IN_A_ROW {
            cell.learn(FAILED, KIND, now, 0.5);
            assert!(!cell.is_shut(now));
        }
        cell.learn(FAILED, KIND, now, 0.5);
        for seconds in [1, 2, 4, 4, 4] {
            let until = cell.until.unwrap();
            assert_eq!(until - now, Duration::from_secs(seconds));
            cell.learn(FAILED, KIND, now, 0.5);
            assert_eq!(cell.until, Some(until), "what was under way changes nothing");
            now = until;
            assert!(cell.is_half_open(now) && !cell.is_shut(now));
            cell.probing = true;
            assert!(cell.is_shut(now));
            cell.learn(FAILED, KIND, now, 0.5);
        }
    }

    #[test]
    fn chance_changes_a_pause_by_a_fifth() {
        assert_eq!((pause(1, 0.0), pause(1, 1.0)), (Duration::from_millis(800), Duration::from_millis(1200)));
        assert_eq!((pause(99, 0.0), pause(99, 1.0)), (Duration::from_millis(3200), LONGEST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_ends_by_itself_and_a_bar_with_a_probe() {
        let now = Instant::now();
        let (mut limit, mut bar) = (cell(now), cell(now));
        limit.learn(Lesson::Limited(Part::Model, FIRST_PAUSE), KIND, now, 0.5);
        bar.learn(Lesson::Barred(Part::Credential, FIRST_PAUSE), KIND, now, 0.5);
        assert!(limit.is_shut(now) && bar.is_shut(now));
        let later = now + FIRST_PAUSE;
        assert!(limit.is_over(later) && !bar.is_over(later) && bar.is_half_open(later));
        assert!(bar.is_over(later + FORGOTTEN * 2));
    }

    #[test]
    fn only_a_targets_own_failures_say_something_bad_of_it() {
        for &kind in ErrorKind::ALL {
            let bad = |error: &Error| !matches!(lesson(error), Lesson::Alive | Lesson::Nothing);
            let error = Error::new(kind, "").with_status(http::StatusCode::BAD_REQUEST);
            let expected = match kind {
                ErrorKind::ProviderRejected | ErrorKind::ProviderUnavailable | ErrorKind::ProviderRateLimited => false,
                _ => kind.fault() == crate::error::Fault::Provider,
            };
            assert_eq!(bad(&error), expected, "{kind}");
        }
        assert_eq!(lesson(&Error::new(ErrorKind::ProviderOverloaded, "64 calls run already")), Lesson::Nothing);
        let limited = Error::new(ErrorKind::ProviderRateLimited, "").with_retry_after(Duration::from_secs(3600));
        assert_eq!(lesson(&limited), Lesson::Limited(Part::Allowance, LONGEST_LIMIT));
    }
}
