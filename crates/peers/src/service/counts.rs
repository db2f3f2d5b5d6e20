//! How many of something each peer has at once: what is counted is given back when it is dropped.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;
use tokio::sync::Notify;

/// A count for each peer that has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: Mutex<HashMap<PeerId, u32>>,
    fewer: Notify,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Counted {
    of: Counts,
    peer: PeerId,
}

impl Counts {
    /// One more, where the peer has fewer than so many.
    pub(crate) fn take(&self, peer: PeerId, most: u32) -> Option<Counted> {
        let mut counts = self.lock();
        let count = counts.get(&peer).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(peer, count + 1);
        Some(Counted { of: self.clone(), peer })
    }

    /// One more, as soon as the peer has fewer than so many.
    pub(crate) async fn wait(&self, peer: PeerId, most: u32) -> Counted {
        loop {
            let mut fewer = pin!(self.0.fewer.notified());
            // Before it is looked: what is given back in between must be heard.
            fewer.as_mut().enable();
            if let Some(counted) = self.take(peer, most) {
                return counted;
            }
            fewer.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, u32>> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
        drop(counts);
        self.of.0.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_peer_has_its_own_and_gives_it_back() {
        let (counts, one, other) = (Counts::default(), PeerId::random(), PeerId::random());
        let first = counts.take(one, 2).unwrap();
        let _second = counts.take(one, 2).unwrap();
        assert!(counts.take(one, 2).is_none() && counts.take(other, 2).is_some());
        drop(first);
        assert!(counts.take(one, 2).is_some());
        assert_eq!(counts.lock().len(), 1, "who has none is not remembered");
    }
}
