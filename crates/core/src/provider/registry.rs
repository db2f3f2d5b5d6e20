//! The providers of a router: built from settings, registered by hand, kept while their settings stay the same.
//!
//! It gives the resolution order as a list of [`Entry`]; which of them answer a request is decided in `router/resolve.rs`. An instance is known by its id
//! and the fingerprint of what it was made of, keys included, so that a config reload keeps pools, semaphores and refused keys of what did not change.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::absent::AbsentProvider;
use super::credential::Credentials;
use super::presets;
use super::process::agents;
use super::process::{CommandProvider, Environment, Runner, command_provider};
use super::upstream::HttpProvider;
use super::{Describe, DynProvider, Provider};
use crate::config::{ProviderSettings, Settings};
use crate::error::Result;
use crate::ids::ProviderId;

/// A provider as resolution sees it. The order of a list of these is the resolution order.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: ProviderId,
    /// Other names it answers to.
    pub aliases: Vec<ProviderId>,
    /// The provider.
    pub provider: Arc<dyn DynProvider>,
    /// When it is part of an automatic plan.
    pub automatic: Automatic,
    /// The program behind it, where two entries may share one.
    pub program: Option<String>,
    /// The provider with each of its keys alone, where it has several: targets of their own.
    pub keys: Vec<Arc<dyn DynProvider>>,
}

impl Entry {
    /// A provider under its id, part of automatic plans.
    pub fn new(id: ProviderId, provider: Arc<dyn DynProvider>) -> Self {
        Self { id, aliases: Vec::new(), provider, automatic: Automatic::Yes, program: None, keys: Vec::new() }
    }

    /// Whether it answers to this name.
    pub fn is(&self, name: &str) -> bool {
        self.id == *name || self.aliases.iter().any(|alias| *alias == *name)
    }
}

/// When a provider is part of a plan that nobody named a provider or a model for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Automatic {
    /// Whenever it is available.
    Yes,
    /// After all others: the embedded model and its like.
    Floor,
    /// Only when named.
    No,
}

/// A place in the resolution order. A provider registered by hand that has no place of its own comes first, one of the config before the servers
/// that are only guessed.
enum Place {
    /// What a program registered by hand under names of its own.
    Registered,
    /// This id.
    Id(&'static str, Automatic),
    /// Presets and sections of the config that have no place of their own.
    Configured,
    /// Servers of one's own at their default address, tried by connecting.
    Guessed,
}

use Automatic::{Floor, No, Yes};
use Place::Id;

/// The resolution order.
const ORDER: &[Place] = &[
    Id("ipfs_peer", Yes),
    Id("accelerate", Yes),
    Place::Registered,
    Id("openrouter", Yes),
    Id("openai", Yes),
    Id("anthropic", Yes),
    Id("gemini", Yes),
    Id("hf_inference_api", Yes),
    Id("codex_cli", Yes),
    Id("copilot_cli", Yes),
    Id("gemini_cli", Yes),
    Id("claude_code", Yes),
    Id("copilot_sdk", Yes),
    Place::Configured,
    Place::Guessed,
    Id("local_hf", Floor),
    Id("local", Floor),
    // The original's second names for two agents: for whoever names them.
    Id("gemini_py", No),
    Id("claude_py", No),
];

/// What is known by name before anybody registers it: `(id, aliases, what is missing, the next step)`.
const AWAITED: &[(&str, &[&str], &str, &str)] = &[
    ("ipfs_peer", &["ipfs_peers"], "no libp2p node is attached", "attach one: peers need a node of this machine"),
    (
        "accelerate",
        &[],
        "no Python worker runs ipfs_accelerate_py",
        "use another provider: this build drives no such worker",
    ),
    ("local_hf", &["hf", "huggingface"], "no Python worker runs transformers", "use `local`, the embedded engine"),
    ("local", &[], "the embedded engine is not linked", "use the llm-router command, or link llm-router-local"),
];

/// Every provider of a router.
#[derive(Default)]
pub struct Registry(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    kept: HashMap<ProviderId, Kept>,
    registered: IndexMap<ProviderId, Registered>,
}

struct Kept {
    fingerprint: String,
    made: Made,
}

#[derive(Clone)]
struct Made {
    provider: Arc<dyn DynProvider>,
    program: Option<String>,
    guessed: bool,
    keys: Vec<Arc<dyn DynProvider>>,
}

impl Made {
    fn new(provider: impl Provider) -> Self {
        Self { provider: Arc::new(provider), program: None, guessed: false, keys: Vec::new() }
    }
}

struct Registered {
    provider: Arc<dyn DynProvider>,
    aliases: Vec<ProviderId>,
    automatic: Option<Automatic>,
}

/// What providers that run programs are made of, besides their settings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment; a program sees its own part of it.
    pub environment: Environment,
    /// What runs programs.
    pub runner: Runner,
}

