//! Other routers as peers: a configuration's settings become a node, its book of trust and what it shares.
//!
//! What needs no network (who this peer is, its tickets, receipts) is [`Desk`]; a node is [`Peering`]. An [`crate::App`] has one only where it was asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llm_router::config::{Loaded, Settings};
use llm_router::deps::{IpfsBackend, PeerStatus};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::limits::Limits;
use llm_router::limits::grant::Caveats;
use llm_router::router::Router;
use llm_router_peers::book::LOOK;
use llm_router_peers::grant::Grant;
use llm_router_peers::node::identity::{self, Keypair};
use llm_router_peers::node::{Dht, Event, Network, NodeConfig, NodeHandle, pnet};
use llm_router_peers::receipt::Receipt;
use llm_router_peers::ticket::Ticket;
use llm_router_peers::{Book, Options, Peers, Profile, Share};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Where a serving peer listens without a setting.
const LISTEN: &str = "/ip4/0.0.0.0/tcp/4101";
/// Where the addresses of a peer that serves stand, for tickets that are made meanwhile.
const ADDRESSES: &str = "addresses";

/// Whether an [`crate::App`] is a peer, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It is none.
    #[default]
    None,
    /// It asks others, for as long as it is open.
    Asking,
    /// It answers others too, where `peers.serve` is set.
    Serving,
}

/// A ticket as it was made.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Invited {
    /// The word that the other side takes.
    pub ticket: String,
    /// Who gives it.
    pub peer: String,
    /// When what it allows ends, in seconds since 1970.
    pub expires: u64,
    /// Where it leads.
    pub addresses: Vec<String>,
}

/// What came of a ticket.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Joined {
    /// Who gave it.
    pub peer: String,
    /// The models that it serves.
    pub models: Vec<String>,
    /// When what it allows ends, in seconds since 1970.
    pub expires: u64,
}

/// What peers have without a network: a key, a book, tickets, receipts.
#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
    settings: Settings,
}

impl Desk {
    /// That of a configuration.
    ///
    /// # Errors
    /// `router_unavailable` where there is no folder for state.
    pub fn of(loaded: &Loaded) -> Result<Self> {
        Ok(Self { folder: loaded.places.data()?.join("peers"), settings: loaded.settings.clone() })
    }

    /// This peer's id. Its key is made where there is none.
    ///
    /// # Errors
    /// What keeps the key from being read or made.
    pub fn id(&self) -> Result<String> {
        Ok(self.key()?.public().to_peer_id().to_string())
    }

    /// Makes a ticket that holds until this second since 1970, within these limits: for whoever shows it first, or for one peer alone. It leads to the peer that serves now, or to what is announced.
    ///
    /// # Errors
    /// `caller_invalid_request` where nobody could come by it.
    pub fn invite(&self, to: Option<&str>, limits: Limits, expires: u64) -> Result<Invited> {
        let to = to.map(|id| id.parse().map_err(|_| no_peer_id(id))).transpose()?;
        let key = self.key()?;
        let mut addresses: Vec<String> = self.settings.peers.announce.clone();
        let serving = std::fs::read_to_string(self.folder.join(ADDRESSES)).unwrap_or_default();
        addresses.extend(serving.lines().map(str::to_owned));
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        if addresses.is_empty() {
            return Err(Error::invalid("no peer serves here, so a ticket would lead nowhere")
                .with_hint("start `llm-router serve --peers` first, or set `announce` under [peers]"));
        }
        let addresses = addresses.iter().map(|address| address.parse().map_err(|_| no_address("peers", address)));
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        let mut caveats = Caveats::default();
        (caveats.expires, caveats.limits) = (Some(expires), limits);
        let ticket = Ticket::new(addresses, Grant::issue(&key, to, caveats, SystemTime::now())?);
        Ok(Invited {
            ticket: ticket.to_string(),
            peer: key.public().to_peer_id().to_string(),
            expires,
            addresses: ticket.addresses.iter().map(ToString::to_string).collect(),
        })
    }

