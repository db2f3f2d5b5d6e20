//! Answering peers: one request a stream, from whoever may ask, by way of a router that knows nothing but what is shared.
//!
//! Who may ask, and whether there is a place, is `serve/admit.rs`; what becomes of a request that came from elsewhere `serve/request.rs`; the answer's way back `serve/answer.rs`; how long the caller is waited for
//! `serve/caller.rs`. A peer's request enters at `Router::call` like any other, as a tenant with limits of its own.

pub(crate) mod admit;
mod answer;
mod caller;
pub(crate) mod request;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libp2p::futures::{AsyncReadExt, StreamExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use llm_router::limits::key::Seal;
use llm_router::limits::keyring::Scope;
use llm_router::limits::{Holder, Keyring};
use llm_router::router::Router;
use llm_router::store::{MemoryStore, Store};
use llm_router::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::admit::Asker;
use crate::caps::offers::{self, Offer};
use crate::io::{Lost, Reader, Writer};
use crate::service::counts::{Counted, Counts};
use crate::service::shared::Shared;
use crate::service::strikes::Offence;
use crate::share::Share;
use crate::wire::{Breach, PROTOCOL};

pub(crate) const INFER: StreamProtocol = StreamProtocol::new(PROTOCOL);

/// The provider of the embedded model: all that a stranger may ask.
pub(crate) const EMBEDDED: &str = "local";
/// The provider that would pass a request on.
const PEERS: &str = "ipfs_peer";

/// Streams of one peer beside its requests that run: those that are read, or refused.
const SPARE_STREAMS: u32 = 64;
/// Bodies that are read at once, all together, in KiB: eight of the largest.
const BODIES: usize = 64 << 10;

/// What answers peers.
pub(crate) struct Served {
    router: Router,
    share: Share,
    keyring: Keyring,
    places: Arc<Places>,
}

/// What is taken by requests of peers, whichever router they began with.
struct Places {
    all: Arc<Semaphore>,
    most: u32,
    running: AtomicU32,
    /// In KiB.
    bodies: Arc<Semaphore>,
    streams: Counts,
    requests: Counts,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("running", &self.running()).finish_non_exhaustive()
    }
}

/// A place for one request, for as long as it runs.
pub(crate) struct Place {
    places: Arc<Places>,
    _all: OwnedSemaphorePermit,
    _own: Counted,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Served {
    fn new(router: &Router, share: &Share, before: Option<&Self>) -> Self {
        let keyring = before.map(|before| before.keyring.clone()).or_else(|| router.deps().keyring.clone());
        let places = before.map(|before| Arc::clone(&before.places));
        Self {
            router: only_shared(router, share),
            share: share.clone(),
            keyring: keyring.unwrap_or_else(|| own_keyring(router)),
            places: places.unwrap_or_else(|| Arc::new(Places::new(share.places))),
        }
    }

    /// The router of what is shared.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// What peers may ask by name.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        offers::all(&self.router, &self.share)
    }

    /// Requests of peers that run.
    pub(crate) fn running(&self) -> u32 {
        self.places.running.load(Ordering::Acquire)
    }

    /// Who holds the limits of one who asks.
    fn holder(&self, asker: &Asker) -> Arc<Holder> {
        self.keyring.fixed(&asker.name(), asker.limits(), None)
    }

    /// How many places are taken, in percent.
    fn load(&self) -> u8 {
        let taken = u64::from(self.running()) * 100 / u64::from(self.places.most.max(1));
        u8::try_from(taken.min(100)).unwrap_or(100)
    }

    /// Whether there is no place now, or whoever sits at this machine waits for one already.
    fn is_full(&self, offer: Option<&Offer>) -> bool {
        let provider = offer.and_then(|offer| self.router.entries().iter().find(|entry| entry.id == *offer.provider));
        self.places.all.available_permits() == 0 || provider.is_some_and(|entry| entry.provider.waiting() > 0)
    }

