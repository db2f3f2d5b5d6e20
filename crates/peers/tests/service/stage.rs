//! The stage: peers that serve a scripted provider, and one that asks them.

use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use llm_router::deps::RouterDeps;
use llm_router::ids::ModelName;
use llm_router::provider::{Capabilities, DynProvider};
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn};
use llm_router_peers::node::{Network, NodeConfig};
use llm_router_peers::{Book, Known, Options, Peers, Share};

/// The model that all serve.
pub(crate) const MODEL: &str = "m";

/// A peer that serves.
pub(crate) struct Server {
    pub(crate) peers: Peers,
    pub(crate) provider: Arc<Scripted>,
    pub(crate) book: Arc<Book>,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// What is shared in tests: everything of the scripted provider, to many at once.
pub(crate) fn share() -> Share {
    let mut share = Share::default();
    share.providers = vec!["lab".to_owned()];
    share.limits.concurrency = Some(256);
    share.places = 512;
    share
}

/// A scripted provider of the model that takes everything.
pub(crate) fn lab(turns: impl IntoIterator<Item = Turn>) -> Scripted {
    let model = ModelName::new(MODEL).unwrap();
    Scripted::new("lab", turns).serving([model]).describing(|describe| describe.with_capabilities(Capabilities::ALL))
}

impl Server {
    /// One in this process's memory.
    pub(crate) async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::with(Network::Memory, "/memory/0", turns, share()).await
    }

    /// One over TCP.
    pub(crate) async fn tcp(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::with(Network::Internet, "/ip4/127.0.0.1/tcp/0", turns, share()).await
    }

    pub(crate) async fn with(
        network: Network,
        listen: &str,
        turns: impl IntoIterator<Item = Turn>,
        share: Share,
    ) -> Self {
        let book = Arc::new(Book::in_memory());
        let options = Options::new(Keypair::generate_ed25519()).network(network).book(Arc::clone(&book)).share(share);
        let peers = Peers::start(options.node(NodeConfig::listening([listen.parse().unwrap()]))).unwrap();
        let provider = Arc::new(lab(turns));
        let router = Router::builder().instance(Arc::clone(&provider) as Arc<dyn DynProvider>).build().unwrap();
        peers.serve(&router).unwrap();
        let addresses = peers.node().listening().await.unwrap();
        Self { peers, provider, book, addresses }
    }

    /// What others know of it.
    pub(crate) fn known(&self) -> Known {
        Known::new(self.peers.id()).at(self.addresses.clone())
    }
}

/// One that asks.
pub(crate) struct Client {
    pub(crate) peers: Peers,
    pub(crate) router: Router,
}

impl Client {
    /// One that knows these servers, and that they know.
    pub(crate) async fn of(network: Network, servers: &[&Server]) -> Self {
        let client = Self::knowing(network, servers.iter().map(|server| server.known()));
        for server in servers {
            server.book.allow(Known::new(client.peers.id())).unwrap();
        }
        for server in servers {
            client.has_met(server.peers.id()).await;
        }
        client
    }

    /// One that knows these.
    pub(crate) fn knowing(network: Network, known: impl IntoIterator<Item = Known>) -> Self {
        let book = Arc::new(Book::in_memory());
        known.into_iter().for_each(|known| book.allow(known).unwrap());
        let options = Options::new(Keypair::generate_ed25519()).network(network).book(book);
        let peers = Peers::start(options).unwrap();
        let mut deps = RouterDeps::default();
        deps.ipfs_backend = Some(peers.backend());
        let router = Router::builder().deps(deps).build().unwrap();
        Self { peers, router }
    }

    /// Waits until it knows what a peer serves.
    pub(crate) async fn has_met(&self, peer: PeerId) {
        while !self.peers.list().await.iter().any(|seen| seen.peer == peer && seen.view.is_some()) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn ask(&self, request: Request) -> llm_router::Result<Response> {
        self.router.generate(request).await
    }
}

/// A request for the peers.
pub(crate) fn request(prompt: &str) -> Request {
    let mut request = Request::new(prompt);
    request.model = Some(format!("ipfs_peer/{MODEL}"));
    request.stream = true;
    request
}

/// Waits until a condition holds: what it is about happens in another task.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
