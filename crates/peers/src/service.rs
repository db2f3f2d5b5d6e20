//! Peers as one thing: the node, the book of who is trusted, the table of who is there, and the two protocols between them.
//!
//! [`Peers::start`] begins it, [`Peers::backend`] asks others, [`Peers::serve`] answers them. Requests go out by `call`, come in by `serve`; records and grants are exchanged by `caps`. What
//! happens in the network becomes entries of the table in `service/watch.rs`, by how much a peer may annoy us says `service/strikes.rs`, what is shown is `service/seen.rs`.

pub(crate) mod counts;
pub(crate) mod seen;
pub(crate) mod shared;
pub(crate) mod strikes;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use libp2p::PeerId;
use libp2p::identity::Keypair;
use llm_router::deps::IpfsBackend;
use llm_router::limits::Limits;
use llm_router::limits::grant::Caveats;
use llm_router::router::Router;
use llm_router::{Error, Result};
use tokio_util::sync::DropGuard;

pub use self::seen::Seen;
use self::shared::Shared;
use crate::book::{Book, Known};
use crate::call::Backend;
use crate::caps;
use crate::grant::Grant;
use crate::node::{Network, Node, NodeConfig, NodeHandle};
use crate::record::seconds;
use crate::serve;
use crate::share::Share;
use crate::ticket::Ticket;

/// With whom a node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// With those of its book, and who shows a grant of its own.
    #[default]
    Private,
    /// Also with whoever comes from this machine or a private network: for the embedded model only, one request at a time each.
    Lan,
    /// With anybody. A serving peer reads the prompt.
    Public,
}

/// What peers are started with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// Under which key the node is known.
    pub key: Keypair,
    /// The network that it is in.
    pub network: Network,
    /// Where it listens, how it finds others.
    pub node: NodeConfig,
    /// With whom it has to do.
    pub profile: Profile,
    /// Who is trusted.
    pub book: Arc<Book>,
    /// What is shared.
    pub share: Share,
}

impl Options {
    /// A private node of this key that listens nowhere and trusts nobody yet.
    #[must_use]
    pub fn new(key: Keypair) -> Self {
        Self {
            key,
            network: Network::default(),
            node: NodeConfig::default(),
            profile: Profile::default(),
            book: Arc::new(Book::in_memory()),
            share: Share::default(),
        }
    }

    /// In this network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// With this node.
    #[must_use]
    pub fn node(mut self, node: NodeConfig) -> Self {
        self.node = node;
        self
    }

    /// With this profile.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// With this book.
    #[must_use]
    pub fn book(mut self, book: Arc<Book>) -> Self {
        self.book = book;
        self
    }

    /// Sharing this.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }
}

/// What came of a ticket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joined {
    /// Who gave the ticket.
    pub peer: PeerId,
    /// The models that it serves.
    pub models: Vec<String>,
    /// When the grant ends, in seconds since 1970.
    pub expires: u64,
}

/// The peers of this process. Dropping it closes all connections.
#[derive(Debug)]
pub struct Peers {
    shared: Arc<Shared>,
    node: Node,
    _stop: DropGuard,
}

impl Peers {
    /// Starts a node and what belongs to it. To be called within a runtime.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start(options: Options) -> Result<Self> {
        let Options { key, network, node: config, profile, book, share } = options;
        let node = Node::start(&key, network, &config)?;
        let looks = config.mdns || !config.bootstrap.is_empty();
        let shared = Arc::new(Shared::new(key, node.handle(), (profile, looks), book, share));
        // Listened to from before the first connection on.
        let events = shared.node.events();
        shared.spawn(watch::run(Arc::clone(&shared), events));
        caps::accept(&shared)?;
        let stop = shared.stop.clone().drop_guard();
        Ok(Self { shared, node, _stop: stop })
    }

    /// The backend that answers as the provider `ipfs_peer`.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn IpfsBackend> {
        Arc::new(Backend::new(Arc::clone(&self.shared)))
    }

    /// From now on answers those who may ask, by way of this router. Given another one later, requests that begin then go to that.
    ///
    /// # Errors
    /// `router_internal` where somebody else takes the protocol's streams.
    pub fn serve(&self, router: &Router) -> Result<()> {
        serve::begin(&self.shared, router)
    }

    /// The node, for those who want to know more of it.
    #[must_use]
    pub fn node(&self) -> NodeHandle {
        self.node.handle()
    }

    /// Its own id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.shared.node.id()
    }

    /// Takes a ticket: its giver is written into the book, dialled and shown the grant. From then on both may ask each other.
    ///
    /// # Errors
    /// What is wrong with the ticket; `provider_connection` where its giver is not there, `provider_unavailable` where it refuses. The book is as before then.
    pub async fn join(&self, ticket: &Ticket) -> Result<Joined> {
        let granted = ticket.open(SystemTime::now())?;
        let peer = granted.issuer;
        if peer == self.id() {
            return Err(Error::invalid("the ticket is of this very peer").with_hint("take it to another machine"));
        }
        let before = self.shared.book.find(&peer);
        let known = before.clone().unwrap_or_else(|| Known::new(peer));
        self.shared.book.allow(known.at(ticket.addresses.clone()).showing(ticket.grant.clone()))?;
        match self.shared.meet(peer, ticket.addresses.clone()).await {
            Ok(models) => Ok(Joined { peer, models, expires: granted.expires }),
            Err(error) => {
                match before {
                    Some(before) => self.shared.book.allow(before)?,
                    None => drop(self.shared.book.forget(&peer)?),
                }
                Err(error)
            }
        }
    }

    /// Makes a ticket: whoever shows it first may ask this peer, for so long and within these limits.
    ///
    /// # Errors
    /// As [`Grant::issue`].
    pub async fn invite(&self, limits: Limits, ttl: Duration) -> Result<Ticket> {
        let now = SystemTime::now();
        let mut caveats = Caveats::default();
        caveats.expires = Some(seconds(now).saturating_add(ttl.as_secs()));
        caveats.limits = limits;
        let grant = Grant::issue(&self.shared.key, None, caveats, now)?;
        Ok(Ticket::new(self.shared.node.listening().await?, grant))
    }

    /// Waits until those of the book were met or could not be, and others had a moment to be found: seconds after the start at most, then no time.
    pub async fn settle(&self) {
        while self.shared.wait_for_contacts().await {}
    }

    /// What is known of each peer: those of the book, and those that were met.
    pub async fn list(&self) -> Vec<Seen> {
        seen::list(&self.shared).await
    }

    /// Ends all requests and closes all connections.
    pub async fn stop(&self) {
        self.shared.end().await;
        self.node.stop().await;
    }
}