impl Registry {
    /// Registers a provider by hand. One of the same id, built in or registered before, is replaced by it and keeps its place and aliases.
    /// `automatic` says when it is part of automatic plans; `None` leaves it to its place, or to always.
    pub fn register(&self, provider: Arc<dyn DynProvider>, aliases: Vec<ProviderId>, automatic: Option<Automatic>) {
        let id = provider.describe().id.clone();
        self.inner().registered.insert(id, Registered { provider, aliases, automatic });
    }

    /// The providers of these settings in resolution order, those registered by hand included.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the provider and the setting that cannot be used.
    pub fn entries(&self, settings: &Settings, around: &Surroundings) -> Result<Vec<Entry>> {
        let mut inner = self.inner();
        let mut built: IndexMap<ProviderId, Made> = IndexMap::new();
        for id in known_ids(settings)? {
            if !inner.registered.contains_key(&id) {
                let made = inner.keep(&id, settings, around).map_err(|error| error.at(&id, None))?;
                built.insert(id, made);
            }
        }
        inner.kept.retain(|id, _| built.contains_key(id));
        let mut entries = Vec::new();
        for place in ORDER {
            match place {
                Id(id, automatic) => {
                    let found = built.shift_remove(*id).map(|made| (made, *automatic));
                    entries.extend(found.map(|(made, automatic)| entry(made, automatic)).transpose()?);
                    if let Some(own) = inner.registered.get(*id) {
                        entries.push(own.entry(*automatic)?);
                    }
                }
                Place::Registered => {
                    for (id, own) in inner.registered.iter().filter(|(id, _)| !has_place(id)) {
                        if presets::find(id.as_str()).is_none() {
                            entries.push(own.entry(Yes)?);
                        }
                    }
                }
                Place::Configured => {
                    for (id, made) in built.iter().filter(|(id, made)| !has_place(id) && !made.guessed) {
                        debug_assert_eq!(*id, made.provider.describe().id);
                        entries.push(entry(made.clone(), Yes)?);
                    }
                    for (id, own) in inner.registered.iter().filter(|(id, _)| !has_place(id)) {
                        if presets::find(id.as_str()).is_some() {
                            entries.push(own.entry(Yes)?);
                        }
                    }
                }
                Place::Guessed => {
                    for made in built.values().filter(|made| made.guessed) {
                        entries.push(entry(made.clone(), Yes)?);
                    }
                }
            }
        }
        Ok(entries)
    }