    /// Checks a ticket as far as that goes without its giver.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_ticket(&self, word: &str) -> Result<()> {
        let ticket: Ticket = word.trim().parse()?;
        let granted = ticket.open(SystemTime::now())?;
        if granted.issuer == self.key()?.public().to_peer_id() {
            return Err(Error::invalid("the ticket is of this very peer").with_hint("take it to another machine"));
        }
        Ok(())
    }

    /// Takes a peer out of the book, by its id or its name: a stranger from now on.
    ///
    /// # Errors
    /// `caller_invalid_request` where nobody is called so, or the configuration trusts it.
    pub fn forget(&self, peer: &str) -> Result<String> {
        let book = self.book()?;
        let named = book.all().into_iter().find(|known| known.name.as_deref() == Some(peer)).map(|known| known.peer);
        let id = named.map_or_else(|| peer.parse().map_err(|_| no_peer_id(peer)), Ok)?;
        if !book.forget(&id)? {
            return Err(
                Error::invalid(format!("the peer {id} is not known here")).with_hint("see: llm-router peers ls")
            );
        }
        Ok(id.to_string())
    }

    fn key(&self) -> Result<Keypair> {
        identity::load_or_make(&self.folder.join("key"))
    }

    fn book(&self) -> Result<Book> {
        let ids = |path, ids: &[String]| -> Result<Vec<_>> {
            let wrong = |id| Error::invalid(format!("{path}: {id:?} is no peer id")).with_hint("llm-router peers id");
            ids.iter().map(|id| id.parse().map_err(|_| wrong(id))).collect()
        };
        let peers = &self.settings.peers;
        let (trusted, tools) = (ids("peers.trusted", &peers.trusted)?, ids("peers.tools", &peers.tools)?);
        Ok(Book::open(&self.folder)?.with_trusted(trusted, tools))
    }

    fn node(&self, serving: bool) -> Result<NodeConfig> {
        let peers = &self.settings.peers;
        let default = [LISTEN.to_owned()];
        let listen: &[String] = match (serving, peers.listen.is_empty()) {
            (false, _) => &[],
            (true, true) => &default,
            (true, false) => &peers.listen,
        };
        let read = |path, addresses: &[String]| -> Result<Vec<_>> {
            addresses.iter().map(|address| address.parse().map_err(|_| no_address(path, address))).collect()
        };
        let mut config = NodeConfig::listening(read("peers.listen", listen)?);
        config.announce = read("peers.announce", if serving { &peers.announce } else { &[] })?;
        config.bootstrap = read("peers.bootstrap", &peers.bootstrap)?;
        config.mdns = peers.mdns;
        let far = !peers.bootstrap.is_empty();
        config.dht = match (far, serving) {
            (false, _) => Dht::Off,
            (true, false) => Dht::Client,
            (true, true) => Dht::Server,
        };
        config.relay = far;
        Ok(config)
    }

    fn network(&self) -> Result<Network> {
        let Some(path) = &self.settings.peers.swarm_key else { return Ok(Network::Internet) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::invalid(format!("peers.swarm_key: cannot read {}: {error}", path.display())).with_source(error)
        })?;
        Ok(Network::Private(pnet::read(&text)?))
    }

    fn share(&self) -> Share {
        let (peers, mut share) = (&self.settings.peers, Share::default());
        share.providers.clone_from(&peers.share.providers);
        share.models.clone_from(&peers.share.models);
        (share.places, share.reserve) = (peers.share.places, peers.share.reserve);
        share.limits = Limits::from(&peers.limits);
        share
    }

    fn profile(&self) -> Profile {
        match self.settings.peers.profile.as_str() {
            "lan" => Profile::Lan,
            "public" => Profile::Public,
            _ => Profile::Private,
        }
    }
}

/// What a receipt proves, and what not, in words; and as it is in JSON.
///
/// # Errors
/// `caller_invalid_request` for one that proves nothing.
pub fn verify_receipt(word: &str) -> Result<(String, serde_json::Value)> {
    let receipt = Receipt::verify_word(word)?;
    let fields = serde_json::json!({
        "peer": receipt.peer.to_string(),
        "request": receipt.request.to_string(),
        "response": receipt.response.to_string(),
        "model": receipt.model,
        "usage": { "input": receipt.usage.input, "output": receipt.usage.output },
        "issued": receipt.issued,
    });
    Ok((receipt.to_string(), fields))
}

