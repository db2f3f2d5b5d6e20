//! What the router is built from: everything that reaches outside, each part replaceable.

use std::{fmt, time::SystemTime};

use tokio::time::Instant;

/// Time, so that tests can set it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock: for dates, expiry and ids.
    fn now(&self) -> SystemTime;

    /// The steady clock: for durations. It follows the runtime's paused time in tests.
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
