//! How many retries a router may make: a share of its requests, and a few in any case. When everything fails at once, retries would otherwise multiply the load by three.
//!
//! A bucket of tokens, one for each retry. Requests are not told to it: it looks at how many there were when somebody wants to try again, so that those that
//! succeed pay nothing. Pure but for its lock: time and counts are handed in. What is retried at all is `../retry.rs`.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The most tokens that are kept: what a burst of failures may use at once.
const MOST: f64 = 100.0;
/// So many seconds of the floor are there at the start: a program that asks once is no storm.
const AT_FIRST: f64 = 10.0;

/// The budget of one router.
#[derive(Debug)]
pub(in crate::router) struct Budget {
    /// Retries for each request.
    share: f64,
    /// Retries for each second, however few requests there are.
    floor: f64,
    state: Mutex<Option<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    tokens: f64,
    /// Requests so far, when it was looked at last.
    requests: u64,
    at: Instant,
}

impl Budget {
    /// For every hundred requests `percent` retries, and `floor` in each second besides.
    pub(in crate::router) fn new(percent: u32, floor: u32) -> Self {
        Self { share: f64::from(percent) / 100.0, floor: f64::from(floor), state: Mutex::default() }
    }

    /// Takes leave for one retry. `requests` is how many there were since the router began.
    pub(in crate::router) fn take(&self, requests: u64, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.get_or_insert(State { tokens: self.floor * AT_FIRST, requests: 0, at: now });
        #[allow(clippy::cast_precision_loss)]
        let new = requests.saturating_sub(state.requests) as f64;
        let earned = new * self.share + now.saturating_duration_since(state.at).as_secs_f64() * self.floor;
        let tokens = (state.tokens + earned).min(MOST);
        let may = tokens >= 1.0;
        *state = State { tokens: if may { tokens - 1.0 } else { tokens }, requests, at: now };
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &Budget, requests: u64, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(requests, now)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_requests_and_a_floor_for_each_second() {
        let now = Instant::now();
        let budget = Budget::new(20, 3);
        assert_eq!(taken(&budget, 0, now), 30, "ten seconds of the floor");
        assert_eq!(taken(&budget, 100, now), 20);
        assert_eq!(taken(&budget, 100, now), 0, "no request is counted twice");
        assert_eq!(taken(&budget, 100, now + Duration::from_secs(4)), 12);
        assert_eq!(taken(&budget, 1_000_000, now + Duration::from_secs(4)), 100, "what is saved up is bounded");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_nothing_is_no_retry_at_all() {
        let now = Instant::now();
        assert_eq!(taken(&Budget::new(0, 0), 1000, now + Duration::from_secs(1000)), 0);
    }
}