    /// A place for a request, if there is one for it and for its peer.
    fn place(&self, asker: &Asker) -> Option<Place> {
        let own = self.places.requests.take(asker.peer(), asker.concurrency())?;
        let all = Arc::clone(&self.places.all).try_acquire_owned().ok()?;
        self.places.running.fetch_add(1, Ordering::AcqRel);
        Some(Place { places: Arc::clone(&self.places), _all: all, _own: own })
    }

    /// Room for a body of so many bytes.
    fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.places.bodies).try_acquire_many_owned(kib).ok()
    }
}

impl Places {
    fn new(most: u32) -> Self {
        Self {
            all: Arc::new(Semaphore::new(most as usize)),
            most,
            running: AtomicU32::new(0),
            bodies: Arc::new(Semaphore::new(BODIES)),
            streams: Counts::default(),
            requests: Counts::default(),
        }
    }
}

/// The router with what is shared alone, built from the same dependencies.
fn only_shared(router: &Router, share: &Share) -> Router {
    let is_shared = |id: &str| if id == PEERS { share.forward } else { share.has_provider(id) };
    let entries = router.entries().iter().filter(|entry| is_shared(entry.id.as_str()));
    let entries = entries.filter(|entry| !entry.provider.describe().agent).cloned().collect();
    Router::new(router.deps().clone(), Arc::new(router.settings().clone()), entries)
}

/// What counts the limits of peers where the router counts nobody's: in its store, or as long as the process runs.
fn own_keyring(router: &Router) -> Keyring {
    let deps = router.deps();
    let store =
        deps.store.clone().unwrap_or_else(|| Arc::new(MemoryStore::new(Arc::clone(&deps.clock))) as Arc<dyn Store>);
    let seal = Seal::new(|| Err(Error::internal("peers have no keys that could be derived")));
    Keyring::new(store, seal, Arc::clone(&deps.clock), Scope::Key, [])
}

/// Begins to answer, or goes on with another router.
pub(crate) fn begin(shared: &Arc<Shared>, router: &Router) -> Result<()> {
    let before = shared.served();
    let served = Served::new(router, &shared.share, before.as_deref());
    if !shared.set_served(Arc::new(served)) {
        return Ok(());
    }
    let mut incoming = shared.node.accept(INFER)?;
    let serving = Arc::clone(shared);
    shared.spawn(async move {
        // Nothing else is done here: a stream that is not taken at once is reset by the library.
        while let Some((peer, stream)) = incoming.next().await {
            let Some(served) = serving.served() else { continue };
            let most = served.share.concurrency().saturating_add(SPARE_STREAMS);
            match served.places.streams.take(peer, most) {
                Some(counted) => serving.spawn(one(Arc::clone(&serving), served, peer, stream, counted)),
                None => serving.strike(peer, Offence::Flood),
            }
        }
    });
    Ok(())
}

/// How a stream ended before its time.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The caller does not keep to the protocol.
    Breach(Breach),
    /// It did not say in time what it had begun to say.
    Slow,
    /// It let go, or reads no more.
    Gone,
}

impl From<Lost> for Ended {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Breach(breach) => Self::Breach(breach),
            Lost::Gone => Self::Gone,
        }
    }
}

impl From<Breach> for Ended {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

/// How long a frame waits to be taken by the caller.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request, from its first byte to its last. Returning resets the stream, unless all was said.
async fn one(shared: Arc<Shared>, served: Arc<Served>, peer: PeerId, stream: Stream, _counted: Counted) {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
    let ended = match request::read(&shared, &served, peer, &mut reader).await {
        Ok(Ok(asked)) => Box::pin(answer::give(&shared, &served, asked, &mut reader, &mut writer)).await,
        Ok(Err(reject)) => answer::refuse(*reject, &mut writer).await,
        Err(ended) => Err(ended),
    };
    match ended {
        Ok(()) | Err(Ended::Gone) => {}
        Err(Ended::Breach(breach)) => {
            tracing::debug!(%peer, "a request of a peer broke the protocol: {breach}");
            shared.strike(peer, Offence::Breach);
        }
        Err(Ended::Slow) => shared.strike(peer, Offence::Slow),
    }
}
