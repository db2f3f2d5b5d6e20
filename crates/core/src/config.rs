//! Settings: what a router is built from, as plain values, and the one door that reads them: [`Settings::load`].
//!
//! The values know nothing of where they came from. [`keys`] and [`variables`] are the tables of what can be set, `config/file.rs` reads the TOML file,
//! `config/env.rs` the environment (the only file that does), `config/join.rs` joins them, `config/validate.rs` checks the whole, `config/origin.rs`
//! says where each value came from. Precedence: request > flag > environment > file > default.
//! To add a setting: a field here, a row in `config/keys.rs`, and a line in `docs/config.example.toml`; the tests say what else is missing.

pub mod env;
mod file;
mod join;
pub mod keys;
pub mod names;
pub mod origin;
mod output;
mod parse;
mod peers;
mod reference;
mod route;
mod server;
mod validate;
mod value;
pub mod variables;

use std::{path::PathBuf, time::Duration};

use indexmap::IndexMap;

use crate::dialect::{Dialect, Framing};
use crate::ids::{ModelName, ProviderId};
use crate::pricing::Price;
use crate::request::{Hold, Privacy, Resume, Substitute};
use crate::secret::Secret;

pub use crate::request::Timeouts;
pub use env::{Environment, NearMiss, Places, Terminal};
pub use join::Flags;
pub use origin::{Entry, Loaded, Origin, Problem, Problems, Warning};
pub use output::{Condition, LinesSettings, OutputForm, Pick};
pub use peers::{PeersSettings, ShareSettings};
pub use reference::{configuration_md, environment_md};
pub use route::{Balance, RouteSettings};
pub use server::{ClientKey, KeyLimits, LimitSettings, ServerSettings, StoreSettings};
pub use value::Kind;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The HTTP server.
    pub server: ServerSettings,
    /// Teams, whose keys count together.
    pub teams: IndexMap<String, KeyLimits>,
    /// Where state is kept.
    pub store: StoreSettings,
    /// What limits assume.
    pub limits: LimitSettings,
    /// What is set of single models, by `provider/model`.
    pub models: IndexMap<String, ModelSettings>,
    /// Prices of one's own, by `provider/model`.
    pub prices: IndexMap<String, Price>,
    /// Other routers on the libp2p network.
    pub peers: PeersSettings,
    /// The MCP server.
    pub mcp: McpSettings,
    /// What leaves the process as telemetry.
    pub telemetry: TelemetrySettings,
    /// Proxies on the way to providers.
    pub proxy: ProxySettings,
    /// What all HTTP connections have in common.
    pub http: HttpSettings,
}

impl Settings {
    /// The provider that heads every automatic plan: the one that `*_LLM_PROVIDER` or `[router] provider` names.
    pub fn head(&self) -> Option<&ProviderId> {
        self.router.provider.as_ref()
    }

    /// The model that `provider` uses when none is named, as far as the configuration says: its own, or `*_LLM_MODEL` for the providers that it is for.
    pub fn default_model(&self, provider: &ProviderId) -> Option<&ModelName> {
        let own = self.providers.get(provider).and_then(|settings| settings.default_model.as_ref());
        let general =
            matches!(provider.as_str(), "openrouter" | "accelerate" | "local_hf") || self.head() == Some(provider);
        own.or_else(|| self.router.model.as_ref().filter(|_| general))
    }
}

/// How providers are chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RouterSettings {
    /// `*_LLM_PROVIDER`: heads every automatic plan.
    pub provider: Option<ProviderId>,
    /// `*_LLM_MODEL`: the default model of `openrouter`, `accelerate`, `local_hf` and of [`RouterSettings::provider`]; see [`Settings::default_model`].
    pub model: Option<ModelName>,
    /// Whether an automatic plan that `provider` heads goes on to the floor; without one it has no effect.
    pub fallback: bool,
    /// Whether a provider that does not know the asked model may be asked for its default one without the request's saying so.
    pub model_fallback: bool,
    /// The most that may stand in for what a request names.
    pub substitute: Substitute,
    /// Who may see a request that does not say.
    pub privacy: Privacy,
    /// Deadlines that no provider, route or request overrides.
    pub timeouts: Timeouts,
    /// The wait before a response's head goes out without content.
    pub head_after: Duration,
    /// Whether targets that fail are left alone for a while.
    pub breaker: bool,
    /// Retries for each hundred requests.
    pub retry_percent: u32,
    /// Retries for each second besides.
    pub retry_floor: u32,
    /// When an answer is given out, where neither the request nor its route says so.
    pub hold: Hold,
    /// Whether somebody else goes on with an answer that broke off, where neither the request nor its route says so.
    pub resume: Resume,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            provider: None,
            model: None,
            fallback: true,
            model_fallback: false,
            substitute: Substitute::Any,
            privacy: Privacy::default(),
            timeouts: Timeouts::default(),
            head_after: Duration::from_secs(10),
            breaker: true,
            retry_percent: 20,
            retry_floor: 10,
            hold: Hold::default(),
            resume: Resume::default(),
        }
    }
}

