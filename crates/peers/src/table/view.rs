//! What is shown of the table, as in `peers ls`.

use std::time::Duration;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use tokio::time::Instant;

use super::{Gate, Offer, Path, Peer, Table, Tick, Trust};

/// Whether a peer, or a model at one, is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is.
    Ready,
    /// It failed, and is left alone for so long.
    Held(Duration),
    /// It failed, and one request may try it.
    HalfOpen,
    /// Its record is over.
    Over,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Held(_) => "held",
            Self::HalfOpen => "half_open",
            Self::Over => "over",
        }
    }

    fn of(gate: Gate, now: Tick) -> Self {
        match gate {
            Gate::Closed => Self::Ready,
            Gate::Open(until) => Self::Held(until.duration_since(now)),
            Gate::HalfOpen | Gate::Probing => Self::HalfOpen,
        }
    }
}

/// A peer as it is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerView {
    /// Who it is.
    pub id: PeerId,
    /// How far it is trusted.
    pub trust: Trust,
    /// How it is reached.
    pub path: Path,
    /// Where it can be dialled.
    pub addresses: Vec<Multiaddr>,
    /// Whether it can be reached.
    pub state: State,
    /// There and back.
    pub rtt: Duration,
    /// Since when nothing newer was heard of it.
    pub age: Duration,
    /// For how long its record holds.
    pub left: Duration,
    /// Requests of our own under way.
    pub in_flight: u16,
    /// By how much lies make it dearer; 1 for who told none.
    pub penalty: f32,
    /// What it serves.
    pub models: Vec<ModelView>,
}

/// A model at a peer as it is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelView {
    /// Its name.
    pub model: String,
    /// Whether it is asked.
    pub state: State,
    /// The time to a first token that is expected.
    pub first_token: Duration,
    /// The time of a further token that is expected.
    pub per_token: Duration,
    /// How many first tokens that rests on, up to 255; with fewer than [`super::ENOUGH`] it is also what the peer says of itself.
    pub samples: u8,
    /// The part of late attempts that failed.
    pub error_rate: f32,
    /// Requests that it is thought to have, those of others too.
    pub load: f32,
    /// Requests that it answers at once.
    pub slots: u16,
    /// Its context window in tokens.
    pub context: u32,
}

impl Table {
    /// What is known of a peer.
    #[must_use]
    pub fn view(&self, peer: &PeerId, now: Instant) -> Option<PeerView> {
        let peer = self.peers.get(self.find(peer)? as usize)?;
        Some(self.shown(peer, self.tick(now)))
    }

    /// What is known of all peers.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = PeerView> {
        let now = self.tick(now);
        self.peers.iter().map(move |(_, peer)| self.shown(peer, now))
    }

    /// The models that somebody serves, with how many peers do.
    pub fn served(&self) -> impl Iterator<Item = (&str, usize)> {
        self.models.iter()
    }

    fn shown(&self, peer: &Peer, now: Tick) -> PeerView {
        let offers = peer.offers.iter().filter_map(|offer| self.offers.get(*offer as usize));
        PeerView {
            id: peer.id,
            trust: peer.trust,
            path: peer.path,
            addresses: peer.addresses(),
            state: if peer.until > now { State::of(peer.line.gate(now), now) } else { State::Over },
            rtt: Duration::from_secs_f32(peer.rtt()),
            age: now.duration_since(peer.heard),
            left: peer.until.duration_since(now),
            in_flight: peer.in_flight,
            penalty: peer.penalty(now),
            models: offers.map(|offer| self.model_view(peer, offer, now)).collect(),
        }
    }

    fn model_view(&self, peer: &Peer, offer: &Offer, now: Tick) -> ModelView {
        ModelView {
            model: self.models.name(offer.model).to_owned(),
            state: State::of(offer.answers.gate(now), now),
            first_token: Duration::from_secs_f32(offer.first_token(now)),
            per_token: Duration::from_secs_f32(offer.per_token()),
            samples: offer.samples(),
            error_rate: offer.error_rate(now),
            load: peer.load(offer.slots, self.usual, now),
            slots: offer.slots,
            context: offer.context,
        }
    }
}
