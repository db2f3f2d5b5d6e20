//! A wall clock that moves when told.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::deps::Clock;

/// A clock that stands still until it is moved. Its steady clock is the runtime's, which tests pause.
#[derive(Debug)]
pub struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    /// A clock that shows so many seconds since 1970.
    pub fn at(seconds: u64) -> Self {
        Self(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
