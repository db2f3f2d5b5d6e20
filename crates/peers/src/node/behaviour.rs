//! What a node speaks, with the library's defaults replaced where they bite.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::allow_block_list::{AllowedPeers, BlockedPeers};
use libp2p::identity::Keypair;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{allow_block_list, autonat, connection_limits, dcutr, identify, mdns, ping, relay};
use llm_router::{Error, Result};

use super::{Dht, NodeConfig};

/// The private DHT: not Amino, whose nodes know nothing of models.
pub(super) const KAD: StreamProtocol = StreamProtocol::new("/llm-router/kad/1.0.0");

/// What identify says that we speak.
const SPOKEN: &str = "/llm-router/1.0.0";

/// Handshakes under way that others began.
const PENDING: u32 = 64;

/// Connections that others began.
const INCOMING: u32 = 512;

/// How often others are asked for on the local network. The library's five minutes is longer than anybody waits.
const ASK_AROUND: Duration = Duration::from_secs(30);

/// How long a message to a peer and back may take before it counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the DHT knows who serves a model, and how often they say it again: a dead peer is not found for two days.
const PROVIDER_TTL: Duration = Duration::from_secs(30 * 60);
const PROVIDE_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How long the DHT is asked.
const QUERY: Duration = Duration::from_secs(10);

/// All protocols. Those that refuse connections come first.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) allowed: Toggle<allow_block_list::Behaviour<AllowedPeers>>,
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) kad: Toggle<kad::Behaviour<MemoryStore>>,
    relay: Toggle<relay::client::Behaviour>,
    dcutr: Toggle<dcutr::Behaviour>,
    autonat: Toggle<autonat::v2::client::Behaviour>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) stream: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(key: &Keypair, config: &NodeConfig, relay: Option<relay::client::Behaviour>) -> Result<Self> {
        let me = key.public().to_peer_id();
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING))
            .with_max_established_incoming(Some(INCOMING.min(config.connections)))
            .with_max_established(Some(config.connections))
            .with_max_established_per_peer(Some(config.per_peer));
        let identify = identify::Config::new_with_signed_peer_record(SPOKEN.to_owned(), key)
            .with_agent_version(concat!("llm-router/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_hide_listen_addrs(config.dht == Dht::Off)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(config.ping).with_timeout(PING_TIMEOUT);
        let around = || {
            let config = mdns::Config { query_interval: ASK_AROUND, ..mdns::Config::default() };
            mdns::tokio::Behaviour::new(config, me)
                .map_err(|error| Error::internal(format!("the local network cannot be asked: {error}")))
        };
        let relayed = relay.is_some();
        Ok(Self {
            blocked: allow_block_list::Behaviour::default(),
            allowed: config.closed.then(allow_block_list::Behaviour::default).into(),
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            kad: dht(key, config.dht).into(),
            relay: relay.into(),
            dcutr: relayed.then(|| dcutr::Behaviour::new(me)).into(),
            autonat: relayed.then(autonat::v2::client::Behaviour::default).into(),
            mdns: config.mdns.then(around).transpose()?.into(),
            stream: libp2p_stream::Behaviour::new(),
        })
    }
}

fn dht(key: &Keypair, how: Dht) -> Option<kad::Behaviour<MemoryStore>> {
    // Said, since by itself a node stays a client until others confirm its address.
    let mode = match how {
        Dht::Off => return None,
        Dht::Client => kad::Mode::Client,
        Dht::Server => kad::Mode::Server,
    };
    let me = key.public().to_peer_id();
    let mut config = kad::Config::new(KAD);
    config
        .set_query_timeout(QUERY)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDE_AGAIN))
        .set_parallelism(NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN));
    let mut dht = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
    dht.set_mode(Some(mode));
    Some(dht)
}
