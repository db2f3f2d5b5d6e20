//! The one composition root: settings become a router with the embedded model, the caches and the stores attached.
//!
//! The command line and the bindings build on this and on nothing below it. Opening an [`App`] reads the configuration and looks at files; it opens no
//! database, starts no program and loads no model before the first request needs it.
#![forbid(unsafe_code)]

mod child;
mod embedded;
mod hub;
mod keys;
mod lazy;
mod otlp;
mod peers;
mod reload;
mod seal;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{DiskTier, MemoryTier, ResponseCache, Tier};
use llm_router::config::{Environment, Flags, Loaded, Settings};
use llm_router::deps::{Clock, RouterDeps, SystemClock, Watch};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::absent::{AbsentProvider, python_package};
use llm_router::provider::http::{HttpClient, HttpOptions};
use llm_router::provider::peer::PeerProvider;
use llm_router::provider::process::Runner;
use llm_router::provider::registry::Registry;
use llm_router::provider::{Describe, DynProvider};
use llm_router::request::Privacy;
use llm_router::router::Router;
use llm_router::router::resolve::Plan;

pub use self::child::{Home, serve_worker};
use self::embedded::Embedded;
pub use self::embedded::{Progress, Pulled};
pub use self::keys::ProviderKeys;
use self::lazy::LazyDisk;
use self::otlp::Otlp;
pub use self::peers::{Desk, Invited, Joined, Peering, Role, TICKET, verify_receipt};
pub use self::reload::Reloaded;
use self::state::State;

/// A router with everything that its settings ask for, and what is needed to look after it.
#[derive(Debug)]
pub struct App {
    /// The router.
    pub router: Router,
    /// The configuration that it was built from.
    pub loaded: Loaded,
    /// The environment, as it was.
    pub environment: Environment,
    disk: Arc<LazyDisk>,
    embedded: Arc<Embedded>,
    keys: ProviderKeys,
    runner: Runner,
    flags: Flags,
    registry: Arc<Registry>,
    otlp: Option<Arc<Otlp>>,
    peering: Option<Peering>,
    /// The router that answers now: kept to the end, when it is asked once more what it counted.
    now: Mutex<Router>,
}

impl App {
    /// Builds the router of a configuration, with the embedded engine at `home`. It is no peer.
    ///
    /// # Errors
    /// `caller_invalid_request` with every problem of the configuration.
    pub fn open(environment: Environment, flags: &Flags, home: Home) -> Result<Self> {
        Self::open_as(environment, flags, home, Role::None)
    }

    /// The same, as a peer of other routers. To be called within a runtime then, which keeps the node.
    ///
    /// # Errors
    /// As [`App::open`]; and what keeps a node from starting.
    pub fn open_as(environment: Environment, flags: &Flags, home: Home, role: Role) -> Result<Self> {
        let mut loaded = Settings::load(&environment, flags)?;
        let keys = ProviderKeys::new(loaded.places.data().ok().map(|folder| folder.join("provider-keys.json")));
        keys.complete(&mut loaded.settings)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settings = &loaded.settings;

        let disk = Arc::new(LazyDisk::new(loaded.answers_dir().ok(), settings.cache.disk_bytes, Arc::clone(&clock)));
        let strategy = KeyStrategy::parse(&settings.cache.key, &settings.cache.cid_base)?;
        let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(settings.cache.memory_bytes, Arc::clone(&clock)));
        let tiers = vec![memory, Arc::clone(&disk) as Arc<dyn Tier>];
        let cache = ResponseCache::new(tiers, strategy, Arc::clone(&clock), settings.cache.responses);

        let mut deps = RouterDeps::default();
        deps.http = HttpClient::with_options(&HttpOptions::from(settings))?;
        deps.clock = Arc::clone(&clock);
        deps.prices = Arc::new(reload::prices(settings));
        deps.cache = Some(cache.with_ttl(settings.cache.ttl));
        if let Some(State { store, keyring }) = state::open(&loaded, &clock, &deps.ledger)? {
            deps.keyring = Some(keyring);
            deps.store = Some(store);
        }

        let otlp = Otlp::of(settings, &deps.ledger)?;
        deps.watch = otlp.clone().map(|otlp| otlp as Arc<dyn Watch>);

        let peering = match role {
            Role::Asking => Some(Peering::start(&Desk::of(&loaded)?, false)?),
            Role::Serving if settings.peers.serve => Some(Peering::start(&Desk::of(&loaded)?, true)?),
            Role::None | Role::Serving => None,
        };
        deps.ipfs_backend = peering.as_ref().map(Peering::backend);