/// A node of this process.
#[derive(Debug)]
pub struct Peering {
    peers: Peers,
    serving: bool,
    profile: Profile,
    addresses: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Peering {
    /// Starts one; within a runtime. Only one that serves listens.
    pub(crate) fn start(desk: &Desk, serving: bool) -> Result<Self> {
        let book = Arc::new(desk.book()?);
        let profile = desk.profile();
        let options = Options::new(desk.key()?).network(desk.network()?).node(desk.node(serving)?);
        let options = options.profile(profile).book(Arc::clone(&book)).share(desk.share());
        let peers = Peers::start(options)?;
        let addresses = desk.folder.join(ADDRESSES);
        let mut tasks = vec![tokio::spawn(follow(book))];
        if serving {
            tasks.push(tokio::spawn(tell_addresses(peers.node(), addresses.clone())));
        }
        Ok(Self { peers, serving, profile, addresses, tasks })
    }

    pub(crate) fn backend(&self) -> Arc<dyn IpfsBackend> {
        self.peers.backend()
    }

    /// Answers by this router from now on, where it serves.
    pub(crate) fn serve(&self, router: &Router) -> Result<()> {
        if self.serving { self.peers.serve(router) } else { Ok(()) }
    }

    /// This peer's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.peers.id().to_string()
    }

    /// Whether it answers others.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving
    }

    /// Whether anybody at all may ask.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.serving && self.profile == Profile::Public
    }

    /// Where it listens, and what was announced.
    ///
    /// # Errors
    /// `router_unavailable` where the node is gone; `caller_invalid_request` where it can listen nowhere.
    pub async fn listening(&self) -> Result<Vec<String>> {
        let addresses = self.peers.node().listening().await?;
        if self.serving && addresses.is_empty() {
            return Err(Error::new(ErrorKind::RouterUnavailable, "no address of `listen` under [peers] can be used")
                .with_hint("is another peer running here? Name another port, or 0 for any that is free"));
        }
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    /// Takes a ticket: from then on both may ask each other.
    ///
    /// # Errors
    /// What is wrong with the ticket; what keeps its giver from being reached; its refusal.
    pub async fn join(&self, word: &str) -> Result<Joined> {
        let ticket: Ticket = word.trim().parse()?;
        let joined = self.peers.join(&ticket).await?;
        Ok(Joined { peer: joined.peer.to_string(), models: joined.models, expires: joined.expires })
    }

    /// The peers that are known, once those of the book were met or could not be.
    pub async fn list(&self) -> Vec<PeerStatus> {
        self.peers.settle().await;
        self.peers.backend().peers().await
    }

    pub(crate) async fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if self.serving {
            let _ = tokio::fs::remove_file(&self.addresses).await;
        }
        self.peers.stop().await;
    }
}

/// Takes in what other processes write into the book.
async fn follow(book: Arc<Book>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wrong = false;
    loop {
        look.tick().await;
        match book.look() {
            Ok(_) => wrong = false,
            Err(error) if !wrong => {
                tracing::warn!("who is trusted stays as it was: {error}");
                wrong = true;
            }
            Err(_) => {}
        }
    }
}

/// Keeps the file of addresses as they are: interfaces come and go.
async fn tell_addresses(node: NodeHandle, file: PathBuf) {
    let mut events = node.events();
    loop {
        let Ok(addresses) = node.listening().await else { return };
        let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        if let Err(error) = write_whole(&file, &lines) {
            tracing::warn!("{}: {error}: tickets that are made now lack addresses", file.display());
        }
        loop {
            match events.recv().await {
                Ok(Event::Listening(_)) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(temporary.path(), text)?;
    temporary.persist(file).map(drop).map_err(|error| error.error)
}

fn no_peer_id(text: &str) -> Error {
    Error::invalid(format!("{text:?} is no peer id")).with_hint("`llm-router peers id` prints one on that machine")
}

fn no_address(path: &str, text: &str) -> Error {
    Error::invalid(format!("{path}: {text:?} is no address")).with_hint(format!("write {LISTEN} for example"))
}

/// How long a ticket holds that says nothing.
pub const TICKET: Duration = Duration::from_secs(7 * 86_400);
