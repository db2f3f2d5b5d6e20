//! What a request would cost at a peer, in seconds: waiting, answering, the way, money, and doubts.

use super::Need;
use crate::table::{Offer, Path, Peer, Tick};

/// What is dear.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Weights {
    /// The seconds that a dollar is worth: by default a tenth of a cent saves one.
    pub seconds_per_dollar: f32,
    /// What the way through a relay costs besides its time, in seconds: it may be cut, and others pay for it.
    pub relayed: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { seconds_per_dollar: 1000.0, relayed: 0.5 }
    }
}

/// What is not measured is this much dearer.
const UNKNOWN: f32 = 1.25;
/// Who fails always is so many times as dear, and one besides: a failed attempt costs its time and another one.
const ERRORS: f32 = 3.0;

/// What a peer without a free slot costs besides, in times of an answer. It is far more than one would wait there, and much less for one that is half as busy: what is known of
/// loads is seconds old, and nobody else's choice is known. Found by simulation (`tests/simulation`): with a half the busiest of a thousand has 2.1 times the mean load, with this 1.5 times.
const TAKEN: f32 = 8.0;

/// What a request would cost at a peer, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Were nobody else there.
    pub(super) alone: f32,
    /// As busy as it is thought to be.
    pub(super) full: f32,
    /// The part of its slots that is thought to be taken.
    pub(super) busy: f32,
}

/// What the request would cost, where peers are as busy as `usual` on average.
pub(super) fn cost(peer: &Peer, offer: &Offer, need: &Need<'_>, usual: f32, now: Tick) -> Cost {
    let busy = peer.load(offer.slots, usual, now) / f32::from(offer.slots);
    let first = offer.first_token(now);
    let answer = need.output as f32 * offer.per_token();
    let waiting = first * busy + TAKEN * busy.powi(4) * (first + answer);
    let way = 2.0 * peer.rtt() + if peer.path == Path::Relayed { need.weights.relayed } else { 0.0 };
    let money = price(offer, need).unwrap_or(0) as f32 * 1e-6 * need.weights.seconds_per_dollar;
    let alone = first + answer + way + money;
    let doubts = if offer.is_known() { 1.0 } else { UNKNOWN };
    let doubts = doubts * (1.0 + ERRORS * offer.error_rate(now)) * peer.penalty(now);
    Cost { alone: alone * doubts, full: (alone + waiting) * doubts, busy }
}

/// What the request would cost in money, in micro-dollars; none where the peer names no price.
pub(super) fn price(offer: &Offer, need: &Need<'_>) -> Option<u64> {
    let of = |tokens: u32, price: u32| u64::from(tokens) * u64::from(price);
    let sum = of(need.input, offer.price_in?).saturating_add(of(need.output, offer.price_out?));
    Some(sum.div_ceil(1_000_000))
}
