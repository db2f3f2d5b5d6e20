//! How much a peer may annoy us before nothing more is taken from it. Pure: the time is handed in.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It sent what no sound program sends.
    Breach,
    /// It left us waiting for what it had begun to say.
    Slow,
    /// It began more than it may at once.
    Flood,
}

impl Offence {
    fn weight(self) -> f32 {
        match self {
            Self::Breach => 4.0,
            Self::Slow => 3.0,
            Self::Flood => 1.0,
        }
    }
}

/// So much, and the peer is blocked: two slips of a program that is not quite right are none.
const ENOUGH: f32 = 10.0;
/// In this time half of it is forgiven.
const FORGIVEN: f32 = 60.0;
/// The most peers that are remembered: identities are free.
const MOST: usize = 4096;
/// How long a peer stays blocked.
pub(crate) const BLOCKED: Duration = Duration::from_secs(600);

/// What peers did wrong lately.
#[derive(Debug, Default)]
pub(crate) struct Strikes(HashMap<PeerId, (f32, Instant)>);

impl Strikes {
    /// Notes an offence, and says whether it was one too many.
    pub(crate) fn note(&mut self, peer: PeerId, offence: Offence, now: Instant) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&peer) {
            self.0.retain(|_, (sum, at)| left(*sum, *at, now) > 1.0);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        let (sum, at) = self.0.entry(peer).or_insert((0.0, now));
        (*sum, *at) = (left(*sum, *at, now) + offence.weight(), now);
        let enough = *sum >= ENOUGH;
        if enough {
            self.0.remove(&peer);
        }
        enough
    }
}

fn left(sum: f32, at: Instant, now: Instant) -> f32 {
    sum * (-now.saturating_duration_since(at).as_secs_f32() / FORGIVEN).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_breach_within_a_minute_is_one_too_many() {
        let (mut strikes, peer, now) = (Strikes::default(), PeerId::random(), Instant::now());
        let mut note = |peer, offence, seconds| strikes.note(peer, offence, now + Duration::from_secs(seconds));
        assert!(!note(peer, Offence::Breach, 0) && !note(peer, Offence::Breach, 0));
        assert!(!note(PeerId::random(), Offence::Breach, 0), "each for itself");
        assert!(note(peer, Offence::Breach, 1));
        assert!(!note(peer, Offence::Breach, 2), "whoever comes back begins anew");
        assert!(!note(peer, Offence::Breach, 300) && !note(peer, Offence::Breach, 600), "slips are forgiven");
        assert!((0..9).all(|_| !note(peer, Offence::Flood, 2000)) && note(peer, Offence::Flood, 2000));
    }
}
