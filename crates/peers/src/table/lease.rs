//! A request under way at a peer, from when it was chosen until its end, and what its end teaches.

use std::time::Duration;

use tokio::time::Instant;

use super::{Offer, Peer, Table};

/// A request under way at a peer. It is given back to [`Table::end`] whatever happens.
#[derive(Debug)]
#[must_use = "a request under way counts as load until its end"]
pub struct Lease {
    offer: u32,
    generation: u32,
    peer: u32,
    mark: u64,
    began: Instant,
    /// Whether its first token came.
    begun: bool,
}

/// How a request at a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// With an answer: so many tokens came after the first one, in so long.
    Answered {
        /// Tokens after the first one.
        further: u64,
        /// From the first token to the last one.
        took: Duration,
    },
    /// With a failure.
    Failed(Failure),
    /// Nobody waited for the end.
    Cancelled,
}

/// How a request at a peer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The way failed: a refused dial, a reset, no acceptance in time, silence. Nothing more is asked of the peer.
    Unreachable,
    /// It has no room, and may have after so long.
    Busy(Option<Duration>),
    /// It does not have the model that it says it has.
    NoModel,
    /// It does not let us ask.
    Denied,
    /// It answered with an error of its own, or with what is no answer.
    Error,
    /// The request was at fault, not the peer.
    Request,
}

/// For how long a peer is left alone that has no room and does not say for how long.
const BUSY: Duration = Duration::from_secs(1);
/// The longest that it is left alone for that.
const LONGEST_BUSY: Duration = Duration::from_secs(30);
/// For how long a peer is left alone that did not let us ask.
const DENIED: Duration = Duration::from_secs(600);

impl Table {
    /// A request begins at an offer.
    pub(crate) fn begin(&mut self, number: u32, now: Instant) -> Option<Lease> {
        let tick = self.tick(now);
        let offer = self.offers.get_mut(number as usize)?;
        let peer = self.peers.get_mut(offer.peer as usize)?;
        offer.in_flight = offer.in_flight.saturating_add(1);
        peer.in_flight = peer.in_flight.saturating_add(1);
        offer.answers.probe(tick);
        peer.line.probe(tick);
        let (generation, mark) = (offer.generation, peer.mark);
        Some(Lease { offer: number, generation, peer: offer.peer, mark, began: now, begun: false })
    }

    /// The first token came.
    pub fn first_token(&mut self, lease: &mut Lease, now: Instant) {
        let (tick, took) = (self.tick(now), now.saturating_duration_since(lease.began));
        if !std::mem::replace(&mut lease.begun, true) {
            self.leased(lease, |offer, _| offer.saw_first_token(took, tick));
        }
    }

    /// A request ended.
    pub fn end(&mut self, lease: Lease, outcome: Outcome, now: Instant) {
        let (tick, took) = (self.tick(now), now.saturating_duration_since(lease.began));
        if let Some(peer) = self.peers.get_mut(lease.peer as usize).filter(|peer| peer.mark == lease.mark) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
            match outcome {
                Outcome::Failed(Failure::Unreachable) => {
                    peer.line.failed(tick);
                    peer.path = super::Path::None;
                }
                Outcome::Cancelled if !lease.begun => peer.line.unprobe(),
                // Whatever it said, it was there to say it.
                _ => peer.line.reached(),
            }
            if outcome == Outcome::Failed(Failure::NoModel) {
                peer.lied(tick);
            }
        }
        let begun = lease.begun;
        self.leased(&lease, |offer, _| {
            offer.in_flight = offer.in_flight.saturating_sub(1);
            match outcome {
                Outcome::Answered { further, took } => {
                    offer.saw_end(false, tick);
                    offer.saw_tokens(further, took);
                }
                Outcome::Failed(Failure::Unreachable | Failure::Error) => offer.saw_end(true, tick),
                Outcome::Failed(Failure::Busy(after)) => {
                    offer.answers.barred(tick.after(after.unwrap_or(BUSY).min(LONGEST_BUSY)));
                }
                Outcome::Failed(Failure::Denied) => offer.answers.barred(tick.after(DENIED)),
                Outcome::Failed(Failure::NoModel | Failure::Request) => offer.answers.unprobe(),
                Outcome::Cancelled => {
                    offer.answers.unprobe();
                    // Of one that nobody waited for it is known only that it took longer, which is news where it took longer than was expected.
                    if !begun && took.as_secs_f32() > offer.first_token(tick) {
                        offer.saw_first_token(took, tick);
                    }
                }
            }
        });
        if outcome == Outcome::Failed(Failure::NoModel)
            && self.offers.get(lease.offer as usize).is_some_and(|offer| offer.generation == lease.generation)
        {
            self.withdraw(lease.offer);
        }
    }

    /// Changes what is known of where a request is under way, unless that is known no more.
    fn leased(&mut self, lease: &Lease, change: impl FnOnce(&mut Offer, &mut Peer)) {
        let offer = self.offers.get_mut(lease.offer as usize).filter(|offer| offer.generation == lease.generation);
        let peer = self.peers.get_mut(lease.peer as usize).filter(|peer| peer.mark == lease.mark);
        if let (Some(offer), Some(peer)) = (offer, peer) {
            change(offer, peer);
        }
    }
}
