//! What commands a node: from any task, and as many as there are.

use std::fmt;
use std::time::Duration;

use libp2p::swarm::Stream;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use libp2p_stream::{Control, IncomingStreams, OpenStreamError};
use llm_router::{Error, Result};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;

use super::{Event, Linked};

/// How long a connection may take, all addresses of the peer tried.
pub(super) const DIAL: Duration = Duration::from_secs(5);

/// How long a stream may take on a connection that is there.
pub(super) const OPEN: Duration = Duration::from_secs(3);

/// What the node is told.
pub(super) enum Command {
    Connect(PeerId, Vec<Multiaddr>, oneshot::Sender<Result<()>>),
    Disconnect(PeerId),
    Allow(PeerId),
    Block(PeerId),
    Unblock(PeerId),
    Listening(oneshot::Sender<Vec<Multiaddr>>),
    Linked(oneshot::Sender<Vec<Linked>>),
    Provide(Vec<u8>),
    Withdraw(Vec<u8>),
    Providers(Vec<u8>, oneshot::Sender<Vec<PeerId>>),
}

/// What commands a node.
#[derive(Clone)]
pub struct NodeHandle {
    me: PeerId,
    commands: mpsc::Sender<Command>,
    control: Control,
    events: broadcast::Sender<Event>,
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").field("me", &self.me).finish_non_exhaustive()
    }
}

impl NodeHandle {
    pub(super) fn new(
        me: PeerId,
        commands: mpsc::Sender<Command>,
        control: Control,
        events: broadcast::Sender<Event>,
    ) -> Self {
        Self { me, commands, control, events }
    }

    /// The node's own id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.me
    }

    /// What happens from now on. Who listens slowly misses events; nobody waits for it.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Sees that there is a connection with a peer: the one that is there, or one to the first of these and the known addresses that answers.
    ///
    /// # Errors
    /// `provider_connection`, unsent, where none can be had in five seconds.
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<()> {
        let (done, connected) = oneshot::channel();
        let asked = async {
            self.tell(Command::Connect(peer, addresses, done)).await?;
            connected.await.map_err(|_| gone())?
        };
        let late = |_| Err(Error::connection(format!("no connection with the peer {peer} in {DIAL:?}")).unsent());
        timeout(DIAL, asked).await.unwrap_or_else(late)
    }

    /// Opens a stream to a peer that is connected already.
    ///
    /// # Errors
    /// `provider_unavailable` where the peer does not speak the protocol, `provider_connection`, unsent, where there is no stream in three seconds.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream> {
        // A control of its own: one opens a stream at a time.
        let mut control = self.control.clone();
        match timeout(OPEN, control.open_stream(peer, protocol)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(OpenStreamError::UnsupportedProtocol(name))) => {
                Err(Error::unavailable(format!("the peer {peer} does not speak {name}")).unsent())
            }
            Ok(Err(error)) => Err(Error::connection(format!("no stream to the peer {peer}: {error}")).unsent()),
            Err(_) => Err(Error::connection(format!("no stream to the peer {peer} in {OPEN:?}")).unsent()),
        }
    }

    /// Streams of this protocol that others open. They are dropped where nobody takes them at once: do no more with each than to start a task.
    ///
    /// # Errors
    /// `router_internal` where somebody takes them already.
    pub fn accept(&self, protocol: StreamProtocol) -> Result<IncomingStreams> {
        let taken = |_| Error::internal("the peers' requests are taken by somebody already");
        self.control.clone().accept(protocol).map_err(taken)
    }

    /// Closes all connections with a peer.
    ///
    /// # Errors
    /// `router_unavailable` where the node is gone, here as in all that follow.
    pub async fn disconnect(&self, peer: PeerId) -> Result<()> {
        self.tell(Command::Disconnect(peer)).await
    }

    /// Lets a peer connect where only allowed ones may.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn allow(&self, peer: PeerId) -> Result<()> {
        self.tell(Command::Allow(peer)).await
    }

    /// Closes all connections with a peer, and lets it make no more.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn block(&self, peer: PeerId) -> Result<()> {
        self.tell(Command::Block(peer)).await
    }

    /// Takes a [`NodeHandle::block`] back.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn unblock(&self, peer: PeerId) -> Result<()> {
        self.tell(Command::Unblock(peer)).await
    }

    /// The addresses on which it listens, and those that were announced: once each that it was told is bound or cannot be.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn listening(&self) -> Result<Vec<Multiaddr>> {
        self.ask(Command::Listening).await
    }

    /// The peers that are connected.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn linked(&self) -> Result<Vec<Linked>> {
        self.ask(Command::Linked).await
    }

    /// Says in the DHT that this node has something, under the multihash that names it, and says it again until [`NodeHandle::withdraw`]. Nothing where there is no DHT.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn provide(&self, multihash: Vec<u8>) -> Result<()> {
        self.tell(Command::Provide(multihash)).await
    }

    /// Says it no more. What others remember they forget in half an hour.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn withdraw(&self, multihash: Vec<u8>) -> Result<()> {
        self.tell(Command::Withdraw(multihash)).await
    }

    /// Who has something, as far as the DHT knows: nobody where there is none.
    ///
    /// # Errors
    /// As [`NodeHandle::disconnect`].
    pub async fn providers(&self, multihash: Vec<u8>) -> Result<Vec<PeerId>> {
        self.ask(|reply| Command::Providers(multihash, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| gone())
    }

    async fn tell(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::unavailable("the libp2p node is stopped").unsent()
}
