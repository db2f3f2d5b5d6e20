//! What a router is built from: everything that reaches outside, each part replaceable.
//!
//! Built once, cloned cheaply, shared by every router that should share a cache, a pool and a store. Nothing here reads the environment or a file.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::books::Books;
use crate::cache::{ResponseCache, Tier};
use crate::delta::DeltaStream;
use crate::error::{Error, Result};
use crate::ids::{ModelName, RequestId};
use crate::limits::Keyring;
use crate::pricing::Prices;
use crate::provider::Call;
use crate::provider::http::HttpClient;
use crate::request::Request;
use crate::store::Store;
use crate::telemetry::Ledger;
use crate::trace::Trace;

/// What a router is built from.
#[derive(Clone)]
#[non_exhaustive]
pub struct RouterDeps {
    /// The HTTP client of all providers.
    pub http: HttpClient,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Request ids and jitter.
    pub ids: Arc<dyn Ids>,
    /// Stored answers; without it nothing is stored and nothing is shared.
    pub cache: Option<ResponseCache>,
    /// A farther tier of the cache, shared with other machines: asked after the cache's own tiers. A router takes it into its cache; without one it is not used.
    pub remote_cache: Option<Arc<dyn Tier>>,
    /// State that outlives the process; without it nothing is remembered between processes.
    pub store: Option<Arc<dyn Store>>,
    /// What was used and what it cost; where there is a store and none is handed in, a router keeps them there.
    pub books: Option<Books>,
    /// The keys of clients, and the teams that they belong to; without it the router knows none.
    pub keyring: Option<Keyring>,
    /// What models cost.
    pub prices: Arc<Prices>,
    /// The IPFS backend, where one is handed in: it answers as the provider `ipfs_peer`.
    pub ipfs_backend: Option<Arc<dyn IpfsBackend>>,
    /// What stands before and after every request.
    pub hooks: Vec<Arc<dyn Hook>>,
    /// Who makes spans of what happened; without anybody none are made.
    pub watch: Option<Arc<dyn Watch>>,
    /// What is counted: requests, tokens, times.
    pub ledger: Ledger,
    /// Cancelled when the router shuts down.
    pub shutdown: CancellationToken,
    objects: Objects,
}

type Objects = Arc<Mutex<HashMap<(TypeId, String), Arc<dyn Any + Send + Sync>>>>;

impl Default for RouterDeps {
    fn default() -> Self {
        Self {
            http: HttpClient::default(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            cache: None,
            remote_cache: None,
            store: None,
            books: None,
            keyring: None,
            prices: Arc::default(),
            ipfs_backend: None,
            hooks: Vec::new(),
            watch: None,
            ledger: Ledger::default(),
            shutdown: CancellationToken::new(),
            objects: Objects::default(),
        }
    }
}

impl fmt::Debug for RouterDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterDeps")
            .field("cache", &self.cache.is_some())
            .field("ipfs_backend", &self.ipfs_backend.is_some())
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}

impl RouterDeps {
    /// An object shared by everything built on these dependencies: made on first use, kept under its type and `name`. `make` runs under a lock: it must be
    /// quick and must not call this again.
    ///
    /// # Errors
    /// What `make` returns; nothing is kept then.
    pub fn get_or_create<T: Any + Send + Sync>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (TypeId::of::<T>(), name.to_owned());
        if let Some(object) = objects.get(&key).and_then(|object| Arc::clone(object).downcast::<T>().ok()) {
            return Ok(object);
        }
        let object = Arc::new(make()?);
        objects.insert(key, object.clone());
        Ok(object)
    }

    /// The books: those handed in, or those of the store, the same for all that share these dependencies.
    pub(crate) fn open_books(&self) -> Option<Books> {
        let made = || {
            let (store, clock) = (self.store.clone()?, Arc::clone(&self.clock));
            let books = self.get_or_create("books", || Ok(Books::new(store, clock))).ok()?;
            Some(Books::clone(&books))
        };
        self.books.clone().or_else(made)
    }

    /// Ends what runs: calls under way are cancelled, and what was stored is made safe. The router spawns nothing that would have to be waited for but what writes its
    /// books, which ends here; whoever hands in a hook, a tier or a provider that does ends it on [`RouterDeps::shutdown`].
    pub async fn shut_down(&self) {
        self.shutdown.cancel();
        if let Some(keyring) = &self.keyring
            && let Err(error) = keyring.settle_up().await
        {
            tracing::warn!("money that was set aside is lost to its budgets: {error}");
        }
        if let Some(books) = &self.books {
            // What goes wrong is said there.
            let _ = books.close().await;
        }
        if let Some(cache) = &self.cache {
            cache.flush().await;
        }
    }
}