/// What is set of one model at one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSettings {
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// Whether it goes on behind the beginning of an answer; unset is what is known of its provider.
    pub prefill: Option<bool>,
    /// Its context window in tokens, prompt and answer together.
    pub window: Option<u64>,
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
    /// A PEM file of certificates to trust besides the public ones and [`HttpSettings::ca_file`], for this provider alone.
    pub ca_file: Option<PathBuf>,
    /// Headers sent with every call. Their values count as secrets: gateways take keys there.
    pub headers: IndexMap<String, Secret>,
    /// The most calls at once.
    pub max_in_flight: Option<usize>,
    /// How many calls may wait for one of those to end.
    pub max_queue: usize,
    /// Whether its models go on behind the beginning of an answer; unset is what its preset knows.
    pub prefill: Option<bool>,
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// Ask upstream for this framing whatever the caller asked for.
    pub upstream: Option<Framing>,
    /// The command line of a `command` provider or an agent, with its placeholders; its quotes are balanced.
    pub command: Option<String>,
    /// How what that program prints becomes an answer.
    pub output: OutputForm,
    /// What its lines are, where its output is lines of JSON.
    pub lines: LinesSettings,
    /// The variables that the program of `command`, or of an agent, may see besides those that every program sees.
    pub pass_env: Vec<String>,
    /// Who sees what is sent to it. Unset is `local` for an address on this machine, `any` for all else.
    pub privacy: Option<Privacy>,
    /// Whether it may use tools on this machine.
    pub agent: bool,
    /// `false` takes it out of every plan.
    pub enabled: Option<bool>,
    /// The provider behind an aggregator (`HF_PROVIDER`): `together`, `groq`, `auto`.
    pub via: Option<String>,
    /// The version of the API that is named in the query: Azure's. A date also puts deployments into paths.
    pub api_version: Option<String>,
    /// What is asked for in place of any model's name: a deployment of Azure's that is not called like its model.
    pub deployment: Option<ModelName>,
    /// How its keys share the load, where it has several; unset is one after the other.
    pub balance: Option<Balance>,
    /// What it, or its models, cannot do although its kind of provider can: `tools`, `images`, `audio`, `files`, `json_schema`, `multiple_choices`.
    pub lacks: Vec<String>,
    /// What an agent may touch: `read-only`, `workspace-write`, `danger-full-access`; unset is the router's choice, `read-only`.
    pub sandbox: Option<String>,
    /// The folder in which an agent may use its tools.
    pub folder: Option<PathBuf>,
    /// What an agent may do with its tools there, in its own words.
    pub permission_mode: Option<String>,
    /// The ids of the keys that reach an agent with tools from elsewhere than this machine's command line and programs.
    pub remote: Vec<String>,
    /// Whether an agent may run outside a Git repository; unset is yes.
    pub skip_git_repo_check: Option<bool>,
    /// Whether a person chose it: a section of the config file, a flag, or being named by [`RouterSettings::provider`]. A key that merely lies in
    /// the environment does not count. Which one heads the plan is [`Settings::head`].
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
        /// Its value; empty where the variable is not set.
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

impl Credential {
    /// The key, where it is at hand without reading a file or running a program.
    pub fn at_hand(&self) -> Option<&Secret> {
        match self {
            Self::Value(value) | Self::Env { value, .. } => Some(value).filter(|value| !value.is_empty()),
            Self::File(_) | Self::Command { .. } => None,
        }
    }

    /// The variable that should hold the key and is not set.
    pub fn missing_variable(&self) -> Option<&str> {
        match self {
            Self::Env { name, value } if value.is_empty() => Some(name),
            _ => None,
        }
    }
}

/// The response cache.
#[derive(Clone, Debug, PartialEq)]
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
    /// Who shares answers: `key`, `team`, `global`.
    pub scope: String,
    /// Whether an answer that any member of a balanced group gave is used before the one whose turn it is is asked.
    pub group: bool,
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
            key: "sha256".into(),
            cid_base: "base32".into(),
            scope: "key".into(),
            group: false,
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
    /// The model for embeddings, named in the same way; unset is none.
    pub embedding_model: Option<String>,
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

/// The MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpSettings {
    /// Whether the HTTP server answers on `/mcp`.
    pub enabled: bool,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What leaves the process as telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelemetrySettings {
    /// Where OpenTelemetry data goes.
    pub otlp: Option<String>,
    /// Headers that go with it: `name=value`, with commas between.
    pub otlp_headers: Option<Secret>,
    /// Whether nothing is sent, whatever else is set.
    pub disabled: bool,
    /// What the data calls this program.
    pub service_name: String,
    /// What it says besides of where it runs: `name=value`, with commas between.
    pub resource: Option<String>,
    /// Of each hundred traces that begin here, how many are sent.
    pub sample: u32,
    /// How often metrics are sent.
    pub metrics_every: Duration,
    /// Whether prompts and answers may be written to a log.
    pub log_prompts: bool,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp: None,
            otlp_headers: None,
            disabled: false,
            service_name: "llm-router".into(),
            resource: None,
            sample: 100,
            metrics_every: Duration::from_secs(60),
            log_prompts: false,
        }
    }
}

/// What all HTTP connections have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// A PEM file of certificates to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
}

/// Proxies on the way to providers. Their addresses may hold passwords and count as secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySettings {
    /// For `https` addresses.
    pub https: Option<Secret>,
    /// For `http` addresses.
    pub http: Option<Secret>,
    /// For both, where they have none of their own.
    pub all: Option<Secret>,
    /// Hosts that are reached directly: names, `.suffixes`, addresses, networks, or `*`.
    pub no_proxy: Vec<String>,
}
