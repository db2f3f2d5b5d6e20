//! Where a prompt's beginning is at home: at a peer that has seen it before and still has its state, so that it need not be read again.
//!
//! Rendezvous hashing with bounded load: each peer has a mark for a beginning, and the highest is its home; one that is a quarter busier than others are is passed over for the next.
//! Ranking all of fifty thousand peers would take longer than a pick may, so those are ranked that follow a point on the circle of all peers' marks. Who comes and goes elsewhere
//! on the circle moves nothing, as in plain rendezvous hashing.

use super::filter;
use super::{Need, Priced};
use crate::table::{Table, Tick};

/// So many peers are ranked for a beginning.
const RANKED: usize = 16;
/// So many are looked at to find them.
const LOOKED_AT: usize = 64;
/// No home is busier than others are on average by more than this.
const BOUND: f32 = 1.25;
/// The part of the time to a first token that is thought to be saved at home.
const SAVED: f32 = 0.5;

impl Table {
    /// The home of the prompt's beginning, where it can take the request, is not too busy, and costs no more than `other` when what is saved there is counted.
    pub(super) fn home(&self, model: u32, need: &Need<'_>, other: Priced, now: Tick) -> Option<u32> {
        let prefix = need.prefix?;
        let mut ranked: [(u64, u32); RANKED] = [(0, 0); RANKED];
        let mut found = 0;
        for trusted in super::pools(need.strangers) {
            let Some(pool) = self.models.pool(model, *trusted) else { continue };
            let point = (mix(prefix), 0);
            let circle = pool.homes.range(point..).chain(pool.homes.range(..point));
            let able = circle.take(LOOKED_AT).filter(|(_, offer)| {
                self.both(*offer).is_some_and(|(offer, peer)| filter::check(peer, offer, need, now).is_ok())
            });
            for ((mark, offer), place) in able.zip(ranked.iter_mut().skip(found)) {
                *place = (mix(prefix ^ mark.rotate_left(32)), *offer);
                found += 1;
            }
        }
        let ranked = ranked.get_mut(..found).unwrap_or_default();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let usual = self.usual(ranked, now);
        ranked.iter().map(|(_, offer)| *offer).find(|offer| self.is_home(*offer, need, usual, other, now))
    }

    fn is_home(&self, number: u32, need: &Need<'_>, usual: f32, other: Priced, now: Tick) -> bool {
        let Some((offer, peer)) = self.both(number) else { return false };
        let slots = f32::from(offer.slots);
        let bound = (BOUND * usual * slots).ceil().max(1.0);
        let saved = SAVED * offer.first_token(now);
        let cost = super::cost::cost(peer, offer, need, self.usual, now);
        cost.busy * slots + 1.0 <= bound && cost.full - saved <= other.cost.full
    }

    /// How busy peers are on average, as a part of what they can. The ranked ones stand for all: nothing but their marks chose them.
    fn usual(&self, ranked: &[(u64, u32)], now: Tick) -> f32 {
        let both = ranked.iter().filter_map(|(_, offer)| self.both(*offer));
        let (load, slots) = both.fold((0.0, 0.0), |(load, slots), (offer, peer)| {
            (load + peer.load(offer.slots, self.usual, now), slots + f32::from(offer.slots))
        });
        if slots > 0.0 { load / slots } else { 0.0 }
    }
}

/// Bits that have nothing to do with those that went in (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
