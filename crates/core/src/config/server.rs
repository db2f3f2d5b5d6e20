//! Settings of the HTTP server and of those who may ask it. What the router behind it is made from is `config.rs`.

use std::{path::PathBuf, time::Duration};

use super::Credential;
use crate::secret::Secret;

/// The HTTP server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerSettings {
    /// The address to bind.
    pub host: String,
    /// The port to bind; 0 lets the system choose.
    pub port: u16,
    /// Keys of the server's clients.
    pub api_keys: Vec<ClientKey>,
    /// Whether the keys that `keys create` makes are taken, and a key is wanted.
    pub virtual_keys: bool,
    /// Where metrics and administration listen, `host:port`.
    pub admin: Option<String>,
    /// Names that `Host` may have besides the loopback's.
    pub hosts: Vec<String>,
    /// Whether a public address may be bound without keys.
    pub public: bool,
    /// Whether URLs in requests may be fetched.
    pub fetch_urls: bool,
    /// Providers to which `/passthrough/{provider}/…` passes requests as they are.
    pub passthrough: Vec<String>,
    /// The certificate and its chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// The most bytes of a request's body.
    pub body_limit: usize,
    /// The most requests being answered at once.
    pub max_in_flight: usize,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// After how long a connection is closed on which nothing moves.
    pub idle_timeout: Duration,
    /// The silence in a stream after which a sign of life is sent.
    pub ping_after: Duration,
    /// Where a line about each request goes: `stdout`, `stderr` or a path.
    pub access_log: Option<String>,
    /// How long the server says that it is going before it goes.
    pub drain: Duration,
    /// How long requests under way may take after that.
    pub grace: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8000,
            api_keys: Vec::new(),
            virtual_keys: false,
            admin: None,
            hosts: Vec::new(),
            public: false,
            fetch_urls: false,
            passthrough: Vec::new(),
            tls_cert: None,
            tls_key: None,
            body_limit: 32 << 20,
            max_in_flight: 4096,
            max_connections: 4096,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            ping_after: Duration::from_secs(15),
            access_log: None,
            drain: Duration::from_secs(5),
            grace: Duration::from_secs(30),
        }
    }
}

/// The key of a client of the server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientKey {
    /// Whose it is.
    pub name: String,
    /// The key.
    pub key: Credential,
    /// Whether it also opens metrics and administration.
    pub admin: bool,
    /// With whom it shares stored answers where `cache.scope` is `team`, and limits where the team has some; alone without.
    pub team: Option<String>,
    /// What it may do by itself.
    pub limits: KeyLimits,
}

impl ClientKey {
    /// A client's key that opens no administration.
    pub fn new(name: impl Into<String>, key: Credential) -> Self {
        Self { name: name.into(), key, admin: false, team: None, limits: KeyLimits::default() }
    }

    /// As one of this team.
    #[must_use]
    pub fn of_team(mut self, team: impl Into<String>) -> Self {
        self.team = Some(team.into());
        self
    }

    /// As one that opens administration too.
    #[must_use]
    pub fn for_admin(mut self) -> Self {
        self.admin = true;
        self
    }
}

/// What the keys of a team may do together, or a key of the configuration by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyLimits {
    /// Requests in any sixty seconds.
    pub requests_per_minute: Option<u64>,
    /// Tokens in any sixty seconds, of prompts and answers together.
    pub tokens_per_minute: Option<u64>,
    /// Tokens of one answer.
    pub max_tokens: Option<u32>,
    /// Requests at once.
    pub concurrency: Option<u32>,
    /// Models that may be asked; none is all.
    pub models: Vec<String>,
    /// Money for each UTC day, in micro-dollars.
    pub budget_per_day: Option<u64>,
    /// Money for each UTC month, in micro-dollars.
    pub budget_per_month: Option<u64>,
    /// Whether models may be asked whose price is unknown, though money is limited.
    pub unpriced: bool,
}

/// Where state is kept that several replicas share.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreSettings {
    /// The address of a Redis or Valkey server; without one, state is in a file of this machine.
    pub url: Option<Credential>,
    /// What the names of all its keys begin with.
    pub prefix: String,
    /// A file of certificates to trust in place of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a request waits until its limits are counted.
    pub patience: Duration,
    /// What holds where they are not: `closed`, `open`, `local`.
    pub unreachable: String,
    /// How many replicas share a limit, for `local`.
    pub replicas: u32,
    /// The file of the seal of clients' keys; without one it is in the state folder.
    pub seal_file: Option<PathBuf>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "llm-router".into(),
            ca_file: None,
            patience: Duration::from_millis(50),
            unreachable: "closed".into(),
            replicas: 1,
            seal_file: None,
        }
    }
}

impl StoreSettings {
    /// The address, from wherever it comes; none where state is in a file of this machine.
    ///
    /// # Errors
    /// What is not there: the name of a variable that is not set, or a file that cannot be read.
    pub fn address(&self) -> Result<Option<Secret>, String> {
        match &self.url {
            None => Ok(None),
            Some(Credential::File(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("store.url_file: {}: {error}", path.display()))?;
                Ok(Some(Secret::new(text)))
            }
            Some(url) => match (url.missing_variable(), url.at_hand()) {
                (Some(variable), _) => Err(format!("store.url_env: {variable} is not set")),
                (None, address) => Ok(address.cloned()),
            },
        }
    }
}

/// What limits assume of requests that do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitSettings {
    /// The tokens of an answer where money is limited and the request says nothing: set aside, and sent.
    pub max_tokens: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { max_tokens: 4096 }
    }
}
