//! Time in the table: tenths of a second since it was made, in four bytes, and what fades with it.

use std::time::Duration;

use tokio::time::Instant;

/// A moment, in tenths of a second since the table was made; enough for thirteen years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u32);

impl Tick {
    /// The moment before all others.
    pub(crate) const START: Self = Self(0);

    /// Now.
    pub(crate) fn at(began: Instant, now: Instant) -> Self {
        Self(tenths(now.saturating_duration_since(began)))
    }

    /// So much later, a part of a tenth counted as a whole.
    pub(crate) fn after(self, time: Duration) -> Self {
        let whole = tenths(time);
        let part = time > Duration::from_millis(100).saturating_mul(whole);
        Self(self.0.saturating_add(whole).saturating_add(u32::from(part)))
    }

    /// Seconds from `earlier` until this moment; none where it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> f32 {
        self.0.saturating_sub(earlier.0) as f32 / 10.0
    }

    /// How long from `earlier` until this moment.
    pub(crate) fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(100).saturating_mul(self.0.saturating_sub(earlier.0))
    }
}

fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 100).unwrap_or(u32::MAX)
}

/// What is left of a weight of 1 after so many seconds, where half of it is left after `half`.
pub(crate) fn fade(seconds: f32, half: f32) -> f32 {
    // What happened just now is the common case, and a power is the dearest part of a cost.
    if seconds <= 0.0 { 1.0 } else { (-seconds / half).exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_before_its_time() {
        let now = Tick(7);
        assert_eq!(now.after(Duration::from_millis(800)), Tick(15));
        assert_eq!(now.after(Duration::from_millis(801)), Tick(16));
        assert_eq!(now.after(Duration::MAX), Tick(u32::MAX));
        assert_eq!(Tick(15).duration_since(now), Duration::from_millis(800));
        assert!((now.since(Tick(15))).abs() < f32::EPSILON);
    }

    #[test]
    fn weights_halve() {
        assert!((fade(10.0, 10.0) - 0.5).abs() < 1e-6 && (fade(0.0, 10.0) - 1.0).abs() < 1e-6);
    }
}
