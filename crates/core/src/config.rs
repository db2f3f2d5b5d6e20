//! Settings: what a router is built from, as plain values.
//!
//! Each value knows nothing of where it came from; `config/file.rs` reads the TOML file, `config/env.rs` the environment (the only file that does),
//! `config/validate.rs` checks all of it at once and keeps each value's origin. Precedence: request > flag > environment > file > default.

use std::{path::PathBuf, time::Duration};

use indexmap::IndexMap;

use crate::dialect::{Dialect, Framing};
use crate::ids::{ModelName, ProviderId};
use crate::request::Privacy;
use crate::secret::Secret;

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// How providers are chosen.
    pub router: RouterSettings,
    /// Providers by id: those of the config, and those that the environment completes.
    pub providers: IndexMap<ProviderId, ProviderSettings>,
    /// Model names that clients may use, each a chain of targets.
    pub routes: IndexMap<String, RouteSettings>,
    /// The response cache.
    pub cache: CacheSettings,
    /// The embedded model.
    pub local: LocalSettings,
}

/// How providers are chosen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouterSettings {
    /// `*_LLM_PROVIDER`: heads every automatic plan.
    pub provider: Option<ProviderId>,
    /// `*_LLM_MODEL`: the default model of `openrouter`, `accelerate`, `local_hf` and of [`RouterSettings::provider`].
    pub model: Option<ModelName>,
    /// Whether an automatic plan goes on after its first target.
    pub fallback: bool,
    /// Whether a provider that does not know the asked model may be asked for its default one.
    pub model_fallback: bool,
    /// Deadlines that no provider, route or request overrides.
    pub timeouts: Timeouts,
    /// The wait before a response's head goes out without content.
    pub head_after: Duration,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            provider: None,
            model: None,
            fallback: true,
            model_fallback: true,
            timeouts: Timeouts::default(),
            head_after: Duration::from_secs(10),
        }
    }
}

/// Deadlines as far as they are set; see [`Deadlines`](crate::provider::Deadlines) for what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_event: Option<Duration>,
    pub idle: Option<Duration>,
    pub whole: Option<Duration>,
    pub total: Option<Duration>,
}

/// One provider's settings. What is not set comes from its preset.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProviderSettings {
    /// The preset that fills what is not given; a provider named like a preset uses that one.
    pub preset: Option<String>,
    /// The URL that paths are appended to.
    pub base_url: Option<String>,
    /// The dialects it speaks, the preferred one first.
    pub dialects: Vec<Dialect>,
    /// Keys, tried in order.
    pub credentials: Vec<Credential>,
    /// Model names it serves; `*` is any.
    pub models: Vec<String>,
    /// The model used when none is named.
    pub default_model: Option<ModelName>,
    /// Headers sent with every call. Their values count as secrets: gateways take keys there.
    pub headers: IndexMap<String, Secret>,
    /// The most calls at once.
    pub max_in_flight: Option<usize>,
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// Ask upstream for this framing whatever the caller asked for.
    pub upstream: Option<Framing>,
    /// The command line of a `command` provider, split into words but with its placeholders.
    pub command: Option<String>,
    /// Who sees what is sent to it.
    pub privacy: Option<Privacy>,
    /// Whether it may use tools on this machine.
    pub agent: bool,
    /// `false` takes it out of every plan.
    pub enabled: Option<bool>,
    /// The provider behind an aggregator (`HF_PROVIDER`): `together`, `groq`, `auto`.
    pub via: Option<String>,
    /// Whether the environment or the config names it: such a provider heads the plan.
    pub configured: bool,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Credential {
    /// The key itself.
    Value(Secret),
    /// A variable's value, with the variable's name for messages.
    Env {
        /// The variable.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// A file that holds the key; read again when it changes.
    File(PathBuf),
    /// A program that prints the key, asked again after a time.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long an answer holds.
        lifetime: Duration,
    },
}

/// A model name that clients may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteSettings {
    /// `provider/model` or `provider`: balanced within a group, in order between groups.
    pub groups: Vec<Vec<String>>,
    /// How a group is balanced.
    pub balance: Option<String>,
    /// Its deadlines.
    pub timeouts: Timeouts,
}

/// The response cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheSettings {
    /// `ROUTER_CACHE`: whether provider instances are kept between calls.
    pub providers: bool,
    /// `ROUTER_RESPONSE_CACHE`: whether answers are stored.
    pub responses: bool,
    /// How a key is printed: `sha256` or `cid`.
    pub key: String,
    /// The base of a CID: `base32`, `base58btc`, `base36`.
    pub cid_base: String,
    /// The folder of the disk tier.
    pub dir: Option<PathBuf>,
    /// How long an answer may be used.
    pub ttl: Option<Duration>,
    /// The most bytes in memory.
    pub memory_bytes: u64,
    /// The most bytes on disk.
    pub disk_bytes: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            providers: true,
            responses: false,
            key: "cid".into(),
            cid_base: "base32".into(),
            dir: None,
            ttl: None,
            memory_bytes: 64 << 20,
            disk_bytes: 1 << 30,
        }
    }
}

/// The embedded model.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LocalSettings {
    /// A path, `hf:owner/repo/file.gguf` or `hf:owner/repo:QUANT`; unset is the default model.
    pub model: Option<String>,
    /// Threads; unset leaves a core free.
    pub threads: Option<u32>,
    /// Context window in tokens.
    pub context: Option<u32>,
    /// Sequences computed at once.
    pub parallel: Option<u32>,
    /// Where model files are kept.
    pub models_dir: Option<PathBuf>,
    /// The model hub's address (`HF_ENDPOINT`).
    pub hub: Option<String>,
    /// The model hub's token (`HF_TOKEN`).
    pub hub_token: Option<Secret>,
    /// Whether nothing may be fetched.
    pub offline: bool,
}
