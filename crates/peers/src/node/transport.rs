//! How bytes get from one node to another: TCP with names, a private network, or memory for tests and simulations.
//!
//! QUIC is left out as long as libp2p's has no other crypto library than the second one that `deny.toml` keeps out.

use std::fmt;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport};
use libp2p::core::upgrade::Version;
use libp2p::futures::future::Either;
use libp2p::futures::{AsyncRead, AsyncWrite};
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport as _, dns, noise, relay, tcp, yamux};
use llm_router::{Error, Result};

/// Connections that are authenticated and carry streams: what a swarm dials and listens with.
pub type Transport = Boxed<(PeerId, StreamMuxerBox)>;

/// How long a connection may take to be made, its handshakes included.
const CONNECT: Duration = Duration::from_secs(5);

/// The network that a node is in.
#[derive(Default)]
#[non_exhaustive]
pub enum Network {
    /// TCP, with names looked up as the system does.
    #[default]
    Internet,
    /// A private network of this key: TCP alone, too.
    Private(PreSharedKey),
    /// This process: addresses are `/memory/…`.
    Memory,
    /// One that somebody made.
    Made(Transport),
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internet => "Internet",
            Self::Private(_) => "Private",
            Self::Memory => "Memory",
            Self::Made(_) => "Made",
        })
    }
}

/// The transport of a network, and what makes connections through relays a part of it where that is wanted.
pub(super) fn make(
    key: &Keypair,
    network: Network,
    relayed: bool,
) -> Result<(Transport, Option<relay::client::Behaviour>)> {
    let direct = match network {
        Network::Internet => named(secured(tcp(), key)?)?,
        Network::Private(psk) => {
            let private = tcp().and_then(move |socket, _| PnetConfig::new(psk).handshake(socket));
            named(secured(private, key)?)?
        }
        Network::Memory => secured(MemoryTransport::default(), key)?,
        Network::Made(transport) => transport,
    };
    if !relayed {
        return Ok((direct, None));
    }
    let (transport, behaviour) = relay::client::new(key.public().to_peer_id());
    Ok((either(secured(transport, key)?, direct), Some(behaviour)))
}

fn tcp() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

/// Authenticated by noise, with yamux's streams.
fn secured<T>(transport: T, key: &Keypair) -> Result<Transport>
where
    T: libp2p::Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let noise = noise::Config::new(key).map_err(|error| Error::internal(format!("no handshake: {error}")))?;
    let upgraded = transport.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux::Config::default());
    Ok(upgraded.timeout(CONNECT).boxed())
}

/// The first one for the addresses that it knows, else the second.
fn either(one: Transport, other: Transport) -> Transport {
    one.or_transport(other)
        .map(|made, _| match made {
            Either::Left(made) | Either::Right(made) => made,
        })
        .boxed()
}

fn named(transport: Transport) -> Result<Transport> {
    let unknown = |error| Error::internal(format!("names cannot be looked up: {error}"));
    Ok(dns::tokio::Transport::system(transport).map_err(unknown)?.boxed())
}
