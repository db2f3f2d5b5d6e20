//! Reading the configuration again while the program runs.
//!
//! It is read and checked whole first; then there is another router, of the same dependencies, in which every provider whose settings did not change is the same instance, with its connections,
//! its breakers and what else it learnt. Nothing changes where anything is wrong. What was opened at the start stays as it is, and is named where it was meant to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use llm_router::config::{Entry, Loaded, Origin, Settings};
use llm_router::error::{Error, Result};
use llm_router::pricing::Prices;
use llm_router::router::Router;

use crate::App;

/// What was opened or started once and is not exchanged: sections, with a dot at the end, and keys.
const AT_THE_START: [&str; 19] = [
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
    "peers.",
];

/// A configuration that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// The router that takes the place of the one before.
    pub router: Router,
    /// What was read.
    pub loaded: Loaded,
    /// How many values are not what they were when it was read last, secrets that were replaced aside.
    pub changed: usize,
    /// How many secrets were replaced.
    pub secrets: usize,
    /// The keys that are not what they were at the start, whose values stay as they were then until the program starts anew.
    pub at_the_start: Vec<String>,
}

impl App {
    /// Reads the configuration again, which was `before` until now.
    ///
    /// # Errors
    /// `caller_invalid_request` with every problem of the configuration, and for a file that says nothing any more; nothing has changed then.
    pub fn reload(&self, before: &Loaded) -> Result<Reloaded> {
        let mut loaded = Settings::load(&self.environment, &self.flags)?;
        says_something(before, &loaded)?;
        self.keys.complete(&mut loaded.settings)?;
        let (secrets, values): (Vec<_>, Vec<_>) =
            differences(before, &loaded).into_iter().partition(|(_, what)| *what == What::Secret);
        // What waits for the next start is not what the last reading changed: it is what is running that it differs from.
        let fixed =
            |key: &str| AT_THE_START.iter().any(|name| key == *name || (name.ends_with('.') && key.starts_with(name)));
        let pending = differences(&self.loaded, &loaded).into_iter().map(|(key, _)| key);
        let at_the_start = pending.filter(|key| fixed(key)).map(str::to_owned).collect();
        let (changed, secrets) = (values.len(), secrets.len());
        teams_are_known(&loaded.settings, &before.settings)?;
        stay(&mut loaded.settings, &before.settings);
        let settings = &loaded.settings;
        let mut deps = self.router.deps().clone();
        deps.prices = Arc::new(prices(settings));
        let builder = Router::builder().registry(Arc::clone(&self.registry)).deps(deps);
        let router = builder.programs(&self.environment, self.runner.clone()).settings(settings.clone()).build()?;
        Ok(Reloaded { router, loaded, changed, secrets, at_the_start })
    }
}

/// A file that is cut to nothing is about to be written, and one that is gone about to be put in place: neither is a configuration without providers.
fn says_something(before: &Loaded, after: &Loaded) -> Result<()> {
    let said = |loaded: &Loaded| loaded.entries.iter().any(|entry| matches!(entry.origin, Origin::File { .. }));
    let Some(file) = before.file.as_deref().filter(|_| said(before) && !said(after)) else { return Ok(()) };
    let (file, is) = (file.display(), if after.file.is_some() { "empty" } else { "gone" });
    Err(Error::invalid(format!("{file} is {is}")).with_hint("write the new file beside it and move it into place"))
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

/// What about a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Its value as it is shown, which is no secret's.
    Value,
    /// The secret behind the same word.
    Secret,
}

/// The keys that differ.
fn differences<'a>(before: &'a Loaded, after: &'a Loaded) -> Vec<(&'a str, What)> {
    let of = |loaded: &'a Loaded| -> BTreeMap<&'a str, &'a Entry> {
        loaded.entries.iter().map(|entry| (entry.key.as_str(), entry)).collect()
    };
    let (old, new) = (of(before), of(after));
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let differs = |key: &&'a str| {
        let (was, is) = (old.get(key), new.get(key));
        let what = match was.map(|entry| &entry.value) == is.map(|entry| &entry.value) {
            true => What::Secret,
            false => What::Value,
        };
        let same = what == What::Secret && was.map(|entry| &entry.fingerprint) == is.map(|entry| &entry.fingerprint);
        (!same).then_some((*key, what))
    };
    keys.filter_map(differs).collect()
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
    settings.peers = before.peers.clone();
    let (to, from) = (&mut settings.server, &before.server);
    to.host.clone_from(&from.host);
    to.admin.clone_from(&from.admin);
    to.tls_cert.clone_from(&from.tls_cert);
    to.tls_key.clone_from(&from.tls_key);
    to.access_log.clone_from(&from.access_log);
    (to.port, to.public, to.max_connections) = (from.port, from.public, from.max_connections);
    (to.virtual_keys, to.drain, to.grace) = (from.virtual_keys, from.drain, from.grace);
}
