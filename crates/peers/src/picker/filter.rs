//! What puts a peer out of the question for a request.

use super::cost::price;
use super::{Need, Why};
use crate::table::{Gate, Offer, Peer, Tick, Trust};

/// Whether a peer can take a request now.
pub(super) fn check(peer: &Peer, offer: &Offer, need: &Need<'_>, now: Tick) -> Result<(), Why> {
    is_up(peer, offer, now)?;
    suits(peer, offer, need, now)
}

/// Whether anything can be asked of it now.
pub(super) fn is_up(peer: &Peer, offer: &Offer, now: Tick) -> Result<(), Why> {
    if peer.until <= now {
        return Err(Why::Over);
    }
    if peer.line.gate(now) != Gate::Closed {
        return Err(Why::Unreachable);
    }
    match offer.answers.gate(now) {
        Gate::Closed | Gate::HalfOpen => Ok(()),
        Gate::Open(_) | Gate::Probing => Err(Why::Failing),
    }
}

/// Whether it is what the request needs.
pub(super) fn suits(peer: &Peer, offer: &Offer, need: &Need<'_>, now: Tick) -> Result<(), Why> {
    let rules = [
        (Why::Over, peer.until > now),
        (Why::Trust, need.strangers || offer.trusted),
        (Why::Context, need.input.saturating_add(need.output) <= offer.context),
        (Why::Tools, !need.tools || offer.tools && peer.trust == Trust::WithTools),
        (Why::Modalities, offer.modalities.has(need.modalities)),
        (Why::Price, need.most_cost.is_none_or(|most| price(offer, need).is_some_and(|price| price <= most))),
        (Why::Tried, need.tried.is_empty() || !need.tried.contains(&peer.id)),
    ];
    rules.into_iter().find(|(_, holds)| !holds).map_or(Ok(()), |(why, _)| Err(why))
}
