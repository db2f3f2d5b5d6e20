//! Where state is kept: in a file of this machine, or in the Redis or Valkey server that replicas share; and the keys of the server's clients, which are part of it.
//!
//! Nothing is opened or connected before it is asked for. The file is `lazy.rs`, the server `llm-router-redis`, the seal of keys `seal.rs`.

use std::path::PathBuf;
use std::sync::Arc;

use llm_router::config::{Loaded, Settings};
use llm_router::deps::Clock;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::limits::Limits;
use llm_router::limits::key::Seal;
use llm_router::limits::keyring::{Keyring, Scope};
use llm_router::limits::shared::{Alone, Sharing};
use llm_router::store::Store;
use llm_router::telemetry::Ledger;
use llm_router_redis::{Options, Redis};

use crate::lazy::LazyStore;
use crate::seal;

/// What is kept, and the keys in it.
pub(crate) struct State {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keyring: Keyring,
}

/// The state of a configuration; none where there is no place for it.
///
/// # Errors
/// `caller_invalid_request` for an address that cannot be used.
pub(crate) fn open(loaded: &Loaded, clock: &Arc<dyn Clock>, ledger: &Ledger) -> Result<Option<State>> {
    let settings = &loaded.settings;
    let folder = loaded.places.data().ok();
    let own_seal = folder.map(|folder| folder.join(seal::FILE));
    let seal = sealed(settings.store.seal_file.clone(), own_seal);
    let teams = settings.teams.iter().map(|(name, team)| (name.clone(), Limits::from(team)));
    if let Some(url) = settings.store.address().map_err(Error::invalid)? {
        let redis = Redis::new(options(url, settings))?;
        let alone = match settings.store.unreachable.as_str() {
            "open" => Alone::Open,
            "local" => Alone::Local(settings.store.replicas),
            _ => Alone::Closed,
        };
        let sharing = Arc::new(Sharing::new(Arc::new(redis.limits(Arc::clone(clock))), alone, ledger.clone()));
        let store: Arc<dyn Store> = Arc::new(redis.store(Arc::clone(clock)));
        let (clock, scope) = (Arc::clone(clock), scope(settings));
        let keyring = Keyring::shared(Arc::clone(&store), seal, clock, scope, teams, sharing);
        return Ok(Some(State { store, keyring }));
    }
    let Some(folder) = folder else { return Ok(None) };
    let store: Arc<dyn Store> = Arc::new(LazyStore::new(folder, Arc::clone(clock)));
    let keyring = Keyring::new(Arc::clone(&store), seal, Arc::clone(clock), scope(settings), teams);
    Ok(Some(State { store, keyring }))
}

fn options(url: llm_router::secret::Secret, settings: &Settings) -> Options {
    let mut options = Options::new(url);
    options.prefix.clone_from(&settings.store.prefix);
    options.patience = settings.store.patience;
    options.ca_file.clone_from(&settings.store.ca_file);
    options
}

/// The seal of a file that somebody gave, which must be there, or of our own, which is made when it is first needed.
fn sealed(given: Option<PathBuf>, own: Option<PathBuf>) -> Seal {
    Seal::new(move || match (&given, &own) {
        (Some(file), _) => seal::read_given(file),
        (None, Some(file)) => seal::read(file),
        (None, None) => Err(Error::new(ErrorKind::RouterUnavailable, "there is no folder for the seal of keys")
            .with_hint("set HOME or XDG_DATA_HOME, or `seal_file` under [store]")),
    })
}

fn scope(settings: &Settings) -> Scope {
    match settings.cache.scope.as_str() {
        "global" => Scope::Global,
        "team" => Scope::Team,
        _ => Scope::Key,
    }
}