        let runner = Runner::default();
        let around = embedded::Around { home, environment: environment.clone(), runner: runner.clone() };
        let embedded = Arc::new(Embedded::new(&loaded, deps.http.clone(), around)?);
        let registry = Arc::<Registry>::default();
        let mut builder = Router::builder()
            .registry(Arc::clone(&registry))
            .programs(&environment, runner.clone())
            .instance(Arc::clone(&embedded) as Arc<dyn DynProvider>)
            .provider(PeerProvider::new(ProviderId::new("ipfs_peer")?, deps.ipfs_backend.clone()));
        for (id, package) in [("accelerate", "ipfs_accelerate_py"), ("local_hf", "transformers")] {
            builder = builder.provider(in_python(id, package, &environment)?);
        }
        let router = builder.settings(loaded.settings.clone()).deps(deps).build()?;
        let flags = flags.clone();
        let now = Mutex::new(router.clone());
        let app =
            Self { now, router, loaded, environment, disk, embedded, keys, runner, flags, registry, otlp, peering };
        if let Some(peering) = &app.peering {
            peering.serve(&app.router)?;
        }
        app.follow(&app.router);
        Ok(app)
    }

    /// Takes note of the router that took the place of the one before: a collector, where there is one, is sent what it counts and whom its breakers hold back, and peers are answered by it.
    pub fn follow(&self, router: &Router) {
        if let Some(Err(error)) = self.peering.as_ref().map(|peering| peering.serve(router)) {
            tracing::warn!("peers are answered as before: {error}");
        }
        if let Some(otlp) = &self.otlp {
            otlp.follow(router.watched());
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = router.clone();
        }
    }

    /// Ends what runs, and waits until what was stored is safe.
    pub async fn close(&self) {
        if let Some(peering) = &self.peering {
            peering.stop().await;
        }
        self.router.deps().shut_down().await;
        if let Some(otlp) = &self.otlp {
            otlp.close().await;
        }
        self.runner.shutdown().await;
    }

    /// What the owner of the configuration would want to know, a line each.
    pub fn warnings(&self) -> Vec<String> {
        self.loaded.warnings.iter().map(ToString::to_string).collect()
    }

    /// The stored answers on disk.
    ///
    /// # Errors
    /// `router_unavailable` when the folder cannot be used.
    pub fn disk(&self) -> Result<&DiskTier> {
        self.disk.open()
    }

    /// The keys that `auth` keeps.
    pub fn keys(&self) -> &ProviderKeys {
        &self.keys
    }

    /// The node, where this is a peer.
    pub fn peering(&self) -> Option<&Peering> {
        self.peering.as_ref()
    }

    /// What starts programs, and can end them all.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Where `chat` keeps its history, where there is a place for it.
    pub fn history_file(&self) -> Option<PathBuf> {
        self.loaded.places.data().ok().map(|folder| folder.join("chat-history"))
    }

    /// The folders in use, each with what it is for.
    pub fn folders(&self) -> Vec<(&'static str, Result<PathBuf>)> {
        vec![
            ("stored answers", self.loaded.answers_dir()),
            ("models", self.loaded.models_dir()),
            ("state", self.loaded.places.data().map(std::path::Path::to_path_buf)),
        ]
    }

    /// Whether this processor can run the embedded engine.
    ///
    /// # Errors
    /// `router_unavailable` naming what it lacks.
    pub fn check_cpu(&self) -> Result<()> {
        use llm_router_local::cpu::{Features, check};
        check(Features::detect()).map_err(|missing| {
            Error::new(ErrorKind::RouterUnavailable, missing.to_string())
                .with_hint("name another provider than `local`")
        })
    }

    /// Has `seen` called as a model file comes in: for a progress bar.
    pub fn on_download(&self, seen: impl Fn(&Progress) + Send + Sync + 'static) {
        self.embedded.on_download(seen);
    }

    /// Fetches the embedded model's file before a request's time begins to run, where nothing stands before it in the plan but guesses. What fails here
    /// fails again in the call, which says so.
    pub async fn fetch_before(&self, plan: &Plan) {
        let first = plan.targets.iter().find(|planned| !planned.provider.describe().guess);
        if first.is_some_and(|planned| planned.target.provider == "local") {
            self.embedded.fetch().await;
        }
    }

    /// Gets a model file, the default one without a name, and says where it lies.
    ///
    /// # Errors
    /// What kept it from coming: see `llm_router_local::source`.
    pub async fn pull(&self, model: Option<&str>, update: bool) -> Result<Pulled> {
        self.embedded.pull(model, update).await
    }

    /// Asks a provider for its models.
    ///
    /// # Errors
    /// What the provider answers with; nothing is asked of one that has no such list.
    pub async fn list_models(&self, id: &ProviderId) -> Result<Vec<ModelName>> {
        let entry = self.router.entries().iter().find(|entry| entry.is(id.as_str()));
        let entry = entry.ok_or_else(|| Error::invalid(format!("no provider is called {id}")))?;
        let cx = self.router.context();
        entry.provider.list_models(&cx).await
    }

    /// Forgets which providers refused their key or login.
    ///
    /// # Errors
    /// `router_unavailable` when the state cannot be written.
    pub async fn forget_refusals(&self) -> Result<()> {
        self.router.forget_refusals().await
    }

    /// The providers that automatic plans pass over because they refused their key or login lately.
    pub async fn refused(&self) -> Vec<ProviderId> {
        self.router.refused().await
    }

    /// The process id of the child that runs the embedded engine, where one runs.
    pub fn engine_process_id(&self) -> Option<u32> {
        self.embedded.process_id()
    }
}

/// A provider that runs in Python: where its package lies is looked up, and nothing is imported.
fn in_python(id: &str, package: &str, environment: &Environment) -> Result<AbsentProvider> {
    let describe = Describe::new(ProviderId::new(id)?).with_privacy(Privacy::Local);
    Ok(match python_package(package, &environment.search_path()) {
        Some(folder) => {
            let what =
                format!("{package} is installed in {}, but this version drives no Python worker", folder.display());
            AbsentProvider::new(describe, what, "use `local`, the embedded engine")
        }
        None => {
            let what = format!("the Python package {package} is not installed");
            AbsentProvider::new(describe, what, "use `local`, the embedded engine")
        }
    })
}
