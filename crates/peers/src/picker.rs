//! The picker: which peer a request goes to, and why.
//!
//! First what cannot be is left out (`picker/filter.rs`): a window too small, no tools, a price too high, a peer that fails. Then, in this order: the home of the prompt's beginning, where that is not too busy
//! (`picker/affinity.rs`); the cheaper of two. One pick of fifty goes to a peer that was not measured yet. What is cheap is `picker/cost.rs`; who knows the peers is `table.rs`.
//!
//! Of the two, one is drawn from the [`SHORT`] that would be best were nobody else there, a list that is kept for each model and renewed a little by every pick, and one from all: as long as the best are
//! idle they win, and the busier they are the more goes elsewhere. Nobody looks at all of fifty thousand. And nobody takes the best, or the idlest: many routers hear the same records, which are seconds
//! old, and would all run to the same peer (`tests/simulation.rs` shows it).

mod affinity;
mod cost;
mod filter;
mod refusal;

use std::fmt;
use std::time::Duration;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use tokio::time::Instant;

use self::cost::Cost;
pub use self::cost::Weights;
pub use self::refusal::{NoPeer, Why};
use crate::record::Modalities;
use crate::table::{Gate, Lease, Path, Table, Tick};

/// How many of the cheapest are kept.
pub const SHORT: usize = 32;
/// How many others each pick compares with those.
const CHALLENGERS: usize = 16;
/// The part of picks that goes to peers which were not measured yet.
const EXPLORED: f32 = 0.02;

/// What a request needs of a peer, and what it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Need<'a> {
    /// The model, by the name that peers advertise.
    pub model: &'a str,
    /// Tokens of the prompt, estimated.
    pub input: u32,
    /// Tokens that the answer may have.
    pub output: u32,
    /// Whether it offers tools.
    pub tools: bool,
    /// What it holds besides text.
    pub modalities: Modalities,
    /// Whether strangers may read it.
    pub strangers: bool,
    /// The most that it may cost, in micro-dollars. A peer that names no price is passed over then.
    pub most_cost: Option<u64>,
    /// A number for the prompt's beginning, equal for prompts that begin alike.
    pub prefix: Option<u64>,
    /// Whether it may go to a peer that was not measured yet although others were.
    pub explore: bool,
    /// Peers that it was at already.
    pub tried: &'a [PeerId],
    /// What is dear.
    pub weights: Weights,
}

impl<'a> Need<'a> {
    /// Of so many tokens in and at most so many out, of a model; text, for trusted peers only.
    #[must_use]
    pub fn new(model: &'a str, input: u32, output: u32) -> Self {
        Self {
            model,
            input,
            output,
            tools: false,
            modalities: Modalities::default(),
            strangers: false,
            most_cost: None,
            prefix: None,
            explore: false,
            tried: &[],
            weights: Weights::default(),
        }
    }
}

/// Who was picked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pick {
    /// Who it is.
    pub peer: PeerId,
    /// Where it can be dialled.
    pub addresses: Vec<Multiaddr>,
    /// How it is connected.
    pub path: Path,
    /// Why it was picked.
    pub reason: Reason,
    /// What has to be given back at the request's end.
    pub lease: Lease,
}

/// Why a peer is picked.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It is the only one that can.
    Only,
    /// It is where prompts that begin so are at home.
    Home,
    /// It is the cheaper one of two, in seconds.
    Cheaper {
        /// What it is thought to cost.
        cost: f32,
        /// What the other one would.
        than: f32,
    },
    /// It was not measured yet.
    Explored,
    /// Nobody else is left, and its pause is over.
    Probe,
}

impl Reason {
    /// The reason in one word, for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Home => "home",
            Self::Cheaper { .. } => "cheaper",
            Self::Explored => "explored",
            Self::Probe => "probe",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only one that can"),
            Self::Home => f.write_str("prompts that begin so are at home there"),
            Self::Cheaper { cost, than } => write!(f, "the cheaper of two: {cost:.2} s against {than:.2} s"),
            Self::Explored => f.write_str("not measured yet, and one of fifty requests finds out"),
            Self::Probe => f.write_str("it failed, its pause is over, and nobody else is left"),
        }
    }
}

/// A peer as the picker sees it for a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Considered {
    /// Who it is.
    pub peer: PeerId,
    /// What it is thought to cost, in seconds.
    pub cost: Duration,
    /// Why it is out of the question, where it is.
    pub out: Option<Why>,
}

/// An offer that can take the request, with what it would cost.
#[derive(Clone, Copy, Debug)]
struct Priced {
    cost: Cost,
    offer: u32,
}