/// Time, so that tests can set it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock: for dates, expiry and ids.
    fn now(&self) -> SystemTime;

    /// The steady clock: for durations. It follows the runtime's paused time in tests.
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Chance, so that tests can set it.
pub trait Ids: fmt::Debug + Send + Sync + 'static {
    /// A new request id.
    fn request_id(&self, now: SystemTime) -> RequestId;

    /// A number from 0 to 1, for jitter.
    fn jitter(&self) -> f64;

    /// The id of a span: not 0.
    fn span(&self) -> u64 {
        fastrand::u64(1..)
    }

    /// The id of a trace: not 0.
    fn trace(&self) -> u128 {
        fastrand::u128(1..)
    }
}

/// Ids and jitter from the process's random state.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn request_id(&self, now: SystemTime) -> RequestId {
        let millis = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        RequestId::from_parts(u64::try_from(millis).unwrap_or(0), fastrand::u128(..))
    }

    fn jitter(&self) -> f64 {
        fastrand::f64()
    }
}

/// What stands before and after every request: redaction, guardrails, accounting.
pub trait Hook: Send + Sync + 'static {
    /// May look at a request and change it before anything else sees it.
    ///
    /// # Errors
    /// Refuses the request; the error reaches the caller.
    fn on_request(&self, request: &mut Request) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Sees how a request ended: answered, failed, or left by its caller.
    fn on_finish(&self, trace: &Trace) {
        let _ = trace;
    }
}

/// Whoever makes spans of what happened. Called on the request's path: it must be quick, and must drop what it has no room for.
pub trait Watch: Send + Sync + 'static {
    /// Whether the spans of a trace that begins here are kept.
    fn samples(&self) -> bool {
        true
    }

    /// Sees the record of a request that ended, where its spans are kept.
    fn finished(&self, trace: &Arc<Trace>);
}

/// A backend that answers over IPFS and libp2p, injected by a program: `crates/peers` has one, a program may have its own.
pub trait IpfsBackend: Send + Sync + 'static {
    /// Sends a prompt to whoever can answer. `params` is the whole request.
    ///
    /// # Errors
    /// What keeps the answer from beginning; what breaks it later is an `Err` of the stream.
    fn route_llm_request<'a>(
        &'a self,
        prompt: &'a str,
        model: Option<&'a ModelName>,
        params: &'a Request,
    ) -> BoxFuture<'a, Result<DeltaStream>>;

    /// The peers that it knows, as they are shown. None where a backend keeps that to itself.
    fn peers(&self) -> BoxFuture<'_, Vec<PeerStatus>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// The same with all that is known of the attempt: how long it may take, where it stands in a trace. Who needs nothing of that leaves it out.
    ///
    /// # Errors
    /// As [`IpfsBackend::route_llm_request`].
    fn route_call<'a>(&'a self, prompt: &'a str, call: &'a Call) -> BoxFuture<'a, Result<DeltaStream>> {
        self.route_llm_request(prompt, call.target.model.as_ref(), &call.request)
    }

    /// Whether a node is attached that could answer, or what is missing.
    ///
    /// # Errors
    /// `provider_unavailable` with the next step.
    fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A peer as it is shown: by `peers ls`, in the API, and as a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its id.
    pub id: String,
    /// What it is called here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How far it is trusted: `stranger`, `trusted`, `tools`.
    pub trust: String,
    /// Whether it is asked: `ready`, `held`, `half_open`, `over`; `met` where it serves nothing, `absent` where it is not there.
    pub state: String,
    /// How it is reached: `direct`, `relayed`, `none`.
    pub path: String,
    /// Over what: `tcp`; none where it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Where it is.
    pub addresses: Vec<String>,
    /// Seconds there and back, as measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<f64>,
    /// Its program and version, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What it serves.
    pub models: Vec<PeerModel>,
}

/// A model of a peer as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PeerModel {
    /// Its name.
    pub model: String,
    /// Whether it is asked: `ready`, `held`, `half_open`.
    pub state: String,
    /// Seconds to a first token that are expected.
    pub first_token: f64,
    /// How many answers that rests on; 0 is what the peer says of itself.
    pub samples: u64,
    /// Its context window in tokens.
    pub context: u64,
    /// Why it would be chosen, or not.
    pub why: String,
}
