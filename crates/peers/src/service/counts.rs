//! How many of something each peer has at once: what is counted is given back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;

/// A count for each peer that has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<HashMap<PeerId, u32>>>);

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

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
