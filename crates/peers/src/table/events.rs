//! What happens between here and a peer, apart from requests: connections, pings, news of its load.

use std::time::Duration;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use tokio::time::Instant;

use super::{Gate, Path, Peer, Table};
use crate::record::Load;

impl Table {
    /// A connection to a peer was made, or another one became the one in use. It can be reached then, whatever was before.
    pub fn connected(&mut self, peer: &PeerId, path: Path) {
        self.change(peer, |peer| {
            peer.path = path;
            peer.line.reached();
        });
    }

    /// The last connection to a peer was closed. An orderly end says nothing bad of it.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.change(peer, |peer| peer.path = Path::None);
    }

    /// A peer could not be dialled, or stopped answering pings: nothing is asked of it from now on.
    pub fn unreachable(&mut self, peer: &PeerId, now: Instant) {
        let now = self.tick(now);
        self.change(peer, |peer| {
            peer.path = Path::None;
            peer.line.failed(now);
        });
    }

    /// A ping there and back took so long.
    pub fn saw_rtt(&mut self, peer: &PeerId, took: Duration) {
        self.change(peer, |peer| peer.saw_rtt(took));
    }

    /// A peer said how busy it is, apart from its records: with an acceptance, a refusal, an end.
    pub fn saw_load(&mut self, peer: &PeerId, load: Load, now: Instant) {
        let now = self.tick(now);
        self.change(peer, |peer| peer.set_load(load, now));
        if let Some(at) = self.find(peer) {
            self.note_load(at, load);
        }
    }

    /// Peers that could not be reached and whose pause is over, with their addresses: dialling one finds out whether it is back, at no request's cost.
    pub fn to_dial(&self, most: usize, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let now = self.tick(now);
        let due = |peer: &Peer| peer.until > now && peer.line.gate(now) == Gate::HalfOpen;
        let due = self.peers.iter().map(|(_, peer)| peer).filter(|peer| due(peer));
        due.take(most).map(|peer| (peer.id, peer.addresses())).collect()
    }

    fn change(&mut self, peer: &PeerId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.find(peer).and_then(|at| self.peers.get_mut(at as usize)) {
            change(peer);
        }
    }
}
