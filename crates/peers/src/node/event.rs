//! What a node tells those who listen.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

/// What happened in the network.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The node can be reached at another address.
    Listening(Multiaddr),
    /// A first connection with a peer, or another one.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Its end of the connection.
        address: Multiaddr,
        /// Whether a relay stands between.
        relayed: bool,
    },
    /// The last connection with a peer is gone.
    Gone(PeerId),
    /// A peer could not be reached.
    Unreachable(PeerId),
    /// A peer said what it is.
    Known {
        /// The peer.
        peer: PeerId,
        /// Its program and version.
        agent: String,
        /// The protocols that it speaks.
        protocols: Vec<String>,
    },
    /// How long a message takes to a peer and back.
    RoundTrip(PeerId, Duration),
    /// A peer was found on the local network. Nothing is said of whether it may be trusted.
    Found(PeerId, Multiaddr),
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Linked {
    /// The peer.
    pub peer: PeerId,
    /// The other ends of its connections.
    pub addresses: Vec<Multiaddr>,
    /// Whether a relay stands between on all of them.
    pub relayed: bool,
    /// How long a message takes and back, as measured last.
    pub round_trip: Option<Duration>,
    /// Its program and version, as it says.
    pub agent: Option<String>,
}
