//! What a node is told when it starts.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use llm_router::{Error, Result};

/// Ports that a Kubo on the same machine has: its swarm, its commands, its gateway.
const KUBO: [u16; 3] = [4001, 5001, 8080];

/// Whether and how a node takes part in the private DHT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dht {
    /// Not at all.
    #[default]
    Off,
    /// It asks.
    Client,
    /// It asks and answers: for nodes that others can reach.
    Server,
}

/// What a node is told when it starts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where it listens; nowhere for a node that only asks.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach it, where it cannot know them: behind a port map, in a container.
    pub announce: Vec<Multiaddr>,
    /// Peers to begin with, each address with its `/p2p/…` at the end.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether it finds others on the local network, and is found there.
    pub mdns: bool,
    /// The private DHT.
    pub dht: Dht,
    /// Whether it uses relays, and makes direct connections out of relayed ones.
    pub relay: bool,
    /// Whether only peers that were allowed may connect at all.
    pub closed: bool,
    /// How long a connection stays open that nobody uses.
    pub idle: Duration,
    /// How often it sees whether a peer is still there; two failures in a row close the connection.
    pub ping: Duration,
    /// Connections of one peer at most: relayed and direct ones, by each of its addresses.
    pub per_peer: u32,
    /// Connections at most.
    pub connections: u32,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            dht: Dht::Off,
            relay: false,
            closed: false,
            idle: Duration::from_secs(10 * 60),
            ping: Duration::from_secs(15),
            per_peer: 4,
            connections: 1024,
        }
    }
}

impl NodeConfig {
    /// One that listens on these addresses.
    #[must_use]
    pub fn listening(addresses: impl IntoIterator<Item = Multiaddr>) -> Self {
        Self { listen: addresses.into_iter().collect(), ..Self::default() }
    }

    /// Whether it can be obeyed.
    pub(super) fn check(&self) -> Result<()> {
        for address in &self.listen {
            let port = address.iter().find_map(|part| match part {
                Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
                _ => None,
            });
            if let Some(port) = port.filter(|port| KUBO.contains(port)) {
                return Err(Error::invalid(format!("{address}: port {port} is Kubo's"))
                    .with_hint("listen on another one; 0 takes any that is free"));
            }
        }
        for address in &self.bootstrap {
            if !matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                return Err(Error::invalid(format!("{address}: an address to begin with must say whose it is"))
                    .with_hint("end it with /p2p/ and the peer's id, as `llm-router peers id` prints it"));
            }
        }
        Ok(())
    }
}
