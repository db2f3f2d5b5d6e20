//! The table of peers: who is there, what each serves, and how each did.
//!
//! Pure: no I/O, no thread, no clock. Records come in ([`Table::hear`]), what happens on the way comes in (`table/events.rs`, `table/lease.rs`), and the picker looks (`picker.rs`). The time is handed
//! in, and all chance comes from a seed, so that the same calls give the same answers: a simulation runs the same code as a node. It is bounded in every direction, see
//! [`Bounds`]; one lock around it is enough, since nothing here takes longer than microseconds. What is known of a peer is `table/peer.rs`, of a model at a peer `table/offer.rs`, who serves which model
//! `table/models.rs`, what is shown `table/view.rs`.

mod breaker;
mod events;
mod lease;
mod models;
mod offer;
mod peer;
mod prefix;
mod time;
mod view;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use slab::Slab;
use tokio::time::Instant;

pub(crate) use self::breaker::Gate;
pub use self::lease::{Failure, Lease, Outcome};
pub(crate) use self::models::Models;
pub use self::offer::ENOUGH;
pub(crate) use self::offer::Offer;
pub(crate) use self::peer::Peer;
use self::peer::mark;
pub use self::peer::{Path, Trust};
pub use self::prefix::Prefix;
pub(crate) use self::time::Tick;
pub use self::view::{ModelView, PeerView, State};
use crate::record::{Heard, Load, Model};

/// Looked at when somebody has to leave.
const LEAVERS: usize = 16;
/// The weight of what one peer says of its load in what is usual, and the most that it counts.
const SAYS: f32 = 0.02;
const MOST_LOAD: f32 = 2.0;
/// The most peers that are trusted by name.
const MOST_TRUSTED: usize = 10_000;

/// How much a table holds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Bounds {
    /// Peers. A further one takes the place of the least useful.
    pub peers: usize,
    /// Models of peers, all together.
    pub offers: usize,
    /// Different models.
    pub models: usize,
    /// Models of one stranger: who serves more is not believed to.
    pub of_stranger: usize,
    /// Strangers from one /24 of IPv4, /48 of IPv6 or name; from behind one relay eight times as many. Trusted peers are not counted.
    pub per_range: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { peers: 50_000, offers: 150_000, models: 10_000, of_stranger: 16, per_range: 32 }
    }
}

/// From where a record came.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Source {
    /// How its peer is connected, where the record came from that peer itself.
    pub path: Path,
    /// From where it was seen to come; where this is not known, its own addresses are taken at their word.
    pub prefix: Option<Prefix>,
}

impl Source {
    /// From others: gossip, a directory.
    #[must_use]
    pub fn hearsay() -> Self {
        Self::default()
    }

    /// From the peer itself, which is connected so and at this address.
    #[must_use]
    pub fn direct(path: Path, remote: &Multiaddr) -> Self {
        Self { path, prefix: Some(Prefix::of(remote)) }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// Its peer was not known.
    New,
    /// It takes the place of an older one.
    Newer,
}

/// Why a record that is in order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// There is this one or a newer one already.
    Stale,
    /// Too many strangers come from where this one comes from.
    Crowded,
    /// There are more useful peers than there is room for.
    Full,
}

impl NotTaken {
    /// The reason in one word, for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Crowded => "crowded",
            Self::Full => "full",
        }
    }
}

/// The peers that are known.
pub struct Table {
    bounds: Bounds,
    began: Instant,
    pub(crate) rng: Rng,
    pub(crate) peers: Slab<Peer>,
    pub(crate) offers: Slab<Offer>,
    pub(crate) models: Models,
    marks: HashMap<u64, u32>,
    prefixes: HashMap<Prefix, u32>,
    trusted: HashMap<PeerId, Trust>,
    /// Of the next offer.
    generation: u32,
    /// How busy peers said lately that they are with what others asked, as a part of their slots.
    pub(crate) usual: f32,
}

impl Table {
    /// An empty one. Tables of the same seed choose alike.
    #[must_use]
    pub fn new(bounds: Bounds, seed: u64, now: Instant) -> Self {
        Self {
            bounds,
            // The first tick stands for "never".
            began: now.checked_sub(Duration::from_millis(100)).unwrap_or(now),
            rng: Rng::with_seed(seed),
            peers: Slab::new(),
            offers: Slab::new(),
            models: Models::default(),
            marks: HashMap::new(),
            prefixes: HashMap::new(),
            trusted: HashMap::new(),
            generation: 0,
            usual: 0.5,
        }
    }

