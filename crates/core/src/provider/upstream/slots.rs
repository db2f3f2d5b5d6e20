//! How many calls a provider takes at once, and how many may wait for one of them to end.
//!
//! Who waits is served in the order of coming. How long is no business of this file: the deadlines of a call run meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// The places of one provider. All clones are one.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    most: usize,
    places: Arc<Semaphore>,
    most_waiting: usize,
    waiting: Arc<AtomicUsize>,
}

impl Slots {
    pub(super) fn new(most: usize, most_waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { most, places, most_waiting, waiting: Arc::default() }
    }

    /// How many wait now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether whoever came now would be told that it is full.
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0 && self.waiting() >= self.most_waiting
    }

    /// A place, waited for where the queue has room.
    ///
    /// # Errors
    /// `provider_overloaded` where it has none.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let Some(_waiting) = Waiting::among(&self.waiting, self.most_waiting) else { return Err(self.full()) };
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.full())
    }

    fn full(&self) -> Error {
        let queued = match self.most_waiting {
            0 => String::new(),
            most => format!(", and {most} wait, its max_queue"),
        };
        let message = format!("{} calls run already, its max_in_flight{queued}", self.most);
        Error::new(ErrorKind::ProviderOverloaded, message)
    }
}

/// One who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::poll;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn who_comes_waits_in_turn_and_who_finds_no_room_is_told() {
        let slots = Slots::new(1, 2);
        let first = slots.take().await.unwrap();
        let (mut second, mut third) = (pin!(slots.take()), pin!(slots.take()));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        assert_eq!((slots.waiting(), slots.is_full()), (2, true));
        let error = slots.take().await.unwrap_err();
        assert!(error.message().contains("max_in_flight") && error.message().contains("2 wait"), "{error}");
        drop(first);
        assert!(poll!(&mut third).is_pending(), "whoever came first is served first");
        let second = second.await.unwrap();
        assert_eq!((slots.waiting(), slots.is_full()), (1, false));
        drop(second);
        drop(third.await.unwrap());
        assert_eq!(slots.waiting(), 0);
        // Without a queue nobody waits.
        let none = Slots::new(1, 0);
        let _place = none.take().await.unwrap();
        assert!(!none.take().await.unwrap_err().message().contains("max_queue"));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_room() {
        let slots = Slots::new(1, 1);
        let place = slots.take().await.unwrap();
        {
            let mut gone = pin!(slots.take());
            assert!(poll!(&mut gone).is_pending());
        }
        assert_eq!(slots.waiting(), 0);
        let mut next = pin!(slots.take());
        assert!(poll!(&mut next).is_pending());
        drop(place);
        drop(next.await.unwrap());
    }
}
