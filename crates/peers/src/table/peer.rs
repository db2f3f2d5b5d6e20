//! What is known of one peer beyond its models: who it is, where, how far, how busy, how much it is trusted.

use std::time::Duration;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use sha2::{Digest, Sha256};

use super::breaker::Line;
use super::prefix::Prefix;
use super::time::{Tick, fade};
use crate::record::{Load, Logs, Record};

/// In this time half of what a peer says of its load is no longer so: requests end within seconds.
const LOAD_FADES: f32 = 4.0;
/// What an unknown way is thought to take, in seconds.
const UNKNOWN_RTT: f32 = 0.1;
/// In this time half of a lie is forgiven.
const LIES_FADE: f32 = 600.0;
/// A lie makes a peer three times as dear, three of them 27 times, which is the most.
const MOST_LIES: f32 = 3.0;
/// Less free memory for contexts than this part of a hundred, and a further request waits.
const FULL: u8 = 5;

/// How far a peer is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Anybody.
    #[default]
    Stranger,
    /// Allowed by the user: it may read what is for trusted peers.
    Trusted,
    /// And its answers may call tools.
    WithTools,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path {
    /// No connection is open.
    #[default]
    None,
    /// A connection of its own.
    Direct,
    /// By way of another peer.
    Relayed,
}

impl Path {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    /// The first bytes of its id's SHA-256: by this it is found, and ranks for a prefix.
    pub(crate) mark: u64,
    /// The place of its newest record.
    pub(crate) place: (u64, u64),
    /// When that ends.
    pub(crate) until: Tick,
    pub(crate) heard: Tick,
    pub(crate) prefix: Prefix,
    addresses: Box<[u8]>,
    rtt: f32,
    /// What it said of its load, when, and how many of those were ours.
    load: Load,
    load_at: Tick,
    ours_then: u16,
    /// Requests of our own under way, with all its models.
    pub(crate) in_flight: u16,
    pub(crate) trust: Trust,
    pub(crate) path: Path,
    pub(crate) logs: Logs,
    pub(crate) line: Line,
    lies: f32,
    lied_at: Tick,
    pub(crate) offers: Vec<u32>,
}

/// The mark of a peer.
pub(crate) fn mark(id: &PeerId) -> u64 {
    let hash = Sha256::digest(id.to_bytes());
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Peer {
    pub(crate) fn new(record: &Record, prefix: Prefix, trust: Trust) -> Self {
        Self {
            id: record.peer,
            mark: mark(&record.peer),
            place: (0, 0),
            until: Tick::START,
            heard: Tick::START,
            prefix,
            addresses: Box::default(),
            rtt: UNKNOWN_RTT,
            load: Load::default(),
            load_at: Tick::START,
            ours_then: 0,
            in_flight: 0,
            trust,
            path: Path::None,
            logs: Logs::Full,
            line: Line::default(),
            lies: 0.0,
            lied_at: Tick::START,
            offers: Vec::new(),
        }
    }

    /// Takes over what a newer record says, its models aside.
    pub(crate) fn hear(&mut self, record: &Record, left: Duration, now: Tick) {
        (self.place, self.logs) = (record.place(), record.policy.log);
        (self.until, self.heard) = (now.after(left), now);
        self.addresses = pack(&record.addresses);
        self.set_load(record.load, now);
    }

    pub(crate) fn set_load(&mut self, load: Load, now: Tick) {
        (self.load, self.load_at, self.ours_then) = (load, now, self.in_flight);
    }

    /// Requests that it is thought to have, of a model with so many slots: our own, and others' as far as they are known. What is old tends to `usual`, which is what
    /// peers have of others on average, as a part of their slots.
    pub(crate) fn load(&self, slots: u16, usual: f32, now: Tick) -> f32 {
        let slots = f32::from(slots);
        let said = (self.load.in_flight + self.load.queue).saturating_sub(self.ours_then.into()) as f32;
        let known = match self.load_at {
            Tick::START => 0.0,
            at => fade(now.since(at), LOAD_FADES),
        };
        let others = said * known + usual * slots * (1.0 - known);
        let full = self.load.free.is_some_and(|free| free < FULL) && known > 0.5;
        let load = f32::from(self.in_flight) + others;
        if full { load.max(slots) } else { load }
    }

    /// Seconds there and back.
    pub(crate) fn rtt(&self) -> f32 {
        self.rtt
    }

    /// A ping took so long.
    pub(crate) fn saw_rtt(&mut self, took: Duration) {
        let took = took.as_secs_f32();
        self.rtt = if self.rtt == UNKNOWN_RTT { took } else { self.rtt + (took - self.rtt) * 0.2 };
    }

    /// It did not have what it said it has.
    pub(crate) fn lied(&mut self, now: Tick) {
        self.lies = (self.lies * fade(now.since(self.lied_at), LIES_FADE) + 1.0).min(MOST_LIES);
        self.lied_at = now;
    }

    /// By how much lies make it dearer.
    pub(crate) fn penalty(&self, now: Tick) -> f32 {
        if self.lies <= 0.0 {
            return 1.0;
        }
        3_f32.powf(self.lies * fade(now.since(self.lied_at), LIES_FADE))
    }

    /// Where it can be dialled.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let (mut rest, mut all) = (&*self.addresses, Vec::new());
        while let Some(([high, low], after)) = rest.split_first_chunk::<2>() {
            let Some((address, after)) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
                break;
            };
            all.extend(Multiaddr::try_from(address.to_vec()));
            rest = after;
        }
        all
    }

    /// How sorry one would be to lose it; the least useful leave first.
    pub(crate) fn usefulness(&self, known: bool, now: Tick) -> (u8, bool, bool, bool, u32) {
        let up = matches!(self.line.gate(now), super::breaker::Gate::Closed);
        let since = now.duration_since(self.heard).as_secs();
        let fresh = u32::MAX - u32::try_from(since).unwrap_or(u32::MAX);
        (u8::from(self.trust != Trust::Stranger), up && self.path != Path::None, up && known, up, fresh)
    }
}

