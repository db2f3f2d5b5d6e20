//! A short timer that runs while requests come, so that no other timer is ever the next one.
//!
//! A runtime that sleeps until its next timer is woken, by a system call on itself, whenever somebody sets an earlier one. Each request sets timers that are seconds away, and
//! between requests nothing is due for longer: without a tick every request would pay for that call. It knows nothing of requests but that there was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Shorter than any limit that a request sets.
const TICK: Duration = Duration::from_millis(50);
/// Ticks without a request after which they stop.
const QUIET: u32 = 20;

/// The ticking of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Ticking {
    asked: AtomicBool,
    stopped: AtomicBool,
    wanted: Notify,
}

impl Ticking {
    /// A request came.
    pub(crate) fn request(&self) {
        self.asked.store(true, Ordering::Relaxed);
        if self.stopped.load(Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    /// Ticks for as long as it is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut quiet = 0;
        loop {
            tokio::time::sleep(TICK).await;
            quiet = if self.asked.swap(false, Ordering::Relaxed) { 0 } else { quiet + 1 };
            if quiet >= QUIET {
                self.stopped.store(true, Ordering::Relaxed);
                self.wanted.notified().await;
                self.stopped.store(false, Ordering::Relaxed);
                quiet = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ticks_while_requests_come_and_not_for_ever() {
        let ticking = Arc::new(Ticking::default());
        let task = tokio::spawn(Arc::clone(&ticking).run());
        let stopped = || ticking.stopped.load(Ordering::Relaxed);
        for _ in 0..100 {
            ticking.request();
            tokio::time::sleep(TICK).await;
        }
        assert!(!stopped());
        tokio::time::sleep(TICK * (QUIET + 2)).await;
        assert!(stopped());
        ticking.request();
        tokio::time::sleep(TICK).await;
        assert!(!stopped());
        task.abort();
    }
}