impl Table {
    /// Picks a peer. The request counts as load there until [`Table::end`].
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&mut self, need: &Need<'_>, now: Instant) -> Result<Pick, NoPeer> {
        let tick = self.tick(now);
        let Some(model) = self.models.find(need.model) else { return Err(NoPeer::unknown()) };
        let picked = self
            .explored(model, need, tick)
            .or_else(|| self.weighed(model, need, tick))
            .or_else(|| self.probed(model, need, tick));
        let picked = picked.and_then(|(offer, reason)| self.picked(offer, reason, now));
        picked.ok_or_else(|| self.refusal(model, need, tick))
    }

    /// What the picker thinks of the peers that serve a model, the cheapest first and those that are out of the question last; so many at most.
    #[must_use]
    pub fn consider(&self, need: &Need<'_>, most: usize, now: Instant) -> Vec<Considered> {
        let tick = self.tick(now);
        let Some(model) = self.models.find(need.model) else { return Vec::new() };
        let mut all: Vec<Considered> = self
            .everyone(model)
            .filter_map(|offer| {
                let (offer, peer) = self.both(offer)?;
                let cost = cost::cost(peer, offer, need, self.usual, tick).full;
                let cost = Duration::try_from_secs_f32(cost).unwrap_or(Duration::MAX);
                let out = filter::check(peer, offer, need, tick).err();
                Some(Considered { peer: peer.id, cost, out })
            })
            .collect();
        all.sort_by_key(|one| (one.out.is_some(), one.cost));
        all.truncate(most);
        all
    }

    fn picked(&mut self, offer: u32, reason: Reason, now: Instant) -> Option<Pick> {
        let lease = self.begin(offer, now)?;
        let (_, peer) = self.both(offer)?;
        Some(Pick { peer: peer.id, addresses: peer.addresses(), path: peer.path, reason, lease })
    }

    /// Now and then one that was not measured yet.
    fn explored(&mut self, model: u32, need: &Need<'_>, now: Tick) -> Option<(u32, Reason)> {
        if !need.explore || self.rng.f32() >= EXPLORED {
            return None;
        }
        for _ in 0..CHALLENGERS {
            let Some(drawn) = self.draw(model, need.strangers) else { continue };
            let unmeasured = |(offer, _): &(&crate::table::Offer, _)| !offer.is_known();
            if self.both(drawn).is_some_and(|both| unmeasured(&both)) && self.priced(drawn, need, now).is_some() {
                return Some((drawn, Reason::Explored));
            }
        }
        None
    }

    /// The home of the prompt's beginning, or the cheaper one of two.
    fn weighed(&mut self, model: u32, need: &Need<'_>, now: Tick) -> Option<(u32, Reason)> {
        let drawn = self.drawn(model, need.strangers);
        let mut short = self.shortlist(model, &drawn, need, now);
        let mut drawn: Vec<Priced> = drawn.iter().filter_map(|offer| self.priced(*offer, need, now)).collect();
        // Who was somewhere already in vain goes where it is known how it goes.
        if !need.tried.is_empty() && short.iter().chain(&drawn).any(|one| self.is_proven(one.offer)) {
            short.retain(|one| self.is_proven(one.offer));
            drawn.retain(|one| self.is_proven(one.offer));
        }
        let one = self.rng.choice(&short).or_else(|| drawn.first()).copied()?;
        drawn.retain(|other| other.offer != one.offer);
        let Some(other) = self.rng.choice(&drawn).or_else(|| short.iter().find(|other| other.offer != one.offer))
        else {
            return Some((one.offer, Reason::Only));
        };
        let (mut winner, mut other) = if other.cost.full < one.cost.full { (*other, one) } else { (one, *other) };
        if winner.cost.busy >= 1.0 {
            // Both have no slot free: another one may have.
            drawn.push(winner);
            let cheapest = drawn.iter().min_by(|a, b| a.cost.full.total_cmp(&b.cost.full)).copied()?;
            other = if cheapest.offer == winner.offer { other } else { winner };
            winner = cheapest;
        }
        if let Some(home) = self.home(model, need, winner, now) {
            return Some((home, Reason::Home));
        }
        Some((winner.offer, Reason::Cheaper { cost: winner.cost.full, than: other.cost.full }))
    }

    /// One that could not be reached, where its pause is over and nobody else is left.
    fn probed(&mut self, model: u32, need: &Need<'_>, now: Tick) -> Option<(u32, Reason)> {
        let due = |offer: &u32| {
            let Some((offer, peer)) = self.both(*offer) else { return false };
            let alone = peer.line.gate(now) == Gate::HalfOpen && filter::suits(peer, offer, need, now).is_ok();
            alone && (need.strangers || offer.trusted)
        };
        self.everyone(model).find(due).map(|offer| (offer, Reason::Probe))
    }

    /// Some drawn at random from all that serve a model, each once.
    fn drawn(&mut self, model: u32, strangers: bool) -> Vec<u32> {
        let mut drawn: Vec<u32> = (0..CHALLENGERS).filter_map(|_| self.draw(model, strangers)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }

    /// The best that can take the request, as far as is known, the best first.
    fn shortlist(&mut self, model: u32, drawn: &[u32], need: &Need<'_>, now: Tick) -> Vec<Priced> {
        let mut short = Vec::with_capacity(2 * SHORT);
        for trusted in pools(need.strangers) {
            self.renew(model, *trusted, drawn, need, now);
            let best = self.models.pool(model, *trusted).map(|pool| pool.best.as_slice()).unwrap_or_default();
            short.extend(best.iter().filter_map(|offer| self.priced(*offer, need, now)));
        }
        // Nearly all of the list cannot: the request wants something rare, and is worth a longer look.
        if short.len() < 2 {
            short.clear();
            for trusted in pools(need.strangers) {
                let list = self.models.pool(model, *trusted).map(|pool| pool.list.as_slice()).unwrap_or_default();
                let from = self.rng.usize(..list.len().max(1));
                let (before, after) = list.split_at_checked(from).unwrap_or_default();
                let able = after.iter().chain(before).filter_map(|offer| self.priced(*offer, need, now));
                short.extend(able.take(SHORT));
            }
        }
        short.sort_unstable_by(|a, b| a.cost.alone.total_cmp(&b.cost.alone));
        short.truncate(SHORT);
        short
    }

    /// Keeps the best of those in a model's list and of some that were drawn.
    fn renew(&mut self, model: u32, trusted: bool, drawn: &[u32], need: &Need<'_>, now: Tick) {
        let Some(pool) = self.models.pool_mut(model, trusted) else { return };
        let mut best = std::mem::take(&mut pool.best);
        if pool.list.len() <= SHORT {
            best.clone_from(&pool.list);
        } else {
            // The first time there is nobody to challenge.
            for _ in best.len()..SHORT {
                best.extend(pool.list.get(self.rng.usize(..pool.list.len())));
            }
            best.extend(drawn);
            best.sort_unstable();
            best.dedup();
            let priced = best.iter().filter_map(|number| {
                let (offer, peer) = self.both(*number)?;
                filter::is_up(peer, offer, now).ok()?;
                let cost = cost::cost(peer, offer, need, self.usual, now).alone;
                (offer.trusted == trusted).then_some((cost, *number))
            });
            let mut priced: Vec<(f32, u32)> = priced.collect();
            if priced.len() > SHORT {
                priced.select_nth_unstable_by(SHORT, |a, b| a.0.total_cmp(&b.0));
                priced.truncate(SHORT);
            }
            best.clear();
            best.extend(priced.iter().map(|(_, offer)| *offer));
        }
        if let Some(pool) = self.models.pool_mut(model, trusted) {
            pool.best = best;
        }
    }

    /// An offer that can take the request.
    fn priced(&self, number: u32, need: &Need<'_>, now: Tick) -> Option<Priced> {
        let (offer, peer) = self.both(number)?;
        filter::check(peer, offer, need, now).ok()?;
        Some(Priced { cost: cost::cost(peer, offer, need, self.usual, now), offer: number })
    }

    fn is_proven(&self, offer: u32) -> bool {
        self.both(offer).is_some_and(|(offer, _)| offer.is_known() || offer.trusted)
    }

    /// Anyone who serves a model.
    fn draw(&mut self, model: u32, strangers: bool) -> Option<u32> {
        let lists = pools(strangers).iter().filter_map(|trusted| self.models.pool(model, *trusted));
        let all: usize = lists.clone().map(|pool| pool.list.len()).sum();
        let mut at = self.rng.usize(..all.max(1));
        for pool in lists {
            match pool.list.get(at) {
                Some(offer) => return Some(*offer),
                None => at -= pool.list.len(),
            }
        }
        None
    }

    /// Everyone who serves a model, trusted peers first.
    fn everyone(&self, model: u32) -> impl Iterator<Item = u32> {
        let lists = [true, false].into_iter().filter_map(move |trusted| self.models.pool(model, trusted));
        lists.flat_map(|pool| pool.list.iter().copied())
    }

    /// An offer and its peer.
    fn both(&self, offer: u32) -> Option<(&crate::table::Offer, &crate::table::Peer)> {
        let offer = self.offers.get(offer as usize)?;
        Some((offer, self.peers.get(offer.peer as usize)?))
    }
}

/// Whose offers count: those of trusted peers always.
fn pools(strangers: bool) -> &'static [bool] {
    if strangers { &[true, false] } else { &[true] }
}

#[cfg(test)]
mod tests;