    /// Forgets every instance built from settings and says how many there were; the next [`Registry::entries`] makes new ones. What was registered by
    /// hand stays.
    pub fn clear(&self) -> usize {
        let kept = std::mem::take(&mut self.inner().kept);
        kept.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two steps that belong together: the maps are whole whoever held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        f.debug_struct("Registry")
            .field("kept", &inner.kept.len())
            .field("registered", &inner.registered.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Registered {
    fn entry(&self, automatic: Automatic) -> Result<Entry> {
        let made = Made { provider: self.provider.clone(), program: None, guessed: false, keys: Vec::new() };
        let mut entry = entry(made, self.automatic.unwrap_or(automatic))?;
        entry.aliases.extend(self.aliases.iter().cloned());
        Ok(entry)
    }
}

impl Inner {
    /// The instance of these settings: the one at hand where nothing changed.
    fn keep(&mut self, id: &ProviderId, settings: &Settings, around: &Surroundings) -> Result<Made> {
        let unset = ProviderSettings::default();
        let own = settings.providers.get(id).unwrap_or(&unset);
        let runs = own.command.is_some() || agents::AGENTS.iter().any(|agent| *id == *agent.id);
        let fingerprint = fingerprint(own, runs.then_some(&around.environment));
        if let Some(kept) = self.kept.get(id).filter(|kept| settings.cache.providers && kept.fingerprint == fingerprint)
        {
            return Ok(kept.made.clone());
        }
        let made = make(id, own, around)?;
        self.kept.insert(id.clone(), Kept { fingerprint, made: made.clone() });
        Ok(made)
    }
}

/// Whether an id has a place of its own in the resolution order.
pub(super) fn has_place(id: &ProviderId) -> bool {
    ORDER.iter().any(|place| matches!(place, Id(known, _) if *id == **known))
}

/// Every provider that settings and tables know, in the tables' order and then the config's.
fn known_ids(settings: &Settings) -> Result<Vec<ProviderId>> {
    let awaited = AWAITED.iter().map(|row| row.0);
    let preset = presets::PRESETS.iter().map(|preset| preset.id);
    let agent = agents::AGENTS.iter().map(|agent| agent.id);
    let mut ids = awaited.chain(preset).chain(agent).map(ProviderId::new).collect::<Result<Vec<_>>>()?;
    let named = settings.providers.keys().filter(|id| !ids.contains(id)).cloned().collect::<Vec<_>>();
    ids.extend(named);
    Ok(ids)
}

fn entry(made: Made, automatic: Automatic) -> Result<Entry> {
    let id = made.provider.describe().id.clone();
    let awaited = AWAITED.iter().find(|row| id == *row.0).map(|row| row.1);
    let preset = presets::find(id.as_str()).filter(|preset| id == *preset.id).map(|preset| preset.aliases);
    let agent = agents::AGENTS.iter().find(|agent| id == *agent.id).map(|agent| agent.aliases);
    let aliases = awaited.or(preset).or(agent).unwrap_or_default();
    let aliases = aliases.iter().map(ProviderId::new).collect::<Result<_>>()?;
    Ok(Entry { id, aliases, provider: made.provider, automatic, program: made.program, keys: made.keys })
}

fn make(id: &ProviderId, own: &ProviderSettings, around: &Surroundings) -> Result<Made> {
    if own.enabled == Some(false) {
        let hint = format!("remove enabled = false from [providers.{id}]");
        return Ok(Made::new(AbsentProvider::new(Describe::new(id.clone()), "it is turned off in the config", hint)));
    }
    if let Some(agent) = agents::AGENTS.iter().find(|agent| *id == *agent.id) {
        let (provider, program) = agent.provider(own, &around.environment, around.runner.clone())?;
        let program = program.map(|path| path.display().to_string());
        return Ok(Made { provider, program, guessed: false, keys: Vec::new() });
    }
    if own.command.is_some() {
        return made_of_command(command_provider(id.clone(), own, &around.environment, around.runner.clone())?);
    }
    if let Some((_, _, what, hint)) = AWAITED.iter().find(|row| *id == *row.0) {
        return Ok(Made::new(AbsentProvider::new(Describe::new(id.clone()), *what, *hint)));
    }
    let provider = HttpProvider::new(id, own)?;
    let guessed = provider.is_guess();
    let keys = provider.each_key(id, own)?;
    let keys = keys.into_iter().map(|one| Arc::new(one) as Arc<dyn DynProvider>).collect();
    Ok(Made { guessed, keys, ..Made::new(provider) })
}

fn made_of_command(provider: CommandProvider) -> Result<Made> {
    let program = provider.program().map(|path| path.display().to_string());
    Ok(Made { program, ..Made::new(provider) })
}

/// A one-way name for what an instance is made of. `Debug` hides secrets, so keys and headers come in by their own fingerprints.
fn fingerprint(own: &ProviderSettings, environment: Option<&Environment>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{own:?}\0{}\0", Credentials::new(&own.credentials).fingerprint()));
    for (name, value) in &own.headers {
        hash.update(format!("{name}\0{}\0", value.fingerprint()));
    }
    for (name, value) in environment.into_iter().flat_map(Environment::iter) {
        hash.update(format!("{name}\0{value}\0"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
