//! Reading the configuration again while the program runs.
//!
//! It is read and checked whole first; then there is another router, of the same dependencies, in which every provider whose settings did not change is the same instance, with its connections,
//! its breakers and what else it learnt. Nothing changes where anything is wrong. What was opened at the start stays as it is, and is named where it was meant to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use llm_router::config::{Loaded, Settings};
use llm_router::error::{Error, Result};
use llm_router::pricing::Prices;
use llm_router::router::Router;

use crate::App;

/// What was opened or started once and is not exchanged: sections, with a dot at the end, and keys.
const AT_THE_START: [&str; 18] = [
    "server.host",
    "server.port",
    "server.admin",
    "server.public",
    "server.tls_cert",
    "server.tls_key",
    "server.max_connections",
    "server.access_log",
    "server.virtual_keys",
    "server.drain",
    "server.grace",
    "cache.",
    "local.",
    "store.",
    "teams.",
    "telemetry.",
    "proxy.",
    "http.",
];

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// The router that takes the place of the one before.
    pub router: Router,
    /// What was read.
    pub loaded: Loaded,
    /// How many values are not what they were, as far as they are shown: a secret that changed is none of them.
    pub changed: usize,
    /// The keys that changed and stay as they were until the program starts anew.
    pub at_the_start: Vec<String>,
}

impl App {
    /// Reads the configuration again, which was `before` until now.
    ///
    /// # Errors
    /// `caller_invalid_request` with every problem of the configuration; nothing has changed then.
    pub fn reload(&self, before: &Loaded) -> Result<Reloaded> {
        let mut loaded = Settings::load(&self.environment, &self.flags)?;
        self.keys.complete(&mut loaded.settings)?;
        let (changed, at_the_start) = differences(before, &loaded);
        teams_are_known(&loaded.settings, &before.settings)?;
        stay(&mut loaded.settings, &before.settings);
        let settings = &loaded.settings;
        let mut deps = self.router.deps().clone();
        deps.prices = Arc::new(prices(settings));
        let builder = Router::builder().registry(Arc::clone(&self.registry)).deps(deps);
        let router = builder.programs(&self.environment, self.runner.clone()).settings(settings.clone()).build()?;
        Ok(Reloaded { router, loaded, changed, at_the_start })
    }
}

/// A key of a team that is not there yet would be without its limits.
fn teams_are_known(settings: &Settings, before: &Settings) -> Result<()> {
    let keys = settings.server.api_keys.iter();
    let mut named = keys.filter_map(|key| Some((&key.name, key.team.as_ref()?)));
    match named
        .find(|(_, team)| !before.teams.contains_key(team.as_str()) && settings.teams.contains_key(team.as_str()))
    {
        None => Ok(()),
        Some((key, team)) => Err(Error::invalid(format!(
            "the key {key:?} is of the team {team:?}, which is new: teams are made at the start"
        ))
        .with_hint("start the server anew, or leave the key out until then")),
    }
}

/// What models cost: the table, and over it the configuration's own.
pub(crate) fn prices(settings: &Settings) -> Prices {
    let own = settings.prices.iter().map(|(target, price)| (target.as_str(), price.clone()));
    Prices::default().with(own)
}

/// How many values differ, and which of them only the next start takes over.
fn differences(before: &Loaded, after: &Loaded) -> (usize, Vec<String>) {
    fn values(loaded: &Loaded) -> BTreeMap<&str, String> {
        loaded.entries.iter().map(|entry| (entry.key.as_str(), format!("{:?}", entry.value))).collect()
    }
    let (old, new) = (values(before), values(after));
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let changed: Vec<&str> = keys.copied().filter(|key| old.get(key) != new.get(key)).collect();
    let fixed =
        |key: &str| AT_THE_START.iter().any(|name| key == *name || (name.ends_with('.') && key.starts_with(name)));
    let stays = changed.iter().filter(|key| fixed(key)).map(|key| (*key).to_owned()).collect();
    (changed.len(), stays)
}

/// Leaves what is not exchanged as it was, so that what is said of it stays true.
fn stay(settings: &mut Settings, before: &Settings) {
    settings.cache = before.cache.clone();
    settings.local = before.local.clone();
    settings.store = before.store.clone();
    settings.teams = before.teams.clone();
    settings.telemetry = before.telemetry.clone();
    settings.proxy = before.proxy.clone();
    settings.http = before.http.clone();
    let (to, from) = (&mut settings.server, &before.server);
    to.host.clone_from(&from.host);
    to.admin.clone_from(&from.admin);
    to.tls_cert.clone_from(&from.tls_cert);
    to.tls_key.clone_from(&from.tls_key);
    to.access_log.clone_from(&from.access_log);
    (to.port, to.public, to.max_connections) = (from.port, from.public, from.max_connections);
    (to.virtual_keys, to.drain, to.grace) = (from.virtual_keys, from.drain, from.grace);
}