    /// How many peers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Takes a record in.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn hear(&mut self, heard: &Heard, source: Source, now: Instant) -> Result<News, NotTaken> {
        let (record, now) = (heard.record(), self.tick(now));
        let (at, news) = match self.find(&record.peer) {
            Some(at) if self.peers.get(at as usize).is_some_and(|peer| peer.place >= record.place()) => {
                return Err(NotTaken::Stale);
            }
            Some(at) => (at, News::Newer),
            None => (self.admit(heard, source, now)?, News::New),
        };
        if let Some(peer) = self.peers.get_mut(at as usize) {
            let restarted = peer.place.0 != record.incarnation;
            peer.hear(record, heard.left(), now);
            // What others say does not show that it can be reached again; a new start of its program does, and what it says itself.
            if restarted || source.path != Path::None {
                peer.line.reached();
            }
            if source.path != Path::None {
                peer.path = source.path;
            }
        }
        self.set_models(at, &record.models);
        self.note_load(at, record.load);
        Ok(news)
    }

    /// Removes what is over. To be called every few seconds: until then what is over is only passed over.
    pub fn sweep(&mut self, now: Instant) -> usize {
        let now = self.tick(now);
        let over = |peer: &Peer| peer.until <= now && peer.in_flight == 0;
        let over: Vec<u32> = self.peers.iter().filter(|(_, peer)| over(peer)).map(|(at, _)| at as u32).collect();
        over.iter().for_each(|at| self.remove(*at));
        over.len()
    }

    /// Forgets a peer, such as one that was blocked.
    pub fn forget(&mut self, peer: &PeerId) {
        if let Some(at) = self.find(peer) {
            self.remove(at);
        }
    }

    /// Says how far a peer is trusted, whether or not it is known. No more than ten thousand are remembered.
    pub fn trust(&mut self, peer: PeerId, trust: Trust) {
        if trust == Trust::Stranger {
            self.trusted.remove(&peer);
        } else if self.trusted.len() < MOST_TRUSTED {
            self.trusted.insert(peer, trust);
        }
        let Some(at) = self.find(&peer) else { return };
        let Some(known) = self.peers.get_mut(at as usize) else { return };
        let (was, is) = (known.trust != Trust::Stranger, trust != Trust::Stranger);
        known.trust = trust;
        let (prefix, offers) = (known.prefix, known.offers.clone());
        if was == is {
            return;
        }
        match is {
            true => self.uncount(prefix),
            false => *self.prefixes.entry(prefix).or_default() += 1,
        }
        for offer in offers {
            self.unlist(offer);
            self.list(offer, is);
        }
    }

    pub(crate) fn tick(&self, now: Instant) -> Tick {
        Tick::at(self.began, now)
    }

    /// Counts what a peer says of its load among what others say.
    fn note_load(&mut self, at: u32, load: Load) {
        let Some(peer) = self.peers.get(at as usize) else { return };
        let offers = peer.offers.iter().filter_map(|offer| self.offers.get(*offer as usize));
        if let Some(slots) = offers.map(|offer| offer.slots).max() {
            let others = load.in_flight.saturating_add(load.queue).saturating_sub(peer.in_flight.into());
            let busy = others as f32 / f32::from(slots.max(1));
            self.usual += (busy.min(MOST_LOAD) - self.usual) * SAYS;
        }
    }

    pub(crate) fn find(&self, peer: &PeerId) -> Option<u32> {
        let at = self.marks.get(&mark(peer)).copied()?;
        self.peers.get(at as usize).is_some_and(|known| known.id == *peer).then_some(at)
    }

    /// Makes room for a new peer.
    fn admit(&mut self, heard: &Heard, source: Source, now: Tick) -> Result<u32, NotTaken> {
        let record = heard.record();
        let trust = self.trusted.get(&record.peer).copied().unwrap_or_default();
        let prefix = source.prefix.unwrap_or_else(|| Prefix::of_any(&record.addresses));
        if self.marks.contains_key(&mark(&record.peer)) {
            // Two ids of one mark: nobody finds such a pair by chance.
            return Err(NotTaken::Full);
        }
        let counted = self.prefixes.get(&prefix).copied().unwrap_or_default();
        if trust == Trust::Stranger && counted >= prefix.most(self.bounds.per_range) {
            return Err(NotTaken::Crowded);
        }
        let mut peer = Peer::new(record, prefix, trust);
        peer.heard = now;
        if self.peers.len() >= self.bounds.peers {
            let useful = peer.usefulness(false, now);
            let leaver = self.least_useful(now).filter(|(_, least)| *least <= useful).ok_or(NotTaken::Full)?;
            self.remove(leaver.0);
        }
        if trust == Trust::Stranger {
            *self.prefixes.entry(prefix).or_default() += 1;
        }
        let mark = peer.mark;
        let at = self.peers.insert(peer) as u32;
        self.marks.insert(mark, at);
        Ok(at)
    }

    /// The least useful of some peers that stand anywhere; none that answers us now.
    #[allow(clippy::type_complexity)]
    fn least_useful(&mut self, now: Tick) -> Option<(u32, (u8, bool, bool, bool, u32))> {
        let room = self.peers.capacity();
        let drawn: Vec<usize> = (0..LEAVERS).map(|_| self.rng.usize(..room.max(1))).collect();
        let known = |peer: &Peer| {
            let offers = peer.offers.iter().filter_map(|offer| self.offers.get(*offer as usize));
            offers.into_iter().any(Offer::is_known)
        };
        let peers = drawn.into_iter().filter_map(|at| Some((at as u32, self.peers.get(at)?)));
        let idle = peers.filter(|(_, peer)| peer.in_flight == 0);
        idle.map(|(at, peer)| (at, peer.usefulness(known(peer), now))).min_by_key(|(_, useful)| *useful)
    }

    fn remove(&mut self, at: u32) {
        let Some(offers) = self.peers.get(at as usize).map(|peer| peer.offers.clone()) else { return };
        offers.into_iter().for_each(|offer| self.withdraw(offer));
        let Some(peer) = self.peers.try_remove(at as usize) else { return };
        self.marks.remove(&peer.mark);
        if peer.trust == Trust::Stranger {
            self.uncount(peer.prefix);
        }
    }

    fn uncount(&mut self, prefix: Prefix) {
        if let Some(count) = self.prefixes.get_mut(&prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.prefixes.remove(&prefix);
            }
        }
    }

    /// What a peer serves from now on.
    fn set_models(&mut self, at: u32, said: &[Model]) {
        let Some(peer) = self.peers.get(at as usize) else { return };
        let trusted = peer.trust != Trust::Stranger;
        let said = said.get(..self.bounds.of_stranger.min(said.len())).filter(|_| !trusted).unwrap_or(said);
        let mut old = peer.offers.clone();
        for model in said {
            let number = self.models.find(&model.id);
            let known = |offer: &&u32| self.offers.get(**offer as usize).map(|offer| offer.model) == number;
            if let Some(offer) = old.iter().find(known).copied().filter(|_| number.is_some()) {
                old.retain(|other| *other != offer);
                if let Some(offer) = self.offers.get_mut(offer as usize) {
                    offer.hear(model);
                }
            } else {
                self.offer(at, model, trusted);
            }
        }
        old.into_iter().for_each(|offer| self.withdraw(offer));
    }

    fn offer(&mut self, at: u32, said: &Model, trusted: bool) {
        if self.offers.len() >= self.bounds.offers {
            return;
        }
        let Some(model) = self.models.number(&said.id, self.bounds.models) else { return };
        self.generation = self.generation.wrapping_add(1);
        let offer = self.offers.insert(Offer::new(at, model, self.generation, said)) as u32;
        if let Some(peer) = self.peers.get_mut(at as usize) {
            peer.offers.push(offer);
        }
        self.list(offer, trusted);
    }

    /// Takes an offer away.
    pub(crate) fn withdraw(&mut self, offer: u32) {
        self.unlist(offer);
        let Some(gone) = self.offers.try_remove(offer as usize) else { return };
        if let Some(peer) = self.peers.get_mut(gone.peer as usize) {
            peer.offers.retain(|other| *other != offer);
        }
        self.models.drop_unserved(gone.model);
    }

    /// Puts an offer into the list of its model.
    fn list(&mut self, number: u32, trusted: bool) {
        let Some(offer) = self.offers.get_mut(number as usize) else { return };
        let mark = self.peers.get(offer.peer as usize).map_or(0, |peer| peer.mark);
        if let Some(pool) = self.models.pool_mut(offer.model, trusted) {
            (offer.place, offer.trusted) = (pool.list.len() as u32, trusted);
            pool.list.push(number);
            pool.homes.insert((mark, number));
        }
    }

    /// Takes an offer out of the list of its model.
    fn unlist(&mut self, number: u32) {
        let Some(offer) = self.offers.get(number as usize) else { return };
        let (place, mark) = (offer.place as usize, self.peers.get(offer.peer as usize).map_or(0, |peer| peer.mark));
        let Some(pool) = self.models.pool_mut(offer.model, offer.trusted) else { return };
        pool.homes.remove(&(mark, number));
        pool.best.retain(|other| *other != number);
        if pool.list.get(place) == Some(&number) {
            pool.list.swap_remove(place);
            if let Some(moved) = pool.list.get(place).copied()
                && let Some(moved) = self.offers.get_mut(moved as usize)
            {
                moved.place = place as u32;
            }
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Table({} peers, {} models at peers, {} models)",
            self.peers.len(),
            self.offers.len(),
            self.models.len()
        )
    }
}

#[cfg(test)]
mod tests;