/// Addresses in one piece: each behind its length, in two bytes.
fn pack(addresses: &[Multiaddr]) -> Box<[u8]> {
    let mut all = Vec::with_capacity(addresses.iter().map(|address| address.len() + 2).sum());
    for address in addresses {
        if let Ok(length) = u16::try_from(address.len()) {
            all.extend_from_slice(&length.to_be_bytes());
            all.extend_from_slice(address.as_ref());
        }
    }
    all.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::SystemTime;

    fn at(seconds: u64) -> Tick {
        Tick::START.after(Duration::from_secs(seconds))
    }

    fn peer(load: Load) -> Peer {
        let mut record = Record::new(PeerId::random(), 1, 1, SystemTime::UNIX_EPOCH);
        record.load = load;
        record.addresses = vec!["/ip4/192.0.2.7/tcp/1".parse().unwrap(), "/dns/example.org/tcp/2".parse().unwrap()];
        let mut peer = Peer::new(&record, Prefix::Unknown, Trust::Stranger);
        peer.hear(&record, Duration::from_secs(60), at(1));
        peer
    }

    #[test]
    fn addresses_come_back() {
        let shown: Vec<String> = peer(Load::default()).addresses().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/ip4/192.0.2.7/tcp/1", "/dns/example.org/tcp/2"]);
    }

    #[test]
    fn what_is_said_of_a_load_tends_to_the_usual_with_age() {
        let (idle, busy) = (peer(Load::default()), peer(Load::new(8, 8)));
        assert!(idle.load(8, 0.5, at(1)) < 0.01 && (busy.load(8, 0.5, at(1)) - 16.0).abs() < 0.01);
        assert!((idle.load(8, 0.5, at(5)) - 2.0).abs() < 0.01 && (busy.load(8, 0.5, at(5)) - 10.0).abs() < 0.01);
        assert!((idle.load(8, 0.5, at(600)) - busy.load(8, 0.5, at(600))).abs() < 0.01);
    }

    #[test]
    fn our_own_requests_count_at_once_and_only_once() {
        let mut peer = peer(Load::new(3, 0));
        peer.in_flight = 2;
        assert!((peer.load(8, 0.5, at(1)) - 5.0).abs() < 0.01);
        peer.set_load(Load::new(5, 0), at(1));
        assert!((peer.load(8, 0.5, at(1)) - 5.0).abs() < 0.01, "two of its five are ours");
    }

    #[test]
    fn lies_cost_three_times_each_and_are_forgiven() {
        let mut peer = peer(Load::default());
        assert!((peer.penalty(at(1)) - 1.0).abs() < 1e-6);
        peer.lied(at(1));
        assert!((peer.penalty(at(1)) - 3.0).abs() < 1e-3);
        (0..9).for_each(|_| peer.lied(at(1)));
        assert!((peer.penalty(at(1)) - 27.0).abs() < 1e-2);
        assert!(peer.penalty(at(6001)) < 1.01);
    }
}
